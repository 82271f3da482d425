"""Learning rates as functions of the step, and the optimisers that follow them."""

import math
from typing import Any

from kcnn.startup import keras
from kcnn.training.recipe import Recipe

_Schedule = keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable("kcnn")
class WarmUp(_Schedule):
    """Scale `schedule` by (step + 1) / steps during the first `steps` steps.

    Goyal et al. 2017, section 2.2; the schedule behind goes by the same count of steps.
    """

    def __init__(self, schedule: _Schedule | float, steps: int) -> None:
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        reached = (keras.ops.cast(step, "float32") + 1.0) / self.steps
        rate = self.schedule(step) if callable(self.schedule) else self.schedule
        return rate * keras.ops.minimum(reached, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        schedule = self.schedule
        if callable(schedule):
            schedule = keras.optimizers.schedules.serialize(schedule)
        return {"schedule": schedule, "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WarmUp":
        """The schedule that `get_config` described."""
        schedule = config["schedule"]
        if isinstance(schedule, dict):
            schedule = keras.optimizers.schedules.deserialize(schedule)
        return cls(schedule, config["steps"])


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> _Schedule | float:
    """The recipe's learning rate at each step of the whole training."""
    schedules = keras.optimizers.schedules
    steps, peak = recipe.epochs * steps_per_epoch, recipe.learning_rate
    if recipe.schedule == "cosine":
        schedule = schedules.CosineDecay(peak, steps)
    elif recipe.schedule == "step":
        boundaries = [math.ceil(steps / 2), math.ceil(3 * steps / 4)]
        schedule = schedules.PiecewiseConstantDecay(boundaries, [peak, peak / 10, peak / 100])
    else:
        schedule = peak
    warmup = round(recipe.warmup * steps_per_epoch)
    return WarmUp(schedule, warmup) if warmup else schedule


def optimizer(
    recipe: Recipe, steps_per_epoch: int, model: keras.Model
) -> keras.optimizers.Optimizer:
    """The recipe's optimiser; weight decay spares biases and BatchNorm's gamma and beta."""
    rate = learning_rate(recipe, steps_per_epoch)
    decay, momentum = recipe.weight_decay or None, recipe.momentum or 0.0
    optimizers = keras.optimizers
    made = {
        "sgd": lambda: optimizers.SGD(rate, weight_decay=decay),
        "momentum": lambda: optimizers.SGD(rate, momentum=momentum, weight_decay=decay),
        "nesterov": lambda: optimizers.SGD(
            rate, momentum=momentum, nesterov=True, weight_decay=decay
        ),
        "rmsprop": lambda: optimizers.RMSprop(rate, momentum=momentum, weight_decay=decay),
        "adam": lambda: optimizers.Adam(rate, weight_decay=decay),
        "adamw": lambda: optimizers.AdamW(rate, weight_decay=recipe.weight_decay),
    }[recipe.optimizer]()
    if decay:
        vectors = [v for v in model.trainable_variables if len(v.shape) < 2]
        made.exclude_from_weight_decay(var_list=vectors)
    return made
