"""One process up to its first training step: python -m benchmarks.contenders.first_step PROGRAM

What `benchmarks.startup` times: ResNet-34 with the CIFAR stem, 64 images of 32×32 in one step.
Prints seconds of import, build and first step, and the peak memory, as one line of JSON.
"""

import json
import os
import resource
import sys
import tempfile
import time
from typing import Any

_IMAGES = 64
_ROW = "resnet34-32"

PROGRAMS = ("kcnn.train", "keras fit", "torch")


class _Clock:
    """Seconds between marks, and in the end the line of JSON."""

    def __init__(self) -> None:
        self._last, self.marks = time.perf_counter(), {}

    def mark(self, phase: str) -> None:
        now = time.perf_counter()
        self.marks[phase], self._last = now - self._last, now

    def finish(self) -> None:
        """Print, and leave without the interpreter's own end."""
        self.mark("first step")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        os.write(_stdout, (json.dumps(self.marks | {"memory": memory}) + "\n").encode())
        os._exit(0)


def _keras_program(program: str, clock: _Clock) -> None:
    import kcnn
    from benchmarks.harness.rows import ROWS, moments, synthetic
    from kcnn import startup
    from kcnn.startup import keras

    startup.load()
    clock.mark("import")

    class FirstStep(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            clock.mark("build")

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            float(logs["loss"])
            clock.finish()

    row = ROWS[_ROW]
    x, y = synthetic(_IMAGES, row.input_shape, row.classes)
    if program == "kcnn.train":
        with tempfile.TemporaryDirectory() as logs:
            data = {"train": (x, y), "validation": (x, y), "test": (x, y)}
            recipe = kcnn.Recipe(
                model=row.model, options=row.options, epochs=1, batch_size=_IMAGES, logs=logs
            )
            kcnn.train(recipe, data=data, callbacks=[FirstStep()])
    mean, variance = moments(x)
    model = kcnn.build(
        row.model, input_shape=row.input_shape, classes=row.classes,
        preprocessing=[keras.layers.Normalization(mean=mean, variance=variance)], **row.options,
    )  # fmt: skip
    model.compile(
        keras.optimizers.SGD(row.learning_rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=_IMAGES, callbacks=[FirstStep()], verbose=0)


def _torch_program(clock: _Clock) -> None:
    import torch  # noqa: F401 - timed

    from benchmarks.contenders.torch_step import training
    from benchmarks.harness.rows import ROWS

    clock.mark("import")
    _, run = training(ROWS[_ROW], "nhwc", _IMAGES, _IMAGES)
    clock.mark("build")
    run(1)
    clock.finish()


if __name__ == "__main__":
    _stdout = os.dup(1)
    os.dup2(2, 1)
    if sys.argv[1] == "torch":
        _torch_program(_Clock())
    else:
        _keras_program(sys.argv[1], _Clock())
