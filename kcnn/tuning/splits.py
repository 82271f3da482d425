"""What trials see of the data, and what only the winner sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from kcnn.data import Data, from_arrays, load_data, preflight
from kcnn.data.sets.duplicates import without_duplicates
from kcnn.data.sets.forms import parts_of
from kcnn.data.sets.tables import from_frame, is_frame
from kcnn.recipes.recipe import Recipe
from kcnn.startup import tf
from kcnn.tasks.task import Task


def whole(data: Any, base: Recipe, task: Task) -> Any:
    """All splits, without the pictures that are there twice where the recipe wants that.

    Raises:
        InputError: Data that cannot be trained on.
    """
    found = _whole(data, base, task)
    if base.deduplicate == "no" or not isinstance(found, Data):
        return found
    return without_duplicates(preflight(found, skip_bad=base.skip_bad), base.deduplicate)


def _whole(data: Any, base: Recipe, task: Task) -> Any:
    """All splits: of `base.data`, or of the user's own `data` in its place.

    Arrays are divided here, by the seed of the search, so that all trials choose on the same
    images.

    Raises:
        InputError: Data that cannot be trained on.
    """
    size, seed = base.validation_size, base.seed_of_split
    if data is None:
        data = load_data(
            base.data,
            validation=size,
            seed=seed,
            task=task.name,
            ignore=base.ignore,
            columns=base.columns,
        )
        return data if data.train.annotations is None else preflight(data)
    if is_frame(data):
        return from_frame(data, base.columns, validation=size, seed=seed)
    if task.whole:
        return getattr(task.problem(data, base, None), "data", data)
    parts = None if isinstance(data, Data) else parts_of(data)
    if parts is None or _streams(parts):
        return parts or data
    return from_arrays(**parts, validation_size=size, seed=seed)


def without_test(data: Any) -> Any:
    """The same, with nothing to test on: no trial can look."""
    if isinstance(data, Data):
        return dataclasses.replace(data, test=data.test.take(np.arange(0)))
    return {part: stream for part, stream in data.items() if part != "test"}


def _streams(data: Mapping[str, Any]) -> bool:
    return any(isinstance(part, tf.data.Dataset) for part in data.values())
