"""`fit` goes through training steps without training: those that were done before."""

from __future__ import annotations

from typing import Any

from kcnn.callbacks.checkpoint.variables import Snapshot
from kcnn.startup import keras


class Skipping:
    """From its making until `end`, the training function of `model` does nothing.

    `fit` looks it up for every call; TensorFlow only. Callbacks hear of the steps.

    Args:
        model: In `fit`, before the first step.
        draw: Take each batch, and drop it.
    """

    def __init__(self, model: keras.Model, *, draw: bool) -> None:
        self._model, self._draw = model, draw
        self._function = model.train_function
        model.train_function = self._skip

    def _skip(self, iterator: Any) -> Any:
        if self._draw:
            for _ in range(self._model.steps_per_execution):
                Snapshot.build_metrics(self._model, next(iterator, None))
        return self._model.get_metrics_result()

    def end(self) -> None:
        """Train again."""
        self._model.train_function = self._function
