"""Lowering the learning rate where validation gets no better."""

from __future__ import annotations

from typing import Any

from kcnn.figures import Figure
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.startup import keras
from kcnn.training.loop.optimizers import Update
from kcnn.training.loop.schedules import reductions

Logs = dict[str, Any] | None


class Plateau(keras.callbacks.Callback):
    """The schedule "plateau": what it has left of the rate is a function of the figures so far.

    They are its state, and all of it: a training that goes on has the rates that it would have had.

    Args:
        recipe: Of the training: factor and patience.
        figure: On validation, that is waited for.
        update: Of the training's steps.
    """

    def __init__(self, recipe: ResolvedRecipe, figure: Figure, update: Update) -> None:
        super().__init__()
        self.recipe, self.figure = recipe, figure
        self._update, self._values = update, list[float]()

    def get_state(self) -> dict[str, Any]:
        """The figures so far, one an epoch."""
        return {"values": list(self._values)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on behind them."""
        self._values = list(state["values"])
        self._apply()

    def on_train_begin(self, logs: Logs = None) -> None:
        self._values = []
        self._apply()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._values.append(float((logs or {})[f"val_{self.figure.name}"]))
        self._apply()

    def _apply(self) -> None:
        recipe, higher = self.recipe, self.figure.higher_is_better
        lowered = reductions(self._values, recipe.plateau_patience, higher)
        self._update.reduce(recipe.plateau_factor**lowered)
