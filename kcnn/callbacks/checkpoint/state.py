"""What a callback knows, as plain values and arrays, out of it and into it again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from kcnn.startup import keras
from kcnn.storage import archive

#: What Keras hands to every callback: not the callback's own.
_GIVEN = {"_model", "params", "validation_data"}


def state_of(callback: keras.callbacks.Callback) -> Any:
    """The state of a callback between two steps or epochs.

    A callback with `get_state` and `set_state` says itself what it is. Of another one it is every
    attribute that is plain data: numbers, text, NumPy arrays, and lists and dicts of them. (So
    Keras' EarlyStopping, ReduceLROnPlateau, ModelCheckpoint and History are complete.) Keras'
    callbacks that only write files and lines have none.
    """
    if hasattr(callback, "get_state"):
        return callback.get_state()
    if isinstance(callback, _writers()):
        return {}
    given = _GIVEN
    if hasattr(callback, "monitor_op"):
        # Keras turns its sign when it sets `monitor_op`, in every process anew.
        given = _GIVEN | {"min_delta"}
    own = {name: value for name, value in vars(callback).items() if name not in given}
    return {name: value for name, value in own.items() if archive.is_plain(value)}


def restore_state(callback: keras.callbacks.Callback, state: Any) -> None:
    """Put what `state_of` gave into `callback`, one of the same class."""
    if hasattr(callback, "set_state"):
        callback.set_state(state)
    else:
        vars(callback).update(state)


def surroundings(model: keras.Model) -> dict[str, Any]:
    """What belongs to a training of `model` and is in no callback: history and random numbers."""
    history = getattr(model, "history", None)
    return {
        "history": {} if history is None else {"epoch": history.epoch, "history": history.history},
        "random": {"python": random.getstate(), "numpy": np.random.get_state()},
    }


def restore_surroundings(model: keras.Model, found: Mapping[str, Any]) -> None:
    """Put what `surroundings` gave back."""
    vars(model.history).update(found["history"])
    random.setstate(found["random"]["python"])
    np.random.set_state(found["random"]["numpy"])


def _writers() -> tuple[type, ...]:
    kinds = keras.callbacks
    return kinds.CSVLogger, kinds.TensorBoard, kinds.ProgbarLogger, kinds.RemoteMonitor
