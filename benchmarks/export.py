"""Every network in every format, run where kcnn is not: python -m benchmarks.export [NETWORK...]

Each network as it is registered, but for its softmax, which would hide much, with random weights
and BatchNorm that is not trivial, is written by `kcnn.export`; a process that cannot import kcnn
loads the file by its own runtime and runs 39 made-up images in batches of 1, 5 and 33.
Networks for segmentation and detection are at 128 pixels; `fcos` leaves without its decoding.
The differences are relative to the largest output of Keras. `--latency` times the files of the
networks that it is given (by default `TIMED`) in place of comparing: medians of rounds in which the
runtimes take turns, as many threads as cores each; `keras` is the model in a traced function of
TensorFlow. `--float32` takes two fifths of the time. `--files FOLDER` keeps the files, for the
other of both. Needs the extra `export`; rows are written one by one to `results/export.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.machine import idle, number, report, saved

FILES = {
    "keras": "net.keras",
    "savedmodel": "net",
    "onnx": "net.onnx",
    "litert": "net.tflite",
    "openvino": "net.xml",
    "onnx float16": "half.onnx",
    "litert float16": "half.tflite",
    "openvino float16": "half.xml",
    "onnx int8": "small.onnx",
    "litert int8": "small.tflite",
}
TIMED = ("lenet5", "resnet20", "resnet50", "vgg16", "alexnet")
_BATCHES = (1, 5, 33)
_SIDE = 128  #: of networks for segmentation and detection, which take pictures of any size
#: Rounds, and of what takes longer than `_LONG` seconds a call.
_ROUNDS, _FEW, _LONG = 5, 2, 1.0
_PACKAGES = ("onnx", "onnxruntime", "tf2onnx", "ai-edge-litert", "openvino")
_COMMAND = [sys.executable, "-m", "benchmarks.export"]
_COLUMNS = ["network", "format", "MB", "difference", "same class", "ms, 1 image", "ms, 33 images"]


def make(network: str, work: Path, names: Sequence[str]) -> None:
    """Write files of a network; before the first of them the network itself, and its outputs."""
    import keras

    import kcnn

    source = work / "source.keras"
    if not source.exists():
        card, options = kcnn.card(network), dict[str, Any]()
        if card.task != "detection":  # whose outputs are no probabilities
            options["classifier_activation"] = None
        if card.task != "classification":  # their 33 maps of 512×512 take more than 22 GB
            options["input_shape"] = (_SIDE, _SIDE, card.input_shape[2])
        _begin(kcnn.build(network, **options), work)
    model, images = keras.models.load_model(source), np.load(work / "images.npy")
    for name in names:
        form, _, precision = name.partition(" ")
        try:
            found = kcnn.export(model, work / FILES[name], format=form, images=images[:8],
                                precision=precision or "float32", accept=True)  # fmt: skip
            print(json.dumps({"format": name, "size": found.size}), flush=True)
        except kcnn.InputError as error:
            print(json.dumps({"format": name, "refused": str(error)}), flush=True)


def _begin(model: Any, work: Path) -> None:
    """Give a new network its BatchNorm and its images; keep it with its outputs."""
    import keras

    rng = np.random.default_rng(0)
    height, width, channels = model.input_shape[1:]
    images = rng.uniform(0, 1, (sum(_BATCHES), 8, 8, channels)).astype("float32")
    images = images[:, np.arange(height) * 8 // height][:, :, np.arange(width) * 8 // width]
    sums = [layer for layer in model.layers if isinstance(layer, keras.layers.Add)]
    added = {id(branch) for layer in sums for branch in layer.input}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Branches are damped as training leaves them: random ones of full weight, fifty layers
            # deep, make 64 times as much of a relative error, and what is compared is the network.
            damped = 0.3 if id(layer.output) in added and "shortcut" not in layer.name else 1.0
            layer.gamma.assign(damped * rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(rng.uniform(-0.3, 0.3, layer.beta.shape))
            layer.momentum = 0.0
    model(images[:16], training=True)  # statistics of images: values that float16 can hold
    np.save(work / "images.npy", images)
    outputs = [model.predict_on_batch(part) for part in parts(images)]
    np.save(work / "outputs.npy", np.concatenate(outputs))
    model.save(work / "source.keras")


def parts(images: np.ndarray) -> list[np.ndarray]:
    """Batches of 1, 5 and 33."""
    return np.split(images, np.cumsum(_BATCHES)[:-1])


def seat(names: list[str], work: Path) -> None:
    """Run files of one runtime; answer each line `N ROUNDS` with seconds for N images of the last.

    The lines come on standard input.
    """
    import time

    sys.modules["kcnn"] = None  # type: ignore[assignment] # it cannot be imported
    images = np.load(work / "images.npy")
    for name in names:
        run = _loaded(name.partition(" ")[0], str(work / FILES[name]))
        np.save(work / f"{name}.npy", np.concatenate([run(part) for part in parts(images)]))
    print("ready", flush=True)
    for line in sys.stdin:
        count, times = map(int, line.split())
        batch = images[-count:]
        if times > 1:  # what the others left in the caches costs a long call nothing
            run(batch)
        begin = time.perf_counter()
        for _ in range(times):
            run(batch)
        print((time.perf_counter() - begin) / times, flush=True)


def _loaded(form: str, path: str) -> Any:
    """As users of the runtime load and run it."""
    if form == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count()
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda images: session.run(None, {name: images})[0]
    if form == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=path, num_threads=os.cpu_count())
        given = interpreter.get_input_details()[0]["index"]
        taken = interpreter.get_output_details()[0]["index"]
        shape: list[tuple[int, ...]] = [()]

        def run(images: np.ndarray) -> np.ndarray:
            if shape[0] != images.shape:
                interpreter.resize_tensor_input(given, images.shape)
                interpreter.allocate_tensors()
                shape[0] = images.shape
            interpreter.set_tensor(given, images)
            interpreter.invoke()
            found: np.ndarray = interpreter.get_tensor(taken)
            return found

        return run
    if form == "openvino":
        import openvino

        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(path, "CPU", hint)
        return lambda images: compiled(images)[0]
    import tensorflow as tf

    if form == "savedmodel":
        served = tf.saved_model.load(path)
        return lambda images: served.serve(images).numpy()
    import keras

    model = keras.models.load_model(path)
    traced = tf.function(lambda images: model(images, training=False), autograph=False)
    shape = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    function = traced.get_concrete_function(shape)
    return lambda images: function(tf.constant(images)).numpy()


def written(network: str, work: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """What became of each format of a network, whose files lie in `work`."""
    done = work / "made.json"
    if not done.exists():
        said = []
        for form in dict.fromkeys(name.partition(" ")[0] for name in names):
            # A process for each: converters leave gigabytes behind.
            own = [name for name in names if name.partition(" ")[0] == form]
            made = subprocess.run([*_COMMAND, "--make", network, str(work), *own], check=True,
                                  text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)  # fmt: skip
            said += [json.loads(line) for line in made.stdout.splitlines() if line[:1] == "{"]
        done.write_text(json.dumps(said))
    found: list[dict[str, Any]] = json.loads(done.read_text())
    return found


@contextlib.contextmanager
def seated(network: str, names: Sequence[str], work: Path) -> Iterator[Any]:
    """A process that has loaded files of one runtime, and run the images."""
    opened = subprocess.Popen([*_COMMAND, "--seat", str(work), *names], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        assert opened.stdout is not None
        assert opened.stdout.readline() == "ready\n", f"{network} does not run as {names}"
        yield opened
    finally:
        opened.kill()
        opened.wait()


def compared(network: str, work: Path, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each format of a network: how far outputs are from Keras'."""
    said = written(network, work, names)
    expected = np.load(work / "outputs.npy").astype("float64")
    written_ones = [one["format"] for one in said if "refused" not in one]
    for form in dict.fromkeys(name.partition(" ")[0] for name in written_ones):
        with seated(network, [n for n in written_ones if n.partition(" ")[0] == form], work):
            pass
    for one in said:
        row = {"network": network, **one}
        if "refused" not in one:
            found = np.load(work / f"{one['format']}.npy").astype("float64")
            row |= {
                "relative": float(np.abs(found - expected).max() / np.abs(expected).max()),
                "agreement": float((found.argmax(-1) == expected.argmax(-1)).mean()),
            }
        yield row


