"""The weights of the epoch that was best on validation."""

import os
from pathlib import Path
from typing import Any

from kcnn.startup import keras

Logs = dict[str, Any] | None


class BestWeights(keras.callbacks.Callback):
    """Write the weights to `path` whenever an epoch is the best so far on validation.

    Best is the highest `val_accuracy`; among equals, the lowest `val_loss`. Small validation
    splits reach the same accuracy at many epochs, and the first of them is the least trained.
    An epoch whose loss is not finite is never best.

    Args:
        path: A file named `*.weights.h5`; replaced in one step.

    Attributes:
        epoch: Number of the best epoch, from 1; 0 before the first.
        logs: The logs of that epoch.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.epoch = 0
        self.logs: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        if self.epoch and not self._rank(logs) > self._rank(self.logs):
            return
        if not abs(logs["val_loss"]) < float("inf"):
            return
        beside = self.path.with_name(f".{self.path.name}")  # keeps the ending that Keras asks for
        self.model.save_weights(beside)
        os.replace(beside, self.path)
        self.epoch, self.logs = epoch + 1, dict(logs)

    def restore(self) -> None:
        """Put the best weights into the model; without a best epoch, leave it alone."""
        if self.epoch:
            self.model.load_weights(self.path)

    @staticmethod
    def _rank(logs: dict[str, Any]) -> tuple[float, float]:
        return logs["val_accuracy"], -logs["val_loss"]
