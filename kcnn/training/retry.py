"""Going on with a lower learning rate after a loss that was not finite."""

from __future__ import annotations

import dataclasses
from typing import Any

from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.startup import keras
from kcnn.training.loop.optimizers import Update

Logs = dict[str, Any] | None

#: What a retry multiplies the rate by, and how often it may.
FACTOR, MOST = 0.1, 3


class RateScale(keras.callbacks.Callback):
    """The factor by which retries have lowered the learning rate: a part of the training's state.

    Args:
        recipe: Of the training.
        steps_per_epoch: Of the training.

    Attributes:
        scale: The factor, at most 1.
        retries: How many there were.
    """

    def __init__(self, recipe: ResolvedRecipe, steps_per_epoch: int) -> None:
        super().__init__()
        self.recipe, self.steps_per_epoch = recipe, steps_per_epoch
        self.scale, self.retries = 1.0, 0
        self._applied = 1.0
        self._update: Update | None = None

    @property
    def may_retry(self) -> bool:
        """Whether one more retry is allowed."""
        return self.recipe.on_nan == "retry" and self.retries < MOST

    def begin(self, update: Update) -> None:
        """Scale the rate of the training whose steps do that update."""
        self._update, self._applied = update, 1.0
        self._apply()

    def lower(self) -> None:
        """Lower the rate from the next beginning of training on."""
        self.scale, self.retries = self.scale * FACTOR, self.retries + 1

    def get_state(self) -> dict[str, Any]:
        """Factor and number of retries."""
        return {"scale": self.scale, "retries": self.retries}

    def set_state(self, state: dict[str, Any]) -> None:
        """Of a checkpoint: what has been lowered since stays lower."""
        self._applied = state["scale"]  # in the rate that was restored
        self.scale = min(self.scale, state["scale"])
        self.retries = max(self.retries, state["retries"])
        self._apply()

    def _apply(self) -> None:
        update = self._update
        assert update is not None, "begin comes first"
        if update.schedule is not None:  # what no checkpoint holds: a function of the recipe
            rate = self.recipe.learning_rate * self.scale
            recipe = dataclasses.replace(self.recipe, learning_rate=rate)
            update.set(recipe, self.steps_per_epoch)
        elif self.scale != self._applied:
            rate = keras.ops.convert_to_numpy(update.optimizer.learning_rate)
            update.optimizer.learning_rate = float(rate * self.scale / self._applied)
        self._applied = self.scale
