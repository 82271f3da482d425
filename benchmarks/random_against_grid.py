"""Random against grid search at equal budget (Bergstra & Bengio 2012), LeNet-5 on real digits.

    python -m benchmarks.random_against_grid [--repeats 5] [--epochs 5]

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
import math
import statistics
import tempfile

from benchmarks.harness.machine import RESULTS, report, spread

_POINTS = (2, 3)  # an axis, of the grids
_MOST = max(_POINTS) ** 4  # trials of a search
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
    from kcnn import startup

    startup.load()  # quietly, before KerasTuner does
    from kcnn.figures import LOSS
    from kcnn.tuning import Options, Range
    from kcnn.tuning.oracles import oracle
    from kcnn.tuning.space import Space, quantized

    space = Space({name: Range(*bounds) for name, bounds in AXES.items()})
    asked = oracle(Options(trials=count, seed=seed), LOSS, space, lambda values: None, 1)
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
    from matplotlib.ticker import NullFormatter

    figure = Figure((6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    counts = range(1, _MOST + 1)
    curves = [[100 * expected_best([v for v, _ in run], n) for n in counts]
              for run in found["random"]]  # fmt: skip
    middle = [statistics.fmean(at_n) for at_n in zip(*curves, strict=True)]
    spread = [statistics.stdev(at_n) for at_n in zip(*curves, strict=True)]
    axes.fill_between(counts, [m - s for m, s in zip(middle, spread, strict=True)],
                      [m + s for m, s in zip(middle, spread, strict=True)], alpha=0.2, lw=0,
                      color="#2563a8")  # fmt: skip
    axes.plot(counts, middle, color="#2563a8", label="random, logarithmic scales")
    for kind, colour, marker in (("grid", "#c0392b", "s"), ("linear grid", "#7f8c8d", "^")):
        for index, size in enumerate(points**4 for points in _POINTS):
            best = [100 * min(v for v, _ in run) for run in found[f"{kind} {size}"]]
            label = f"{kind}, 2 and 3 points an axis" if not index else None
            axes.errorbar(
                [size], [statistics.fmean(best)], statistics.stdev(best), fmt=marker,
                color=colour, capsize=3, label=label,
            )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(2, 30)
    axes.set_xlabel("trials")
    axes.set_ylabel("validation error of the best, %")
    ticks = [2, 3, 4, 5, 7, 10, 20, 30]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    axes.set_title(f"LeNet-5 on digits; mean and sd of {len(curves)} repetitions", fontsize=10)
    figure.savefig(path, dpi=120)


def searched(repeat, data, epochs):
    """Errors of every trial of every search, by the search's name."""
    searches = {"random": random_search(_MOST, repeat)}
    for points in _POINTS:
        searches[f"grid {points**4}"] = grid(points)
        searches[f"linear grid {points**4}"] = grid(points, linear=True)
    found = {}
    for name, trials in searches.items():
        with tempfile.TemporaryDirectory() as logs:
            run = [errors(values, data, repeat, epochs, logs) for values in trials]
        found[name] = run
        on_validation, on_test = min(run)
        print(f"{repeat}  {name:15s} best validation error {on_validation:.2%}, its test error "
              f"{on_test:.2%}", flush=True)  # fmt: skip
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    import kcnn

    data = kcnn.load_data("digits", validation=0.25)
    repeats = [searched(n, data, arguments.epochs) for n in range(arguments.repeats)]
    found = {name: [repeat[name] for repeat in repeats] for name in repeats[0]}
    draw(found, RESULTS / "random_against_grid.png")
    rows = []
    for name, runs in found.items():
        for count in [points**4 for points in _POINTS] if name == "random" else [len(runs[0])]:
            best = [expected_best([v for v, _ in run], count) for run in runs]
            chosen = [min(run)[1] for run in runs]
            rows.append({
                "search": name.removesuffix(f" {count}"),
                "trials": count,
                "best validation error, %": spread(best, 2, 100),
                # Of fewer random trials than were made there is no one winner.
                "its test error, %": spread(chosen, 2, 100) if count == len(runs[0]) else "",
            })  # fmt: skip
    report(
        "random_against_grid", "Random search against grids, LeNet-5 on digits", list(rows[0]),
        rows, notes=f"{arguments.repeats} repetitions of {arguments.epochs} epochs; mean and sd.",
        errors=found,
    )  # fmt: skip


if __name__ == "__main__":
    main()
