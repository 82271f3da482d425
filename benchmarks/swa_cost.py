"""What averaging weights costs: python -m benchmarks.swa_cost

Needs KCNN_DATA, and an idle machine; five minutes on two cores. Three tables:

1. Seconds of an epoch of Keras' `fit` between two snapshots, with the callback and without, in
   turn; expected 1 % more at most. The rate is constant, or set anew for each step (cycles). And
   the time within the callback's own hooks.
2. Milliseconds of averaging and of putting weights in and back, ResNet-34 at 32×32 on the
   device, against doing it with `get_weights`, NumPy and `set_weights`.
3. BatchNorm's statistics from a sample of the training images against all of them, on the averaged
   network of `benchmarks.swa`.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import kcnn
from benchmarks import swa
from benchmarks.harness.epochs import inside, seconds
from benchmarks.harness.machine import idle, report, show, spread

_BATCH = 128
_NETWORKS: dict[str, dict[str, Any]] = {
    "lenet5": {},
    "vgg11": {name: swa.RECIPE[name] for name in ("batchnorm", "dropout")} | swa.RECIPE["options"],
}
_STEPS = 50  # of an epoch
_EVERY, _DONE = 4, 10  # snapshots behind epochs 4, 8, 12, ...: none in the epoch behind 10
_ROUNDS = 15  # of averaging steps
_SHARES = (0.01, 0.05, 0.2, 1.0)


def overhead(rounds: int, data: kcnn.Data) -> list[dict[str, Any]]:
    """An epoch without the callback, and with it, in turn."""
    from kcnn.callbacks import StochasticWeightAveraging

    modes = {
        "constant rate": [StochasticWeightAveraging(0, every=_EVERY, learning_rate=0.01)],
        "rate in cycles": [StochasticWeightAveraging(0, every=_EVERY, learning_rate=(0.02, 0.01))],
    }
    rows = []
    for name, options in _NETWORKS.items():
        fit = _fit(name, options, data)
        taken: dict[str, list[float]] = {"": [], **{mode: [] for mode in modes}}
        for callbacks in ([], *modes.values()):
            seconds(fit, callbacks)
        busy = [idle()]
        for _ in range(rounds):
            for mode in taken:
                taken[mode] += seconds(fit, callbacks := modes.get(mode, []))
                assert all(callback.snapshots == 0 for callback in callbacks)
        busy.append(idle(patience=0))
        for mode, callbacks in modes.items():
            _, (hooks,) = inside(fit, callbacks[0])
            rows.append(_overhead_row(name, mode, taken, hooks) | {"busy": busy})
    return rows


def _fit(name: str, options: dict[str, Any], data: kcnn.Data) -> Callable[..., Any]:
    from kcnn.startup import keras

    keras.utils.set_random_seed(0)
    images, labels = (part[: _STEPS * _BATCH] for part in (data.train.images, data.train.labels))
    scale = [keras.layers.Rescaling(1 / 255)]
    shape = data.image_shape
    model = kcnn.build(name, input_shape=shape, classes=10, preprocessing=scale, **options)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy")

    return partial(
        model.fit, images, labels, batch_size=_BATCH, epochs=_DONE + 1, initial_epoch=_DONE,
        verbose=0,
    )  # fmt: skip


def _overhead_row(
    network: str, mode: str, taken: dict[str, list[float]], hooks: float
) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(taken[mode], taken[""], strict=True)]
    medians = [statistics.median(taken[name]) for name in ("", mode)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "network": network,
        "callback": mode,
        "ms a step": f"{1e3 * medians[0] / _STEPS:.2f}",
        "with it": f"{1e3 * medians[1] / _STEPS:.2f}",
        "× (medians)": f"{medians[1] / medians[0]:.3f}",
        "× (rounds)": f"{statistics.median(ratios):.3f}",
        "quartiles": f"{low:.3f} - {high:.3f}",
        "its hooks": f"{1e6 * hooks / _STEPS:.0f} µs, {hooks / medians[0]:.2%}",
        "n": len(ratios),
        "seconds_in_hooks": hooks,
        "ratio": medians[1] / medians[0],
        "ratio_of_rounds": statistics.median(ratios),
        "seconds": {"without": taken[""], "with": taken[mode]},
    }


class ByNumpy:
    """Averaging and swapping through `get_weights` and `set_weights`."""

    def __init__(self, model: Any) -> None:
        self.model, self.count = model, 1
        self.means, self.raw = model.get_weights(), []

    def take(self) -> None:
        """One averaging step."""
        self.count += 1
        for i, weight in enumerate(self.model.get_weights()):
            self.means[i] += (weight - self.means[i]) / self.count

    def put_in(self) -> None:
        """The average into the model."""
        self.raw = self.model.get_weights()
        self.model.set_weights(self.means)

    def put_back(self) -> None:
        """The raw weights into the model."""
        self.model.set_weights(self.raw)


class OnDevice:
    """What the callback does."""

    def __init__(self, model: Any) -> None:
        from kcnn.callbacks.averaging import mean as tools

        self.model, self.tools = model, tools
        self.mean, self.raw = tools.WeightMean(), []
        self.take()

    def take(self) -> None:
        """One averaging step."""
        self.mean.take(self.model)

    def put_in(self) -> None:
        """The average into the model."""
        self.raw = self.tools.values(self.model.weights)
        self.mean.put_into(self.model)

    def put_back(self) -> None:
        """The raw weights into the model."""
        self.tools.assign(self.model, self.model.weights, self.raw)


def averaging(rounds: int) -> list[dict[str, Any]]:
    """Milliseconds on the device and by NumPy, in turn; both have to find the same mean."""
    model = kcnn.build("resnet34", input_shape=(32, 32, 3), classes=10, stem="cifar")
    ways = {"device": OnDevice(model), "NumPy": ByNumpy(model)}
    works = {"take": "one averaging step", "put_in": "average in", "put_back": "raw weights back"}
    taken: dict[tuple[str, str], list[float]] = {(way, work): [] for way in ways for work in works}
    for turn in range(rounds + 2):
        model.set_weights([weight * 0.99 for weight in model.get_weights()])
        idle(patience=3.0)
        for way, does in ways.items():
            for work in works:
                begun = time.perf_counter()
                getattr(does, work)()
                if turn > 1:  # the first are a warm-up
                    taken[way, work].append(1e3 * (time.perf_counter() - begun))
    found = ways["device"].mean.over(model.get_weights())
    for mine, theirs in zip(found, ways["NumPy"].means, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    rows = []
    for work, name in works.items():
        ours, theirs = taken["device", work], taken["NumPy", work]
        ratio = statistics.median(ours) / statistics.median(theirs)
        cells = {"device ms": spread(ours, 1), "NumPy ms": spread(theirs, 1), "×": f"{ratio:.2f}"}
        figures = {
            "ratio": ratio,
            "device": ours,
            "numpy": theirs,
            "parameters": f"{model.count_params():,}",
        }
        rows.append({"ResNet-34, 32×32": name, **cells, "n": rounds, **figures})
    return rows


def sampling(samples: int, data: kcnn.Data, seed: int) -> tuple[list[dict[str, Any]], float]:
    """Rows, and the test accuracy of the averaged network with statistics of all the images."""
    from kcnn.graph.recalibration import Recalibration

    model = swa.trained(swa.ARMS["swa"], seed, data).model
    run = Recalibration(model)
    epoch = math.ceil(len(data.train) / _BATCH)
    run.run(swa.batches(data, seed, 0, 1))  # compiles
    run.run(swa.batches(data, seed, 0, epoch))
    full, accuracy = _moments(run), swa.scores(model, data)["test"]
    rows = []
    for share in _SHARES:
        steps, found = round(share * epoch), []
        for sample in range(1, samples + 1):
            drawn = swa.batches(data, seed + 1000 * sample, 0, steps)
            idle(patience=3.0)
            begun = time.perf_counter()
            run.run(drawn)
            seconds = time.perf_counter() - begun
            gain = swa.scores(model, data)["test"] - accuracy
            found.append(
                {"seconds": seconds, "gain": 100 * gain} | _differences(full, _moments(run))
            )
        rows.append(_sampling_row(share, steps, found))
    return rows, accuracy


def _moments(run: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean, and variance with BatchNorm's epsilon, (C,) of each layer."""
    return [
        (layer.moving_mean.numpy(), layer.moving_variance.numpy() + layer.epsilon)
        for layer in run.layers
    ]


