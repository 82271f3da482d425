"""Contact sheets: many small pictures with a line or two below each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kcnn.draw.pictures import figure, plain, png

#: Inches of a picture's side, and of a line of text below it.
_SIDE, _LINE = 1.35, 0.17
_LETTERS = 22  # of a line below a picture


@dataclass(frozen=True)
class Section:
    """Pictures under one heading."""

    heading: str
    pictures: Sequence[np.ndarray]  #: (H, W, 3) or (H, W, 1) uint8, of any sizes
    captions: Sequence[str]  #: one a picture, of a few lines; names in them are anybody's


def contact_sheet(sections: Sequence[Section], across: int = 8) -> bytes:
    """A PNG: section below section, `across` pictures in a row."""
    held = [section for section in sections if len(section.pictures)]
    lines = max((c.count("\n") + 1 for s in held for c in s.captions), default=1)
    rows = [-(-len(section.pictures) // across) for section in held]
    across = min(across, max((len(section.pictures) for section in held), default=1))
    across = max(across, 4)  # a heading needs room
    tall = _SIDE + _LINE * lines + 0.1
    made = figure(across * _SIDE + 0.3, sum(tall * n + 0.45 for n in rows) or 1.0)
    parts = made.subfigures(max(len(held), 1), 1, squeeze=False, height_ratios=rows or [1])
    for part, section, count in zip(parts[:, 0], held, rows, strict=False):
        part.suptitle(plain(section.heading), fontsize=10, x=0.01, ha="left")
        grid = part.subplots(count, across, squeeze=False)
        for place in grid.flat:
            place.set_axis_off()
        for place, picture, caption in zip(
            grid.flat, section.pictures, section.captions, strict=False
        ):
            shown = picture[..., 0] if picture.shape[2] == 1 else picture
            place.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            text = "\n".join(_cut(line) for line in caption.split("\n"))
            place.text(
                0.5, -0.04, text, transform=place.transAxes, fontsize=7, ha="center", va="top"
            )
    return png(made)


def _cut(line: str) -> str:
    return plain(line if len(line) <= _LETTERS else f"{line[: _LETTERS - 1]}…")
