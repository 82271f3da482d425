"""A problem, ready to be read by a training: three splits, and what is to be learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from kcnn.data import Data
from kcnn.data.batches.feed import Feed
from kcnn.data.batches.targets import Targets
from kcnn.data.sets.arrays import ends
from kcnn.data.sets.forms import PARTS
from kcnn.errors import InputError
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.recipes.recipe import Recipe
from kcnn.startup import tf

#: The three splits and their jobs: fit, choose, report.

Size = tuple[int, int]


class Problem(Protocol):
    """What a training reads. Two kinds: `StoredProblem` and `StreamProblem`."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        """(H, W, C); None where images differ."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers; empty where there are none."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Images in train, validation and test."""

    @property
    def provenance(self) -> str:
        """One line: where the images come from."""

    @property
    def fingerprint(self) -> str:
        """Of all the data."""

    @property
    def duplicates(self) -> Mapping[str, Any] | None:
        """How many images are there twice (`kcnn.data.sets.duplicates`); None: not known."""

    @property
    def source(self) -> str | None:
        """What `load_data` takes to give it again; None for data of the caller's own."""

    @property
    def batch_size(self) -> int | None:
        """Of data that are batched already."""

    @property
    def is_files(self) -> bool:
        """Whether images are files, which the pipeline decodes, fits, and may cache."""

    def statistics(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (C,) of the training split at the size that the network sees."""

    @property
    def pixels(self) -> dict[str, Any]:
        """Of the training images: their "dtype", and the "range" of their values."""

    def steps(self, recipe: Recipe) -> int:
        """Steps of an epoch."""

    def training(self, recipe: Recipe, size: Size, targets: Targets, start: int) -> Feed:
        """The feed of the steps from `start` on, without end."""

    def evaluation(
        self, part: str, batch_size: int, size: Size, targets: Targets, scale: float = 1.0
    ) -> tf.data.Dataset:
        """Batches (images, targets) of a split, in stored order.

        Photographs are fit to `scale` times `size`, of which the middle is used.
        """

    def fill_cache(
        self, recipe: ResolvedRecipe, size: Size, progress: Callable[[int], None]
    ) -> None:
        """Decode image files into the recipe's cache, as training and evaluation need them.

        Raises:
            InputError: The images are no files.
        """


@dataclass(frozen=True, eq=False)
class DataProblem:
    """What a problem says of itself that `Data` pose: the ground of two kinds.

    Args:
        data: Three splits.
        source: What `load_data` takes to give them again.

    Raises:
        InputError: The validation split is empty.
    """

    data: Data
    source: str | None = field(default=None, kw_only=True)

    batch_size = None  # a recipe's affair

    def __post_init__(self) -> None:
        if not len(self.data.validation):
            raise InputError(
                "The validation split is empty; epochs are chosen on it. Give a share such as "
                "validation=0.1."
            )

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        return self.data.image_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.data.class_names

    @property
    def provenance(self) -> str:
        return self.data.provenance

    @property
    def fingerprint(self) -> str:
        return self.data.fingerprint

    @property
    def duplicates(self) -> Mapping[str, Any] | None:
        return self.data.duplicates

    @property
    def is_files(self) -> bool:
        return self.data.is_files

    @cached_property
    def sizes(self) -> dict[str, int]:
        return {part: len(getattr(self.data, part)) for part in PARTS}

    @cached_property
    def pixels(self) -> dict[str, Any]:
        """Files hold bytes."""
        if self.is_files:
            return {"dtype": "uint8", "range": [0, 255]}
        images = self.data.train.array
        return {"dtype": images.dtype.name, "range": ends(images)}


def description(problem: Problem) -> dict[str, Any]:
    """What a run directory keeps of a problem."""
    return {
        "name": problem.name,
        "source": problem.source,
        "provenance": problem.provenance,
        "fingerprint": problem.fingerprint,
        "images": dict(problem.sizes),
        "image_shape": problem.image_shape,
        "class_names": problem.class_names,
        "pixels": problem.pixels,
        "duplicates": problem.duplicates,
    }
