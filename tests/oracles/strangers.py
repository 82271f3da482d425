"""Files that nobody wrote: configs, checkpoints, arrays and pictures, changed at random by a seed.

A child process with limits of time and memory reads each. What it says of one is `right` (read, and
used), `refused` (in words) or `traceback`; what it cannot say any more is `hang` or `killed`.

    python -m tests.oracles.strangers     the child: lines of JSON in, lines of JSON out
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import resource
import select
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

KINDS = ("config", "checkpoint", "npz", "picture")
VERDICTS = ("right", "refused", "traceback", "hang", "killed")
SECONDS = 60.0  # of one file
MEMORY = 6 * 2**30  # bytes that the child may take beyond what it has when it begins

#: What a value in a config or a header may become.
_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 1.5, -0.5, 4000, 30_000, 2**31, 2**63, 10**30, 1e308,
    "", "x", "relu", "valid", "same", "keras.applications", "ResNet50V2", "function", "Dense",
    "Concatenate", "__lambda__", "float64", "complex64", "string", [], {}, [[]], [1, 1], [2.5, 2],
    [10**9], [None, 10**6, 10**6, 3],
)  # fmt: skip


# Changes


def changed(value: Any, rng: random.Random) -> Any:
    """A copy of plain data with one to four places replaced, removed, doubled or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 4)):
        places = list(_places(value))
        if not places:
            break
        (holder, key), (other, from_there) = rng.choice(places), rng.choice(places)
        act = rng.random()
        if act < 0.55:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
        elif act < 0.7:
            del holder[key]
        elif act < 0.85 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[key] = copy.deepcopy(other[from_there])
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    holders = [value]
    while holders:
        holder = holders.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            yield holder, key
            if isinstance(holder[key], (dict, list)):
                holders.append(holder[key])


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The file with some bytes changed, or cut off, or with a piece twice."""
    act, place = rng.random(), rng.randrange(len(data))
    if act < 0.15:
        return data[:place]
    if act < 0.25:
        return data[:place] + data[place : place + 64] + data[place:]
    result = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        byte = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        result[rng.randrange(len(result))] = byte
    return bytes(result)


def made_up(data: bytes, rng: random.Random) -> bytes:
    """A checkpoint of kcnn's with another head or tree, and a checksum that is right."""
    name, rest = data.split(b"\n", 1)
    (length,) = struct.unpack("<Q", rest[:8])
    head, body = rest[8 : 8 + length], rest[8 + length : -32]
    rows, tree = head.split(b"\n", 1)
    act = rng.random()
    if act < 0.3:
        rows = json.dumps(changed(json.loads(rows), rng)).encode()
    elif act < 0.85:
        tree = json.dumps(changed(json.loads(tree), rng)).encode()
    elif act < 0.95:
        body = flipped(body, rng)
    else:
        length += rng.choice((-1, 1, 2**40))
    head = rows + b"\n" + tree
    declared = length if act >= 0.95 else len(head)
    whole = name + b"\n" + struct.pack("<Q", declared) + head + body
    return whole + hashlib.sha256(whole).digest()


def other_header(data: bytes, rng: random.Random) -> bytes:
    """An .npy file whose header says something else."""
    length = struct.unpack("<H", data[8:10])[0]
    header, body = data[10 : 10 + length].decode("latin-1"), data[10 + length :]
    shapes = ("(200,)", "(10**9,)", "()", "(-1,)", "(3, 4, 5", "(1000000, 1000000)", "[2]", "None")
    dtypes = ("|O", "<f8", "<c16", "<U8", "|V3", "<M8[s]", "", "|S0", "<i8", ">f4", "[('a','<i4')]")
    act = rng.random()
    start = header.index("'shape': ") + 9
    end = header.index(")", start) + 1
    if act < 0.45:
        header = header[:start] + rng.choice(shapes) + header[end:]
    elif act < 0.9:
        old = header.split("'descr': '", 1)[1].split("'", 1)[0]
        header = header.replace(f"'{old}'", f"'{rng.choice(dtypes)}'", 1)
    else:
        header = flipped(header.encode("latin-1"), rng).decode("latin-1")
    text = header.encode("latin-1")
    return data[:8] + struct.pack("<H", len(text)) + text + body


# Sound files, and changed ones by number