def timed(network: str, work: Path, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each format of a network: seconds a call, the runtimes in turn."""
    names = [one["format"] for one in written(network, work, names)
             if "refused" not in one and "float16" not in one["format"]]  # fmt: skip
    with contextlib.ExitStack() as open_seats:
        seats = {n: open_seats.enter_context(seated(network, [n], work)) for n in names}
        rows: dict[str, dict[str, Any]] = {n: {"network": network, "format": n} for n in names}
        for count in (1, _BATCHES[-1]):
            busy = idle(patience=30.0)
            for name, seconds in _in_turn(seats, count).items():
                rows[name] |= {f"seconds_{count}": seconds, f"busy_before_{count}": busy}
    yield from rows.values()


def _in_turn(seats: dict[str, Any], count: int) -> dict[str, list[float]]:
    """Seconds a call of `count` images, in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in seats}
    times, turn, rounds = dict.fromkeys(seats, 1), 0, _ROUNDS
    while turn <= rounds:
        for name, one in seats.items():
            one.stdin.write(f"{count} {times[name]}\n")
            one.stdin.flush()
            found = float(one.stdout.readline())
            if turn:
                seconds[name].append(found)
                continue
            # The first is a warm-up, and says how many make a fifth of a second.
            times[name] = max(1, min(200, round(0.2 / found)))
            rounds = _FEW if found > _LONG else rounds
        turn += 1
    return seconds


