"""Batches that other libraries load, as `tf.data`: Keras' `PyDataset`, PyTorch's `DataLoader`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from kcnn.data.sets.arrays import looks_channels_first
from kcnn.data.sets.forms import as_tuple, features
from kcnn.errors import InputError
from kcnn.startup import keras, tf

#: What is said where axes were guessed.
_TURNED = ", its images turned from (B, C, H, W)"

_SHOWN = 10  # keys that a remark lists

#: What gives the batches of an epoch.
Epoch = Callable[[], Iterable[Any]]


def as_stream(given: Any, part: str) -> tuple[tf.data.Dataset, str] | None:
    """A stream of batches (images (B, H, W, C), labels), and what it was; None for no stream.

    Weights (B,) of the images may stand behind them.

    Images of a `DataLoader` that look like PyTorch's (B, C, H, W) are turned, and it is said.

    Args:
        given: A part of the user's data.
        part: Which one.

    Raises:
        InputError: A loader without a length, or whose batches are not two arrays.
    """
    if isinstance(given, tf.data.Dataset):
        return _of_mappings(given)
    if isinstance(given, keras.utils.PyDataset):
        return _stream(lambda: _of_keras(given), given.num_batches, part), "PyDataset"
    torch = sys.modules.get("torch")  # who has a loader has imported it
    if torch is not None and isinstance(given, torch.utils.data.DataLoader):
        count = len(given) if hasattr(given.dataset, "__len__") else None
        stream, turned = _stream(lambda: map(_of_torch, given), count, part), False
        with contextlib.suppress(AttributeError, IndexError, TypeError):  # refused elsewhere
            turned = looks_channels_first(tuple(as_tuple(next(iter(given)))[0].shape))
        return stream, f"DataLoader{_TURNED if turned else ''}"
    return None


def _of_mappings(given: tf.data.Dataset) -> tuple[tf.data.Dataset, str]:
    """A stream of tuples, of one of mappings such as {"image": ..., "label": ...} as well."""
    keys = features(given.element_spec)
    if keys is None:
        return given, "tf.data.Dataset"
    stream = given.map(as_tuple)
    if names := getattr(given, "class_names", None):
        stream.class_names = names
    unread = [str(key) for key in given.element_spec if key not in keys.values()]
    remark = f", of {', '.join(keys.values())}"
    remark += f" (not read: {', '.join(unread[:_SHOWN])})" if unread else ""
    return stream, f"tf.data.Dataset{remark}"


def _of_keras(given: keras.utils.PyDataset) -> Iterator[Any]:
    for index in range(given.num_batches):
        yield given[index]
    given.on_epoch_end()


def _of_torch(batch: Any) -> Any:
    batch = as_tuple(batch)
    if not isinstance(batch, (tuple, list)):
        return batch
    arrays = [value.numpy() if hasattr(value, "numpy") else value for value in batch]
    first = np.asarray(arrays[0])
    if looks_channels_first(first.shape):
        arrays[0] = np.ascontiguousarray(first.transpose(0, 2, 3, 1))
    return tuple(arrays)


def _stream(epoch: Epoch, count: int | None, part: str) -> tf.data.Dataset:
    if count is None:
        raise InputError(f"The {part!r} loader does not say how many batches an epoch has.")
    if not count:
        raise InputError(f"The {part!r} loader is empty.")

    def batches() -> Iterator[tuple[np.ndarray, ...]]:
        for batch in epoch():
            yield _arrays(batch, part)

    spec = tuple(
        tf.TensorSpec((None, *array.shape[1:]), tf.as_dtype(array.dtype))
        for array in next(iter(batches()))
    )
    stream = tf.data.Dataset.from_generator(batches, output_signature=spec)
    return stream.apply(tf.data.experimental.assert_cardinality(count))


def _arrays(batch: Any, part: str) -> tuple[np.ndarray, ...]:
    batch = as_tuple(batch)
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        raise InputError(
            f"The {part!r} loader must give pairs (images, labels), or (images, labels, weights); "
            f"received {type(batch).__name__}{size}."
        )
    arrays = tuple(np.asarray(value) for value in batch)
    if any(array.dtype.hasobject or array.dtype.kind == "U" for array in arrays):
        kinds = " and ".join(str(array.dtype) for array in arrays)
        raise InputError(f"The {part!r} loader gives {kinds}; all of them are numbers.")
    return arrays
