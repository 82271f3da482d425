"""What looking at a training's health costs: python -m benchmarks.health [--rounds N]

Needs KCNN_DATA (cifar10_subset.npz); three minutes on one core: `taskset -c 0`. (On several, a
training keeps more of them busy than a look does, and CPU seconds flatter it.) Epochs of ResNet-20
in Keras' `fit` with `Health(every=2)` on 32 images, so that it looks at every second one: CPU
seconds with and without in turn, and those within the callback's own hooks. The first look is not
traced, and the second traces; they have a column of their own. Expected: less than 2 % of an epoch
of all 9,000 images.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import kcnn
from benchmarks.harness.epochs import inside
from benchmarks.harness.machine import idle, report

_BATCH, _LOOKED_AT = 128, 32
_ALL = 9000  # images of the set


def training(images: int, epochs: int) -> tuple[Callable[..., Any], Any]:
    """A `fit` of so many epochs, each of so many images, and the callback."""
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
    fit = partial(model.fit, train.array, targets, batch_size=_BATCH, epochs=epochs, verbose=0)
    return fit, Health(train.array[:_LOOKED_AT], targets[:_LOOKED_AT], every=2)


def row(images: int, taken: list[float], hooks: list[float]) -> dict[str, Any]:
    """Of the table.

    Args:
        images: Of an epoch.
        taken: Seconds of epochs; it looks at the first, the third and so on.
        hooks: Those in the callback's hooks.
    """
    first, second, *looks = hooks[::2]
    withit, without = taken[4::2], taken[5::2]
    ratios = [a / b for a, b in zip(withit, without, strict=True)]
    plain, look = statistics.median(without), statistics.median(looks)
    return {
        "network": "resnet20",
        "images": images,
        "CPU s an epoch": f"{plain:.2f}",
        "with it": f"{statistics.median(withit):.2f}",
        "× (rounds)": f"{statistics.median(ratios):.3f}",
        "its hooks, s": f"{look:.3f}",
        "of an epoch": f"{look / plain:.2%}",
        "of 9,000": f"{look / plain * images / _ALL:.2%}",
        "first two, s": f"{first:.2f}, {second:.2f}",
        "in 30 epochs": f"{(first + second + 28 * look) / (30 * plain) * images / _ALL:.2%}",
        "n": len(looks),
        "seconds": {"epochs": taken, "hooks": hooks},
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of epochs in turn")
    parser.add_argument("--images", type=int, default=2000, help="of an epoch")
    options = parser.parse_args()
    fit, callback = training(options.images, 2 * (options.rounds + 2))
    busy = idle()
    taken, hooks = inside(fit, callback, time.process_time)
    line = row(options.images, taken, hooks) | {"busy": busy}
    notes = (
        f"Batches of {_BATCH}; the callback looks at {_LOOKED_AT} images behind an epoch. The two "
        f"columns behind are of epochs of {_ALL:,} images, the last with the first two looks."
    )
    report("health", "What Health costs", list(line)[:11], [line], notes=notes)


if __name__ == "__main__":
    main()
