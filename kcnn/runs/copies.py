"""Pictures that are there twice, as a table in the terminal and as a sheet of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.table import Table

from kcnn.data import Data, Split
from kcnn.data.sets.decoding import decode
from kcnn.data.sets.duplicates import FINDS, ORDER, Duplicates
from kcnn.draw.strips import Strip, strips
from kcnn.runs.examples import shown

_COLUMNS, _WIDTH = 4, 960  # of the sheet, in pictures and in pixels
_SHOWN, _LETTERS = 16, 16  # pairs of a kind that it shows; of a file's name, the last
#: Kinds that make a figure untrue: what it measures was learned, or cannot be learned.
_GRAVE = ("train_test", "train_validation", "two_labels")


def table_of_copies(found: Mapping[str, Any]) -> Table | None:
    """How many pictures are there twice, by kind; None where none is.

    Args:
        found: As `Duplicates.counts` gives it, or as it is recorded of data.
    """
    looked_for = [how for how in ("exact", "near") if how in found]
    rows = [kind for kind in FINDS if any(found[how][kind] for how in looked_for)]
    if not rows:
        return None
    table = Table(title="The same picture more than once", title_justify="left", box=None)
    table.add_column("")
    for how in looked_for:
        table.add_column(how, justify="right")
    for kind in rows:
        counts = [f"{found[how][kind]:,}" for how in looked_for]
        table.add_row(FINDS[kind], *counts, style="yellow" if kind in _GRAVE else "")
    table.caption, table.caption_justify = _caption(found), "left"
    return table


def _caption(found: Mapping[str, Any]) -> str:
    if dropped := found.get("dropped"):
        counts = ", ".join(f"{n:,} of {part}" for part, n in dropped.items() if n)
        return f"Left out: {counts or 'none'} (--deduplicate {found['deduplicate']})"
    how = "exact|near" if "near" in found else "exact"
    look = "" if "near" in found else "; kcnn data shows them"
    return f"--deduplicate {how} leaves them out{look}"


def sheet_of_copies(data: Data, found: Duplicates) -> bytes | None:
    """A PNG of pairs, by kind, the gravest first; None where there are none."""
    sides = [(part, index) for part in ORDER for index in range(len(getattr(data, part)))]
    shown, known = [], set[tuple[int, int]]()
    for kind, title in FINDS.items():
        for how, pairs in (("exact", found.exact), ("near", found.near)):
            own = found.pairs(kind, pairs) if pairs is not None else np.zeros((0, 2), int)
            new = [(i, j) for i, j in own.tolist() if (i, j) not in known]
            known |= set(new)
            if not new:
                continue
            both = [sides[number] for pair in new[:_SHOWN] for number in pair]
            tiles = [tile(getattr(data, part), index) for part, index in both]
            captions = [_caption_of(data, part, index) for part, index in both]
            more = f", {_SHOWN} of {len(new):,} pairs" if len(new) > _SHOWN else ""
            shown.append(Strip(f"{title}, {how}{more}", tiles, captions))
    return strips(shown, columns=_COLUMNS, width=_WIDTH) if shown else None


def tile(split: Split, index: int) -> np.ndarray:
    """(H, W, 3) uint8, what is shown of an image of any range and channels."""
    return shown(split.array[index] if split.files is None else decode(split.files[index]))


def _caption_of(data: Data, part: str, index: int) -> str:
    split = getattr(data, part)
    name = str(index) if split.files is None else split.files[index].name
    name = name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"
    label = "" if split.annotations is not None else f", {data.class_names[split.labels[index]]}"
    return f"{part} {name}{label}"
