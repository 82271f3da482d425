"""A limit on the variables that Keras makes while it loads a network."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

from kcnn.errors import InputError
from kcnn.startup import keras

#: Classes are patched below: one load at a time.
_LOADING = threading.RLock()


@contextlib.contextmanager
def budget(allowed: int) -> Iterator[list[int]]:
    """Refuse to make more bytes of variables than `allowed`, in this thread.

    The sum that was too much is in the list that this gives: Keras swallows some exceptions.
    """
    thread, used, refused = threading.get_ident(), 0, []

    def spend(needed: Callable[..., int], *arguments: Any, **options: Any) -> None:
        nonlocal used
        if threading.get_ident() != thread:
            return
        used += needed(*arguments, **options)
        if used > allowed:
            refused.append(used)
            raise InputError(f"{used:,} bytes of variables are needed")

    with (
        _LOADING,
        _first(keras.Variable, "__init__", functools.partial(spend, _variable_bytes)),
        # These two make arrays before they are variables, or without.
        _first(keras.layers.Normalization, "build", functools.partial(spend, _constant_bytes)),
        _first(keras.layers.RNN, "build", functools.partial(spend, _state_bytes)),
    ):
        yield refused


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
