"""Strips of small pictures with titles and captions, as one PNG that can be read on a phone."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kcnn.draw.pictures import figure, plain, png
from kcnn.terminal import printable

_DPI = 110  # of `png`
_MARGIN, _GAP = 12, 6  # pixels
_TITLE, _CAPTION = 11, 9  # points


@dataclass(frozen=True)
class Strip:
    """Pictures in a row, or in several where they are more than there are columns."""

    title: str
    tiles: Sequence[np.ndarray]  #: (h, w, 3) uint8 each
    captions: Sequence[str] = ()  #: one for each tile, of one line or a few, or none


@dataclass(frozen=True)
class _Page:
    """What lies where, in pixels from the left and from the top."""

    width: int
    tiles: list[tuple[int, int, np.ndarray]]
    texts: list[tuple[int, int, str, int]]  #: the last is its size in points


def strips(shown: Sequence[Strip], *, columns: int = 8, width: int = 640) -> bytes:
    """A PNG, white behind: below each title its tiles, each as large as its column allows.

    Args:
        shown: From top to bottom.
        columns: Tiles next to each other.
        width: Of the whole, in pixels.
    """
    page, top = _Page(width, [], []), _MARGIN
    for strip in shown:
        top = _placed(page, strip, columns, top) + _GAP
    canvas = np.full((top - _GAP + _MARGIN, width, 3), 255, np.uint8)
    for left, above, tile in page.tiles:
        canvas[above : above + tile.shape[0], left : left + tile.shape[1]] = tile
    return _drawn(canvas, page.texts)


def width_of(columns: int, cell: int) -> int:
    """The width of a page on which tiles are `cell` pixels wide."""
    return 2 * _MARGIN + columns * cell + (columns - 1) * _GAP


def as_array(data: bytes) -> np.ndarray:
    """A PNG as (H, W, 3) uint8, as TensorBoard takes it."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _placed(page: _Page, strip: Strip, columns: int, top: int) -> int:
    """Put a strip onto the page from `top` on; where it ends."""
    inner = page.width - 2 * _MARGIN
    for line in textwrap.wrap(printable(strip.title), int(inner / _letter(_TITLE))):
        page.texts.append((_MARGIN, top, line, _TITLE))
        top += _line(_TITLE)
    cell = (inner - _GAP * (columns - 1)) // columns
    lefts = [_MARGIN + index * (cell + _GAP) for index in range(columns)]
    for begin in range(0, len(strip.tiles), columns):
        part = [_scaled(tile, cell) for tile in strip.tiles[begin : begin + columns]]
        page.tiles.extend((left, top, tile) for left, tile in zip(lefts, part, strict=False))
        top += max(len(tile) for tile in part)
        captions = [one.split("\n") for one in strip.captions[begin : begin + columns]]
        for left, lines in zip(lefts, captions, strict=False):
            for row, line in enumerate(lines):
                above = top + 3 + row * _line(_CAPTION)
                page.texts.append((left, above, _cut(line, cell), _CAPTION))
        top += 3 + max(map(len, captions)) * _line(_CAPTION) if captions else _GAP
    return top


def _cut(text: str, width: int) -> str:
    """What of a caption stands below a tile, with a gap to the next one."""
    text, most = printable(text), max(int((width - _GAP) / _letter(_CAPTION)), 2)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _scaled(tile: np.ndarray, cell: int) -> np.ndarray:
    """As large as fits: pixels stay squares where it grows, and are averaged where it shrinks."""
    times = cell / max(tile.shape[:2])
    size = (max(round(tile.shape[1] * times), 1), max(round(tile.shape[0] * times), 1))
    how = Image.Resampling.NEAREST if times > 1 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(tile).resize(size, how))


def _drawn(canvas: np.ndarray, texts: Sequence[tuple[int, int, str, int]]) -> bytes:
    height, width = canvas.shape[:2]
    made = figure(width / _DPI, height / _DPI)
    made.set_layout_engine("none")  # every pixel is placed already
    axes = made.add_axes((0, 0, 1, 1))
    axes.imshow(canvas, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for left, top, text, points in texts:
        axes.text(left, top, plain(text), fontsize=points, va="top", ha="left", color="black")
    return png(made)


def _line(points: int) -> int:
    """Pixels of a line of text."""
    return round(1.5 * points * _DPI / 72)


def _letter(points: int) -> float:
    """Pixels of a letter, about: of a digit."""
    return 0.65 * points * _DPI / 72