def cells(row: dict[str, Any]) -> dict[str, Any]:
    """With what the table shows."""
    shown = dict.fromkeys(_COLUMNS[2:], "")
    if "refused" in row:
        return row | shown | {"difference": "refused"}
    if "relative" in row:
        shown |= {
            "MB": number(row["size"] / 1e6),
            "difference": f"{row['relative']:.1e}",
            "same class": f"{row['agreement']:.0%}",
        }
    for count, title in ((1, "ms, 1 image"), (_BATCHES[-1], "ms, 33 images")):
        found = row.get(f"seconds_{count}")
        shown |= {title: number(1e3 * statistics.median(found))} if found else {}
    return row | shown


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A row measured anew: seconds are added to what was compared; comparing keeps them alone."""
    of_time = ("seconds_", "busy_before_")
    if any(key.startswith(of_time) for key in new):
        return cells(old | new)
    return cells({key: old[key] for key in old if key.startswith(of_time)} | new)


def main() -> None:
    """Compare or time the networks asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument("--latency", action="store_true", help="time them")
    parser.add_argument("--float32", action="store_true", help="no other precision")
    parser.add_argument("--files", type=Path, metavar="FOLDER", help="keep the files there")
    parser.add_argument("--make", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--seat", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make(given.make[0], Path(given.make[1]), given.make[2:])
        return
    if given.seat:
        seat(given.seat[1:], Path(given.seat[0]))
        return
    import kcnn

    known = list(kcnn.list_models())
    if unknown := set(given.networks) - set(known):
        parser.error(f"networks are {', '.join(known)}; received {', '.join(unknown)}")
    names = [name for name in FILES if not (given.float32 and " " in name)]
    rows = {(row["network"], row["format"]): row for row in saved("export")}
    for network in given.networks or (TIMED if given.latency else known):
        with contextlib.ExitStack() as temporary:
            folder = given.files or temporary.enter_context(tempfile.TemporaryDirectory())
            work = Path(folder, network)
            work.mkdir(parents=True, exist_ok=True)
            for row in (timed if given.latency else compared)(network, work, names):
                key = (network, row["format"])
                rows[key] = merged(rows.get(key, {}), row)
        order = sorted(rows, key=lambda key: (known.index(key[0]), list(FILES).index(key[1])))
        report("export", "Networks in other runtimes", _COLUMNS, [rows[key] for key in order],
               runtimes={name: importlib.metadata.version(name) for name in _PACKAGES})  # fmt: skip


if __name__ == "__main__":
    main()
