"""Weight averaging against SGD on Fashion-MNIST: python -m benchmarks.swa [--seeds N]

Needs KCNN_DATA. A small VGG with BatchNorm on 20,000 of the training images, two trainings a seed,
which are the same to the bit until averaging begins: SGD with a cosine schedule, whose weights
Keras averages exponentially on the way (its last iterate, its best checkpoint by validation, its
EMA), and SGD that goes on at a constant rate, whose weights are averaged equally (SWA, Izmailov et
al. 2018). SWA is tested with BatchNorm's statistics computed anew, with those of the last iterate,
and with averaged ones. Ten minutes on two idle cores, a training on each. Measured with five
seeds: 90.2 ± 0.2 % by SGD, EMA and SWA alike, which is 1.7 points above the last of the iterates
that SWA averages.

Chosen by validation accuracy (5,000 images), one training each with seed 100, which is not among
those reported: rate 0.02, 0.05, 0.1 and weight decay 0.005, 0.02 by SGD's last iterate (90.66,
91.52, 90.72; 91.16 % with decay 0.02 at rate 0.05); then EMA's momentum 0.99, 0.998 (91.46, 91.24);
SWA's start 0.75 with rate 0.01, 0.02, 0.05 (91.28, 91.02, 90.62) and 0.5 with 0.02, 0.05 (91.34,
91.38). One standard error of such an accuracy is 0.4 points.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

import kcnn
from benchmarks.harness.contest import FAIR, ROOT, THREADS
from benchmarks.harness.machine import RESULTS, report, spread

RECIPE: dict[str, Any] = {
    "model": "vgg11",
    "options": {"depths": [1, 1], "widths": [16, 32], "hidden": [128]},
    "batchnorm": True,
    "dropout": 0.0,
    "epochs": 16,
    "batch_size": 128,
    "optimizer": "momentum",
    "learning_rate": 0.05,
    "schedule": "cosine",
    "warmup": 1.0,
    "weight_decay": 5e-3,
    "select": "last",
}
#: The two trainings: what they change of the recipe.
ARMS: dict[str, dict[str, Any]] = {
    "sgd": {"ema": 0.99},
    "swa": {"swa_start": 0.5, "swa_learning_rate": 0.05},
}
START = round(ARMS["swa"]["swa_start"] * RECIPE["epochs"])  #: epochs before averaging
_IMAGES, _VALIDATION = 20_000, 5_000

LAST, BEST, EMA, SWA = "SGD, last", "SGD, best checkpoint", "EMA", "SWA"
STALE, RAW = "SWA, statistics of the last iterate", "SWA's training, last"
_CRITICAL = {3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 8: 2.36, 10: 2.26}  # |t|, 5 %, n seeds
_TITLE = "Fashion-MNIST, 20,000 images: test accuracy by what is kept of a training"


def fashion(seed: int) -> kcnn.Data:
    """The first images of the training split of that seed, and its validation and test images."""
    data = kcnn.load_data("fashion_mnist", validation=_VALIDATION, seed=seed)
    return replace(data, train=data.train.take(np.arange(_IMAGES)))


def trained(fields: dict[str, Any], seed: int, data: kcnn.Data, callbacks: Sequence = ()) -> Any:
    """`kcnn.train` by the recipe but for `fields`; its run directory is not kept."""
    with tempfile.TemporaryDirectory() as logs:
        recipe = kcnn.Recipe(**RECIPE, **fields, seed=seed, logs=logs)
        return kcnn.train(recipe, data=data, callbacks=callbacks, verbose=False)


def scores(model: Any, data: kcnn.Data) -> dict[str, float]:
    """Accuracy on the validation and on the test images."""
    found = {}
    for part in ("validation", "test"):
        split = getattr(data, part)
        classes = model.predict(split.images, batch_size=1000, verbose=0).argmax(1)
        found[part] = float(np.mean(classes == split.labels))
    return found


def batches(data: kcnn.Data, seed: int, start: int, steps: int) -> Any:
    """Training batches of that seed: `steps` of them from step `start` on."""
    from kcnn.data import training_batches

    options = {"classes": data.classes, "seed": seed, "start": start, "stop": start + steps}
    return training_batches(data.train, RECIPE["batch_size"], **options)


def training(arm: str, seed: int) -> dict[str, Any]:
    """One training: accuracies of the raw and the averaged weights by epoch, others at the end."""
    from kcnn.callbacks import StochasticWeightAveraging
    from kcnn.graph.recalibration import recalibrate_batchnorm

    data = fashion(seed)
    steps = math.ceil(len(data.train) / RECIPE["batch_size"])
    # What kcnn takes for BatchNorm's statistics: the epoch behind the last.
    behind = batches(data, seed, RECIPE["epochs"] * steps, steps)
    mean = StochasticWeightAveraging(START, recalibrate=False, apply=False)
    exam = _exam(data, behind, mean if arm == "swa" else None)
    callbacks = [mean, exam] if arm == "swa" else [exam]
    run = trained(ARMS[arm], seed, data, callbacks)
    model, final = run.model, {}

    def test(name: str, weights: list[np.ndarray] | None = None, anew: bool = False) -> None:
        if weights is not None:
            model.set_weights(weights)
        if anew:
            recalibrate_batchnorm(model, behind)
        final[name] = scores(model, data)

    if arm == "sgd":
        test(f"{EMA}, recalibrated", anew=True)  # Keras has put the average into the model
        test(f"{LAST}, recalibrated", exam.weights, anew=True)
    else:
        test(SWA)
        pairs = zip(model.weights, mean.averaged_weights, exam.weights, strict=True)
        test(STALE, [average if w.trainable else last for w, average, last in pairs])
        test("SWA, statistics averaged", mean.averaged_weights)
        exam.averaged.append(final[SWA])
    return {
        "arm": arm,
        "seed": seed,
        "raw": exam.raw,
        "averaged": exam.averaged,
        "final": final,
        "seconds": run.result["seconds"],
    }


def _exam(data: kcnn.Data, behind: Any, mean: Any) -> Any:
    from kcnn.graph.recalibration import Recalibration
    from kcnn.startup import keras

    class Exam(keras.callbacks.Callback):
        """Behind each epoch: `raw` scores and weights, and `averaged` scores."""

        def __init__(self) -> None:
            super().__init__()
            self.raw, self.averaged = [], []

        def on_train_begin(self, logs: Any = None) -> None:
            self._recalibration = Recalibration(self.model)

        def on_test_begin(self, logs: Any = None) -> None:  # before EMA's are put in
            self.raw.append(scores(self.model, data))
            self.weights = self.model.get_weights()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if mean is None:
                self.averaged.append(scores(self.model, data))
            elif mean.snapshots and epoch + 1 < self.params["epochs"]:
                with mean.averaged(self.model):
                    self._recalibration.run(behind)
                    self.averaged.append(scores(self.model, data))

    return Exam()


def alone(arm: str, seed: int) -> dict[str, Any]:
    """`training` in a process of its own, on one core."""
    one = {name: "1" for name in FAIR if name.endswith("THREADS")}
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.swa", "--training", arm, str(seed)],
        cwd=ROOT,
        env=os.environ | FAIR | one,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    run = json.loads(ended.stdout.splitlines()[-1])
    tested = ", ".join(f"{k} {v['test']:.2%}" for k, v in run["final"].items())
    print(f"seed {seed}, {arm}, {run['seconds']:.0f} s: {tested}", flush=True)
    return run


def kept(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Contender -> test accuracy, of the two trainings of a seed."""
    sgd, swa = (next(run for run in runs if run["arm"] == arm) for arm in ("sgd", "swa"))
    best = max(sgd["raw"], key=lambda epoch: epoch["validation"])  # of equals, the first
    named = {
        LAST: sgd["raw"][-1],
        BEST: best,
        f"{LAST}, recalibrated": sgd["final"][f"{LAST}, recalibrated"],
        EMA: sgd["averaged"][-1],
        f"{EMA}, recalibrated": sgd["final"][f"{EMA}, recalibrated"],
        **swa["final"],
        RAW: swa["raw"][-1],
    }
    return {name: found["test"] for name, found in named.items()}


