"""Pictures of style transfer: what is handed over, its sizes, and those from coarse to fine."""

from __future__ import annotations

import os
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kcnn.data.sets.decoding import decode
from kcnn.errors import InputError

#: Pixels of the longer side where nobody says a size; smaller pictures stay as they are.
LONGEST = 384
#: Pixels of the shorter side at the coarsest.
_COARSE = 64

Picture = str | os.PathLike | np.ndarray


def picture(value: Picture, what: str) -> np.ndarray:
    """A picture as (H, W, 3) uint8; a grey one has three equal channels.

    Args:
        value: The path of an image file (turned as its EXIF says, transparent parts over white), or
            an array (H, W, 3), (H, W, 1) or (H, W) uint8.
        what: How messages name it: content, style.

    Raises:
        InputError: No such file or no picture; an array of another shape or type.
    """
    if isinstance(value, (str, os.PathLike)):
        return decode(Path(value).expanduser())
    array = np.asarray(value)
    if array.dtype != np.uint8:
        raise InputError(
            f"{what} is a path, or an array of uint8, 0 to 255; received {array.dtype} of shape "
            f"{array.shape}. Of values 0..1: np.rint(255 * picture).astype('uint8')."
        )
    if array.ndim == 2:
        array = array[..., np.newaxis]  # (H, W, 1)
    if array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
        raise InputError(
            f"{what} is one picture (H, W, 3), or a grey one (H, W) or (H, W, 1); received the "
            f"shape {np.shape(value)}. Of transparency take the colours alone: picture[..., :3]."
        )
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def wanted_size(content: np.ndarray, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """(H, W) of the result.

    Args:
        content: (H, W, 3).
        size: Pixels of the longer side; or height and width, to which the content's middle is cut;
            None for the content's own, at most `LONGEST`.

    Raises:
        InputError: No size.
    """
    height, width = content.shape[:2]
    if size is None:
        size = min(max(height, width), LONGEST)
    try:
        sides = [index(one) for one in (size if isinstance(size, (tuple, list)) else (size,))]
    except TypeError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise InputError(
            f"size is the longer side in pixels, a whole number such as 384, or (height, width); "
            f"received {size!r}."
        )
    if len(sides) == 2:
        return sides[0], sides[1]
    scale = sides[0] / max(height, width)
    return max(round(height * scale), 1), max(round(width * scale), 1)


def coarse_to_fine(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes (H, W), each twice the one before, up to that of the result."""
    sizes = [(height, width)]
    while min(sizes[0]) // 2 >= _COARSE:
        sizes.insert(0, (-(-sizes[0][0] // 2), -(-sizes[0][1] // 2)))
    return sizes


def as_large(style: np.ndarray, height: int, width: int) -> tuple[int, int]:
    """(H, W) of the style at which it has as many pixels as the content, its sides' ratio kept.

    So a brush stroke of the one is as large as one of the other; the paper scales the style to
    the content's sides.
    """
    scale = (height * width / (style.shape[0] * style.shape[1])) ** 0.5
    return max(round(style.shape[0] * scale), 1), max(round(style.shape[1] * scale), 1)


def scaled(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 at another size, as (1, height, width, 3) float32."""
    if image.shape[:2] != (height, width):
        made = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
        image = np.asarray(made)
    return image[np.newaxis].astype(np.float32)


def enlarged(change: np.ndarray, height: int, width: int) -> np.ndarray:
    """(1, H, W, C) floats at another size, (1, height, width, C) float32."""
    planes = [
        Image.fromarray(plane.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
        for plane in np.moveaxis(change[0], -1, 0)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)[np.newaxis]


def as_bytes(image: Any) -> np.ndarray:
    """(1, H, W, 3) floats as (H, W, 3) uint8."""
    return np.rint(np.clip(image[0], 0.0, 255.0)).astype(np.uint8)
