"""What averaging takes of the data that `fit` was called with, or of others in their place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcnn.errors import InputError
from kcnn.graph.fit_data import FitData
from kcnn.graph.readable import check_readable, is_endless
from kcnn.startup import keras


def training_data(
    fit: FitData | None, data: Any, steps: int | None, epoch: int | None
) -> tuple[Any, int | None, int | None]:
    """The data of a pass over the training data: they, size of a batch of arrays, batches.

    Args:
        fit: Of the running `fit`, if it was found.
        data: What is to be used instead.
        steps: How many batches; by default all, or those of an epoch if there is no end of them.
        epoch: Steps of an epoch, if known.

    Raises:
        InputError: There are none that can be read again.
    """
    if data is None and fit:
        data, steps = fit.x, steps or fit.steps
    elif is_endless(data):
        steps = steps or epoch
    if data is None:
        raise InputError(
            "BatchNorm's statistics are computed anew from the training data, and those of fit "
            f"cannot be found. {_ADVICE}"
        )
    try:
        check_readable(data, steps)
    except InputError as error:
        raise InputError(f"{error} {_ADVICE}") from error
    return data, fit.batch_size if fit else None, steps


#: What to do where the training data cannot be had.
_ADVICE = (
    "Give the callback the data: StochasticWeightAveraging(data=...); or let it average the "
    "statistics like weights, which is not exact: recalibrate=False."
)


def evaluate_options(fit: FitData | None, data: Any) -> dict[str, Any]:
    """Arguments of `model.evaluate` for what `fit` validates on, or for `data` instead.

    Raises:
        InputError: There are none that can be read again.
    """
    steps = None
    if data is None and fit:
        data, steps = fit.validation, fit.validation_steps
    if data is None:
        raise InputError(
            "validate=True evaluates the averaged model after each epoch, and fit has "
            f"no validation data that could be found. {_VALIDATION_ADVICE}"
        )
    if isinstance(data, Iterator) or (steps is None and is_endless(data)):
        raise InputError(
            f"validate=True reads validation data once an epoch; received {type(data).__name__}, "
            f"which is used up by reading or has no end. {_VALIDATION_ADVICE}"
        )
    if not isinstance(data, tuple):
        return {"x": data, "steps": steps}
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    batch_size = (fit.validation_batch_size or fit.batch_size) if fit else None
    parts = {"x": x, "y": y, "sample_weight": sample_weight}
    return parts | {"batch_size": batch_size, "steps": steps}


_VALIDATION_ADVICE = "Give the callback some: StochasticWeightAveraging(validation_data=...)."


def evaluated(model: keras.Model, fit: FitData | None, data: Any) -> dict[str, float]:
    """Loss and metrics of `model` on `data`, or on what `fit` validates with."""
    options = evaluate_options(fit, data)
    figures = model.evaluate(**options, verbose=0, return_dict=True)
    return {name: float(value) for name, value in figures.items()}