def _differences(full: list[tuple], part: list[tuple]) -> dict[str, float]:
    """Of means in standard deviations, of variances relative: over all channels."""
    pairs = list(zip(full, part, strict=True))
    means = np.concatenate([abs(b[0] - a[0]) / np.sqrt(a[1]) for a, b in pairs])
    variances = np.concatenate([abs(b[1] - a[1]) / a[1] for a, b in pairs])
    return {
        "mean_average": float(means.mean()),
        "mean_largest": float(means.max()),
        "variance_average": float(variances.mean()),
        "variance_largest": float(variances.max()),
    }


def _sampling_row(share: float, steps: int, found: Sequence[dict[str, float]]) -> dict[str, Any]:
    def average(name: str) -> float:
        return statistics.mean(sample[name] for sample in found)

    def largest(name: str) -> float:
        return max(abs(sample[name]) for sample in found)

    whole = ", other order" if share == 1.0 else ""
    return {
        "sample": f"{share:.0%}{whole}",
        "batches": steps,
        "seconds": f"{statistics.median(sample['seconds'] for sample in found):.2f}",
        "mean, sd": f"{average('mean_average'):.4f}",
        "largest": f"{largest('mean_largest'):.3f}",
        "variance, %": f"{100 * average('variance_average'):.2f}",
        "largest %": f"{100 * largest('variance_largest'):.1f}",
        "accuracy, points": f"{average('gain'):+.3f}",
        "at most": f"{largest('gain'):.2f}",
        "n": len(found),
        "share": share,
        "samples": list(found),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="of epochs in turn")
    parser.add_argument("--samples", type=int, default=5, help="of each size")
    options = parser.parse_args()
    seed = 0
    data = swa.fashion(seed)
    epochs = overhead(options.rounds, data)
    columns = [
        "network", "callback", "ms a step", "with it", "× (medians)", "× (rounds)", "quartiles",
        "its hooks", "n",
    ]  # fmt: skip
    show("An epoch between two snapshots, Keras' fit, batches of 128", columns, epochs)
    weights = averaging(_ROUNDS)
    columns = ["ResNet-34, 32×32", "device ms", "NumPy ms", "×", "n"]
    show("Averaging and swapping: mean ± standard deviation", columns, weights)
    samples, accuracy = sampling(options.samples, data, seed)
    notes = (
        f"Test accuracy with statistics of all images: {accuracy:.2%}. Differences from them, "
        f"over the channels and {options.samples} samples: of means in standard deviations, of "
        f"variances relative."
    )
    columns = [
        "sample", "batches", "seconds", "mean, sd", "largest", "variance, %", "largest %",
        "accuracy, points", "at most",
    ]  # fmt: skip
    title = "BatchNorm's statistics from a sample, against all the images"
    report(
        "swa_cost", title, columns, samples, notes=notes, accuracy=accuracy, epochs=epochs,
        averaging=weights,
    )  # fmt: skip


if __name__ == "__main__":
    main()
