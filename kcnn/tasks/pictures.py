"""A problem of pictures with masks or boxes: trained on windows, evaluated whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kcnn.data import Feed, steps_per_epoch
from kcnn.data.batches.pictures import (
    picture_batches,
    picture_feed,
    read_picture,
    sizes_of,
    usual_size,
)
from kcnn.data.batches.pipeline import moments
from kcnn.data.batches.targets import Targets
from kcnn.data.batches.views import (
    fitting,
    fitting_view,
    reduction,
    resized,
    scaled_size,
    whole_view,
)
from kcnn.data.sets.annotations import View
from kcnn.errors import InputError
from kcnn.graph.cost import largest_stride
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras, tf
from kcnn.tasks.problem import DataProblem, Size

#: Pictures of which statistics are taken.
_SAMPLE = 500
#: What the sides of windows are a multiple of, and the longest of them, where nobody says.
_MULTIPLE, _LONGEST = 32, 320


@dataclass(frozen=True)
class Whole:
    """How a whole picture goes into a network.

    Args:
        multiple: Of which the sides are, with padding behind the picture; None: `size` alone.
        size: (H, W) of a network of one size, to which larger pictures are scaled down.
        longest_side: As in a recipe.
    """

    multiple: int | None = 1
    size: Size | None = None
    longest_side: int | None = None

    def view(self, source: Size) -> View:
        """Of a picture of that size."""
        if self.multiple is None:
            assert self.size is not None
            return fitting_view(source, self.size)
        return whole_view(source, factor=self.factor(source), multiple=self.multiple)

    def factor(self, source: Size) -> float:
        """By which a picture of that size is scaled, in a training as in an evaluation."""
        if self.multiple is None:
            assert self.size is not None
            return fitting(source, self.size)
        return reduction(source, self.longest_side)


def whole_of(network: keras.Model, recipe: Recipe) -> Whole:
    """How whole pictures go into the network of a run, by its graph."""
    height, width = network.input_shape[1:3]
    if height is not None and width is not None:
        return Whole(None, (height, width))
    return Whole(largest_stride(network), None, recipe.longest_side)


@dataclass(frozen=True, eq=False)
class PictureProblem(DataProblem):
    """`Data` whose labels are annotations, read as a training needs them.

    Args:
        whole: How pictures are evaluated; a plan decides it.
    """

    whole: Whole = Whole()

    def window(self, longest_side: int | None) -> Size:
        """(H, W) of the windows of a training where nobody says: of the middle picture, at most."""
        height, width = usual_size(self._sizes_of("train"), longest_side)
        return _rounded(height), _rounded(width)

    def statistics(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (C,) of the training pictures, of many those of a fixed sample."""
        train = self.data.train
        indices = np.arange(len(train))
        if len(train) > _SAMPLE:
            indices = np.sort(np.random.default_rng(0).choice(len(train), _SAMPLE, replace=False))
        return moments(self._scaled(int(index)) for index in indices)

    def _scaled(self, index: int) -> np.ndarray:
        image = read_picture(self.data.train, index)
        height, width = image.shape[:2]
        return resized(image, scaled_size((height, width), self.whole.factor((height, width))))

    def steps(self, recipe: Recipe) -> int:
        """Steps of an epoch; the last batch of an epoch is whole."""
        return steps_per_epoch(len(self.data.train), recipe.images_per_step)

    def training(self, recipe: Recipe, size: Size, targets: Targets, start: int) -> Feed:
        """Windows as a function of (seed, step), from `start` on."""
        return picture_feed(
            self.data.train,
            recipe.images_per_step,
            window=size,
            targets=targets,
            seed=recipe.seed,
            augment=recipe.augment,
            scale=recipe.scale or 1.0,
            colour=recipe.colour or 0.0,
            factor=self.whole.factor,
            start=start,
        )

    def evaluation(
        self, part: str, batch_size: int, size: Size, targets: Targets, scale: float = 1.0
    ) -> tf.data.Dataset:
        """Whole pictures of a split, in stored order; `size` and `scale` are of windows."""
        split = getattr(self.data, part)
        return picture_batches(
            split, batch_size, view=self.whole.view, sizes=self._sizes_of(part), targets=targets
        )

    def picture(self, part: str, index: int) -> tuple[np.ndarray, View]:
        """A picture (H, W, C) of a split as it is, and how it goes in."""
        image = read_picture(getattr(self.data, part), index)
        height, width = image.shape[:2]
        return image, self.whole.view((height, width))

    def picture_name(self, part: str, index: int) -> str:
        """What people call that picture."""
        files = getattr(self.data, part).files
        return f"picture {index}" if files is None else files[index].name

    def fill_cache(
        self, recipe: ResolvedRecipe, size: Size, progress: Callable[[int], None]
    ) -> None:
        """Refused: pictures with masks or boxes are cut anew at each step."""
        raise InputError(
            f"cache={recipe.cache!r} keeps image files decoded at one size; pictures with masks or "
            f"boxes are read whole, at each step. Leave it out."
        )

    @cached_property
    def _known_sizes(self) -> dict[str, np.ndarray]:
        return {}

    def _sizes_of(self, part: str) -> np.ndarray:
        if part not in self._known_sizes:
            self._known_sizes[part] = sizes_of(getattr(self.data, part))
        return self._known_sizes[part]


def _rounded(side: int) -> int:
    return min(-(-side // _MULTIPLE) * _MULTIPLE, _LONGEST)
