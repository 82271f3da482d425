"""A problem whose images are stored: arrays in memory, or files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kcnn.data import (
    Feed,
    evaluation_batches,
    fill_cache,
    statistics,
    steps_per_epoch,
    training_feed,
)
from kcnn.data.batches.targets import Targets
from kcnn.data.sets.forms import PARTS
from kcnn.errors import InputError
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.recipes.recipe import Recipe
from kcnn.startup import tf
from kcnn.tasks.problem import DataProblem, Size


@dataclass(frozen=True, eq=False)
class StoredProblem(DataProblem):
    """`Data`, read as a training needs them.

    Args:
        cache: Of image files: where they are kept decoded.
    """

    cache: str | None = None

    @cached_property
    def _statistics(self) -> dict[Size, tuple[np.ndarray, np.ndarray]]:
        return {}

    @property
    def class_counts(self) -> np.ndarray:
        """(K,) training images of each class."""
        return np.bincount(self.data.train.labels, minlength=len(self.class_names))

    def statistics(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (C,) of the training split; computed once for each size."""
        if size not in self._statistics:
            self._statistics[size] = statistics(self.data.train, image_size=self._fit(size))
        return self._statistics[size]

    def steps(self, recipe: Recipe) -> int:
        """Steps of an epoch; the last batch of an epoch is whole."""
        return steps_per_epoch(len(self.data.train), recipe.images_per_step)

    def training(self, recipe: Recipe, size: Size, targets: Targets, start: int) -> Feed:
        """Batches as a function of (seed, step), from `start` on."""
        return training_feed(
            self.data.train,
            recipe.images_per_step,
            targets=targets,
            seed=recipe.seed,
            augment=recipe.augment,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
            colour=recipe.colour or 0.0,
            image_size=self._fit(size),
            start=start,
            balanced=recipe.balanced,
            cache=recipe.cache,
        )

    def evaluation(
        self, part: str, batch_size: int, size: Size, targets: Targets, scale: float = 1.0
    ) -> tf.data.Dataset:
        """Batches of a split in stored order."""
        return evaluation_batches(
            getattr(self.data, part),
            batch_size,
            targets=targets,
            image_size=self._fit(size),
            scale=scale,
            cache=self.cache if self.is_files else None,
        )

    def fill_cache(
        self, recipe: ResolvedRecipe, size: Size, progress: Callable[[int], None]
    ) -> None:
        """Decode the files of all splits into the cache."""
        assert recipe.cache is not None
        if not self.is_files:
            raise InputError(
                f"cache={recipe.cache!r} keeps image files decoded; the data {self.name!r} are no "
                f"files. Leave it out."
            )
        done = 0
        for part in filter(self.sizes.get, PARTS):
            train = part == "train"
            fill_cache(
                getattr(self.data, part),
                size,
                recipe.cache,
                augment=recipe.augment if train else "none",
                scale=1.0 if train else recipe.evaluation_scale,
                progress=_from(done, progress),
            )
            done += self.sizes[part]

    def _fit(self, size: Size) -> Size | None:
        """What files are fit to; arrays keep their size."""
        return size if self.is_files else None


def _from(before: int, progress: Callable[[int], None]) -> Callable[[int], None]:
    return lambda count: progress(before + count)
