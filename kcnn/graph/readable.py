"""Data that a model is run over: what they are, and whether they can be read through."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.startup import keras


def check_readable(data: Any, steps: int | None = None) -> None:
    """Refuse `data` that a pass would consume, or never come to the end of.

    Raises:
        InputError: It is an iterator, or endless without `steps`.
    """
    if steps is not None and steps < 1:
        raise InputError(f"steps is a number of batches from 1 up; received {steps!r}.")
    if _is_empty(data):
        raise InputError("The data for BatchNorm's statistics are empty.")
    if isinstance(data, Iterator):
        raise InputError(
            f"A pass over the data for BatchNorm's statistics needs data that can be read again; "
            f"received {type(data).__name__}, which is used up by reading. Pass arrays, a "
            f"tf.data.Dataset or a keras.utils.PyDataset."
        )
    if steps is None and is_endless(data):
        raise InputError(
            "The data has no end (a repeated data set). Say how many batches make one pass: "
            "steps=... (in fit, steps_per_epoch)."
        )


def _is_empty(data: Any) -> bool:
    if hasattr(data, "cardinality"):  # of TensorFlow; -2: not known
        return int(data.cardinality()) == 0
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches == 0
    return is_arrays(data) and len(keras.tree.flatten(data)[0]) == 0


def is_endless(data: Any) -> bool:
    """Whether `data` are batches without end: a repeated data set."""
    if hasattr(data, "cardinality"):  # of TensorFlow
        return int(data.cardinality()) == -1
    return isinstance(data, keras.utils.PyDataset) and data.num_batches is None


class Mixed(keras.utils.PyDataset):
    """Batches of arrays in a random order that is always the same."""

    def __init__(self, arrays: Any, batch_size: int) -> None:
        super().__init__()
        self.arrays = keras.tree.map_structure(as_numpy, arrays)
        self.batch_size = batch_size
        samples = len(keras.tree.flatten(self.arrays)[0])
        self.order = np.random.default_rng(0).permutation(samples)

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, i: int) -> tuple[Any]:
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        return (keras.tree.map_structure(lambda array: array[rows], self.arrays),)


def is_arrays(data: Any) -> bool:
    """Whether `data` are arrays, or a structure of such, in memory."""
    leaves = keras.tree.flatten(data)
    return bool(leaves) and all(hasattr(x, "shape") and hasattr(x, "__array__") for x in leaves)


def as_numpy(array: Any) -> np.ndarray:
    """An array of NumPy's, or of the backend, as NumPy's."""
    return array if isinstance(array, np.ndarray) else keras.ops.convert_to_numpy(array)
