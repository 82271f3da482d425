"""Keras' optimisers, each variable updated by one kernel, with numbers that a trace does not fix.

Keras computes an update from single operations, each of which reads and writes the whole
variable: for VGG-16's 138 million weights that is memory traffic of its own. TensorFlow has one
kernel for SGD with momentum and one for Adam. They compute what Keras' optimisers compute, to
rounding (the kernels may fuse a multiplication with the addition behind it).

Weight decay is decoupled (Loshchilov & Hutter 2019) and spares vectors: biases and BatchNorm's
gamma and beta.
"""

from __future__ import annotations

from typing import Any

from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.startup import keras, tf
from kcnn.training.loop.schedules import Rate, learning_rate, swa_steps, warmup_steps


class _Decay:
    """Decoupled weight decay, by numbers that are a variable: momentum and decay."""

    numbers: tf.Variable
    decays: bool
    schedule: Rate | None  #: None for a number

    def decay(self, variable: tf.Variable, rate: Any) -> None:
        """Take rate x decay x weight away from a weight that is no vector."""
        if self.decays and len(variable.shape) > 1:
            variable.assign_sub(variable * (rate * self.numbers[1]))


class SGD(_Decay, keras.optimizers.SGD):
    """Plain, with momentum, or with Nesterov's."""

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the momentum of each variable, where there is momentum."""
        if not self.built:
            super().build(variables)
            # A lookup, not the dict: Keras counts variables in a dict as the optimiser's own.
            pairs = zip(variables, self.momentums, strict=bool(self.momentum))
            self._momentum_of = {id(v.value): m for v, m in pairs}.__getitem__

    def update_step(self, gradient: Any, variable: tf.Variable, rate: Any) -> None:
        """One step: v = m v - r g; w += v, or by Nesterov w += m v - r g."""
        self.decay(variable, rate)
        gradient = tf.convert_to_tensor(gradient)
        if not self.momentum:
            variable.assign_sub(rate * gradient)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self._momentum_of(id(variable)).value.handle,
            lr=rate,
            grad=gradient,
            momentum=self.numbers[0],
            use_nesterov=self.nesterov,
        )


class Adam(_Decay, keras.optimizers.Adam):
    """Kingma & Ba 2015; with weight decay it is AdamW."""

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the two moments of each variable."""
        if not self.built:
            keras.optimizers.Optimizer.build(self, variables)
            slots = self.add_optimizer_variables(variables, ["momentum", "velocity"])
            own = zip(variables, *slots, strict=True)
            self._moments_of = {id(v.value): moments for v, *moments in own}.__getitem__

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """One step of all variables."""
        step = tf.cast(self.iterations.value + 1, tf.float32)
        self._powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        super().apply(grads, trainable_variables)

    def update_step(self, gradient: Any, variable: tf.Variable, rate: Any) -> None:
        """One step of one variable (algorithm 1, in the order of its section 2's last lines)."""
        self.decay(variable, rate)
        momentum, velocity = self._moments_of(id(variable))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=self._powers[0],
            beta2_power=self._powers[1],
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),
        )


class RMSprop(_Decay, keras.optimizers.RMSprop):
    """Keras' own, with this module's weight decay."""

    def update_step(self, gradient: Any, variable: tf.Variable, rate: Any) -> None:
        """One step of one variable."""
        self.decay(variable, rate)
        super().update_step(gradient, variable, rate)


def optimizer(recipe: ResolvedRecipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The recipe's optimiser."""
    rate, momentum = learning_rate(recipe, steps_per_epoch), recipe.momentum or 0.0
    make, options = {
        "sgd": (SGD, {}),
        "momentum": (SGD, {"momentum": momentum}),
        "nesterov": (SGD, {"momentum": momentum, "nesterov": True}),
        "rmsprop": (RMSprop, {"momentum": momentum}),
        "adam": (Adam, {}),
        "adamw": (Adam, {}),
    }[recipe.optimizer]
    if recipe.ema is not None:
        options |= {"use_ema": True, "ema_momentum": recipe.ema}
    made = make(rate, **options)
    made.schedule = rate if isinstance(rate, Rate) else None
    made.numbers = tf.Variable([momentum, recipe.weight_decay], trainable=False, dtype=tf.float32)
    made.decays = recipe.weight_decay > 0
    return made


def traits(recipe: ResolvedRecipe) -> tuple:
    """What of the recipe's optimiser a trace fixes; all else `set_numbers` changes."""
    fixed = recipe.momentum if recipe.optimizer == "rmsprop" else bool(recipe.momentum)
    rated = recipe.warmup or recipe.swa_learning_rate is not None
    scheduled = recipe.schedule if recipe.schedule != "constant" else bool(rated)
    optimizer = "adam" if recipe.optimizer == "adamw" else recipe.optimizer
    return optimizer, fixed, scheduled, recipe.weight_decay > 0, recipe.ema


def set_numbers(
    made: keras.optimizers.Optimizer, recipe: ResolvedRecipe, steps_per_epoch: int
) -> None:
    """Give `made` the rates, momentum and decay of a recipe of equal `traits`."""
    made = getattr(made, "inner_optimizer", made)
    made.numbers.assign([recipe.momentum or 0.0, recipe.weight_decay])
    if made.schedule is None:
        made.learning_rate = recipe.learning_rate
    else:
        warmup = warmup_steps(recipe, steps_per_epoch)
        steps, swa = recipe.epochs * steps_per_epoch, swa_steps(recipe, steps_per_epoch)
        made.schedule.set(recipe.learning_rate, steps, warmup, swa)
