"""The epochs of a training: what Keras' `fit` does around its steps, begun at any of them.

Callbacks are called as `fit` calls them: the same hooks in the same order, with the same numbers
and logs; `stop_training` is heeded behind each call of steps and each epoch. What `fit` keeps on
the model beside its history, its `train_function`, this loop keeps to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcnn.startup import keras, tf
from kcnn.training.loop.steps import Steps


@dataclass(frozen=True)
class Start:
    """Where a training begins.

    Attributes:
        epoch: The first.
        step: Steps of it that were done before; those are not gone through.
        restore: Called in the midst of an epoch, when callbacks have heard of its beginning.
    """

    epoch: int = 0
    step: int = 0
    restore: Callable[[], None] = lambda: None


def fit(
    model: keras.Model,
    steps: Steps,
    elements: tf.data.Dataset,
    *,
    epochs: int,
    steps_per_epoch: int,
    validation: Callable[[keras.callbacks.Callback], Mapping[str, float]] | None,
    callbacks: Sequence[keras.callbacks.Callback],
    start: Start = Start(),
) -> keras.callbacks.History:
    """Train `model` up to the end of `epochs`, counted from 0.

    Args:
        model: Compiled; its `steps_per_execution` says how many steps make up a group.
        steps: Of `model`.
        elements: One for each step from `start` on.
        epochs: The epoch behind the last.
        steps_per_epoch: After which there is validation.
        validation: Figures behind an epoch, by name; called with what is to hear of it.
        callbacks: In the order of their calls.
        start: Where it begins.

    Raises:
        NonFiniteError, InputError: As `Steps.run`.
    """
    calls = keras.callbacks.CallbackList(
        list(callbacks),
        add_history=True,
        model=model,
        verbose=0,
        epochs=epochs,
        steps=steps_per_epoch,
    )
    model.stop_training = False
    calls.on_train_begin()
    iterator, logs, begin = iter(elements), None, start.step
    for epoch in range(start.epoch, epochs):
        model.reset_metrics()
        calls.on_epoch_begin(epoch)
        if begin:
            start.restore()
        _run(model, steps, iterator, range(begin, steps_per_epoch), calls)
        logs = dict(model.get_metrics_result())
        if validation is not None:
            logs |= {f"val_{name}": value for name, value in validation(calls).items()}
        calls.on_epoch_end(epoch, logs)
        begin = 0
        if model.stop_training:
            break
    model.optimizer.finalize_variable_values(model.trainable_variables)
    calls.on_train_end(logs)
    return model.history


def _run(
    model: keras.Model, steps: Steps, iterator: Any, left: range, calls: keras.callbacks.Callback
) -> None:
    """The steps that are left of an epoch, group by group."""
    group = model.steps_per_execution
    for first in left[::group]:
        calls.on_train_batch_begin(first)
        logs = steps.run(iterator, min(group, left.stop - first))
        # Keras names the last step of a full group, also where the epoch ends within it.
        calls.on_train_batch_end(first + group - 1, logs)
        if model.stop_training:
            break
