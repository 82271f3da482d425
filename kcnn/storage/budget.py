"""A limit on the variables that Keras makes while it loads a network, and on what it would give."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

from kcnn.errors import InputError, TooDeepError
from kcnn.startup import keras

#: Classes are patched below: one load at a time.
_LOADING = threading.RLock()


@contextlib.contextmanager
def budget(allowed: int, memory: int) -> Iterator[list[str]]:
    """Refuse to make more bytes of variables than `allowed`, in this thread.

    Refuses, too, layers that would give more than `memory` bytes for one image: 15 kB of
    `Concatenate` layers that double their channels give terabytes when they are first called.

    What was too much is in the list that this gives: Keras swallows some exceptions.
    """
    thread, used, refused = threading.get_ident(), 0, []

    def spend(needed: Callable[..., int], *arguments: Any, **options: Any) -> None:
        nonlocal used
        if threading.get_ident() != thread:
            return
        used += needed(*arguments, **options)
        if used > allowed:
            refuse(f"{used:,} bytes for variables", f"the file's weights bear out {allowed:,}")

    def refuse(needed: str, there: str) -> None:
        refused.append(f"{needed}, but {there}")
        raise InputError(refused[-1])

    def give(tensor: Any, shape: Any, dtype: Any = "float32", *_: Any, **__: Any) -> None:
        if threading.get_ident() == thread and (size := _bytes(shape, dtype)) > memory:
            refuse(
                f"{size:,} bytes for one layer's outputs for one image, {shape}",
                f"{memory:,} are free",
            )

    with (
        _LOADING,
        _first(keras.KerasTensor, "__init__", give),
        _first(keras.Variable, "__init__", functools.partial(spend, _variable_bytes)),
        # These two make arrays before they are variables, or without.
        _first(keras.layers.Normalization, "build", functools.partial(spend, _constant_bytes)),
        _first(keras.layers.RNN, "build", functools.partial(spend, _state_bytes)),
    ):
        yield refused


@contextlib.contextmanager
def same_types() -> Iterator[list[str]]:
    """Refuse weights of another type than their variable's: Keras would convert them, or try.

    What was refused is in the list that this gives: Keras swallows some exceptions.
    """
    thread, refused = threading.get_ident(), []

    def fit(variable: Any, value: Any, *_: Any, **__: Any) -> None:
        stored = getattr(value, "dtype", None)
        if threading.get_ident() != thread or stored is None:
            return
        name, wanted = str(getattr(stored, "name", stored)), str(variable.dtype)
        if name != wanted:
            refused.append(f"its weights for {variable.path!r} are {name}, which takes {wanted}")
            raise InputError(refused[-1])

    with _LOADING, _first(keras.Variable, "assign", fit):
        yield refused


@contextlib.contextmanager
def at_most(outputs: int) -> Iterator[None]:
    """Refuse networks with more outputs of layers than `outputs`, while they are made.

    Raises:
        TooDeepError: In this thread.
    """
    thread, made = threading.get_ident(), 0

    def count(*_: Any, **__: Any) -> None:
        nonlocal made
        if threading.get_ident() == thread:
            made += 1
            if made > outputs:
                raise TooDeepError(f"The network has more than {outputs:,} layers: take fewer.")

    with _LOADING, _first(keras.KerasTensor, "__init__", count):
        yield


@contextlib.contextmanager
def _first(cls: type, method: str, check: Callable[..., None]) -> Iterator[None]:
    """Call `check` with the arguments of every call of a method, before it."""
    own, original = vars(cls).get(method), getattr(cls, method)

    @functools.wraps(original)  # Keras reads the names of parameters
    def checked(*arguments: Any, **options: Any) -> Any:
        check(*arguments, **options)
        return original(*arguments, **options)

    setattr(cls, method, checked)
    try:
        yield
    finally:
        if own is None:
            delattr(cls, method)
        else:
            setattr(cls, method, own)


def _elements(shape: Any) -> int:
    """The product of the dimensions that are known; Keras speaks up on what is no shape."""
    product = 1
    for dimension in shape if isinstance(shape, (tuple, list)) else [shape]:
        with contextlib.suppress(TypeError, ValueError, OverflowError):  # None, for example
            product *= abs(int(dimension))  # Keras takes what is no int, too
    return product


def _variable_bytes(
    variable: Any, initializer: Any, shape: Any = None, dtype: Any = None, *_: Any, **__: Any
) -> int:
    if shape is None:
        shape = tuple(getattr(initializer, "shape", ()))
    return _bytes(shape, dtype)


def _bytes(shape: Any, dtype: Any) -> int:
    bits = re.search(r"\d+", str(dtype or keras.config.floatx()))
    return _elements(shape) * (int(bits[0]) if bits else 32) // 8


def _constant_bytes(layer: Any, input_shape: Any = None, *_: Any, **__: Any) -> int:
    if layer.input_mean is None or not isinstance(input_shape, (tuple, list)):
        return 0  # then they are variables
    return 8 * _elements([input_shape[axis] for axis in layer.axis])


def _state_bytes(layer: Any, sequences_shape: Any = (), *_: Any, **__: Any) -> int:
    if not layer.stateful:
        return 0
    # (batch, time, [height, width,] features); the state has no time.
    batch, space = sequences_shape[:1], sequences_shape[2:-1]
    sizes = keras.tree.flatten(layer.state_size)
    return 4 * _elements([*batch, *space]) * sum(size for size in sizes if isinstance(size, int))
