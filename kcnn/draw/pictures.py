"""Pictures of what a network says of pictures: masks as palette PNG, overlays, rows to compare."""

from __future__ import annotations

import colorsys
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from kcnn.data.sets.masks import IGNORED
from kcnn.storage import files
from kcnn.terminal import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

#: Of an overlay: how much of it is the class' colour.
_SHARE = 0.55
#: Turns of the circle of hues from one class to the next: the golden ratio spreads any number.
_TURN = 0.618034
_GREY, _WRONG = (128, 128, 128), (213, 30, 0)


def palette(count: int) -> np.ndarray:
    """(count, 3) uint8: colours that are easy to tell apart, the same for every picture."""
    rows = [
        colorsys.hsv_to_rgb((0.02 + index * _TURN) % 1.0, (0.85, 0.6)[index % 2], level)
        for index in range(count)
        for level in [(0.95, 0.8, 0.6)[index % 3]]
    ]
    return np.rint(255 * np.array(rows).reshape(count, 3)).astype(np.uint8)


def coloured(numbers: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Class numbers (H, W) as colours (H, W, 3) uint8; 255 is grey."""
    table = np.full((256, 3), _GREY, np.uint8)
    table[: len(colours)] = colours
    return table[numbers]


def overlay(image: np.ndarray, numbers: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """A picture (H, W, C) uint8 beneath the colours of its classes; ignored pixels as they are."""
    below = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]
    mixed = (1.0 - _SHARE) * below + _SHARE * coloured(numbers, colours)
    return np.where((numbers == IGNORED)[..., np.newaxis], below, np.rint(mixed)).astype(np.uint8)


def wrong(image: np.ndarray, truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """A picture (H, W, C) uint8 in light grey, red where `said` (H, W) is not `truth` (H, W)."""
    grey = 0.6 * image[..., :3].mean(axis=2, keepdims=True) + 90.0
    mistaken = ((truth != said) & (truth != IGNORED))[..., np.newaxis]
    mixed = np.where(mistaken, 0.25 * grey + 0.75 * np.array(_WRONG), grey)
    return np.rint(mixed).astype(np.uint8)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """A picture of any range as uint8, its smallest value black and its largest white."""
    if image.dtype == np.uint8:
        return image
    low, high = float(image.min()), float(image.max())
    return np.rint(255.0 * (image - low) / max(high - low, 1e-9)).astype(np.uint8)


def write_mask(path: Path, numbers: np.ndarray, colours: np.ndarray) -> None:
    """A palette PNG whose numbers are the classes."""
    image = Image.fromarray(numbers)
    image.putpalette(coloured(np.arange(256), colours).reshape(-1).tolist())
    files.replace(path, lambda file: image.save(file, "PNG"))


def write_image(path: Path, pixels: np.ndarray) -> None:
    """(H, W, 3) uint8 as a PNG."""
    files.replace(path, lambda file: Image.fromarray(pixels).save(file, "PNG"))


@dataclass(frozen=True)
class Row:
    """A picture to be looked at beside what is true and what a network says."""

    title: str
    panels: Sequence[np.ndarray]  #: (H, W, 3) uint8 each


def rows(
    shown: Sequence[Row], headings: Sequence[str], classes: Sequence[str], colours: np.ndarray
) -> bytes:
    """A PNG: a row for each picture, a column for each heading, the classes below."""
    from matplotlib.patches import Patch

    widest = max(row.panels[0].shape[1] / row.panels[0].shape[0] for row in shown)
    lines = -(-len(classes) // 6)
    made = figure(2.6 * widest * len(headings) + 0.3, 2.8 * len(shown) + 0.25 * lines + 0.4)
    grid = made.subplots(len(shown), len(headings), squeeze=False)
    for axes, row in zip(grid, shown, strict=True):
        for place, panel, heading in zip(axes, row.panels, headings, strict=True):
            place.imshow(panel, interpolation="nearest")
            place.set_axis_off()
            place.set_title(f"{heading}\n" if row is shown[0] else "", fontsize=10)
        axes[0].set_title(plain(row.title), fontsize=9, loc="left")
    handles = [
        Patch(color=tuple(colour / 255.0), label=plain(name)[:24])
        for name, colour in zip(classes, colours, strict=True)
    ]
    made.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    return png(made)


def png(figure: Any) -> bytes:
    """A figure of matplotlib as the bytes of a PNG."""
    held = io.BytesIO()
    with warnings.catch_warnings():  # names in letters that the font lacks become boxes
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        figure.savefig(held, dpi=110)
    return held.getvalue()


def figure(width: float, height: float) -> Picture:
    """An empty figure of matplotlib, sizes in inches."""
    from matplotlib.figure import Figure as Picture

    return Picture((width, height), layout="constrained")


def plain(text: str) -> str:
    """Names are no mathematics."""
    return printable(text).replace("$", r"\$")
