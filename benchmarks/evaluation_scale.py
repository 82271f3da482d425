"""At which scale photographs are evaluated: python -m benchmarks.evaluation_scale

Needs KCNN_DATA. The narrow VGG-11 of `benchmarks.accuracy` on photographs of 64×64, trained with
crop and flip (1.15 times the input, a random window of it). The weights of the last epoch, so that
no scale had a part in their choice, are evaluated at several scales, of which the middle is cut
out: on half of the training images, which are held out, another half for each of eight seeds, so
that differences of a point can be seen at all.
"""

import tempfile
from typing import Any

import kcnn
from benchmarks.accuracy import ROWS
from benchmarks.harness.machine import report, spread

_SCALES = (1.0, 1.15, 1.3)
_SEEDS = range(8)


def measured(seed: int, logs: str) -> dict[float, float]:
    """Accuracy on what is held out, by scale, of one training."""
    fields, _ = ROWS["imagenette_small"]
    recipe = kcnn.Recipe(seed=seed, validation=0.5, select="last", logs=logs, **fields)
    run = kcnn.train(recipe)
    data = kcnn.load_data(recipe.data, validation=recipe.validation_size, seed=seed)
    problem = run.task.problem(data, recipe, None)
    network, targets = run.network, run.task.targets(problem, len(data.class_names))
    found = {}
    for scale in _SCALES:
        batches = problem.evaluation("validation", 128, network.input_shape[1:3], targets, scale)
        found[scale] = run.task.evaluate(network, batches).figures["accuracy"]
    return found


def row(scale: float, results: list[dict[float, float]]) -> dict[str, Any]:
    """A line of the table: all seeds at one scale."""
    here = [100 * result[scale] for result in results]
    more = [value - 100 * result[1.0] for value, result in zip(here, results, strict=True)]
    return {
        "scale": scale,
        "accuracy %": spread(here),
        "points more than 1.0": spread(more),
        "higher in": f"{sum(value > 0 for value in more)} of {len(more)}",
        "results": here,
    }


def main() -> None:
    """Train, evaluate, report."""
    with tempfile.TemporaryDirectory() as logs:
        results = [measured(seed, logs) for seed in _SEEDS]
    rows = [row(scale, results) for scale in _SCALES]
    columns = ["scale", "accuracy %", "points more than 1.0", "higher in"]
    report("evaluation_scale", "Accuracy by the scale of evaluation", columns, rows)


if __name__ == "__main__":
    main()
