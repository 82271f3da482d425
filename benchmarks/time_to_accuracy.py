"""Seconds to a test accuracy on Fashion-MNIST: python -m benchmarks.time_to_accuracy [--seeds N]

kcnn's recipes, every number of which was chosen on validation images, against the network of
keras.io's "Simple MNIST convnet": with Keras' `fit` on arrays, and in plain PyTorch. Needs
KCNN_DATA. About an hour on two cores for five seeds.

The clock runs from before the network is built, tracing included, and stands still while the test
images are classified after each epoch; loading data and importing libraries come before it. In
kcnn's time are the statistics for the normalisation, the validation after each epoch and what the
run directory takes; it trains on fewer images than the others, as some are held out.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.harness.contest import FAIR, ROOT
from benchmarks.harness.machine import RESULTS, idle, report, saved, spread
from benchmarks.step import on_tensorflow

GOALS = (0.90, 0.91, 0.92)
#: Changes of the recipe "fast".
RECIPES: dict[str, dict[str, Any]] = {
    "kcnn fast": {},
    "kcnn fast, 3 epochs": {"epochs": 3},
    "kcnn fast, 7 epochs": {"epochs": 7, "label_smoothing": 0.1},
}
_TITLE = "Fashion-MNIST: seconds to a test accuracy"
_PEERS = {"Keras fit": "keras", "PyTorch": "torch"}
_REFERENCE = "Keras fit"
_COLORS = ("tab:red", "tab:orange", "tab:purple", "tab:blue", "tab:green")


def contenders() -> dict[str, str]:
    """Name -> CONTENDER of `benchmarks.contenders.timed_training`."""
    ours = {name: json.dumps(fields) for name, fields in RECIPES.items()}
    return (ours if on_tensorflow() else {}) | _PEERS


def training(contender: str, seed: int, epochs: int) -> dict[str, Any]:
    """One training in a process of its own, begun on an idle machine."""
    busy = idle(patience=60.0)
    command = [sys.executable, "-m", "benchmarks.contenders.timed_training", contender]
    ended = subprocess.run(
        [*command, str(seed), str(epochs)],
        cwd=ROOT,
        env=os.environ | FAIR,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout.splitlines()[-1]) | {"seed": seed, "busy_before": busy}


def seconds_to(goal: float, run: dict[str, Any]) -> float:
    """Seconds until the end of the first epoch with that accuracy; infinity if there is none."""
    reached = zip(run["seconds"], run["accuracies"], strict=True)
    return next((seconds for seconds, accuracy in reached if accuracy >= goal), math.inf)


def row(name: str, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A contender's line. A median over seeds is infinite where half of them fell short."""
    line = {
        "contender": name,
        "parameters": runs[0]["parameters"],
        "n": len(runs),
        "epochs": len(runs[0]["seconds"]),
        "seconds": statistics.median(run["seconds"][-1] for run in runs),
        "final accuracy": spread([100 * run["accuracies"][-1] for run in runs]),
        "lowest": f"{100 * min(run['accuracies'][-1] for run in runs):.2f}",
        "runs": list(runs),
    }
    for goal in GOALS:
        times = [seconds_to(goal, run) for run in runs]
        line[_median(goal)] = statistics.median(times)
        line[_reached(goal)] = sum(map(math.isfinite, times))
    return line


def _median(goal: float) -> str:
    return f"median_seconds_to_{goal:.0%}"


def _reached(goal: float) -> str:
    return f"reached_{goal:.0%}"


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines with cells: seconds (seeds that got there), and seconds by the reference's."""
    reference = {line["contender"]: line for line in rows}[_REFERENCE]
    first = _median(GOALS[0])
    lines = []
    for line in rows:
        cells = {}
        for goal in GOALS:
            seconds, reached = line[_median(goal)], line[_reached(goal)]
            shown = f"{seconds:.1f} s" if math.isfinite(seconds) else "-"
            cells[f"{goal:.0%}"] = f"{shown} ({reached}/{line['n']})"
            if not math.isfinite(seconds):  # JSON has no infinity
                cells[_median(goal)] = None
        cells["total"] = f"{line['seconds']:.1f} s"
        both = math.isfinite(line[first]) and math.isfinite(reference[first])
        ratio = line[first] / reference[first] if both else None
        cells |= {"ratio": ratio, f"{GOALS[0]:.0%}, × fit": f"{ratio:.2f}" if ratio else "-"}
        lines.append(line | cells)
    return lines


def draw(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Accuracy against seconds: every seed thin, the median of the seeds thick, in one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for line, color in zip(rows, _COLORS, strict=False):
        for run in line["runs"]:
            axes.plot(run["seconds"], _percent(run["accuracies"]), color=color, lw=0.6, alpha=0.4)
        seconds, accuracies = (_middle(line["runs"], key) for key in ("seconds", "accuracies"))
        axes.plot(seconds, _percent(accuracies), color=color, lw=2.2, marker="o", ms=4)
        ours = line["contender"].startswith("kcnn")
        index = len(seconds) - 1 if ours else len(seconds) // 2  # the others' ends meet
        below = line["contender"] == "PyTorch"
        axes.annotate(
            line["contender"], (seconds[index], 100 * accuracies[index]),
            xytext=(8, -6) if below else (-8, 6), textcoords="offset points",
            ha="left" if below else "right", va="top" if below else "bottom",
            color=color, weight="bold", bbox={"fc": "white", "ec": "none", "pad": 1},
        )  # fmt: skip
    for goal in GOALS:
        axes.axhline(100 * goal, color="0.8", lw=0.8, zorder=0)
    axes.set(
        xscale="log", xlabel="seconds of training (log scale), tracing included",
        ylabel="test accuracy %", title=title, ylim=(84, 93),
    )  # fmt: skip
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.spines[["top", "right"]].set_visible(False)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "time_to_accuracy.png", dpi=130)
    pyplot.close(figure)


def _middle(runs: Sequence[dict[str, Any]], key: str) -> list[float]:
    return [statistics.median(values) for values in zip(*(run[key] for run in runs), strict=True)]


def _percent(values: Sequence[float]) -> list[float]:
    return [100 * value for value in values]


def main() -> None:
    """Train all contenders in turn, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=14, help="of those that are not kcnn's")
    parser.add_argument("--draw", action="store_true", help="only the figure, of the last results")
    options = parser.parse_args()
    if options.draw:
        draw(saved("time_to_accuracy"), _TITLE)
        return
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders()}
    for seed in range(options.seeds):
        for name, contender in contenders().items():
            run = training(contender, seed, options.epochs)
            runs[name].append(run)
            print(
                f"seed {seed}, {name}: {run['seconds'][-1]:.1f} s, "
                f"{run['accuracies'][-1]:.2%} (busy before: {run['busy_before']:.0%})",
                flush=True,
            )
    rows = table([row(name, done) for name, done in runs.items()])
    goals = [f"{goal:.0%}" for goal in GOALS]
    columns = [
        "contender", "parameters", "epochs", "total", *goals, f"{goals[0]}, × fit",
        "final accuracy", "lowest",
    ]  # fmt: skip
    notes = f"median over {options.seeds} seeds; in brackets how many got there"
    report("time_to_accuracy", _TITLE, columns, rows, notes=notes, recipes=RECIPES)
    draw(rows, _TITLE)


if __name__ == "__main__":
    main()
