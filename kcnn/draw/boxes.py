"""Boxes on pictures: whole ones, and cut to what is in a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kcnn.draw.pictures import as_bytes
from kcnn.terminal import printable

#: Pictures are enlarged to about so many pixels before boxes are drawn on them.
_DRAWN = 640
_LETTERS = 40
#: Around what is cut out: a share of the box's longer side, and pixels at least.
_AROUND, _LEAST = 0.5, 8


@dataclass(frozen=True)
class Box:
    """What is drawn."""

    sides: Sequence[float] | np.ndarray  #: x_min, y_min, x_max, y_max in pixels of the picture
    text: str  #: of anybody; empty: none
    colour: tuple[int, int, int]  #: red, green, blue in 0..255


def boxed(image: np.ndarray, boxes: Sequence[Box], side: int = _DRAWN) -> np.ndarray:
    """A picture with boxes, enlarged where it is small; the last box lies on top.

    Args:
        image: (H, W, C) of any range.
        boxes: In its pixels.
        side: Pixels to whose neighbourhood it is enlarged, in whole steps.

    Returns:
        (H', W', 3) uint8.
    """
    below = as_bytes(image)
    plain = np.repeat(below[..., :1], 3, axis=2) if below.shape[2] != 3 else below
    times = max(1, round(side / max(plain.shape[:2])))
    canvas = Image.fromarray(plain).resize(
        (plain.shape[1] * times, plain.shape[0] * times), Image.Resampling.BICUBIC
    )
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for box in boxes:
        left, top, right, bottom = (float(end) * times for end in box.sides)
        ends = (left, top, max(right - 1, left), max(bottom - 1, top))
        pen.rectangle(ends, None, box.colour, 2)
        if text := printable(box.text)[:_LETTERS]:
            _label(pen, font, text, (left, top), box.colour, canvas.size)
    return np.asarray(canvas)


def cut_out(image: np.ndarray, box: Box, side: int = 200) -> np.ndarray:
    """A box with what is around it, (h, w, 3) uint8, enlarged to about `side` pixels.

    Args:
        image: (H, W, C) of any range.
        box: In its pixels.
        side: Of what is given.
    """
    left, top, right, bottom = (float(end) for end in box.sides)
    around = max(_AROUND * max(right - left, bottom - top), _LEAST)
    height, width = image.shape[:2]
    first = (int(max(left - around, 0)), int(max(top - around, 0)))
    last = (int(min(right + around, width)), int(min(bottom + around, height)))
    # Of a box outside of the picture the corner that is next to it.
    first = (min(first[0], width - 1), min(first[1], height - 1))
    part = as_bytes(image)[
        first[1] : max(last[1], first[1] + 1), first[0] : max(last[0], first[0] + 1)
    ]
    moved = (left - first[0], top - first[1], right - first[0], bottom - first[1])
    return boxed(part, [Box(moved, box.text, box.colour)], side)


def _label(
    pen: Any, font: Any, text: str, place: tuple[float, float], colour: Any, size: tuple[int, int]
) -> None:
    """A name on its colour, above the box where there is room, within the picture."""
    width, height = pen.textlength(text, font=font) + 4, 15
    left = min(max(place[0], 0), max(size[0] - width, 0))
    top = place[1] - height if place[1] >= height else place[1]
    pen.rectangle((left, top, left + width, top + height), colour)
    dark = sum(colour) > 380
    pen.text((left + 2, top), text, "black" if dark else "white", font=font)
