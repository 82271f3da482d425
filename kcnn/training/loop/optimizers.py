"""Keras' optimisers, and what a step of ours does to their variables.

Keras computes an update from single operations, each of which reads and writes the whole
variable: for VGG-16's 138 million weights that is memory traffic of its own. TensorFlow has one
kernel for SGD with momentum and one for Adam. They compute what Keras' optimisers compute, to
rounding (the kernels may fuse a multiplication with the addition behind it). RMSprop and Lion are
computed as Keras computes them.

Weight decay is decoupled (Loshchilov & Hutter 2019) and spares vectors: biases and BatchNorm's
gamma and beta.

Keras clips gradients before each update, by the norm over all variables that a step trains: frozen
layers do not count in it, and the direction stays. Where a loss is scaled, it is the norm of the
unscaled gradients. A rate of the backbone's own is of the update, and so behind it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from kcnn.errors import InputError
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.startup import keras, tf
from kcnn.training.loop.freezing import slow_variables
from kcnn.training.loop.schedules import Rate, learning_rate, numbers_of


def optimizer(recipe: ResolvedRecipe) -> keras.optimizers.Optimizer:
    """The recipe's optimiser: an object of Keras' own, with the highest rate of the schedule."""
    momentum, decay = recipe.momentum or 0.0, recipe.weight_decay
    kinds = keras.optimizers
    make, options = {
        "sgd": (kinds.SGD, {}),
        "momentum": (kinds.SGD, {"momentum": momentum}),
        "nesterov": (kinds.SGD, {"momentum": momentum, "nesterov": True}),
        "rmsprop": (kinds.RMSprop, {"momentum": momentum}),
        "adam": (kinds.Adam, {}),
        "adamw": (kinds.AdamW, {}),
        "lion": (kinds.Lion, {}),
    }[recipe.optimizer]
    if recipe.clip_norm is not None:
        options |= {"global_clipnorm": recipe.clip_norm}
    if recipe.ema is not None:
        options |= {"use_ema": True, "ema_momentum": recipe.ema}
    none = 0.0 if make is kinds.AdamW else None
    return make(recipe.learning_rate, weight_decay=decay or none, **options)


def for_use(recipe: ResolvedRecipe, model: keras.Model) -> keras.optimizers.Optimizer:
    """The recipe's optimiser, to go on training `model` with in Keras' own `fit`."""
    made = optimizer(recipe)
    made.exclude_from_weight_decay(var_list=[v for v in model.weights if len(v.shape) < 2])
    return made


class Update:
    """What a step does to the weights, and to the variables of a compiled model's optimiser.

    The optimiser stays Keras' own. Within `in_place`, which is for the tracing of a step, its
    `apply` and `update_step` are the ones here. Rates, momentum and decay are variables: a traced
    step serves other numbers, too.

    Args:
        model: Compiled with `optimizer(recipe)`.
        recipe: Of the training.
        steps_per_epoch: Of the training.

    Attributes:
        schedule: The learning rate by step; None for a number, which callbacks may change.
    """

    def __init__(self, model: keras.Model, recipe: ResolvedRecipe, steps_per_epoch: int) -> None:
        outer = model.optimizer
        self.optimizer = getattr(outer, "inner_optimizer", outer)
        variables = model.trainable_variables
        self.optimizer.exclude_from_weight_decay(var_list=variables)  # it is done here
        outer.build(variables)
        rate = learning_rate(recipe, steps_per_epoch)
        self.schedule = rate if isinstance(rate, Rate) else None
        self._decays = recipe.weight_decay > 0
        self._slow = slow_variables(model, recipe)
        self._numbers = tf.Variable([0.0, 0.0, 1.0], trainable=False, dtype=tf.float32)
        self._slots = self._slots_of(variables)
        self._own_apply, self._own_step = self.optimizer.apply, self.optimizer.update_step
        self._expected: float | None = None
        self.set(recipe, steps_per_epoch)

    def set(self, recipe: ResolvedRecipe, steps_per_epoch: int) -> None:
        """Take rates, momentum and decay of a recipe of equal `traits`."""
        optimizer = self.optimizer
        factor = recipe.backbone_rate or 1.0
        self._numbers.assign([recipe.momentum or 0.0, recipe.weight_decay, factor])
        if recipe.momentum:
            optimizer.momentum = recipe.momentum
        if self._decays:
            optimizer.weight_decay = recipe.weight_decay
        if self.schedule is None:
            optimizer.learning_rate = recipe.learning_rate
        else:
            self.schedule.set(*numbers_of(recipe, steps_per_epoch))
            self.look_ahead()
        self._expected = None

    def reduce(self, factor: float) -> None:
        """Let a schedule of plateaus be at `factor` of its peak, in traced steps, too."""
        assert self.schedule is not None, "a number is reduced by whoever sets it"
        self.schedule.reduced.assign(factor)
        self.look_ahead()
        self._expected = None

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        rate = self.optimizer.learning_rate if self.schedule is None else self.schedule(step)
        return float(keras.ops.convert_to_numpy(rate))

    def look_ahead(self) -> None:
        """Let `optimizer.learning_rate` be what the schedule says of the next step."""
        if self.schedule is not None:
            self.optimizer.learning_rate.assign(self.schedule(self.optimizer.iterations))

    @contextlib.contextmanager
    def unchanged_rate(self) -> Iterator[None]:
        """Within it the schedule alone sets the rate, and so it should be until the next time.

        Raises:
            InputError: Somebody has set another since the last time.
        """
        if self.schedule is None:
            yield
            return
        rate = self.optimizer.learning_rate
        if self._expected not in (None, now := float(keras.ops.convert_to_numpy(rate))):
            raise InputError(
                f"A callback set the learning rate to {now:g}; the recipe's schedule sets it to "
                f"{self._expected:g} there, and for every step anew. Train with "
                f"schedule='constant', warmup=0 and without a rate of weight averaging, or without "
                f"the callback."
            )
        yield
        self._expected = float(keras.ops.convert_to_numpy(rate))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the optimiser apply gradients as here."""
        self.optimizer.apply, self.optimizer.update_step = self._apply, self._step
        try:
            yield
        finally:
            del self.optimizer.apply, self.optimizer.update_step

    def _slots_of(self, variables: Sequence[keras.Variable]) -> dict[int, list[tf.Variable]]:
        """Of each weight the variables that a kernel updates with it, by the weight's id."""
        kinds: list[str] = []
        if isinstance(self.optimizer, keras.optimizers.Adam):
            kinds = ["momentum", "velocity"]
        elif isinstance(self.optimizer, keras.optimizers.SGD) and self.optimizer.momentum:
            kinds = ["momentum"]
        own = self.optimizer.variables
        lists = [[v.value for v in own if v.path.endswith(f"_{kind}")] for kind in kinds]
        if not lists:
            return {}
        slots = zip(*lists, strict=True)
        return {id(v.value): list(s) for v, s in zip(variables, slots, strict=True)}

    def _apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """One step of all variables."""
        optimizer = self.optimizer
        rate = self.schedule(optimizer.iterations) if self.schedule else optimizer.learning_rate
        self._rate = tf.convert_to_tensor(rate)
        if isinstance(optimizer, keras.optimizers.Adam):
            step = tf.cast(optimizer.iterations.value + 1, tf.float32)
            self._powers = tf.pow(optimizer.beta_1, step), tf.pow(optimizer.beta_2, step)
        self._own_apply(grads, trainable_variables)
        del self._rate  # of the graph that is traced

    def _step(self, gradient: Any, variable: tf.Variable, _: Any) -> None:
        """One step of one variable."""
        optimizer, rate = self.optimizer, self._rate
        if id(variable) in self._slow:
            rate = rate * self._numbers[2]
        if self._decays and len(variable.shape) > 1:
            variable.assign_sub(variable * (rate * self._numbers[1]))
        if isinstance(optimizer, (keras.optimizers.RMSprop, keras.optimizers.Lion)):
            self._own_step(gradient, variable, rate)
            return
        gradient = tf.convert_to_tensor(gradient)
        if isinstance(optimizer, keras.optimizers.Adam):
            self._adam(gradient, variable, rate)
        elif not self._slots:
            variable.assign_sub(rate * gradient)
        else:
            # v = m v - r g; w += v, or by Nesterov w += m v - r g
            (momentum,) = self._slots[id(variable)]
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=variable.handle,
                accum=momentum.handle,
                lr=rate,
                grad=gradient,
                momentum=self._numbers[0],
                use_nesterov=optimizer.nesterov,
            )

    def _adam(self, gradient: tf.Tensor, variable: tf.Variable, rate: tf.Tensor) -> None:
        """Kingma & Ba 2015, algorithm 1, in the order of its section 2's last lines."""
        optimizer = self.optimizer
        momentum, velocity = self._slots[id(variable)]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=self._powers[0],
            beta2_power=self._powers[1],
            lr=rate,
            beta1=optimizer.beta_1,
            beta2=optimizer.beta_2,
            epsilon=optimizer.epsilon,
            grad=gradient,
        )


def traits(recipe: ResolvedRecipe) -> tuple:
    """What of the recipe's optimiser a trace fixes; all else `Update.set` changes."""
    fixed = recipe.momentum if recipe.optimizer == "rmsprop" else bool(recipe.momentum)
    rated = recipe.warmup or recipe.swa_learning_rate is not None
    scheduled = recipe.schedule if recipe.schedule != "constant" else bool(rated)
    rates = scheduled, recipe.backbone_rate is not None
    kind = recipe.optimizer, fixed, rates, recipe.weight_decay > 0
    return *kind, recipe.ema, recipe.clip_norm