def row(name: str, accuracies: Sequence[float], last: Sequence[float]) -> dict[str, Any]:
    """A contender's line: its accuracies, and their differences from SGD's last iterate."""
    gains = [100 * (a - b) for a, b in zip(accuracies, last, strict=True)]
    line = {
        "contender": name,
        "n": len(gains),
        "test accuracy %": spread(list(accuracies), scale=100),
        "accuracies": list(accuracies),
        "gains": gains,
        "gain": statistics.mean(gains),
        "standard_error": None,
        "t": None,
        "higher": sum(gain > 0 for gain in gains),
    }
    shown = {"points more": "", "t, paired": "", "higher in": ""}
    if name != LAST:
        error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
        line |= {"standard_error": error, "t": line["gain"] / error if error else None}
        shown = {
            "points more": f"{line['gain']:+.2f} ± {error:.2f}",
            "t, paired": f"{line['t']:+.1f}" if error else "",
            "higher in": f"{line['higher']} of {line['n']}",
        }
    return line | shown


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Whether the ordering of the paper is found: SWA above SGD, nothing without recalibration."""
    lines = {line["contender"]: line for line in rows}
    swa, stale, raw = lines[SWA], lines[STALE], lines[RAW]
    critical, t = _CRITICAL.get(swa["n"]), swa["t"]
    found = "not found"
    if critical and t is not None and abs(t) > critical:
        found = "found" if t > 0 else "reversed"
    lost = swa["gain"] - stale["gain"]
    return (
        f"SWA above SGD's last iterate: {found} ({swa['points more']} points, standard error; "
        f"|t| would have to exceed {critical}). It is {swa['gain'] - raw['gain']:+.2f} points from "
        f"the last iterate that it averages. With that one's statistics it "
        f"{'collapses' if lost > 5 else 'does not collapse'}: {-lost:+.2f} points."
    )


def draw(runs: Sequence[dict[str, Any]]) -> None:
    """Test accuracy by epoch, mean and standard deviation over the seeds, in one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    curves = {
        "SGD, cosine to 0": ("sgd", "raw", "tab:blue"),
        "EMA of its weights": ("sgd", "averaged", "tab:green"),
        "SGD, constant rate": ("swa", "raw", "tab:orange"),
        "SWA of its weights": ("swa", "averaged", "tab:red"),
    }
    for name, (arm, key, color) in curves.items():
        found = [[100 * e["test"] for e in run[key]] for run in runs if run["arm"] == arm]
        table, end = np.array(found), RECIPE["epochs"]  # (seeds, epochs)
        if (arm, key) == ("swa", "raw"):
            table = table[:, START - 1 :]  # before it is SGD's
        epochs = np.arange(end - table.shape[1], end) + 1
        middle, deviation = table.mean(0), table.std(0, ddof=1) if len(table) > 1 else 0.0
        axes.plot(epochs, middle, color=color, lw=2, marker="o", ms=4, label=name)
        axes.fill_between(epochs, middle - deviation, middle + deviation, color=color, alpha=0.15)
    axes.axvline(START, color="0.6", lw=0.8, ls="--", zorder=0)
    axes.annotate(
        "averaging begins", (START, 0.02), xycoords=("data", "axes fraction"), xytext=(-5, 0),
        textcoords="offset points", ha="right", va="bottom", color="0.4",
    )  # fmt: skip
    seeds = len({run["seed"] for run in runs})
    axes.set(
        xlabel="epochs done", ylabel="test accuracy %",
        title=f"Fashion-MNIST, {_IMAGES:,} images: mean ± standard deviation of {seeds} seeds",
    )  # fmt: skip
    axes.set(xlim=(1, RECIPE["epochs"] + 0.3), ylim=(86, None))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "swa.png", dpi=130)
    pyplot.close(figure)


