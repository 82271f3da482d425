"""The learning rate as a function of the step."""

import math
from collections.abc import Sequence
from typing import Any

from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.startup import keras

ops = keras.ops

#: By how much more than this a figure is to be better: Keras' default for ReduceLROnPlateau.
_BETTER = 1e-4


@keras.saving.register_keras_serializable("kcnn")
class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """Warm-up, then a constant, cosine, step or plateau schedule, over the whole of a training.

    The rate rises by (step + 1) / warmup during the first `warmup` steps (Goyal et al. 2017,
    section 2.2); what is behind goes by the same count of steps. Its numbers are variables, so
    that a traced training step serves another rate, too. With weight averaging the rate goes
    linearly from what the schedule gives at its beginning to a constant, and stays there.

    Args:
        schedule: "constant"; "cosine", half a period from `peak` to 0 (Loshchilov & Hutter 2017);
            "step", a tenth after one half and a hundredth after three quarters of `steps`;
            "plateau", `peak` times `reduced`.
        peak: The highest rate.
        steps: Steps of the whole training.
        warmup: Steps of the warm-up; 0 for none.
        swa: Of weight averaging: first step, constant rate, steps on the way to it; None for none.

    Attributes:
        reduced: What plateaus have left of the rate, from 1 down: a function of the figures on
            validation, and not of the step.
    """

    def __init__(
        self,
        schedule: str,
        peak: float,
        steps: int,
        warmup: int = 0,
        swa: Sequence[float] | None = None,
    ) -> None:
        self.schedule = schedule
        self.numbers = keras.Variable(
            _numbers(peak, steps, warmup, swa), trainable=False, dtype="float32"
        )
        self.reduced = keras.Variable(1.0, trainable=False, dtype="float32", name="reduced")

    def set(self, peak: float, steps: int, warmup: int, swa: Sequence[float] | None = None) -> None:
        """Change its numbers, in traced steps, too."""
        self.numbers.assign(_numbers(peak, steps, warmup, swa))

    def __call__(self, step: Any) -> Any:
        peak, steps, warmup, swa_start, swa_rate, swa_anneal = (self.numbers[i] for i in range(6))
        step = ops.cast(step, "float32")
        before = ops.minimum(step, swa_start)
        rate = peak * self._share(before, steps)
        rate = rate * ops.minimum((before + 1.0) / ops.maximum(warmup, 1.0), 1.0)
        # The first step of the averaging already takes a part of the way: with no way, all of it.
        way = ops.clip((step - swa_start + 1.0) / ops.maximum(swa_anneal, 1.0), 0.0, 1.0)
        return rate * (1.0 - way) + swa_rate * way

    def _share(self, step: Any, steps: Any) -> Any:
        """Of the peak."""
        if self.schedule == "plateau":
            return self.reduced
        return {"constant": _constant, "cosine": _cosine, "step": _step}[self.schedule](step, steps)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        peak, steps, warmup, *swa = self.numbers.numpy().tolist()
        return {
            "schedule": self.schedule,
            "peak": peak,
            "steps": int(steps),
            "warmup": int(warmup),
            "swa": swa if math.isfinite(swa[0]) else None,
        }


def _numbers(peak: float, steps: int, warmup: int, swa: Sequence[float] | None) -> list[float]:
    return [peak, steps, warmup, *((math.inf, 0.0, 0.0) if swa is None else swa)]


def _constant(step: Any, steps: Any) -> Any:
    return 1.0


def _cosine(step: Any, steps: Any) -> Any:
    return 0.5 * (1.0 + ops.cos(math.pi * ops.minimum(step / steps, 1.0)))


def _step(step: Any, steps: Any) -> Any:
    late = ops.where(step > ops.ceil(0.75 * steps), 0.01, 0.1)
    return ops.where(step > ops.ceil(0.5 * steps), late, 1.0)


def reductions(values: Sequence[float], patience: int, higher_is_better: bool) -> int:
    """How often a plateau lowers the rate, over epochs with these figures.

    Keras' ReduceLROnPlateau with its `min_delta` and without a cooldown, as a function of the
    history. What is not a number is no better, and nothing to be better than.

    Args:
        values: A figure on validation, one an epoch.
        patience: Epochs without a better one, behind which the rate is lowered; they are counted
            anew then.
        higher_is_better: Which way.
    """
    best, waited, found = None, 0, 0
    for value in values if higher_is_better else (-value for value in values):
        if not math.isnan(value) and (best is None or value - _BETTER > best):
            best, waited = value, 0
            continue
        waited += 1
        if waited == patience:
            found, waited = found + 1, 0
    return found


def learning_rate(recipe: ResolvedRecipe, steps_per_epoch: int) -> Rate | float:
    """The recipe's learning rate: a schedule, or a number that callbacks may change."""
    peak, steps, warmup, swa = numbers_of(recipe, steps_per_epoch)
    if recipe.schedule == "constant" and not warmup and not swa:
        return recipe.learning_rate
    return Rate(recipe.schedule, peak, steps, warmup, swa)


def numbers_of(
    recipe: ResolvedRecipe, steps_per_epoch: int
) -> tuple[float, int, int, tuple[float, float, float] | None]:
    """What `Rate.set` takes: highest rate, steps, steps of the warm-up, weight averaging."""
    return (
        recipe.learning_rate,
        recipe.epochs * steps_per_epoch,
        warmup_steps(recipe, steps_per_epoch),
        swa_steps(recipe, steps_per_epoch),
    )


def warmup_steps(recipe: ResolvedRecipe, steps_per_epoch: int) -> int:
    """Steps of the recipe's warm-up."""
    return round(recipe.warmup * steps_per_epoch)


def swa_steps(recipe: ResolvedRecipe, steps_per_epoch: int) -> tuple[float, float, float] | None:
    """Of the recipe's weight averaging, where it has a rate: first step, rate, steps to it."""
    if recipe.swa_learning_rate is None:
        return None
    first = swa_epoch(recipe) * steps_per_epoch
    return first, recipe.swa_learning_rate, round(recipe.swa_anneal * steps_per_epoch)


def swa_epoch(recipe: ResolvedRecipe) -> int:
    """Epochs that are done when weight averaging begins."""
    return round((recipe.swa_start or 0.0) * recipe.epochs)
