"""The learning rate beside its schedule: lower after a loss that is not finite, or as was asked.

A retry lowers it; `kcnn resume --learning-rate` sets another peak from a step on, which the recipe
records (`Recipe.rates`): a function of the step, whichever checkpoint a training goes on from.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from kcnn.errors import InputError
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.startup import keras
from kcnn.training.loop.optimizers import Update
from kcnn.training.loop.schedules import swa_steps
from kcnn.training.setup import Setup

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
        self._applied, self._before = 1.0, 0
        self._peak = recipe.learning_rate
        self._update: Update | None = None

    @property
    def may_retry(self) -> bool:
        """Whether one more retry is allowed."""
        return self.recipe.on_nan == "retry" and self.retries < MOST

    def begin(self, update: Update, step: int = 0) -> None:
        """Scale the rate of the training whose steps do that update, from `step` on."""
        self._update, self._applied = update, 1.0
        self._peak = self.recipe.peak(step) or self.recipe.learning_rate
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

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._before = epoch * self.steps_per_epoch

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Take the rate that the recipe has from this step on, if it is another."""
        step = self._before + batch
        for first, rate in self.recipe.rates:
            if first == step:  # the checkpoints of later steps hold it
                self._set_peak(rate)

    def _set_peak(self, rate: float) -> None:
        update, self._peak = self._update, rate
        assert update is not None, "begin comes first"
        if update.schedule is None:
            update.optimizer.learning_rate = rate * self.scale
        self._apply()

    def _apply(self) -> None:
        update = self._update
        assert update is not None, "begin comes first"
        if update.schedule is not None:  # what no checkpoint holds: a function of the recipe
            rate = self._peak * self.scale
            recipe = dataclasses.replace(self.recipe, learning_rate=rate)
            update.set(recipe, self.steps_per_epoch)
        elif self.scale != self._applied:
            rate = keras.ops.convert_to_numpy(update.optimizer.learning_rate)
            update.optimizer.learning_rate = float(rate * self.scale / self._applied)
        self._applied = self.scale


def refuse_idle_rate(setup: Setup, rates: tuple[tuple[int, float], ...]) -> None:
    """Refuse a peak rate from a step on at which weight averaging has a rate of its own.

    Raises:
        InputError: With that rate.
    """
    averaging = swa_steps(setup.recipe, setup.steps)
    if averaging is None or not rates:
        return
    first, rate, way = averaging
    step, peak = rates[-1]
    if step >= first + way:
        raise InputError(
            f"learning_rate={peak:g} would not count: from step {first + way:.0f} on the rate is "
            f"that of weight averaging, swa_learning_rate={rate:g}, and step {step} comes next."
        )
