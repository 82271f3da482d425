"""Whether `fit` gets the batches that it got, as far as the first of them and its arguments say."""

from __future__ import annotations

import hashlib
import warnings
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.fit_data import FitData, fit_data
from kcnn.graph.readable import as_numpy, is_arrays
from kcnn.startup import keras

#: In place of a digest: of data of which every reading, or every epoch, gives other batches.
SHUFFLED = "other ones at each reading"


def first(model: keras.Model, found: dict[str, Any] | None) -> str | None:
    """A digest of the first batch of what the `fit` of `model` reads; None where it is unknown.

    Warns where no checkpoint can bring the batches back.

    Args:
        model: Whose `fit` is running.
        found: The checkpoint from which it goes on, if it does.

    Raises:
        InputError: It would go on with other batches, and that can be seen.
    """
    fit = fit_data(model)
    here = None if fit is None else _first_of(fit)
    there = found.get("first") if found else None
    if fit and found and there and here and SHUFFLED not in (there, here):
        _refuse_others(fit, there, here, found["epoch"])
    return here


def _first_of(fit: FitData) -> str | None:
    if is_arrays(fit.x) or isinstance(fit.x, keras.utils.PyDataset):
        if fit.shuffle:
            _warn(
                "fit(shuffle=True), its default, orders the data by a state that no checkpoint "
                "holds",
                "shuffle=False, with data whose order is a function of the epoch,",
            )
            return SHUFFLED
        if is_arrays(fit.x):
            size = fit.batch_size or 32
            leaves = keras.tree.flatten([fit.x, fit.y])
            return _digest([a[:size] for a in leaves if a is not None])
        return None if fit.x.num_batches == 0 else _digest(fit.x[0])
    if not _is_tf(fit.x):
        return None
    found = _batch(fit.x, 0)
    if found is not None and found != _batch(fit.x, 0):
        _warn(
            "The data set gives other batches at each reading",
            ".shuffle(..., reshuffle_each_iteration=False)",
        )
        return SHUFFLED
    return found


def _refuse_others(fit: FitData, there: str, here: str, epoch: int) -> None:
    if fit.steps is not None and _is_tf(fit.x):
        # `fit` reads on from epoch to epoch; what begins elsewhere may begin with this epoch.
        if there == here and epoch and _batch(fit.x, fit.steps) != here:
            raise InputError(
                f"steps_per_epoch={fit.steps} is no whole pass over the data set: fit read on "
                f"where an epoch ended, and now would begin at its start. Give ExactCheckpoint "
                f"data='step', and fit the data set with .skip(checkpoint.step)."
            )
    elif there != here:
        raise InputError(
            f"The first batch of the data is not the one of the training that goes on (digest "
            f"{here}, then {there}): these are other data, or in another order. Nothing was "
            f"changed."
        )


def _warn(what: str, remedy: str) -> None:
    warnings.warn(
        f"{what}: a training that goes on from a checkpoint gets other batches than it would have "
        f"had. {remedy} repeats them.",
        stacklevel=5,
    )


def _is_tf(data: Any) -> bool:
    return hasattr(data, "element_spec") and hasattr(data, "skip")


def _batch(data: Any, number: int) -> str | None:
    """A digest of the batch of that number, from 0."""
    batch = next(iter(data.skip(number).take(1)), None)
    return None if batch is None else _digest(batch)


def _digest(batch: Any) -> str | None:
    """None for what is not made of arrays, such as ragged or sparse ones: it is not looked at."""
    digest = hashlib.sha256()
    try:
        for array in keras.tree.flatten(batch):
            values = np.ascontiguousarray(as_numpy(array))
            if values.dtype.hasobject:  # the array holds addresses
                if not all(isinstance(item, (str, bytes)) for item in values.flat):
                    return None
                held = repr(values.tolist()).encode()
            else:
                held = values.tobytes()
            digest.update(f"{values.dtype} {values.shape}".encode() + held)
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        return None
    return digest.hexdigest()[:16]
