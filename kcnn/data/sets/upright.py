"""Size and EXIF orientation of image files, from their headers; and boxes turned upright."""

from __future__ import annotations

import contextlib
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from kcnn.data.sets.decoding import BadImage, open_image
from kcnn.data.sets.images import ImageFiles
from kcnn.errors import InputError

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")  # in which some programs keep EXIF and XMP


def measured(
    files: ImageFiles, progress: Callable[[int], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read the headers of image files; no pixel of most is decoded.

    Returns:
        (N, 2) int64, (H, W) as stored; (N,) int64, the orientation of EXIF 2.3, tag 0x0112, 1..8:
        what `PIL.ImageOps.exif_transpose` acts on; 1 where there is none.

    Raises:
        InputError: A file that cannot be used, with its path.
    """
    sizes, orientations = np.zeros((len(files), 2), np.int64), np.ones(len(files), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for index, path in enumerate(files):
            try:
                with open_image(path) as image:
                    sizes[index] = image.height, image.width
                    orientations[index] = _orientation(image, path)
            except BadImage as error:
                raise InputError(f"{path}: {error}.") from error
            if progress is not None:
                progress(index + 1)
    return sizes, orientations


def upright_sizes(files: ImageFiles) -> np.ndarray:
    """(N, 2) int64, (H, W) of image files as they are decoded; raises as `measured`."""
    sizes, orientations = measured(files)
    turned = orientations >= 5  # rows are columns there
    return np.where(turned[:, np.newaxis], sizes[:, ::-1], sizes)


def _orientation(image: Image.Image, path: Path) -> int:
    value = 1
    # As in `decoding`: EXIF that cannot be parsed turns nothing.
    with contextlib.suppress(Exception):
        # A PNG file is decoded by its `getexif`, in search of what may stand behind the pixels.
        quick = image.format == "PNG" and not _png_speaks_late(path)
        exif = Image.Image.getexif(image) if quick else image.getexif()
        value = exif.get(ExifTags.Base.Orientation, 1)
    return int(value) if value in range(1, 9) else 1


def _png_speaks_late(path: Path) -> bool:
    """Whether there is EXIF or text behind the pixels (PNG, third edition, 5.6)."""
    with path.open("rb") as file:
        place, pixels = file.seek(8), False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            pixels = pixels or kind == b"IDAT"
            if pixels and (kind == b"eXIf" or kind in _TEXTS):
                return True
            place = file.seek(place + 12 + length)
    return False


def turned(boxes: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Boxes of a picture as it is stored, in pixels of the upright one.

    Args:
        boxes: (M, 4), [x_min, y_min, x_max, y_max].
        size: (H, W) as stored.
        orientation: 5..8: those that make of H×W a picture of W×H.
    """
    (height, width), (x, y) = size, (boxes[:, 0::2], boxes[:, 1::2])  # (M, 2), min and max
    across, down = {
        5: (y, x),  # mirrored at the diagonal
        6: (height - y, x),  # a quarter clockwise
        7: (height - y, width - x),  # mirrored at the other diagonal
        8: (y, width - x),  # a quarter counter-clockwise
    }[orientation]
    across, down = np.sort(across, axis=1), np.sort(down, axis=1)
    return np.stack([across[:, 0], down[:, 0], across[:, 1], down[:, 1]], axis=1)
