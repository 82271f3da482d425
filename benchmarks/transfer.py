"""Begin with trained weights, or from scratch: python -m benchmarks.transfer [ROW...] [--seeds N]

`imagenette_small` with 10, 40 and 80 pictures a class: a linear probe on VGG-19's last map at 128
pixels, its last stage trained as well, and a narrow VGG-11 from scratch at 64 (the row of
`benchmarks.accuracy`); the weights are `vgg19_imagenet_notop.npz`. 1,000 images of `fashion_mnist`
with ResNet-20, trained on CIFAR-10 before or not. Settings were chosen on validation with seed 0;
the test images (20 a class; 10,000) are read once by each run. Needs KCNN_DATA. About half an hour
on two cores for three seeds; `results/transfer.json` and `.png`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.machine import idle, report, saved, spread

_FEW, _CLASSES = (10, 40, 80), 10
_VGG19 = {
    "model": "vgg19", "preprocessing": "caffe", "options": {"hidden": [], "pooling": "avg"},
    "dropout": 0.0, "image_size": [128, 128], "augment": "none", "optimizer": "adamw",
}  # fmt: skip
_WAYS: dict[str, dict[str, Any]] = {
    "linear probe": _VGG19 | {"freeze": "backbone", "epochs": 30, "learning_rate": 0.001},
    "last stage, too": _VGG19 | {
        "until": "conv4", "backbone_rate": 0.1, "epochs": 8, "learning_rate": 0.001,
    },
    "from scratch": {
        "model": "vgg11", "batchnorm": True, "image_size": [64, 64], "epochs": 60,
        "options": {"widths": [32, 64, 128, 256, 256], "hidden": [256]},
    },
}  # fmt: skip
_RESNET = {"model": "resnet20", "epochs": 20, "augment": "flip"}
_FASHION: dict[str, dict[str, Any]] = {
    "fashion, from CIFAR-10": _RESNET | {"preprocessing": "torch", "learning_rate": 0.02},
    "fashion, from scratch": _RESNET | {"learning_rate": 0.1},
}
ROWS = [f"{way}, {few} a class" for way in _WAYS for few in _FEW] + list(_FASHION)
_COLUMNS = ["training", "n", "images", "validation %", "test %", "CPU seconds", "s an epoch"]


def training(row: str, seed: int) -> dict[str, Any]:
    """One training in a process of its own."""
    busy = idle(patience=5.0)
    with tempfile.TemporaryDirectory() as work:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "benchmarks.transfer", "--one", row, str(seed), work]
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = json.loads(ended.stdout.splitlines()[-1])
    return result | {"seed": seed, "cpu_seconds": seconds, "busy_before": busy}


def one(row: str, seed: int, work: Path) -> None:
    """Train, and print the result."""
    import kcnn

    data = Path(os.environ["KCNN_DATA"])
    common = {"seed": seed, "logs": str(work / "logs"), "select": "last"}
    if row in _FASHION:
        fields = dict(_FASHION[row])
        if "preprocessing" in fields:
            fields["weights"] = str(data / "weights" / "cifar10_resnet20.safetensors")
        run = kcnn.train(kcnn.Recipe(**fields, **common), data=_fashion(data), verbose=False)
    else:
        way, few = row.rsplit(", ", 1)
        fields = dict(_WAYS[way])
        if "preprocessing" in fields:
            fields["weights"] = str(data / "vgg19_imagenet_notop.npz")
        folder = _part_of(data / "imagenette_small", work / "data", int(few.split()[0]))
        recipe = kcnn.Recipe(**fields, **common, data=str(folder), validation=0.2)
        run = kcnn.train(recipe, verbose=False)
    print(json.dumps({k: v for k, v in run.result.items() if not isinstance(v, dict)}))


def _part_of(source: Path, target: Path, few: int) -> Path:
    """The first pictures of each class, and all that test."""
    for part in ("train", "val"):
        for folder in sorted((source / part).iterdir()):
            own = target / ("test" if part == "val" else part) / folder.name
            own.mkdir(parents=True)
            files = sorted(folder.iterdir())
            for file in files[:few] if part == "train" else files:
                shutil.copy(file, own)  # links that lead out of a folder are not followed
    return target


def _fashion(data: Path) -> dict[str, Any]:
    """The first 1,000 images, and all that test, 32×32 in three equal channels."""

    def colour(images: np.ndarray) -> np.ndarray:
        padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
        return np.repeat(padded[..., np.newaxis], 3, axis=-1)

    with np.load(data / "fashion_mnist.npz") as stored:
        return {
            "train": (colour(stored["x_train"][:1000]), stored["y_train"][:1000]),
            "test": (colour(stored["x_test"]), stored["y_test"]),
        }


def line(row: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of the table."""
    images = 1000 if row in _FASHION else _CLASSES * int(row.rsplit(", ", 1)[1].split()[0])
    found = {"training": row, "n": len(runs), "images": images}
    for part in ("validation", "test"):
        values = [run[f"{part}_accuracy"] for run in runs]
        found[f"{part} %"] = spread(values, 1, 100.0)
    found["CPU seconds"] = spread([run["cpu_seconds"] for run in runs], 0)
    found["s an epoch"] = spread([run["seconds_per_epoch"] for run in runs], 2)
    return found | {"runs": runs}


def figure(rows: dict[str, dict[str, Any]]) -> None:
    """Test accuracy against pictures a class."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for way in _WAYS:
        points = [
            (few, [100 * r["test_accuracy"] for r in rows[f"{way}, {few} a class"]["runs"]])
            for few in _FEW
            if f"{way}, {few} a class" in rows
        ]
        if points:
            few, values = zip(*points, strict=True)
            axes.errorbar(few, [np.mean(v) for v in values], [np.std(v) for v in values],
                          marker="o", capsize=3, label=way)  # fmt: skip
    axes.set(xlabel="pictures a class", ylabel="test accuracy %", ylim=(0, 100), xticks=_FEW)
    axes.grid(alpha=0.3)
    axes.legend(title="VGG-19 of ImageNet; scratch: VGG-11", loc="lower right")
    figure.savefig(Path(__file__).parent / "results" / "transfer.png", dpi=120)


def main() -> None:
    """Train, and write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="; ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        row, seed, work = given.one
        one(row, int(seed), Path(work))
        return
    chosen = given.rows or ROWS
    if unknown := set(chosen) - set(ROWS):
        parser.error(f"rows are {'; '.join(ROWS)}; received {'; '.join(unknown)}")
    if not os.environ.get("KCNN_DATA"):
        parser.error("KCNN_DATA names the folder with imagenette_small and the weights")
    for row in chosen:
        new = line(row, [training(row, seed) for seed in range(given.seeds)])
        # Read anew: other rows may have been measured beside this one.
        rows = {found["training"]: found for found in saved("transfer")} | {row: new}
        ordered = [rows[name] for name in ROWS if name in rows]
        report("transfer", "Trained weights or none", _COLUMNS, ordered)
    figure(rows)


if __name__ == "__main__":
    main()
