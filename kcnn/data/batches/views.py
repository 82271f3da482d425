"""Which part of a picture goes in, and the picture in that view: pure functions on the host.

Random views follow from a seed of a step and the place in its batch, as raw words of Philox, whose
stream NumPy guarantees; so a resumed training sees the same parts.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from kcnn.data.sets.annotations import View

Size = tuple[int, int]

_WORD = 2.0**-53


def draws(seed: np.ndarray, place: int, count: int) -> np.ndarray:
    """`count` numbers in [0, 1), float64.

    Args:
        seed: (2,) integers, of the step.
        place: Of the picture in its batch.
        count: How many.
    """
    key = np.array([int(seed[0]) & (2**64 - 1), int(seed[1]) & (2**64 - 1)], np.uint64)
    words = np.random.Philox(key=key, counter=[0, place, 0, 0]).random_raw(count)
    return (np.asarray(words) >> np.uint64(11)) * _WORD


def scaled_size(source: Size, factor: float) -> Size:
    """`source` times `factor`, each side at least 1."""
    return max(1, round(source[0] * factor)), max(1, round(source[1] * factor))


def reduction(source: Size, longest_side: int | None) -> float:
    """The factor that brings the longer side down to `longest_side`; 1 where it is not longer."""
    return 1.0 if longest_side is None else min(1.0, longest_side / max(source))


def fitting(source: Size, window: Size) -> float:
    """The factor that brings a picture into a window; 1 where it is not larger."""
    return min(1.0, window[0] / source[0], window[1] / source[1])


def random_view(
    source: Size,
    window: Size,
    numbers: np.ndarray,
    *,
    factor: float = 1.0,
    scale: float = 1.0,
    flip: bool = False,
) -> View:
    """A random part of a picture.

    Args:
        source: (H, W) of the picture.
        window: (H, W) of the part. Where the scaled picture is smaller, it lies anywhere in it.
        numbers: (4,) in [0, 1).
        factor: By which each picture is scaled.
        scale: At least 1: a further factor, of which the logarithm is evenly spread between those
            of 1 / scale and scale.
        flip: Whether one half are mirrored.
    """
    size = scaled_size(source, factor * scale ** (2.0 * numbers[0] - 1.0))
    top, left = (
        _place(side, of, number)
        for side, of, number in zip(size, window, numbers[1:3], strict=True)
    )
    return View(source, size, top, left, window, bool(flip and numbers[3] < 0.5))


def whole_view(source: Size, *, factor: float = 1.0, multiple: int = 1) -> View:
    """All of a picture, with padding below and to the right up to a multiple of `multiple`."""
    size = scaled_size(source, factor)
    window = (-(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple)
    return View(source, size, 0, 0, window)


def fitting_view(source: Size, window: Size) -> View:
    """All of a picture in a window of one size: scaled down where it is larger, else padded."""
    height, width = scaled_size(source, fitting(source, window))
    return View(source, (min(height, window[0]), min(width, window[1])), 0, 0, window)


def middle_view(source: Size, window: Size, *, factor: float = 1.0) -> View:
    """The middle of a picture, or all of it with padding around."""
    size = scaled_size(source, factor)
    return View(source, size, (size[0] - window[0]) // 2, (size[1] - window[1]) // 2, window)


def viewed(image: np.ndarray, view: View) -> np.ndarray:
    """A picture in a view: bilinear with antialiasing, the border repeated where it ends.

    Args:
        image: (H, W, C), uint8 or float32, of `view.source`.
        view: What of it goes in.

    Returns:
        (*view.size, C), the dtype of `image`.
    """
    scaled = resized(image, view.scaled)
    rows, columns = view.places()
    rows = np.clip(rows, 0, scaled.shape[0] - 1)
    columns = np.clip(columns, 0, scaled.shape[1] - 1)
    if _is_run(rows) and _is_run(columns):  # without padding: a slice
        part = scaled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return np.ascontiguousarray(part)
    return scaled[rows[:, np.newaxis], columns]


def resized(image: np.ndarray, size: Size) -> np.ndarray:
    """(H, W, C) to (*size, C): bilinear, with antialiasing where it becomes smaller."""
    if image.shape[:2] == tuple(size):
        return image
    if image.dtype == np.uint8 and image.shape[2] in (1, 3):
        flat = image[..., 0] if image.shape[2] == 1 else image
        small = Image.fromarray(flat).resize(size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(small).reshape(*size, image.shape[2])
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(image[..., c], np.float32)).resize(
                size[::-1], Image.Resampling.BILINEAR
            )
        )
        for c in range(image.shape[2])
    ]
    made = np.stack(channels, axis=-1)
    return np.rint(made).astype(image.dtype) if image.dtype == np.uint8 else made


def _place(side: int, window: int, number: float) -> int:
    """Where a window begins on a side: all places alike, also where the side is the shorter."""
    room = side - window
    first = int(number * (abs(room) + 1))
    return first if room >= 0 else -first


def _is_run(numbers: np.ndarray) -> bool:
    return bool((np.diff(numbers) == 1).all())
