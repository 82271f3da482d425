"""What a callback knows, as plain values and arrays, out of it and into it again."""

from __future__ import annotations

import copy
import inspect
import random
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.startup import keras
from kcnn.storage import archive

_KIND, _CONTAINERS = "kcnn.kind", (list, tuple, dict, set, frozenset, deque)

#: TensorBoard's count of batches, by which their figures go. Keras 3.15.1 has no public name for
#: it; `tests/callbacks/test_callbacks.py` notices when it changes.
_BATCHES = "_global_train_batch"

#: What Keras hands to every callback: not the callback's own.
_GIVEN = {"_model", "params", "validation_data"}


def configuration(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """What a callback was made with: attributes that are called like arguments of its class.

    To be asked for before training: one that has another value later is a part of the state.
    """
    names = set()
    for kind in type(callback).__mro__:
        if "__init__" in vars(kind):
            names |= set(inspect.signature(vars(kind)["__init__"]).parameters)
    own = vars(callback)
    return {n: copy.deepcopy(own[n]) for n in names & own.keys() if is_kept(own[n])}


def state_of(callback: keras.callbacks.Callback, made_with: Mapping[str, Any] | None = None) -> Any:
    """The state of a callback between two steps or epochs, never its configuration.

    A callback with `get_state` and `set_state` says itself what it is. Of another one it is every
    attribute that is data: numbers, text, NumPy arrays, and lists, dicts, sets and deques of them,
    but for those that it was made with and that are as they were. (So Keras' EarlyStopping,
    ReduceLROnPlateau, ModelCheckpoint and History are complete.) Keras' callbacks that only write
    files and lines have none, but for TensorBoard's count of batches.

    Args:
        callback: Of a training.
        made_with: Its `configuration` when the training began.
    """
    if hasattr(callback, "get_state"):
        return callback.get_state()
    if isinstance(callback, _writers()):
        return {_BATCHES: getattr(callback, _BATCHES)} if hasattr(callback, _BATCHES) else {}
    given = _GIVEN
    if hasattr(callback, "monitor_op"):
        # Keras turns its sign when it sets `monitor_op`, in every process anew.
        given = _GIVEN | {"min_delta"}
    own = {name: value for name, value in vars(callback).items() if name not in given}
    made_with = made_with or {}
    return {
        name: _encoded(value)
        for name, value in own.items()
        if is_kept(value) and not (name in made_with and _same(value, made_with[name]))
    }


def restore_state(callback: keras.callbacks.Callback, state: Any) -> None:
    """Put what `state_of` gave into `callback`, one of the same class."""
    if hasattr(callback, "set_state"):
        callback.set_state(state)
        return
    # Checkpoints of before hold what Keras' own were made with, too.
    foreign = not type(callback).__module__.startswith("keras.")
    made_with = {} if foreign else configuration(callback)
    own = {n: _decoded(v) for n, v in state.items() if n not in made_with}
    if methods := [name for name in own if callable(getattr(type(callback), name, None))]:
        raise ValueError(f"{', '.join(methods)} is what it does, not what it knows")
    vars(callback).update(own)


def lost(callback: keras.callbacks.Callback) -> list[str]:
    """Names of the attributes that hold data which a checkpoint cannot."""
    if hasattr(callback, "get_state") or isinstance(callback, _writers()):
        return []
    own = {name: value for name, value in vars(callback).items() if name not in _GIVEN}
    return [n for n, v in own.items() if isinstance(v, _CONTAINERS) and v and not is_kept(v)]


def is_kept(value: Any) -> bool:
    """Whether a checkpoint can hold it."""
    return archive.is_plain(_encoded(value))


def _encoded(value: Any) -> Any:
    """Sets and deques as plain data."""
    if isinstance(value, (set, frozenset)):
        return {_KIND: type(value).__name__, "items": [_encoded(item) for item in value]}
    if isinstance(value, deque):
        return {_KIND: "deque", "items": [*map(_encoded, value)], "maxlen": value.maxlen}
    if isinstance(value, dict):
        return {name: _encoded(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_encoded(item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_decoded(item) for item in value)
    if not isinstance(value, dict):
        return value
    if _KIND not in value:
        return {name: _decoded(item) for name, item in value.items()}
    items = [_decoded(item) for item in value["items"]]
    if value[_KIND] == "deque":
        return deque(items, value["maxlen"])
    return frozenset(items) if value[_KIND] == "frozenset" else set(items)


def _same(a: Any, b: Any) -> bool:
    try:
        return type(a) is type(b) and bool(np.all(a == b))
    except ValueError:  # of arrays in lists
        return False


class States:
    """The states of several callbacks, which belong to a training that begins now.

    Warns of what is no plain data, and so is not kept.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        self._callbacks = [(callback, configuration(callback)) for callback in callbacks]
        for callback in callbacks:
            if names := lost(callback):
                warnings.warn(
                    f"{type(callback).__name__}.{names[0]} is not kept in checkpoints: it holds "
                    f"more than numbers, text and arrays. Give the callback get_state and "
                    f"set_state.",
                    stacklevel=4,
                )

    def take(self) -> list[list[Any]]:
        """Name and state of each."""
        return [[type(c).__name__, state_of(c, made_with)] for c, made_with in self._callbacks]

    def restore(self, taken: Sequence[Sequence[Any]]) -> None:
        """Put what `take` gave back.

        Raises:
            InputError: What was taken is no state of that callback.
        """
        for (callback, _), (name, state) in zip(self._callbacks, taken, strict=True):
            try:
                restore_state(callback, state)
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise InputError(
                    f"The checkpoint's state of {name} is not one of it: "
                    f"{type(error).__name__}: {error}."
                ) from error


def surroundings(model: keras.Model) -> dict[str, Any]:
    """What belongs to a training of `model` and is in no callback: history and random numbers."""
    history = getattr(model, "history", None)
    return {
        "history": {} if history is None else {"epoch": history.epoch, "history": history.history},
        "random": {"python": random.getstate(), "numpy": np.random.get_state()},
    }


def restore_surroundings(model: keras.Model, found: Mapping[str, Any]) -> None:
    """Put what `surroundings` gave back."""
    course = found["history"]
    vars(model.history).update({n: course[n] for n in ("epoch", "history") if n in course})
    random.setstate(found["random"]["python"])
    np.random.set_state(found["random"]["numpy"])


def _writers() -> tuple[type, ...]:
    kinds = keras.callbacks
    return kinds.CSVLogger, kinds.TensorBoard, kinds.ProgbarLogger, kinds.RemoteMonitor
