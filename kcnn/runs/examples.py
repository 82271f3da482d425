"""Training pictures as they are, and as a recipe's augmentation shows them to a network."""

from __future__ import annotations

import dataclasses

import numpy as np

from kcnn.data import Data, Split, training_feed
from kcnn.data.batches.feed import Feed
from kcnn.data.batches.order import training_steps
from kcnn.data.batches.pictures import picture_feed, read_picture, sizes_of, usual_size
from kcnn.draw.pictures import as_bytes
from kcnn.draw.strips import Strip, strips, width_of
from kcnn.errors import InputError
from kcnn.recipes.augmentations import refuse_bending, refuse_other_than_bytes
from kcnn.recipes.defaults import ResolvedRecipe, resolve
from kcnn.recipes.families import OTHERS
from kcnn.recipes.recipe import Recipe
from kcnn.startup import tf

_COUNT, _COLUMNS, _CELL = 16, 8, 112
_LONGEST = 224  # pixels of the longer side of pictures from files, where nobody says


def augmented_sheet(
    data: Data, recipe: Recipe, image_size: tuple[int, int] | None = None
) -> tuple[bytes, str]:
    """A PNG of sixteen training pictures, of all classes in turn, and of the same augmented.

    Args:
        data: Past the preflight where they are files.
        recipe: Of which `augment`, `colour`, `scale` and `seed` count.
        image_size: (H, W) to which files are fit, or of the windows of pictures with masks or
            boxes; None is the middle one of their sizes, scaled down to 224 pixels.

    Returns:
        The PNG, and in words what was done.

    Raises:
        InputError: An augmentation that is not for these data; an image size of arrays.
    """
    train, pictures = data.train, data.train.annotations is not None
    if image_size is not None and not (data.is_files or pictures):
        raise InputError(
            f"image_size={image_size} is of files; the images of {data.name!r} are augmented as "
            f"they are. Leave it out."
        )
    full = resolve(
        recipe, family=OTHERS, images=len(train), image_shape=data.image_shape, pictures=pictures
    )
    if pictures:
        refuse_bending(full.augmentations, repr(data.name))
    elif not data.is_files:
        refuse_other_than_bytes(full.augmentations, str(train.array.dtype), repr(data.name))
    few = train.take(_in_turn(train, min(_COUNT, len(train))))
    if image_size is None and (data.is_files or pictures):
        image_size = usual_size(sizes_of(few), _LONGEST)
    order, made = _first_batch(few, full, image_size)
    said = dataclasses.replace(full.augmentations, colour=full.colour or None).words
    before = [shown(read_picture(few, index)) for index in order.tolist()]
    after = [shown(image) for image in made]
    found = [
        Strip(f"{data.name}: training pictures as they are", before),
        Strip(f"The same with augment={said}, seed {full.seed}", after),
    ]
    return strips(found, columns=_COLUMNS, width=width_of(_COLUMNS, _CELL)), said


def shown(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, what is shown of an image of any range and channels."""
    image = as_bytes(image)
    return image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)


def _in_turn(train: Split, count: int) -> np.ndarray:
    """(count,) places in the split: the first of each class, then the second, and so on."""
    order = np.argsort(train.strata, kind="stable")
    classes = train.strata[order]
    rank = np.arange(len(order)) - np.searchsorted(classes, classes)
    return order[np.lexsort((classes, rank))[:count]]


def _first_batch(
    few: Split, recipe: ResolvedRecipe, size: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Which pictures the first step of such a training takes, and how it shows them."""
    count = len(few)
    order = next(iter(training_steps(count, count, recipe.seed, 0, 1)))["indices"].numpy()
    feed = _feed(few, recipe, size)
    images = feed.batch(next(iter(feed.steps)), feed.resident)[0]
    return order, images.numpy()


def _feed(few: Split, recipe: ResolvedRecipe, size: tuple[int, int] | None) -> Feed:
    if few.annotations is None:
        return training_feed(
            few, len(few), targets=_as_they_are, seed=recipe.seed, augment=recipe.augment,
            colour=recipe.colour, image_size=size if few.is_files else None, stop=1, device="CPU:0",
        )  # fmt: skip
    assert size is not None
    return picture_feed(
        few, len(few), window=size, targets=_as_they_are, seed=recipe.seed,
        augment=recipe.augment, scale=recipe.scale or 1.0, colour=recipe.colour,
    )  # fmt: skip


def _as_they_are(labels: tf.Tensor) -> tf.Tensor:
    return labels
