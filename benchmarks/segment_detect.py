"""Segmentation and detection: python -m benchmarks.segment_detect [TRAINING...] [--seeds N]

From scratch, figures on validation, and the CPU seconds of the whole process: imports, tracing,
checking of the data, validation behind every epoch and the pictures at the end are in them. Needs
KCNN_DATA with `camvid`, `pets` and `bccd`, and faster-coco-eval. About an hour on two cores for
three seeds of all. Where data have a test split, it is read by each run's own report.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.harness.machine import idle, report, saved, spread

_UNET = {"model": "unet", "backbone": "resnet18"}
_PETS = _UNET | {
    "data": "pets", "longest_side": 128, "image_size": [128, 128], "epochs": 40,
    "options": {"width": 16}, "learning_rate": 0.003,
}  # fmt: skip
#: The recipes, chosen on validation.
TRAININGS: dict[str, dict[str, Any]] = {
    "camvid": _UNET | {
        "data": "camvid", "ignore": [11], "options": {"width": 24}, "epochs": 20,
        "learning_rate": 0.003,
    },
    "pets": _PETS | {"ignore": [3]},
    "pets, three classes": _PETS,
    "bccd": {
        "model": "fcos", "data": "bccd", "epochs": 15, "learning_rate": 0.003, "scale": 1.25,
        "options": {"width": 16, "channels": 32, "depth": 2, "strides": [4, 8, 16]},
    },
}  # fmt: skip
_COLUMNS = [
    "training", "n", "parameters", "epochs", "CPU seconds", "mean_iou", "pixel_accuracy", "ap",
    "ap50",
]  # fmt: skip
_FIGURES = ("validation_mean_iou", "validation_pixel_accuracy", "validation_ap", "validation_ap50")


def training(name: str, seed: int, **more: Any) -> dict[str, Any]:
    """One training in a process of its own, begun on an idle machine."""
    busy = idle(patience=60.0)
    with tempfile.TemporaryDirectory() as logs:
        recipe = TRAININGS[name] | {"seed": seed, "logs": logs} | more
        command = [sys.executable, "-m", "benchmarks.segment_detect", "--one", json.dumps(recipe)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = json.loads(ended.stdout.splitlines()[-1])
    return result | {"seed": seed, "cpu_seconds": seconds, "busy_before": busy}


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
    chosen = given.trainings or list(TRAININGS)
    if unknown := set(chosen) - TRAININGS.keys():
        parser.error(f"trainings are {', '.join(TRAININGS)}; received {', '.join(unknown)}")
    if not os.environ.get("KCNN_DATA"):
        parser.error("KCNN_DATA names the folder with camvid, pets and bccd")
    rows = {line["training"]: line for line in saved("segment_detect")}
    for name in chosen:
        runs = [training(name, seed) for seed in range(given.seeds)]
        rows[name] = row(name, runs)
        ordered = [rows[one] for one in TRAININGS if one in rows]
        report("segment_detect", "Segmentation and detection, on validation", _COLUMNS, ordered)


if __name__ == "__main__":
    main()
