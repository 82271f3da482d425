"""Segmentation and detection: python -m benchmarks.segment_detect [TRAINING...] [--seeds N]

Figures on validation, and the CPU seconds of the whole process: imports, tracing, checking of the
data, validation behind every epoch and the pictures at the end are in them. From scratch, but for
the rows whose backbone begins with weights: of others, or of a classifier of `imagenette_small`,
trained before with the same seed; its seconds are not in them. Beside the detector are
torchvision's, from scratch, for as many CPU seconds. Needs KCNN_DATA with `camvid`, `pets`, `bccd`,
`imagenette_small` and weights, faster-coco-eval, and for the peers torchvision (extra `bench`).
About two hours on two cores for three seeds of all.
Where data have a test split, it is read by each run's own report.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import idle, report, saved, spread

_UNET = {"model": "unet", "backbone": "resnet18"}
_PETS = _UNET | {
    "data": "pets", "longest_side": 128, "image_size": [128, 128], "epochs": 40,
    "options": {"width": 16}, "learning_rate": 0.003,
}  # fmt: skip
#: On ResNet-20, which has weights of CIFAR-10; few epochs, where a beginning counts.
_RESNET20 = {"model": "unet", "backbone": "resnet20", "epochs": 8}
_CAMVID20 = _RESNET20 | {
    "data": "camvid", "ignore": [11], "batch_size": 4, "learning_rate": 0.002, "scale": 1.25,
    "image_size": [160, 224],
}  # fmt: skip
_PETS20 = _RESNET20 | {
    "data": "pets", "ignore": [3], "longest_side": 128, "image_size": [128, 128],
    "learning_rate": 0.003,
}  # fmt: skip
_STEM = {"stem": "cifar"}  # 3×3, as those weights have it; by itself it would go by the size
#: Files below KCNN_DATA, and how pictures went into the networks that they are of.
_CIFAR = {"backbone_weights": "weights/cifar10_resnet20.safetensors", "preprocessing": "torch"}
_VGG19 = {"backbone_weights": "vgg19_imagenet_notop.npz", "preprocessing": "caffe"}
#: The recipes, chosen on validation.
TRAININGS: dict[str, dict[str, Any]] = {
    "camvid": _UNET | {
        "data": "camvid", "ignore": [11], "options": {"width": 32}, "epochs": 32, "batch_size": 4,
        "learning_rate": 0.002, "dice": 0.5, "scale": 1.25, "image_size": [160, 224],
        # Between none and the median frequency: that one finds the rare, and spoils the frequent.
        "class_weights": "0.6,0.6,2,0.6,1,0.7,2,2,1,2,2",
    },
    "pets": _PETS | {"ignore": [3]},
    "pets, from imagenette": _PETS | {"ignore": [3]},
    "pets, three classes": _PETS,
    "pets, three classes, from imagenette": _PETS,
    "camvid, ResNet-20": _CAMVID20 | _STEM,
    "camvid, ResNet-20, from CIFAR-10": _CAMVID20 | _STEM | _CIFAR,
    "pets, ResNet-20": _PETS20 | _STEM,
    "pets, ResNet-20, from CIFAR-10": _PETS20 | _STEM | _CIFAR,
    "pets, frozen VGG-19": _PETS20 | _VGG19 | {
        "backbone": "vgg19", "freeze": "backbone", "epochs": 2,
    },
    "bccd": {
        "model": "fcos", "data": "bccd", "epochs": 15, "learning_rate": 0.003, "scale": 1.25,
        "options": {"width": 16, "channels": 32, "depth": 2, "strides": [4, 8, 16]},
    },
}  # fmt: skip
_CLASSIFIER = {
    "model": "resnet18", "data": "imagenette_small", "stem": "imagenet", "epochs": 40,
    "image_size": [128, 128], "options": {"widths": [16, 32, 64, 128]},
}  # fmt: skip
#: By row: the contender's name, and how many CPU seconds it has.
PEERS = {
    "bccd, torchvision SSDlite": ("ssdlite", 130),
    "bccd, torchvision SSDlite, 600 s": ("ssdlite", 600),
    "bccd, torchvision FCOS, 600 s": ("fcos", 600),
}
_COLUMNS = [
    "training", "n", "parameters", "epochs", "CPU seconds", "mean_iou", "pixel_accuracy", "ap",
    "ap50",
]  # fmt: skip
_FIGURES = ("validation_mean_iou", "validation_pixel_accuracy", "validation_ap", "validation_ap50")


def training(name: str, seed: int, **more: Any) -> dict[str, Any]:
    """One training in a process of its own, begun on an idle machine."""
    with tempfile.TemporaryDirectory() as logs:
        if name in PEERS:
            contender, budget = PEERS[name]
            place = "benchmarks.contenders.torchvision_boxes"
            command = [sys.executable, "-m", place, contender, str(seed), str(budget)]
        else:
            recipe = TRAININGS[name] | {"seed": seed, "logs": logs} | more
            if name.endswith("from imagenette"):
                own = _CLASSIFIER | {"seed": seed, "logs": logs, "name": "classifier"}
                subprocess.run(_command(own), check=True, stdout=subprocess.PIPE)
                recipe["backbone_weights"] = f"{logs}/classifier"
            elif "backbone_weights" in recipe:
                file = Path(os.environ["KCNN_DATA"]) / recipe["backbone_weights"]
                recipe["backbone_weights"] = str(file)
            command = _command(recipe)
        busy = idle(patience=5.0)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = json.loads(ended.stdout.splitlines()[-1])
    return result | {"seed": seed, "cpu_seconds": seconds, "busy_before": busy}


def _command(recipe: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "benchmarks.segment_detect", "--one", json.dumps(recipe)]


def row(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A training's line."""
    line = {
        "training": name,
        "n": len(runs),
        "parameters": runs[0]["parameters"],
        "epochs": runs[0]["epochs"],
        "CPU seconds": spread([run["cpu_seconds"] for run in runs], 0),
    }
    for figure in _FIGURES:
        values = [run[figure] for run in runs if figure in run]
        line[figure.removeprefix("validation_")] = spread(values, 3) if values else ""
    return line | {"runs": runs}


def _one(recipe: str) -> None:
    import kcnn

    fields = json.loads(recipe)
    result = kcnn.train(kcnn.Recipe(**fields), verbose=False).result
    print(json.dumps(result))


def main() -> None:
    """Train, and write `results/segment_detect.json`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trainings", nargs="*", metavar="TRAINING", help=", ".join(TRAININGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        _one(given.one)
        return
    known = [*TRAININGS, *PEERS]
    chosen = given.trainings or known
    if unknown := set(chosen) - set(known):
        parser.error(f"trainings are {', '.join(known)}; received {', '.join(unknown)}")
    if not os.environ.get("KCNN_DATA"):
        parser.error("KCNN_DATA names the folder with camvid, pets, bccd and imagenette_small")
    for name in chosen:
        runs = [training(name, seed) for seed in range(given.seeds)]
        # Read anew: another row may have been measured beside this one.
        rows = {line["training"]: line for line in saved("segment_detect")}
        rows[name] = row(name, runs)
        ordered = [rows[one] for one in known if one in rows]
        report("segment_detect", "Segmentation and detection, on validation", _COLUMNS, ordered)


if __name__ == "__main__":
    main()
