"""How often a classifier is right where pictures are moved, mixed up, or spoilt.

A convolution sees a pattern wherever it is; what a network makes of that shows when pictures move
by a few pixels. A network that looks at pixels one by one does not mind when their places are mixed
up in all pictures alike, before it is trained; one that was trained on whole pictures does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.forward import batch_size_for, forward, refuse_not_finite
from kcnn.graph.outputs import meaning
from kcnn.interpret.answers import check_numbers
from kcnn.interpret.corruptions import CONSTANTS, SEVERITIES, Scale, corrupt, scale_of
from kcnn.recipes.recipe import Meaning
from kcnn.startup import keras

#: Pictures (B, H, W, C) to class numbers (B,).
Classifier = Callable[[np.ndarray], np.ndarray]
#: Called with how many evaluations are done, and of how many.
Progress = Callable[[int, int], None]
Fill = Literal["edge", "black"]

#: Down, up, right, left: (rows, columns).
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def classifier(model: keras.Model, outputs: Meaning | None = None) -> Classifier:
    """What says the class numbers of pictures, in batches that fit into memory.

    Args:
        model: Functional or sequential: softmax, logits, one sigmoid unit or one logit.
        outputs: What they are, where its graph and its outputs do not tell (`kcnn.graph.outputs`).

    Raises, when it is called:
        InputError: The outputs are neither, or nothing tells.
        FloatingPointError: They are not finite.
    """
    run, size = forward(model, -1), batch_size_for(model)
    known: list[Meaning] = []

    def said(images: np.ndarray) -> np.ndarray:
        found = [np.zeros(0, np.int64)]
        for begin in range(0, len(images), size):
            values = run(images[begin : begin + size])
            refuse_not_finite(model, values)
            if not known:
                known.append(meaning(model, values, outputs))
            scores = keras.ops.convert_to_numpy(values)
            if scores.shape[1] > 1:
                found.append(scores.argmax(axis=1))
            else:
                middle = 0.0 if known[0] == "logits" else 0.5
                found.append((scores[:, 0] > middle).astype(np.int64))
        return np.concatenate(found)

    return said


def shifted(images: np.ndarray, down: int, right: int, fill: Fill = "edge") -> np.ndarray:
    """Pictures (N, H, W, C) moved by so many pixels (negative: up, left); the size stays.

    Args:
        images: Of any dtype.
        down: Pixels, less than H.
        right: Pixels, less than W.
        fill: What comes in: the outermost row or column again, or zeros.

    Raises:
        InputError: Nothing of the pictures would be left.
    """
    height, width = images.shape[1:3]
    if abs(down) >= height or abs(right) >= width:
        raise InputError(
            f"A shift by ({down}, {right}) leaves nothing of pictures {height}×{width}."
        )
    rows, columns = np.arange(height) - down, np.arange(width) - right
    inside_rows, inside_columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    moved = images[:, inside_rows][:, :, inside_columns]
    if fill == "black":
        moved[:, rows != inside_rows] = 0
        moved[:, :, columns != inside_columns] = 0
    return moved


def accuracy_by_shift(
    said: Classifier,
    images: np.ndarray,
    truth: np.ndarray,
    largest: int = 8,
    *,
    fill: Fill = "edge",
    progress: Progress | None = None,
) -> np.ndarray:
    """(largest + 1, 4): accuracy where all pictures move by 0 to `largest` pixels.

    Columns are down, up, right, left; their mean is the accuracy by shift. The first row is four
    times the accuracy without one.

    Args:
        said: `classifier(model)`, or any other.
        images: (N, H, W, C), as the network was trained on them.
        truth: (N,) class numbers.
        largest: Pixels; less than H and W.
        fill: As `shifted`.
        progress: Called behind each evaluation.

    Raises:
        InputError: No images; a truth of another length; a shift that leaves nothing.
    """
    _check(images, truth)
    total = 4 * largest + 1
    found = np.empty((largest + 1, 4))
    found[0] = (said(images) == truth).mean()
    for pixels in range(largest, 0, -1):  # the largest first: it is refused before work begins
        for column, (down, right) in enumerate(_DIRECTIONS):
            moved = shifted(images, pixels * down, pixels * right, fill)
            found[pixels, column] = (said(moved) == truth).mean()
            if progress is not None:
                progress(4 * (largest - pixels) + column + 2, total)
    return found


def permuted(images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Pictures (N, H, W, C) whose pixels are mixed up: one permutation of places for all of them.

    Channels of a pixel stay together. It is a function of the seed and of H times W.
    """
    count, height, width, channels = images.shape
    places = np.random.default_rng(seed).permutation(height * width)
    flat = images.reshape(count, height * width, channels)
    return flat[:, places].reshape(images.shape)


def accuracy_by_corruption(
    said: Classifier,
    images: np.ndarray,
    truth: np.ndarray,
    names: Iterable[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    *,
    seed: int = 0,
    scale: Scale | None = None,
    value_range: tuple[float, float] | None = None,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """By name of the corruption (`kcnn.interpret.corruptions`), accuracy (S,) by severity.

    Args:
        said: `classifier(model)`, or any other.
        images: (N, H, W, C), as the network was trained on them: uint8, or floats of a range.
        truth: (N,) class numbers.
        names: Which; None: all nine.
        severities: Of 1 to 5.
        seed: Of what is random in them.
        scale: Whose constants; None: by the size of the pictures.
        value_range: Of floats: what is black, and what is white.
        progress: Called behind each evaluation.

    Raises:
        InputError: As `corrupt`; no images; a truth of another length.
    """
    _check(images, truth)
    scale = scale or scale_of(images.shape[1:3])
    chosen = list(CONSTANTS[scale] if names is None else names)
    for name in chosen:  # before long work starts
        corrupt(images[:0], name, severities[0], scale=scale, value_range=value_range)
    found: dict[str, np.ndarray] = {}
    for index, name in enumerate(chosen):
        found[name] = np.empty(len(severities))
        for column, severity in enumerate(severities):
            spoilt = corrupt(
                images, name, severity, seed=seed, scale=scale, value_range=value_range
            )
            found[name][column] = (said(spoilt) == truth).mean()
            if progress is not None:
                progress(index * len(severities) + column + 1, len(chosen) * len(severities))
    return found


def _check(images: np.ndarray, truth: np.ndarray) -> None:
    if images.ndim != 4 or not len(images):
        raise InputError(f"Pictures are (N, H, W, C), N at least 1; received {images.shape}.")
    check_numbers(truth, len(images), np.iinfo(np.int64).max)
