"""Accuracy and time of kcnn's recipes on real data: python -m benchmarks.accuracy [ROW ...]

Needs KCNN_DATA for all rows but digits. About 35 minutes on two cores; a row by name alone,
for instance `python -m benchmarks.accuracy digits`. Runs go to a temporary folder.
"""

import sys
import tempfile
from typing import Any

import kcnn
from benchmarks.harness.machine import report, saved, spread

#: row: recipe, seeds
ROWS: dict[str, tuple[dict[str, Any], int]] = {
    "digits": ({"model": "lenet5", "data": "digits"}, 3),
    "mnist": ({"model": "lenet5", "data": "mnist"}, 3),
    "fashion_mnist": ({"model": "lenet5", "data": "fashion_mnist"}, 3),
    "cifar10_subset": ({"model": "resnet20", "data": "cifar10_subset"}, 3),
    "imagenette_small": (
        {
            "model": "vgg11",
            "data": "imagenette_small",
            "image_size": (64, 64),
            "batchnorm": True,
            "options": {"widths": (32, 64, 128, 256, 256), "hidden": (256,)},
        },
        3,
    ),
    "cat_vs_noncat": ({"model": "lenet5", "data": "cat_vs_noncat"}, 3),
}


def row(name: str, logs: str) -> dict[str, Any]:
    """Train the row's recipe with each of its seeds."""
    fields, seeds = ROWS[name]
    runs = []
    for seed in range(seeds):
        recipe = kcnn.Recipe(seed=seed, logs=logs, name=f"{name}-{seed}", **fields)
        runs.append(kcnn.train(recipe))
    return described(name, [run.result for run in runs], runs[0].recipe)


def described(name: str, results: list[dict[str, Any]], recipe: kcnn.Recipe) -> dict[str, Any]:
    """A row of the table from the results of its runs."""
    return {
        "data": name,
        "network": recipe.model,
        "parameters": f"{results[0]['parameters']:,}",
        "epochs": results[0]["epochs"],
        "n": len(results),
        "test accuracy %": spread([r["test_accuracy"] for r in results], scale=100),
        "seconds": spread([r["seconds"] for r in results], digits=0),
        "images/s": f"{results[-1]['images_per_second']:,.0f}",
        "results": results,
        "recipe": recipe.to_dict() | {"logs": "", "name": name},
    }


def main(names: list[str]) -> None:
    """Measure the rows asked for, or all; the other rows stay as they were measured last."""
    new = {}
    for name in names or ROWS:
        with tempfile.TemporaryDirectory() as logs:
            new[name] = row(name, logs)
    # Read at the end: other rows may have been measured beside these.
    measured = {row["data"]: row for row in saved("accuracy")} | new
    columns = [
        "data", "network", "parameters", "epochs", "n", "test accuracy %", "seconds", "images/s",
    ]  # fmt: skip
    rows = [measured[name] for name in ROWS if name in measured]
    report("accuracy", "Test accuracy of the default recipes", columns, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
