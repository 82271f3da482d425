"""Time and learning rate, as figures beside the model's own."""

import time
from typing import Any

from kcnn.startup import keras

Logs = dict[str, Any] | None


class Meter(keras.callbacks.Callback):
    """Add `learning_rate`, `seconds` and `images_per_second` to each epoch's logs.

    `seconds` is the epoch's training time, without its validation. Put it before the callbacks
    that write logs: they and `History` then hold these figures too.

    Args:
        images: Images of one epoch.

    Attributes:
        total: Seconds of the whole training so far, validation included; also over a resume.
    """

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images
        self._start = self._began = 0.0
        self._end: float | None = None

    @property
    def total(self) -> float:
        return time.perf_counter() - self._began

    def get_state(self) -> dict[str, float]:
        """Seconds so far: the clocks of two processes have nothing in common."""
        return {"seconds": time.perf_counter() - self._start, "total": self.total}

    def set_state(self, state: dict[str, float]) -> None:
        """Go on counting."""
        now = time.perf_counter()
        self._start, self._began = now - state["seconds"], now - state["total"]

    def on_train_begin(self, logs: Logs = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._start, self._end = time.perf_counter(), None

    def on_test_begin(self, logs: Logs = None) -> None:
        self._end = time.perf_counter()  # validation begins: the epoch's training is over

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        seconds = (self._end or time.perf_counter()) - self._start
        if logs is not None:
            logs["learning_rate"] = float(
                keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
            )
            logs["seconds"] = seconds
            logs["images_per_second"] = self.images / seconds
