"""The weights of the epoch that was best on validation."""

import math
import os
from pathlib import Path
from typing import Any

from kcnn.startup import keras

Logs = dict[str, Any] | None


class BestWeights(keras.callbacks.Callback):
    """Write the weights to `path` whenever an epoch is the best so far on validation.

    The higher `val_accuracy` is better, where the two differ by more than one standard error of
    an accuracy on that many images; within it they differ by chance, and the lower `val_loss`
    is better. An epoch whose loss is not finite is never best.

    Args:
        path: A file named `*.weights.h5`; replaced in one step.
        images: Images of the validation split.

    Attributes:
        epoch: Number of the best epoch, from 1; 0 before the first.
        logs: The logs of that epoch.
    """

    def __init__(self, path: str | Path, images: int) -> None:
        super().__init__()
        self.path = Path(path)
        self.images = images
        self.epoch = 0
        self.logs: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        if not math.isfinite(logs["val_loss"]) or (self.epoch and not self._is_better(logs)):
            return
        beside = self.path.with_name(f".{self.path.name}")  # keeps the ending that Keras asks for
        self.model.save_weights(beside)
        os.replace(beside, self.path)
        self.epoch, self.logs = epoch + 1, dict(logs)

    def restore(self) -> None:
        """Put the best weights into the model; without a best epoch, leave it alone."""
        if self.epoch:
            self.model.load_weights(self.path)

    def _is_better(self, logs: dict[str, Any]) -> bool:
        gain = logs["val_accuracy"] - self.logs["val_accuracy"]
        share = (logs["val_accuracy"] + self.logs["val_accuracy"]) / 2
        standard_error = math.sqrt(share * (1.0 - share) / self.images)
        if abs(gain) > standard_error:
            return gain > 0
        return logs["val_loss"] < self.logs["val_loss"]
