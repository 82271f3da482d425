"""Several training steps in one graph.

What a step computes is `Model.train_step`, on a batch that the graph makes for itself
(`kcnn.data.batches.feed`), with the update of `kcnn.training.loop.optimizers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kcnn.errors import InputError, NonFiniteError
from kcnn.startup import keras, tf
from kcnn.training.loop.accumulation import in_parts
from kcnn.training.loop.freezing import Freezing
from kcnn.training.loop.optimizers import Update

#: Floating-point operations that one call should hold: a few tenths of a second of two cores.
#: Then what a call costs beside, one or two milliseconds, does not count, and bars still move.
_WORK = 2e10


def per_execution(macs: int, batch_size: int) -> int:
    """How many steps to fuse by default: as many as make up a few tenths of a second.

    Args:
        macs: Multiply-accumulates of one image forward; backward costs twice as much again.
        batch_size: Images of a step.
    """
    return math.ceil(_WORK / (6 * max(macs, 1) * batch_size))


def even(fused: int, steps_per_epoch: int) -> int:
    """At most `fused`, such that an epoch's executions differ by as little as they can."""
    return math.ceil(steps_per_epoch / math.ceil(steps_per_epoch / fused))


class Steps:
    """The training steps of a model, many to a call.

    Which steps share a call changes nothing of their results: each is a function of the weights
    and of its own element. Behind a step whose loss is not finite no other is done.

    Args:
        model: Compiled.
        batch: `Feed.batch`.
        update: What a step does to the weights of `model`.
        freezing: Which layers are frozen until which step: the first of an epoch.
        part: Images that the network sees at a time; None: those of a step at once.

    Attributes:
        resident: `Feed.resident`, to be set before the first step.
        step: Steps done, over all epochs; to be set to the feed's `start` before the first.
    """

    def __init__(
        self,
        model: keras.Model,
        batch: Callable[[Any, tuple], tuple],
        update: Update,
        freezing: Freezing | None = None,
        part: int | None = None,
    ) -> None:
        self.resident: tuple[tf.Tensor, ...] = ()
        self.step = 0
        self.freezing = freezing or Freezing()
        self._model, self._update, self._batch, self._part = model, update, batch, part
        self._compiled = model.optimizer, model.train_function
        # What is trainable is fixed in a trace: a phase has its own.
        self._several = {frozen: self._traced() for frozen in (False, True)}

    def _traced(self) -> Callable[..., tuple]:
        """Several steps in one graph, made when it is first called."""
        model, update, batch, step = self._model, self._update, self._batch, self._step()

        def several(iterator: Any, count: tf.Tensor, resident: tuple) -> tuple:
            def one(done: tf.Tensor, finite: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                logs = step(batch(iterator.get_next(), resident))
                return done + 1, _is_finite(logs)

            done, finite = tf.while_loop(
                lambda done, finite: tf.logical_and(done < count, finite),
                one,
                [0, True],
                parallel_iterations=1,
            )
            update.look_ahead()
            return model.get_metrics_result(), done, finite

        return tf.function(several, autograph=False, reduce_retracing=True)

    def _step(self) -> Callable[[Any], Any]:
        """What is done with one batch; the running metrics."""
        model, update = self._model, self._update
        if self._part is not None:
            return in_parts(model, update, self._part)
        step = model.train_step
        if model.jit_compile:
            step = tf.function(step, jit_compile=True, autograph=False, reduce_retracing=True)

        def at_once(batch: Any) -> Any:
            with update.in_place():
                return step(batch)

        return at_once

    @property
    def serves(self) -> bool:
        """Whether the model is compiled as it was: what a trace has fixed still holds."""
        model = self._model
        return (model.optimizer, model.train_function) == self._compiled

    def run(self, iterator: Any, count: int) -> dict[str, tf.Tensor]:
        """Do `count` steps; the running metrics.

        Raises:
            NonFiniteError: The loss of one is not finite; what it did to the weights is done.
            InputError: A callback has compiled the model anew, or set a rate that the schedule
                sets.
        """
        if not self.serves:
            raise InputError(
                "A callback compiled the model anew, or made its train_function; kcnn.train goes "
                "on with the steps that the training began with. Set weights and rates instead, "
                "or train on in a second run."
            )
        with self._update.unchanged_rate():
            self.freezing.set(self.step)
            several = self._several[self.freezing.frozen(self.step)]
            metrics, done, finite = several(iterator, tf.constant(count), self.resident)
        self.step += int(done)
        if not finite:
            raise NonFiniteError(f"The loss was not finite in step {self.step}", self.step)
        return metrics


def _is_finite(logs: Any) -> tf.Tensor:
    """Of the running mean: once one loss is not, the mean is not either."""
    loss = logs.get("loss") if isinstance(logs, dict) else None
    return tf.constant(True) if loss is None else tf.reduce_all(tf.math.is_finite(loss))
