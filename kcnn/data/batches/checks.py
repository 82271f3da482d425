"""The arguments of batches, checked before anything is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcnn.data.sets.splits import Split
from kcnn.errors import InputError
from kcnn.recipes.augmentations import Augmentations


def changes_of(augment: Any) -> Augmentations:
    """What `augment` says is done to training images, without `auto` and colour.

    Raises:
        InputError: As `Augmentations.of`; what only a recipe has.
    """
    found = Augmentations.of(augment)
    if found.auto or found.colour is not None:
        raise InputError(
            f"auto is chosen by kcnn.train, and colour is an argument of its own; received "
            f"augment={augment!r}."
        )
    return found


def check_split(split: Split, batch_size: int) -> None:
    """Refuse a split of which no batches can be made.

    Raises:
        InputError: No images; a batch size that is no whole number from 1 up.
    """
    if not len(split):
        raise InputError("The split holds no images: there are no batches to make of it.")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise InputError(f"batch_size is {batch_size!r}. It must be a whole number.")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}. It must be at least 1.")


def check_training(
    split: Split,
    batch_size: int,
    mixup: float,
    cutmix: float,
    start: int,
    stop: int | None,
) -> None:
    """Refuse what only training batches have: see `training_feed` for the ranges.

    Raises:
        InputError: A batch larger than the split; an alpha or a range of steps that is none.
    """
    if batch_size > len(split):
        raise InputError(
            f"batch_size is {batch_size}, but there are {len(split)} training images. Choose a "
            f"batch size of at most {len(split)}."
        )
    for name, alpha in {"mixup": mixup, "cutmix": cutmix}.items():
        if not (np.isfinite(alpha) and alpha >= 0):
            raise InputError(
                f"{name} is {alpha}. It is the alpha of Beta(alpha, alpha): above 0, often 0.2 "
                "for mixup and 1.0 for CutMix; 0 turns it off."
            )
    if start < 0 or (stop is not None and stop < start):
        raise InputError(
            f"Steps from {start} to {stop}: start must be at least 0, stop at least start."
        )