def main() -> None:
    """Train both arms with each seed, as many at a time as there are cores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draw", action="store_true", help="only the figure, of the last results")
    parser.add_argument("--training", nargs=2, metavar=("ARM", "SEED"), help="one, as JSON")
    options = parser.parse_args()
    if options.training:
        arm, seed = options.training
        print(json.dumps(training(arm, int(seed))))
        return
    if options.draw:
        draw(json.loads((RESULTS / "swa.json").read_text(encoding="utf-8"))["trainings"])
        return
    pairs = [(arm, seed) for seed in range(options.seeds) for arm in ARMS]
    with ThreadPoolExecutor(THREADS) as pool:
        runs = list(pool.map(lambda pair: alone(*pair), pairs))
    summarise(runs, options.seeds)


def summarise(runs: list[dict[str, Any]], seeds: int) -> None:
    """Table, file and figure."""
    found = [kept([run for run in runs if run["seed"] == seed]) for seed in range(seeds)]
    last = [accuracies[LAST] for accuracies in found]
    rows = [row(name, [accuracies[name] for accuracies in found], last) for name in found[0]]
    begun = [run["raw"][:START] for run in runs]
    same = all(a == b for a, b in zip(begun[::2], begun[1::2], strict=True))
    notes = (
        f"{verdict(rows)}\nUntil averaging begins, behind epoch {START}, the two trainings of a "
        f"seed {'had the same accuracies' if same else 'DIFFERED'}."
    )
    columns = ["contender", "n", "test accuracy %", "points more", "t, paired", "higher in"]
    recipe = {"recipe": RECIPE, "arms": ARMS, "images": _IMAGES, "same_until_start": same}
    words = {"verdict": verdict(rows), "trainings": runs}
    report("swa", _TITLE, columns, rows, notes=notes, **words, **recipe)
    draw(runs)


if __name__ == "__main__":
    main()
