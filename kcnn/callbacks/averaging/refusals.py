"""What an average cannot be made of: refused when training begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kcnn.callbacks.averaging import timetable
from kcnn.callbacks.averaging.timetable import Rate, Span
from kcnn.errors import InputError
from kcnn.startup import keras


def rate_of(optimizer: keras.optimizers.Optimizer) -> float:
    """The learning rate that an optimiser has now."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def refuse_few_snapshots(start: Span, every: Span, params: Mapping[str, Any], group: int) -> None:
    """Refuse a training in which an average would have fewer than two snapshots."""
    epochs, steps = params["epochs"], params["steps"]
    number = timetable.snapshots(start, every, epochs, steps, group)
    if number is not None and number < 2:
        length = f"{epochs} epochs" + (f" of {steps} steps" if steps else "")
        raise InputError(
            f"An average needs two snapshots; with start {start} and every {every}, a training of "
            f"{length} takes {number}. Train longer, start earlier, or take snapshots more often."
        )


def _refuse_schedules(optimizer: keras.optimizers.Optimizer, rate: float) -> None:
    """Refuse an optimiser whose learning rate cannot be set from outside."""
    try:
        optimizer.learning_rate = rate_of(optimizer)
    except (TypeError, AttributeError) as error:  # a schedule; another function
        raise InputError(
            f"The learning rate of the optimizer {optimizer.name!r} is a schedule, which cannot be "
            f"set from outside; received learning_rate={rate} for averaging. Give the optimizer a "
            f"number, or leave all to the schedule: learning_rate=None."
        ) from error


def refuse_keepers(
    average: keras.callbacks.Callback, others: Sequence[keras.callbacks.Callback]
) -> None:
    """Refuse callbacks that would keep other weights than those whose figures they go by.

    At the end of an epoch the model has its raw weights; `swa_val_` figures are of the average.

    Args:
        average: Weight averaging.
        others: All callbacks of the training, in their order.
    """
    behind = False
    for callback in others:
        behind = behind or callback is average
        monitor, name = str(getattr(callback, "monitor", "")), type(callback).__name__
        saves = isinstance(callback, keras.callbacks.ModelCheckpoint)
        stops = isinstance(callback, keras.callbacks.EarlyStopping)
        restores = stops and callback.restore_best_weights
        keeps = restores or (saves and callback.save_best_only)
        named = saves and "{swa_val_" in str(callback.filepath)
        if named or (keeps and monitor.startswith("swa_val_")):
            raise InputError(
                f"{name} goes by {'its path' if named else repr(monitor)}, a figure of the "
                f"averaged weights, and would keep the raw ones, which the model has at the end of "
                f"an epoch. The average is in the model when fit has ended: save it then. "
                f"EarlyStopping may go by the figure without restore_best_weights."
            )
        if restores and behind:
            raise InputError(
                f"{name} behind StochasticWeightAveraging puts the weights of its best epoch over "
                f"the average at the end of training. Leave out restore_best_weights, or put it in "
                f"front."
            )


def refuse_rate(
    optimizer: keras.optimizers.Optimizer,
    rate: Rate,
    start: Span,
    every: Span,
    params: Mapping[str, Any],
) -> None:
    """Refuse a rate that cannot be set, and cycles whose length is not known when they begin."""
    _refuse_schedules(optimizer, rate.low)
    first = start.unit != "steps" and timetable.first_epoch(start, 1) == 0
    unknown = params["steps"] is None and every.unit == "epochs"
    if rate.high is not None and unknown and first:
        raise InputError(
            f"Cycles of {every} need to know the steps of an epoch, which are unknown in the "
            f"first. Pass steps_per_epoch to fit, or start later."
        )
