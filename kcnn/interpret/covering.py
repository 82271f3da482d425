"""Occlusion: how much a class' score falls where a part of the image is covered.

Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.outputs import Meaning
from kcnn.interpret.pixels import as_images, at_once
from kcnn.interpret.scores import Scores, refuse_not_finite, scores
from kcnn.startup import keras


def occlusion(
    model: keras.Model,
    images: Any,
    classes: int | Sequence[int] | np.ndarray | None = None,
    *,
    window: int | None = None,
    stride: int | None = None,
    fill: float | Sequence[float] | None = None,
    outputs: Meaning | None = None,
) -> np.ndarray:
    """How much the class' score falls, at each pixel the mean over the windows that cover it.

    Args:
        model: Any classifier, also of a class of its own; the score is the logit (see `saliency`).
        images: (N, H, W, C) with the values it was trained on.
        classes: One for all, or one each; None is what the model predicts.
        window: Side of the square that is covered, in pixels; None is a quarter of the shorter
            side of the image.
        stride: Pixels from one window to the next, at most `window`; None is half of it.
        fill: Value of the cover, one or by channel; None is the mean of these images, by channel.
        outputs: What the outputs are, where neither graph nor values tell.

    Returns:
        (N, H, W) float32, in logits: positive where the class needs what is there, negative where
        that speaks against it.

    Raises:
        InputError: Outputs that are no rows, no such class; a window or stride that does not fit.
    """
    images = as_images(images)
    height, width, channels = images.shape[1:]
    window = max(min(height, width) // 4, 1) if window is None else window
    stride = max(window // 2, 1) if stride is None else stride
    if not 1 <= window <= min(height, width) or not 1 <= stride <= window:
        raise InputError(
            f"window is 1 to {min(height, width)} pixels, and stride 1 to window: no pixel is left "
            f"out; received window {window} and stride {stride}."
        )
    mean = images.mean(axis=(0, 1, 2), dtype="float64")
    cover = mean if fill is None else np.asarray(fill, "float64").reshape(-1)
    if cover.size not in (1, channels):
        raise InputError(f"fill is one value, or {channels}; received {fill!r}.")
    asked = scores(model, images, classes, outputs)
    places = [(top, left) for top in _starts(height, window, stride)
              for left in _starts(width, window, stride)]  # fmt: skip
    return np.stack([
        _falls(asked, image, label, places, window, cover.astype("float32"))
        for image, label in zip(images, asked.classes, strict=True)
    ])  # fmt: skip


def _falls(
    asked: Scores,
    image: np.ndarray,
    label: int,
    places: Sequence[tuple[int, int]],
    window: int,
    cover: np.ndarray,
) -> np.ndarray:
    """Of one image, (H, W)."""
    size, whole = at_once(image[np.newaxis]), _scores(asked, image[np.newaxis], label)[0]
    total, times = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
    for begin in range(0, len(places), size):
        part = places[begin : begin + size]
        covered = np.repeat(image[np.newaxis], len(part), axis=0)
        for copy, (top, left) in zip(covered, part, strict=True):
            copy[top : top + window, left : left + window] = cover
        for score, (top, left) in zip(_scores(asked, covered, label), part, strict=True):
            total[top : top + window, left : left + window] += whole - score
            times[top : top + window, left : left + window] += 1
    return (total / times).astype("float32")


def _scores(asked: Scores, images: np.ndarray, label: int) -> np.ndarray:
    outputs = asked.network(images, training=False)
    found = asked.of(outputs, np.full(len(images), label))
    values = np.asarray(keras.ops.convert_to_numpy(found))
    refuse_not_finite(values)
    return values


def _starts(side: int, window: int, stride: int) -> list[int]:
    """Where windows begin, the last one at the end of the side."""
    return [*range(0, side - window, stride), side - window]
