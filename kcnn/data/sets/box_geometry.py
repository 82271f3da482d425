"""Boxes at the edges of their pictures, and remarks on what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kcnn.errors import InputError
from kcnn.terminal import counted

_ROUNDING = 0.1  #: pixels by which boxes leave their picture without a word
_FAR, _FEW = 2.0, 20  #: pixels, boxes: where most of more boxes leave further, they are misread


class Notes:
    """Remarks, each once."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self.phrases = tuple(phrases)

    def add(self, count: int, what: str, remark: str) -> None:
        """`3 boxes without area dropped`, where there are any."""
        if count and (phrase := f"{counted(count, what)} {remark}") not in self.phrases:
            self.phrases += (phrase,)


def inside_pictures(
    boxes: np.ndarray, size: np.ndarray, notes: Notes
) -> tuple[np.ndarray, np.ndarray]:
    """(T, 4) cut at the edges of pictures of (T, 2), (H, W); (T,) bool, which are left.

    Raises:
        InputError: Most boxes reach out of their pictures.
    """
    limits = size[:, [1, 0, 1, 0]]
    cut = boxes.clip(0, limits)
    beyond = np.abs(boxes - cut).max(axis=1, initial=0)
    empty = areas(boxes) <= 0
    outside = (areas(cut) <= 0) & ~empty
    far = (beyond > _FAR).sum()
    if len(boxes) >= _FEW and far > len(boxes) / 2:
        raise InputError(
            f"{far:,} of {len(boxes):,} boxes reach out of their images: they are in another form, "
            f"or of images of another size. COCO's are [x, y, width, height], Pascal VOC's have "
            f"xmin, ymin, xmax, ymax, YOLO's the relative centre, width and height."
        )
    notes.add(empty.sum(), "box", "without area dropped")
    notes.add(outside.sum(), "box", "outside the image dropped")
    clipped = (beyond > _ROUNDING) & ~outside & ~empty
    notes.add(clipped.sum(), "box", "partly outside the image cut")
    return cut, ~outside & ~empty


def areas(boxes: np.ndarray) -> np.ndarray:
    """(T,); 0 where a side is not positive."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return sides.clip(min=0).prod(axis=1)
