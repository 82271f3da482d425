"""What looking at a training's health costs: python -m benchmarks.health [--rounds N]

Needs KCNN_DATA (cifar10_subset.npz), and an idle machine; four minutes on two cores. Seconds of an
epoch of ResNet-20 in Keras' `fit`, with the callback `Health` on 32 images and without, in turn;
and the time within the callback's own hooks. Expected: less than 2 % of an epoch.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import kcnn
from benchmarks.harness.epochs import inside, seconds
from benchmarks.harness.machine import idle, report

_BATCH, _LOOKED_AT = 128, 32


def epochs(images: int) -> tuple[Callable[[list], float], Any]:
    """What trains an epoch with callbacks, and gives its seconds with theirs; the callback."""
    from kcnn.callbacks import Health
    from kcnn.startup import keras

    keras.utils.set_random_seed(0)
    train = kcnn.load_data("cifar10_subset").train.take(np.arange(images))
    targets = np.eye(10, dtype="float32")[train.labels]
    model = kcnn.build(
        "resnet20", input_shape=(32, 32, 3), classes=10,
        preprocessing=[keras.layers.Rescaling(1 / 255)],
    )  # fmt: skip
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "categorical_crossentropy")
    fit = partial(model.fit, train.array, targets, batch_size=_BATCH, verbose=0)
    return partial(seconds, fit), Health(train.array[:_LOOKED_AT], targets[:_LOOKED_AT])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of epochs in turn")
    parser.add_argument("--images", type=int, default=6000, help="of an epoch")
    options = parser.parse_args()
    epoch, callback = epochs(options.images)
    epoch([callback])  # traces, and loads what is loaded on first use
    without, withit, hooks, busy = [], [], [], []
    for _ in range(options.rounds):
        busy.append(idle(patience=3.0))
        without.append(epoch([]))
        whole, own = inside(epoch, callback)
        withit.append(whole)
        hooks.append(own)
    ratios = [b / a for a, b in zip(without, withit, strict=True)]
    share = statistics.median(hooks) / statistics.median(without)
    row = {
        "network": "resnet20",
        "images": options.images,
        "seconds an epoch": f"{statistics.median(without):.2f}",
        "with it": f"{statistics.median(withit):.2f}",
        "× (rounds)": f"{statistics.median(ratios):.4f}",
        "its hooks, s": f"{statistics.median(hooks):.3f}",
        "of an epoch": f"{share:.2%}",
        "n": options.rounds,
        "seconds": {"without": without, "with": withit, "hooks": hooks},
        "busy": busy,
    }
    columns = list(row)[:8]
    notes = f"Batches of {_BATCH}; the callback looks at {_LOOKED_AT} images behind each epoch."
    report("health", "What Health costs", columns, [row], notes=notes)


if __name__ == "__main__":
    main()
