"""What a training reads: splits of arrays or files, or the user's own `tf.data`, as one problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kcnn.data import Data, from_arrays
from kcnn.errors import InputError
from kcnn.recipes.recipe import Recipe
from kcnn.startup import tf
from kcnn.tasks.problem import PARTS
from kcnn.tasks.stored import StoredProblem
from kcnn.tasks.streams import StreamProblem, surveyed


def as_problem(data: Any, recipe: Recipe) -> StoredProblem | StreamProblem:
    """The problem that the user's `data` pose; a stream's has no class names yet.

    Args:
        data: `Data`; (images, labels); a mapping of "train", "validation", "test" to such
            pairs or to batched `tf.data.Dataset`s.
        recipe: For the share and the seed of splits that are to be made.

    Raises:
        InputError: Anything else, and whatever `kcnn.from_arrays` refuses.
    """
    if isinstance(data, Data):
        return StoredProblem(data, recipe.cache)
    if isinstance(data, tuple) and len(data) == 2:
        data = {"train": data}
    if isinstance(data, Mapping) and "train" in data and set(data) <= set(PARTS):
        if all(isinstance(part, tf.data.Dataset) for part in data.values()):
            return StreamProblem(dict(data), surveyed(data, recipe), ())
        parts = dict(data)
        divided = from_arrays(
            parts.pop("train"),
            **parts,
            seed=recipe.seed_of_split,
            validation_size=recipe.validation_size,
        )
        return StoredProblem(divided, recipe.cache)
    raise InputError(
        f"data is a kcnn.Data, a pair (images, labels), or a mapping of 'train', 'validation' and "
        f"'test' to such pairs or to tf.data.Datasets; received {type(data).__name__}"
        f"{f' with keys {sorted(data)}' if isinstance(data, Mapping) else ''}. A tf.data.Dataset "
        f"cannot be split: pass {{'train': ..., 'validation': ...}}."
    )
