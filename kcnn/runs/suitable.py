"""Whether images are what a run's network was trained on, and how many of them it takes at once."""

from __future__ import annotations

import numpy as np

from kcnn.data.sets.arrays import check_reach, ends
from kcnn.errors import InputError
from kcnn.graph.forward import batch_size_for
from kcnn.runs.directory import Run
from kcnn.startup import keras

#: The largest value of a mask; the least that floats in the range of bytes reach in a training set.
_MASK, _BRIGHT = 2, 100


def refuse_other_pixels(run: Run, images: np.ndarray, what: str) -> None:
    """Refuse values of another scale than those of the training.

    Args:
        run: A finished one.
        images: (N, H, W, C).
        what: How messages name them.

    Raises:
        InputError: With both.
    """
    trained = run.data.get("pixels")
    if trained is None:  # a run of before, or no run
        return
    if images.dtype == np.uint8 and trained["dtype"] != "uint8":
        refuse_bytes(run)
    low, high = ends(images)
    if low < 0 <= trained["range"][0]:
        raise InputError(
            f"Values of {what} begin at {low:.4g}, those of train at "
            f"{trained['range'][0]:.4g}: bring them to the scale of the training."
        )
    check_reach(max(-low, high, 1e-9), max(map(abs, trained["range"])), what)


def refuse_bytes(run: Run) -> None:
    """Refuse pixels that are bytes, 0 to 255, for a network of floats of another range."""
    trained = run.data.get("pixels")
    if trained is None or trained["dtype"] == "uint8":  # masks of 0 and 1 are no photographs
        low, high = trained["range"] if trained else (0, 255)
        fits = high > _MASK
    else:
        low, high = trained["range"]
        fits = low >= 0 and _BRIGHT <= high <= 255
    if not fits:
        raise InputError(
            f"The run was trained on values from {low:.4g} to {high:.4g}; image files hold bytes, "
            f"0 to 255. Train on bytes (uint8), which the network normalises by itself; or hand "
            f"over arrays in the range of the training."
        )


def refuse_batches(given: int | None) -> None:
    """Refuse several pictures at once where they may be of any size.

    Raises:
        InputError: More than one, or fewer.
    """
    if given not in (None, 1):
        raise InputError(
            f"Pictures of any size go in one by one: batch_size is 1; received {given}."
        )


def batch_size_of(network: keras.Model, given: int | None) -> int:
    """Images that the network takes at once: as many as are given, or as its memory suggests.

    Raises:
        InputError: Fewer than one.
    """
    if given is None:
        return batch_size_for(network)
    if given < 1:
        raise InputError(f"batch_size is a whole number from 1 up; received {given}.")
    return given
