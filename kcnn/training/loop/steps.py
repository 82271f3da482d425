"""The function that `Model.fit` calls: several training steps in one graph.

Keras caches it as `Model.train_function`, which a compiled model may be given; callbacks, metrics,
validation and everything else stay those of `fit`. What a step computes is `Model.train_step`, on
a batch that the graph makes for itself (`kcnn.data.batches.feed`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kcnn.errors import NonFiniteError
from kcnn.startup import keras, tf

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


class TrainFunction:
    """`steps_per_execution` training steps for each call, never beyond the end of an epoch.

    Which steps share a call changes nothing of their results: each is a function of the weights
    and of its own element. Behind a step whose loss is not finite no other is done.

    Args:
        model: Compiled; its `steps_per_execution` says how many steps `fit` expects of a call.
        batch: `Feed.batch`.
        steps_per_epoch: After which the loop comes up for validation.

    Attributes:
        resident: `Feed.resident`, to be set before `fit`.
        step: Steps done, over all epochs; to be set to the feed's `start` before `fit`.
    """

    def __init__(
        self,
        model: keras.Model,
        batch: Callable[[Any, tuple], tuple],
        steps_per_epoch: int,
    ) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.resident: tuple[tf.Tensor, ...] = ()
        self.step = 0
        self._model = model
        step = model.train_step
        if model.jit_compile:
            step = tf.function(step, jit_compile=True, autograph=False, reduce_retracing=True)

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
            return model.get_metrics_result(), done, finite

        self._several = tf.function(several, autograph=False, reduce_retracing=True)

    def __call__(self, iterator: Any) -> dict[str, tf.Tensor]:
        left = self.steps_per_epoch - self.step % self.steps_per_epoch
        return self.run(iterator, min(self._model.steps_per_execution, left))

    def run(self, iterator: Any, count: int) -> dict[str, tf.Tensor]:
        """Do `count` steps; the running metrics.

        Raises:
            NonFiniteError: The loss of one is not finite; what it did to the weights is done.
        """
        metrics, done, finite = self._several(iterator, tf.constant(count), self.resident)
        self.step += int(done)
        if not finite:
            raise NonFiniteError(f"The loss was not finite in step {self.step}", self.step)
        return metrics


def _is_finite(logs: Any) -> tf.Tensor:
    """Of the running mean: once one loss is not, the mean is not either."""
    loss = logs.get("loss") if isinstance(logs, dict) else None
    return tf.constant(True) if loss is None else tf.reduce_all(tf.math.is_finite(loss))
