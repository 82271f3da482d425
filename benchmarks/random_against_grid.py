"""Random against grid search at equal budget (Bergstra & Bengio 2012), LeNet-5 on real digits.

    python -m benchmarks.random_against_grid [--repeats 4] [--epochs 5]

Four hyperparameters, each on its own scale: learning rate 1e-4 to 1 and weight decay 1e-4 to 1
(logarithmic), momentum 0.8 to 0.99 (logarithmic in 1 - m), warm-up 0 to 3 epochs (linear), for
Nesterov's SGD. A grid of 2 or 3 points an axis, in the middle of equal parts of each scale, is 16
or 81 trials; random search draws as many. The paper's argument is that few hyperparameters matter:
81 grid points try 3 learning rates, 81 random ones try 81. A linear grid, which people make by
hand, is measured beside it.

Each repetition has its own seed for all trainings, and its own random draws. A search is worth the
validation error of the best trial it has found (its own test error is in the JSON): for random
search the expected best of n, over all orders of its trials.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
AXES = {
    "learning_rate": (1e-4, 1.0, "log"),
    "weight_decay": (1e-4, 1.0, "log"),
    "momentum": (0.8, 0.99, "log1m"),
    "warmup": (0.0, 3.0, "linear"),
}


def at(axis, share, linear=False):
    """The value at `share` of an axis, on its scale or on a linear one."""
    low, high, scale = AXES[axis]
    if linear or scale == "linear":
        return low + share * (high - low)
    if scale == "log1m":
        return 1 - (1 - low) * ((1 - high) / (1 - low)) ** share
    return low * (high / low) ** share


def grid(points, linear=False):
    """All combinations of the middles of `points` equal parts of each axis."""
    shares = [(index + 0.5) / points for index in range(points)]
    return [
        {axis: at(axis, share, linear) for axis, share in zip(AXES, where, strict=True)}
        for where in itertools.product(shares, repeat=len(AXES))
    ]


def random_search(count, seed):
    """What kcnn's random search draws from the same ranges."""
    from kcnn.tuning import Options, Range
    from kcnn.tuning.oracles import oracle
    from kcnn.tuning.space import Space, quantized

    space = Space({name: Range(*bounds) for name, bounds in AXES.items()})
    asked = oracle(Options(trials=count, seed=seed), space, lambda values: None, 1)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        asked._set_project_dir(folder, "draws")
        for index in range(count):
            hp = space.declared()
            hp.values = quantized(space, asked.create_trial(f"t{index}").hyperparameters.values)
            found.append(space.choose(hp))
    return found


def errors(values, data, seed, epochs, logs):
    """Validation and test error of one trial; 1 for one that fails."""
    import kcnn

    recipe = kcnn.Recipe(
        model="lenet5", optimizer="nesterov", epochs=epochs, batch_size=64, seed=seed, logs=logs,
        **values,
    )  # fmt: skip
    try:
        result = kcnn.train(recipe, data=data, verbose=False).result
    except FloatingPointError:
        return 1.0, 1.0
    return 1 - result["validation_accuracy"], 1 - result["test_accuracy"]


def expected_best(values, count):
    """Mean of the smallest of `count` values drawn without putting back from `values`."""
    ordered, total = sorted(values), math.comb(len(values), count)
    return sum(
        value * math.comb(len(ordered) - index - 1, count - 1) / total
        for index, value in enumerate(ordered[: len(ordered) - count + 1])
    )


def draw(found, path):
    """Expected best error by number of trials, with the grids at theirs."""
    from matplotlib.figure import Figure

    figure = Figure((6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    counts = range(1, 82)
    curves = [[100 * expected_best([v for v, _ in run], n) for n in counts]
              for run in found["random"]]  # fmt: skip
    middle = [statistics.fmean(at_n) for at_n in zip(*curves, strict=True)]
    spread = [statistics.stdev(at_n) for at_n in zip(*curves, strict=True)]
    axes.fill_between(counts, [m - s for m, s in zip(middle, spread, strict=True)],
                      [m + s for m, s in zip(middle, spread, strict=True)], alpha=0.2, lw=0,
                      color="#2563a8")  # fmt: skip
    axes.plot(counts, middle, color="#2563a8", label="random, logarithmic scales")
    for kind, colour, marker in (("grid", "#c0392b", "s"), ("linear grid", "#7f8c8d", "^")):
        for index, size in enumerate((16, 81)):
            best = [100 * min(v for v, _ in run) for run in found[f"{kind} {size}"]]
            label = f"{kind}, 2 and 3 points an axis" if not index else None
            axes.errorbar(
                [size], [statistics.fmean(best)], statistics.stdev(best), fmt=marker,
                color=colour, capsize=3, label=label,
            )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(top=60)
    axes.set_xlabel("trials")
    axes.set_ylabel("validation error of the best, %")
    ticks = [2, 5, 10, 20, 50]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    axes.set_title(f"LeNet-5 on digits; mean and sd of {len(curves)} repetitions", fontsize=10)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    import kcnn

    data = kcnn.load_data("digits", validation=0.25)
    found: dict[str, list] = {}
    for repeat in range(arguments.repeats):
        searches = {"random": random_search(81, repeat)}
        for points in (2, 3):
            searches[f"grid {points**4}"] = grid(points)
            searches[f"linear grid {points**4}"] = grid(points, linear=True)
        for name, trials in searches.items():
            with tempfile.TemporaryDirectory() as logs:
                run = [errors(values, data, repeat, arguments.epochs, logs) for values in trials]
            found.setdefault(name, []).append(run)
            best = min(run)
            print(f"{repeat}  {name:15s} best validation error {best[0]:.2%}, its test error "
                  f"{best[1]:.2%}", flush=True)  # fmt: skip
    report = {
        "command": f"python -m benchmarks.random_against_grid --repeats {arguments.repeats} "
        f"--epochs {arguments.epochs}",
        "errors": found,
    }
    (RESULTS / "random_against_grid.json").write_text(json.dumps(report) + "\n")
    draw(found, RESULTS / "random_against_grid.png")
    for name, runs in found.items():
        for count in (16, 81) if name == "random" else (len(runs[0]),):
            best = [expected_best([v for v, _ in run], count) for run in runs]
            print(f"{name:15s} {count:3d} trials: {statistics.fmean(best):.2%} "
                  f"± {statistics.stdev(best):.2%}")  # fmt: skip


if __name__ == "__main__":
    main()