class Makers:
    """Makes the changed files.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sound = {
            "config": _models(folder),
            "checkpoint": _checkpoints(folder / "sound"),
            "npz": _arrays(),
            "picture": _pictures(),
        }

    def make(self, kind: str, number: int, seed: int) -> Path:
        """The file of that number; of checkpoints, the folder."""
        rng = random.Random(f"{seed}-{kind}-{number}")
        makers = {
            "config": self._config, "checkpoint": self._checkpoint, "npz": self._npz,
            "picture": self._picture,
        }  # fmt: skip
        return makers[kind](f"{kind}-{number}", rng)

    def _config(self, name: str, rng: random.Random) -> Path:
        parts = dict(rng.choice(self._sound["config"]))
        if rng.random() < 0.15:
            data = flipped(_zipped(parts), rng)
        else:
            config = changed(json.loads(parts["config.json"]), rng)
            data = _zipped(parts | {"config.json": json.dumps(config).encode()})
        return self._written(f"{name}.keras", data)

    def _checkpoint(self, name: str, rng: random.Random) -> Path:
        (old_name, old), (new_name, new) = self._sound["checkpoint"]
        folder = self.folder / name
        folder.mkdir()
        (folder / old_name).write_bytes(old)
        new = flipped(new, rng) if rng.random() < 0.3 else made_up(new, rng)
        (folder / new_name).write_bytes(new)
        return folder

    def _npz(self, name: str, rng: random.Random) -> Path:
        parts = dict(self._sound["npz"])
        act = rng.random()
        if act < 0.3:
            data = flipped(_zipped(parts), rng)
        elif act < 0.8:
            part = rng.choice(list(parts))
            parts[part] = other_header(parts[part], rng)
            data = _zipped(parts)
        else:
            labels = np.arange(40) % 4
            labels = labels.astype(rng.choice(("int64", "float32", "uint8", "int8")))
            large = (10**6, -1, np.nan, 3.5, 200, np.inf)
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                odd = np.array(rng.choice(large))
                labels[rng.randrange(40)] = odd.astype(labels.dtype)
            data = _zipped(parts | {"y_train.npy": _npy(labels)})
        return self._written(f"{name}.npz", data)

    def _picture(self, name: str, rng: random.Random) -> Path:
        suffix, data = rng.choice(self._sound["picture"])
        if suffix == "png" and rng.random() < 0.4:  # sizes that a header promises
            sides = (0, 1, 20, 9000, 30_000, 2**31 - 1)
            head = struct.pack(">II", rng.choice(sides), rng.choice(sides)) + bytes(
                (rng.choice((1, 8, 16)), rng.choice((0, 2, 3, 4, 6)), 0, 0, rng.choice((0, 1)))
            )
            crc = struct.pack(">I", zlib.crc32(b"IHDR" + head))
            data = data[:16] + head + crc + data[33:]
        else:
            data = flipped(data, rng)
        return self._written(f"{name}.{suffix}", data)

    def _written(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path


def _zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0))
    return buffer.getvalue()


def _network() -> Any:
    import keras

    layers = keras.layers
    x = first = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(4, 1, strides=1)(x)
    x = layers.Concatenate()([layers.BatchNormalization()(x), y])
    x = layers.UpSampling2D(2)(layers.MaxPooling2D()(x))
    x = layers.Resizing(6, 6)(keras.activations.gelu(x))
    x = layers.Dropout(0.2)(layers.Dense(8, activation="gelu")(layers.Flatten()(x)))
    return keras.Model(first, layers.Dense(4, activation="softmax")(x))


def _models(folder: Path) -> list[dict[str, bytes]]:
    import keras

    small = keras.Sequential(
        [keras.Input((12, 12, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
         keras.layers.Dense(4, activation="softmax", kernel_regularizer="l2")]
    )  # fmt: skip
    found = []
    for model in (_network(), small):
        path = folder / "sound.keras"
        model.save(path)
        with zipfile.ZipFile(path) as archive:
            found.append({name: archive.read(name) for name in archive.namelist()})
    return found


def training(folder: Path) -> tuple[Any, Any]:
    """A tiny model with a checkpoint callback, ready to be fitted to `digits_of`."""
    import keras

    from kcnn.callbacks import ExactCheckpoint

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    stopping = keras.callbacks.EarlyStopping("loss", patience=50)
    return model, ExactCheckpoint(folder, callbacks=[stopping])


def go_on(folder: Path, epochs: int) -> None:
    """Fit it, from its newest whole checkpoint on."""
    model, checkpoint = training(folder)
    images, labels = np.arange(48, dtype="float32").reshape(12, 4) / 48, np.arange(12) % 3
    callbacks = [checkpoint, *checkpoint.callbacks]
    model.fit(
        images, labels, batch_size=6, epochs=epochs, shuffle=False, verbose=0,
        callbacks=callbacks, initial_epoch=checkpoint.initial_epoch,
    )  # fmt: skip


def _checkpoints(folder: Path) -> list[tuple[str, bytes]]:
    """Names and bytes of two, the older first."""
    go_on(folder, 2)
    return [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.ckpt"))]


def _arrays() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    parts = {
        "x_train": images[:40], "y_train": np.arange(40) % 4, "x_test": images[40:],
        "y_test": np.arange(10) % 4, "class_names": np.array(["a", "b", "c", "d"]),
    }  # fmt: skip
    return {f"{name}.npy": _npy(array) for name, array in parts.items()}


def _pictures() -> list[tuple[str, bytes]]:
    rng, found = np.random.default_rng(0), []
    pixels = rng.integers(0, 256, (24, 20, 4), dtype=np.uint8)
    for suffix, form, channels in (
        ("png", "PNG", 3), ("png", "PNG", 4), ("jpg", "JPEG", 3), ("gif", "GIF", 3),
        ("bmp", "BMP", 3), ("webp", "WEBP", 4),
    ):  # fmt: skip
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., :channels]).save(buffer, form)
        found.append((suffix, buffer.getvalue()))
    deep = Image.fromarray(rng.integers(0, 2**16, (24, 20), dtype=np.uint16))
    buffer = io.BytesIO()
    deep.save(buffer, "PNG")
    return [*found, ("png", buffer.getvalue())]


# Reading them


def read(kind: str, path: str) -> None:
    """Read a file as kcnn does, and use what it holds."""
    if kind == "config":
        from kcnn.graph.forward import forward
        from kcnn.loading import load_model
        from kcnn.runs.directory import refuse_no_images

        model = load_model(path)
        refuse_no_images(Path(path), model)
        shape = [side or 12 for side in model.input_shape[1:]]
        np.asarray(forward(model, 1)(np.zeros((1, *shape), "float32")))
    elif kind == "checkpoint":
        go_on(Path(path), 3)
    elif kind == "npz":
        from kcnn.data import load_data

        load_data(path)
    else:
        from kcnn.data import load_image

        load_image(path, (16, 16, 3))


def serve() -> None:
    """The child: reads `[kind, path]` lines, answers `[verdict, words]` lines."""
    from kcnn import InputError, startup

    startup.load()
    answers, sys.stdout = sys.stdout, sys.stderr
    with open("/proc/self/statm", encoding="utf-8") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    warnings.simplefilter("ignore")
    print(json.dumps(["ready", ""]), file=answers, flush=True)
    for line in sys.stdin:
        kind, path = json.loads(line)
        try:
            read(kind, path)
            verdict, words = "right", ""
        except (InputError, FloatingPointError, MemoryError) as error:
            verdict, words = "refused", str(error)
        except Exception as error:
            verdict, words = "traceback", f"{type(error).__name__}: {error}"
        print(json.dumps([verdict, words[:2000]]), file=answers, flush=True)


class Campaign:
    """Children that read changed files, and what came of it.

    Args:
        folder: An empty one.
        seed: Of the changes.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.makers, self.seed, self._child = Makers(folder), seed, None
        self.counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self.failures: list[tuple[str, int, str, str]] = []  #: kind, number, verdict, words

    def run(self, kind: str, number: int) -> str:
        """The verdict on the file of that number."""
        path = self.makers.make(kind, number, self.seed)
        verdict, words = self._asked(kind, path)
        self.counts[kind][verdict] += 1
        if verdict not in ("right", "refused"):
            self.failures.append((kind, number, verdict, words))
        return verdict

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _asked(self, kind: str, path: Path) -> tuple[str, str]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.oracles.strangers"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                cwd=Path(__file__).parents[2],
            )  # fmt: skip
            self._answer()
        assert self._child.stdin is not None
        print(json.dumps([kind, str(path)]), file=self._child.stdin, flush=True)
        return self._answer()

    def _answer(self) -> tuple[str, str]:
        child = self._child
        assert child is not None
        assert child.stdout is not None
        if not select.select([child.stdout], [], [], SECONDS)[0]:
            self.close()
            return "hang", f"no answer in {SECONDS:.0f} s"
        line = child.stdout.readline()
        if not line:
            status = child.wait()
            self.close()
            return "killed", f"status {status}"
        verdict, words = json.loads(line)
        return verdict, words


if __name__ == "__main__":
    serve()
