"""What pictures cost a training: python -m benchmarks.pictures_cost [--rounds N]

Needs KCNN_DATA (cifar10_subset.npz); two minutes on one core. The same training by `kcnn.train` in
turn: without pictures for TensorBoard, with those at its end (the default of `kcnn train`), and
with `--images-every 1`. At most 512 images are looked at, so that a longer epoch costs no more. CPU
seconds of an epoch, and of what lies behind the last. Expected: some seconds at the end, and as
many behind each epoch where that is asked for.
"""

import argparse
import contextlib
import dataclasses
import io
import statistics
import tempfile
import time
from typing import Any
from unittest import mock

import numpy as np

import kcnn
from benchmarks.harness.machine import idle, report

#: Training images by network: not all, so that all rounds are done in minutes.
_NETWORKS = {"lenet5": 2000, "resnet20": 256}
_PLAIN, _END, _EVERY = "without", "at the end", "every epoch"
_MODES = (_PLAIN, _END, _EVERY)
_EPOCHS = 2


def trained(network: str, data: kcnn.Data, mode: str) -> dict[str, Any]:
    """A training: seconds of its epochs, and from the last to its end."""
    from kcnn.startup import keras

    class Stopwatch(keras.callbacks.Callback):
        """An epoch lasts until the next begins, so that the pictures behind it are its own."""

        def on_train_begin(self, logs: Any = None) -> None:
            self.begins: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.begins.append(time.process_time())

        def on_train_end(self, logs: Any = None) -> None:
            self.begins.append(time.process_time())

    watch, every = Stopwatch(), 1 if mode == _EVERY else None
    # What is shown is the same: a training that shows nothing draws nothing.
    undrawn = mock.patch("kcnn.training.trainer.of_the_end", return_value={})
    with (
        tempfile.TemporaryDirectory() as logs,
        contextlib.redirect_stdout(io.StringIO()),
        undrawn if mode == _PLAIN else contextlib.nullcontext(),
    ):
        recipe = kcnn.Recipe(model=network, epochs=_EPOCHS, images_every=every, logs=logs)
        kcnn.train(recipe, data=data, callbacks=[watch])
        ended = time.process_time()
    return {"epochs": np.diff(watch.begins).tolist(), "end": ended - watch.begins[-1]}


def row(network: str, images: int, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Of the table: seconds of an epoch without, more with; the same of the end.

    Args:
        network: Its name.
        images: Of an epoch.
        found: By mode, in rounds, what `trained` gives.
    """
    epochs = {m: [statistics.mean(one["epochs"]) for one in found[m]] for m in _MODES}
    ends = {m: [one["end"] for one in found[m]] for m in _MODES}
    epoch, end = statistics.median(epochs[_PLAIN]), statistics.median(ends[_PLAIN])
    behind, last = _more(epochs, _EVERY), _more(ends, _END)
    return {
        "network": network,
        "images": images,
        "CPU s an epoch": f"{epoch:.2f}",
        "pictures": f"+{behind:.2f}",
        "s at the end": f"{end:.2f}",
        "with pictures": f"+{last:.2f}",
        "× with these": f"{_ratio(found, _END):.2f}",
        "× with each": f"{_ratio(found, _EVERY):.2f}",
        "n": len(ends[_PLAIN]),
        "more": {"behind each": behind, "at the end": last},
        "ratio": {mode: _ratio(found, mode) for mode in _MODES[1:]},
        "seconds": found,
    }


def _more(taken: dict[str, list[float]], mode: str) -> float:
    """The median of the differences of the rounds."""
    return statistics.median(b - a for a, b in zip(taken[_PLAIN], taken[mode], strict=True))


def _ratio(found: dict[str, list[dict[str, Any]]], mode: str) -> float:
    """Of whole trainings, from the first epoch's begin: the median of the rounds."""
    whole = {m: [sum(one["epochs"]) + one["end"] for one in found[m]] for m in (_PLAIN, mode)}
    return statistics.median(b / a for a, b in zip(whole[_PLAIN], whole[mode], strict=True))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2, help="of trainings in turn")
    options = parser.parse_args()
    whole = kcnn.load_data("cifar10_subset")
    rows = []
    for network, images in _NETWORKS.items():
        data = dataclasses.replace(whole, train=whole.train.take(np.arange(images)))
        found: dict[str, list[dict[str, Any]]] = {mode: [] for mode in _MODES}
        busy = []
        for turn in range(options.rounds + 1):
            busy.append(idle(patience=3.0))
            for mode in _MODES:
                one = trained(network, data, mode)
                if turn:  # the first traces, and loads what is loaded on first use
                    found[mode].append(one)
        rows.append(row(network, images, found) | {"busy": busy})
    columns = list(rows[0])[:9]
    notes = (
        f"Medians of the differences within {options.rounds} rounds of {_EPOCHS} epochs, batches "
        f"of the recipe's default; the last epoch's end holds the choice of weights, the test and "
        f"the files."
    )
    report("pictures_cost", "What pictures cost a training", columns, rows, notes=notes)


if __name__ == "__main__":
    main()
