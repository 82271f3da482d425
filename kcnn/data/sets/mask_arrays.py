"""Pictures and masks in arrays become data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kcnn.data.sets.arrays import as_array, as_images, check_reach, check_varied, fingerprint, reach
from kcnn.data.sets.masks import IGNORED, Masks, table_of, values_of
from kcnn.data.sets.splits import Data, Split, divided
from kcnn.errors import InputError


def from_masks(
    train: tuple[Any, Any],
    validation: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    ignore: Sequence[int] | None = None,
    name: str = "arrays",
    seed: int = 0,
    validation_size: float = 0.1,
) -> Data:
    """Your own arrays of pictures and masks as data. What is missing is split off `train`.

    Args:
        train: (x, y); x (N, H, W, C) or (N, H, W), as `kcnn.from_arrays` takes it; y (N, H, W) or
            (N, H, W, 1) of whole numbers 0 to 255, or (N, H, W, K) of zeros with a single one.
        validation: (x, y), or None: `validation_size` of train, drawn by `seed`.
        test: (x, y), or None: a fifth of train, the same for every seed.
        class_names: Those of a run, whose values are `kcnn.data.sets.masks.values_of` them; None
            takes the values that occur in train for classes and their names.
        ignore: Values that are no class; None is 255, where that is not one of two.
        name: What reports call the data.
        seed: Of the validation split.
        validation_size: A fraction in (0, 1), a count, or 0 for none.

    Raises:
        InputError: Arrays that cannot be trained on.
    """
    given = {"train": train, "validation": validation, "test": test}
    read = {part: _pair(pair, part) for part, pair in given.items() if pair is not None}
    _check_alike(read)
    if class_names is None:
        values = [int(value) for value in np.unique(read["train"][1])]
        if ignore is None and IGNORED in values and values != [0, IGNORED]:
            values.remove(IGNORED)
    else:
        values = values_of(class_names, ignore or (IGNORED,))
    ignored = [IGNORED] if ignore is None and IGNORED not in values else list(ignore or ())
    table, classes = table_of(values, ignored)
    named = map(str, classes) if class_names is None else class_names
    splits = {part: Split(images, Masks(masks, table)) for part, (images, masks) in read.items()}
    if "validation" in splits and "test" not in splits:
        splits["test"] = splits["train"].take(np.arange(0))
    arrays = [array for pair in read.values() for array in pair]
    return divided(
        splits,
        name=name,
        class_names=tuple(named),
        image_shape=read["train"][0].shape[1:],
        provenance=f"arrays of {sum(len(x) for x, _ in read.values())} pictures with masks",
        fingerprint=fingerprint(arrays),
        validation=validation_size,
        seed=seed,
        task="segmentation",
    )


def _check_alike(read: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    train = read["train"][0]
    for part, (images, _) in read.items():
        if images.shape[1:] != train.shape[1:]:
            raise InputError(
                f"Images of {part} have shape {images.shape[1:]}, those of train "
                f"{train.shape[1:]}. All must be alike; pictures of different sizes belong in a "
                f"folder of images and masks."
            )
        check_reach(reach(images), reach(train), part)
    check_varied(train, "train")


def _pair(pair: Any, part: str) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InputError(f"{part} must be a pair (images, masks). Received: {type(pair).__name__}.")
    images, masks = as_images(pair[0], f"x of {part}"), as_masks(pair[1], f"y of {part}")
    if not len(images):
        raise InputError(f"{part} holds no picture.")
    if images.shape[:3] != masks.shape:
        raise InputError(
            f"{part}: images of shape {images.shape} and masks of shape {masks.shape}. A mask is "
            f"as large as its image: (N, H, W)."
        )
    return images, masks


def as_masks(given: Any, what: str) -> np.ndarray:
    """(N, H, W) uint8, of whole numbers or one-hot.

    Raises:
        InputError: Another form, with the first value that is of it.
    """
    masks = as_array(given, what)
    if masks.ndim == 4 and masks.shape[-1] > 1:
        if masks.dtype.kind not in "buif" or not (
            np.isin(masks, (0, 1)).all() and (masks.sum(axis=-1) == 1).all()
        ):
            raise InputError(
                f"{what} has shape {masks.shape}, and is not one-hot. Masks are (N, H, W) of class "
                f"numbers, or (N, H, W, classes) of zeros with a single one for each pixel."
            )
        return masks.argmax(axis=-1).astype(np.uint8)
    if masks.ndim == 4:
        masks = masks[..., 0]
    if masks.ndim != 3 or masks.dtype.kind not in "buif":
        raise InputError(
            f"{what} has shape {masks.shape} and dtype {masks.dtype}. Masks are (N, H, W) of class "
            f"numbers, whole numbers from 0 to 255."
        )
    bad = (masks < 0) | (masks > 255) | (masks != np.round(masks))
    if bad.any():
        raise InputError(
            f"{what} holds {masks[bad][0]!r} at index {tuple(map(int, np.argwhere(bad)[0]))}. "
            f"Masks are whole numbers from 0 to 255."
        )
    return masks.astype(np.uint8)
