"""Accuracy and time of kcnn's recipes on real data: python -m benchmarks.accuracy [ROW ...]

Needs KCNN_DATA for all rows but digits. About 25 minutes on two cores; a row by name alone,
for instance `python -m benchmarks.accuracy digits`. Runs go to a temporary folder.
"""

import sys
import tempfile
from typing import Any

import kcnn
from benchmarks.machine import report, spread

#: row: recipe, seeds
_ROWS: dict[str, tuple[dict[str, Any], int]] = {
    "digits": ({"model": "lenet5", "data": "digits"}, 3),
    "mnist": ({"model": "lenet5", "data": "mnist"}, 3),
    "fashion_mnist": ({"model": "lenet5", "data": "fashion_mnist"}, 3),
    "cifar10_subset": ({"model": "resnet20", "data": "cifar10_subset"}, 1),
    "imagenette_small": (
        {
            "model": "vgg11",
            "data": "imagenette_small",
            "image_size": (64, 64),
            "batchnorm": True,
            "options": {"widths": (32, 64, 128, 256, 256), "hidden": (256,)},
        },
        1,
    ),
    "cat_vs_noncat": (
        {"model": "lenet5", "data": "cat_vs_noncat", "learning_rate": 1e-3, "epochs": 60},
        3,
    ),
}


def row(name: str, logs: str) -> dict[str, Any]:
    """Train the row's recipe with each of its seeds."""
    fields, seeds = _ROWS[name]
    runs = []
    for seed in range(seeds):
        recipe = kcnn.Recipe(seed=seed, logs=logs, name=f"{name}-{seed}", **fields)
        runs.append(kcnn.train(recipe))
    results = [run.result for run in runs]
    return {
        "data": name,
        "network": fields["model"],
        "parameters": f"{results[0]['parameters']:,}",
        "epochs": results[0]["epochs"],
        "n": seeds,
        "test accuracy %": spread([r["test_accuracy"] for r in results], scale=100),
        "seconds": spread([r["seconds"] for r in results], digits=0),
        "images/s": f"{results[-1]['images_per_second']:,.0f}",
        "results": results,
        "recipe": runs[0].recipe.to_dict() | {"logs": "", "name": name},
    }


def main(names: list[str]) -> None:
    """The rows asked for, or all."""
    with tempfile.TemporaryDirectory() as logs:
        rows = [row(name, logs) for name in names or _ROWS]
    columns = [
        "data", "network", "parameters", "epochs", "n", "test accuracy %", "seconds", "images/s",
    ]  # fmt: skip
    report("accuracy", "Test accuracy of the default recipes", columns, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
