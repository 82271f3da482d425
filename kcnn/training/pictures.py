"""Pictures of what is being learned, for TensorBoard: at the end of a training, and on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kcnn.callbacks.records.images import TensorBoardImages, embed, pictures
from kcnn.runs.directory import RunDirectory
from kcnn.startup import keras
from kcnn.training.setup import Setup

#: Images of validation that are looked at: at most so many, and bytes.
_MOST, _BYTES = 512, 2**26


def callback(setup: Setup, directory: RunDirectory) -> TensorBoardImages | None:
    """What writes pictures every few epochs, where the recipe asks; `of_the_end` the last."""
    if setup.recipe.images_every is None:
        return None
    images, labels = _some(setup)
    return TensorBoardImages(
        directory.path, images, labels, class_names=setup.problem.class_names,
        every=setup.recipe.images_every, at_end=False,
    )  # fmt: skip


def of_the_end(
    setup: Setup, directory: RunDirectory, model: keras.Model, warn: Callable[[str], None]
) -> dict[str, bytes]:
    """PNGs by name of the weights that are kept; the projector gets their features.

    Of anybody's model: one of which nothing can be shown ends no training, and is named.
    """
    try:
        images, labels = _some(setup)
        made = pictures(model, images, labels, setup.problem.class_names)
        if labels is not None:
            embed(directory.path, model, images, labels, setup.problem.class_names)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        warn(f"TensorBoard gets no pictures of what was learned: {reason}")
        return {}
    return made


def _some(setup: Setup) -> tuple[np.ndarray, np.ndarray | None]:
    """The first validation images (N, H, W, C) of one size, and their class numbers (N,)."""
    images, targets, size = list[np.ndarray](), list[np.ndarray](), 0
    for batch, truth in setup.evaluation("validation"):
        part = np.asarray(batch)
        if images and part.shape[1:] != images[0].shape[1:]:
            continue
        room = max(min(_MOST - sum(map(len, images)), (_BYTES - size) // part[0].nbytes), 0)
        if images and not room:
            break
        images.append(part[: max(room, 1)])
        targets.append(truth if isinstance(truth, np.ndarray) else np.asarray(truth))
        targets[-1] = targets[-1][: len(images[-1])]
        size += images[-1].nbytes
    return np.concatenate(images), None if setup.task.whole else _labels(np.concatenate(targets))


def _labels(targets: Any) -> np.ndarray | None:
    """Class numbers (N,), of numbers or rows; None of targets that are none."""
    rows = targets.argmax(axis=1) if targets.ndim == 2 and targets.shape[1] > 1 else targets
    found = np.rint(rows.reshape(len(rows), -1)[:, 0])
    whole = rows.size == len(rows) and np.array_equal(found, rows.reshape(-1)) and found.min() >= 0
    return found.astype(np.int64) if whole else None
