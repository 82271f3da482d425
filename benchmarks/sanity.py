"""Does evidence depend on what was learned? python -m benchmarks.sanity [--images N] [--seeds N]

Needs KCNN_DATA. Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3: weights of a
published ResNet-20 for CIFAR-10 become random from the top down, and maps for the class that it
said are compared with those that they were, by Spearman's rank correlation; the mean over test
images and over random weights. Expected: where all weights are random, |mean ρ| is at most .15 for
Grad-CAM and for SmoothGrad. Pixels near the border are left out: there filters see less, whatever
their weights are. Three minutes on two cores.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.machine import report
from benchmarks.preferred import published
from kcnn.interpret import cascade, grad_cam, rank_correlation, saliency

#: Of the paper's figure 2, "destroyed".
LIMIT = 0.15
_BORDER = {"Grad-CAM": 1, "SmoothGrad": 4}  # of 8 places, and of 32 pixels
_SAMPLES = 8


def methods(classes: np.ndarray) -> dict[str, Callable[[Any, np.ndarray], np.ndarray]]:
    """By name, from a network and images to maps (N, h, w) for `classes`."""
    return {
        "Grad-CAM": lambda model, images: grad_cam(model, images, classes, upsampled=False),
        "SmoothGrad": lambda model, images: saliency(model, images, classes, samples=_SAMPLES),
    }


def looked_at(model: Any, images: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Maps without their border, by method."""
    found = {}
    for name, method in methods(classes).items():
        inner = slice(_BORDER[name], -_BORDER[name])
        found[name] = method(model, images)[:, inner, inner]
    return found


def correlations(
    network: Any, images: np.ndarray, seed: int, every: int = 2
) -> list[dict[str, Any]]:
    """Rank correlations (N,) by method behind every second step, and behind the last."""
    classes = np.asarray(network(images, training=False)).argmax(axis=1)
    before, steps = looked_at(network, images, classes), []
    count = sum(any(w.ndim > 1 for w in layer.get_weights()) for layer in network.layers)
    for number, (layer, model) in enumerate(cascade(network, seed), 1):
        if (number - 1) % every and number < count:
            continue
        after = looked_at(model, images, classes)
        found = {name: rank_correlation(before[name], after[name]) for name in before}
        steps.append({"random down to": layer, "layers": number, "found": found})
    return steps


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=48, help="test images")
    parser.add_argument("--seeds", type=int, default=4, help="random weights")
    options, folder = parser.parse_args(), Path(os.environ["KCNN_DATA"])
    network = published("resnet20", folder)
    images = np.load(folder / "cifar10_subset.npz")["x_test"][: options.images].astype("float32")
    by_seed = [correlations(network, images, seed) for seed in range(options.seeds)]
    rows = []
    for steps in zip(*by_seed, strict=True):
        row = {key: steps[0][key] for key in ("random down to", "layers")}
        row["n"] = f"{len(images)} × {len(steps)}"
        for name in _BORDER:
            values = np.concatenate([step["found"][name] for step in steps])
            row[name] = f"{np.nanmean(values):+.3f}"
            row[f"{name}, mean |ρ|"] = f"{np.nanmean(abs(values)):.3f}"
            row[f"{name}, no map"] = int(np.isnan(values).sum())
            row[f"{name}, by seed"] = [float(np.nanmean(s["found"][name])) for s in steps]
        rows.append(row)
    last = {name: abs(float(rows[-1][name])) for name in _BORDER}
    columns = [key for key in rows[0] if not key.endswith("by seed")]
    verdict = ", ".join(f"{name} {value:.3f}" for name, value in last.items())
    notes = f"|mean ρ| with all weights random: {verdict}; at most {LIMIT} is expected."
    report("sanity", "Evidence while weights become random", columns, rows, notes=notes)


if __name__ == "__main__":
    main()
