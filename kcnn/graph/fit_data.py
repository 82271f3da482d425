"""The data that `fit` was called with, for callbacks, to which Keras gives only numbers of it.

A callback runs inside `fit`: its arguments lie in a frame up the stack, under the names of the
public signature. Checked with Keras 3.15.1; `tests/callbacks/averaging/test_swa.py` notices where
it changes.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from kcnn.startup import keras

#: Field: the argument of `keras.Model.fit`.
_ARGUMENTS = {
    "x": "x",
    "y": "y",
    "shuffle": "shuffle",
    "batch_size": "batch_size",
    "steps": "steps_per_epoch",
    "validation": "validation_data",
    "validation_batch_size": "validation_batch_size",
    "validation_steps": "validation_steps",
    "callbacks": "callbacks",
}


@dataclass(frozen=True)
class FitData:
    """Arguments of the running `fit`; with `validation_split`, the two parts it made."""

    x: Any
    y: Any
    shuffle: bool
    batch_size: int | None
    steps: int | None
    validation: Any
    validation_batch_size: int | None
    validation_steps: int | None
    callbacks: Any

    @property
    def others(self) -> list[keras.callbacks.Callback]:
        """All callbacks of the `fit`, in their order."""
        return list(getattr(self.callbacks, "callbacks", self.callbacks) or ())


def fit_data(model: keras.Model) -> FitData | None:
    """What the `fit` of `model` that is running was called with; None where none is found."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "fit":
            names = frame.f_locals
            if names.get("self") is model and set(_ARGUMENTS.values()) <= set(names):
                return FitData(**{field: names[name] for field, name in _ARGUMENTS.items()})
        frame = frame.f_back
    return None
