"""Did my change alter a single bit?  make bits REV=2cd424c

Trains a few small recipes at the revision REV, in a worktree of its own, and as the files are here,
and compares digests of the final weights, of `metrics.csv` (without the columns of clocks) and of
predictions. Exit status 1 where one differs; then the CHANGELOG has to say why. Needs no data
beside the repository; two minutes on two cores.

Options: --only NAME ... trains some of the recipes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: Columns of `metrics.csv` that no two runs share, and the number of the row, once counted from 0.
_CLOCKS = {"seconds", "images_per_second", "epoch"}
_DIGESTS = ("weights", "metrics", "predictions")

Digests = Mapping[str, Mapping[str, str]]


def _arrays(classes: int, shape: tuple[int, int, int], count: int = 240) -> tuple[Any, Any]:
    """Images (N, H, W, C) uint8 and labels (N,), each class around a mean of its own."""
    import numpy as np

    random = np.random.default_rng(7)
    labels = np.arange(count) % classes
    means = random.integers(40, 200, (classes, *shape))
    images = means[labels] + random.normal(0, 30, (count, *shape))
    return images.clip(0, 255).astype("uint8"), labels


def _folder(path: Path) -> str:
    """A folder of class folders with PNG files of different sizes."""
    from PIL import Image

    for index, (image, label) in enumerate(zip(*_arrays(3, (40, 36, 3), 90), strict=True)):
        file = path / f"class{label}" / f"{index:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[: 40 - index % 5]).save(file)
    return str(path)


def _own_model(shape: tuple[int, int, int], classes: int) -> Any:
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(classes),
        ]
    )


def _streams() -> dict[str, Any]:
    import tensorflow as tf

    images, labels = _arrays(4, (12, 12, 1))
    parts = {"train": slice(0, 160), "validation": slice(160, 200), "test": slice(200, 240)}
    return {
        name: tf.data.Dataset.from_tensor_slices((images[part], labels[part])).batch(16)
        for name, part in parts.items()
    }


def recipes(folder: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """By name, what makes the arguments of `kcnn.train`: fields of the recipe, and the rest."""
    colour = _arrays(4, (24, 24, 3))
    small = {"depths": (1, 1, 1), "widths": (8, 16, 32)}
    return {
        "mlp with dropout": lambda: {"model": "mlp", "options": {"width": 64}, "dropout": 0.3},
        "lenet5": lambda: {"model": "lenet5"},
        "resnet, crop and flip": lambda: {
            "model": "resnet20", "options": small, "augment": "crop-flip", "mixup": 0.2,
            "arguments": {"data": colour},
        },
        "weight averaging": lambda: {
            "model": "lenet5", "batchnorm": True, "epochs": 4, "swa_start": 0.5,
            "swa_learning_rate": 0.01, "swa_validation": True,
        },
        "moving average": lambda: {"model": "lenet5", "ema": 0.9, "label_smoothing": 0.1},
        "bfloat16": lambda: {"model": "lenet5", "precision": "mixed_bfloat16"},
        "early stopping": lambda: {
            "model": "mlp", "options": {"width": 16}, "epochs": 12, "early_stopping": 1,
            "optimizer": "momentum", "learning_rate": 0.5, "schedule": "step",
        },
        "files with a cache": lambda: {
            "model": "lenet5", "data": _folder(folder / "images"), "image_size": (32, 32),
            "cache": str(folder / "cache"), "augment": "crop",
        },
        "own arrays": lambda: {
            "model": "lenet5", "optimizer": "rmsprop",
            "arguments": {"data": _arrays(2, (20, 20, 1))},
        },
        "own model": lambda: {
            "arguments": {"model": _own_model((24, 24, 3), 4), "data": colour}
        },
        "tf.data": lambda: {
            "model": "mlp", "options": {"width": 32}, "arguments": {"data": _streams()},
        },
    }  # fmt: skip


def digests(directory: Path, run: Any) -> dict[str, str]:
    """SHA-256 of what came of a training: weights, figures of the epochs, predictions."""
    import numpy as np

    shape = tuple(side or 32 for side in run.model.input_shape[1:])
    images = np.random.default_rng(1).integers(0, 256, (32, *shape)).astype("float32")
    with (directory / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in _CLOCKS} for row in csv.DictReader(file)]
    return {
        "weights": _sha256(w.tobytes() for w in run.model.get_weights()),
        "metrics": _sha256([json.dumps(rows).encode()]),
        "predictions": _sha256([run.model(images, training=False).numpy().tobytes()]),
    }


def _sha256(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()[:16]


def train(names: Iterable[str]) -> Digests:
    """Train the recipes with the `kcnn` that is imported; digests by recipe and kind."""
    import kcnn

    with tempfile.TemporaryDirectory() as folder:
        made, found = recipes(Path(folder)), {}
        for number, name in enumerate(names):
            fields = {"epochs": 2, "seed": 5, "logs": folder, "name": f"run{number}"} | made[name]()
            arguments = fields.pop("arguments", {})
            run = kcnn.train(kcnn.Recipe(**fields), **arguments, verbose=False)
            found[name] = digests(run.directory, run)
    return found


def started(root: Path, names: Iterable[str], result: Path) -> subprocess.Popen:
    """A process that trains with the `kcnn` of `root`, and writes digests to `result`."""
    command = [sys.executable, __file__, "--train", str(result), "--only", *names]
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.Popen(command, env=environment, cwd=root)


def at_both(revision: str, names: list[str]) -> tuple[Digests, Digests]:
    """Digests at `revision` and here."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), revision], check=True)
        try:
            results = [Path(folder, "there.json"), Path(folder, "here.json")]
            pairs = zip((tree, ROOT), results, strict=True)
            processes = [started(root, names, result) for root, result in pairs]
            if any([process.wait() for process in processes]):
                raise SystemExit("A training failed: see above.")
            there, here = (json.loads(result.read_text()) for result in results)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    return there, here


def differences(there: Digests, here: Digests) -> list[tuple[str, list[str]]]:
    """For each recipe, the kinds of digests that differ."""
    return [(name, [k for k in _DIGESTS if there[name][k] != here[name][k]]) for name in there]


def main() -> int:
    """Compare, and print a line for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", nargs="?", default="HEAD")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="some of the recipes")
    parser.add_argument("--train", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    known = list(recipes(Path()))
    names = given.only or known
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no recipe {', '.join(unknown)}; there are {', '.join(known)}")
    if given.train:
        given.train.write_text(json.dumps(train(names)))
        return 0
    found = differences(*at_both(given.revision, names))
    for name, kinds in found:
        print(f"{name:24}{'differs: ' + ', '.join(kinds) if kinds else 'the same bits'}")
    return int(any(kinds for _, kinds in found))


if __name__ == "__main__":
    sys.exit(main())
