"""The learning rate as a function of the step."""

import math
from typing import Any

from kcnn.startup import keras
from kcnn.training.recipe import Recipe

ops = keras.ops


@keras.saving.register_keras_serializable("kcnn")
class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """Warm-up, then a constant, cosine or step schedule, over the whole of a training.

    The rate rises by (step + 1) / warmup during the first `warmup` steps (Goyal et al. 2017,
    section 2.2); what is behind goes by the same count of steps. Its numbers are variables, so
    that a traced training step serves another rate, too.

    Args:
        schedule: "constant"; "cosine", half a period from `peak` to 0 (Loshchilov & Hutter 2017);
            "step", a tenth after one half and a hundredth after three quarters of `steps`.
        peak: The highest rate.
        steps: Steps of the whole training.
        warmup: Steps of the warm-up; 0 for none.
    """

    def __init__(self, schedule: str, peak: float, steps: int, warmup: int = 0) -> None:
        self.schedule = schedule
        self.numbers = keras.Variable([peak, steps, warmup], trainable=False, dtype="float32")

    def set(self, peak: float, steps: int, warmup: int) -> None:
        """Change its numbers, in traced steps, too."""
        self.numbers.assign([peak, steps, warmup])

    def __call__(self, step: Any) -> Any:
        peak, steps, warmup = (self.numbers[i] for i in range(3))
        step = ops.cast(step, "float32")
        rate = peak * {"constant": _constant, "cosine": _cosine, "step": _step}[self.schedule](
            step, steps
        )
        return rate * ops.minimum((step + 1.0) / ops.maximum(warmup, 1.0), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        peak, steps, warmup = self.numbers.numpy().tolist()
        return {
            "schedule": self.schedule,
            "peak": peak,
            "steps": int(steps),
            "warmup": int(warmup),
        }


def _constant(step: Any, steps: Any) -> Any:
    return 1.0


def _cosine(step: Any, steps: Any) -> Any:
    return 0.5 * (1.0 + ops.cos(math.pi * ops.minimum(step / steps, 1.0)))


def _step(step: Any, steps: Any) -> Any:
    late = ops.where(step > ops.ceil(0.75 * steps), 0.01, 0.1)
    return ops.where(step > ops.ceil(0.5 * steps), late, 1.0)


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> Rate | float:
    """The recipe's learning rate: a schedule, or a number that callbacks may change."""
    if recipe.schedule == "constant" and not warmup_steps(recipe, steps_per_epoch):
        return recipe.learning_rate
    return Rate(
        recipe.schedule,
        recipe.learning_rate,
        recipe.epochs * steps_per_epoch,
        warmup_steps(recipe, steps_per_epoch),
    )


def warmup_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """Steps of the recipe's warm-up."""
    return round(recipe.warmup * steps_per_epoch)
