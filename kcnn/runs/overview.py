"""What is known of data before anything is trained on them: splits, classes, sizes, pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from kcnn import terminal
from kcnn.data import Data, load_data, preflight
from kcnn.data.sets.arrays import ends
from kcnn.data.sets.duplicates import duplicates
from kcnn.data.sets.forms import PARTS
from kcnn.data.sets.upright import upright_sizes
from kcnn.draw.strips import Strip, strips
from kcnn.errors import InputError
from kcnn.recipes.recipe import Recipe
from kcnn.runs.copies import sheet_of_copies, table_of_copies, tile
from kcnn.runs.evaluation import write_bytes
from kcnn.runs.examples import augmented_sheet
from kcnn.storage.files import replace
from kcnn.terminal import printable, shape_text, styled

_COLUMNS, _CLASSES = 8, 20  # of the contact sheet
_ROWS = 40  # classes that the table lists


@dataclass(frozen=True)
class Overview:
    """Of `kcnn.Data`, what can be said in numbers."""

    data: Data
    counts: Mapping[str, np.ndarray] = field(default_factory=dict)  #: by split, (K,) images
    sizes: str = ""  #: of the images
    values: str = ""  #: of their pixels

    @property
    def balance(self) -> float | None:
        """The largest class of train over the smallest that has images there."""
        train = self.counts.get("train")
        return None if train is None else float(train.max() / train[train > 0].min())


def overview(data: Data) -> Overview:
    """Look at data that are checked: at headers of files, at values of arrays.

    Args:
        data: As `kcnn.load_data` gives them, past the preflight where they are files.
    """
    held = {part: split for part in PARTS if len(split := getattr(data, part))}
    counts = {}
    if data.train.annotations is None:
        counts = {p: np.bincount(s.labels, minlength=data.classes) for p, s in held.items()}
    if not data.is_files:
        images = data.train.array
        low, high = ends(images)
        sizes, values = shape_text(images.shape[1:]), f"{images.dtype}, {low:.4g} to {high:.4g}"
        return Overview(data, counts, sizes, values)
    found = np.concatenate([upright_sizes(s.files) for s in held.values() if s.files is not None])
    if len(np.unique(found, axis=0)) == 1:
        sizes = shape_text(found[0])
    else:
        least, usual, most = (np.rint(q).astype(int) for q in np.quantile(found, (0, 0.5, 1), 0))
        tall, wide = (f"{a:,} to {b:,}" for a, b in zip(least, most, strict=True))
        sizes = f"{tall} pixels high, {wide} wide; the middle ones {shape_text(usual)}"
    return Overview(data, counts, sizes, "bytes, 0 to 255")


def show_data(
    name: str,
    *,
    columns: str | None,
    skip_bad: bool,
    near: bool = True,
    output: Path | None,
    console: Console,
    augment: Any = None,
    image_size: tuple[int, int] | None = None,
    seed: int = 0,
) -> list[Path]:
    """Check data, say what is known of them, and write sheets of training pictures and of copies.

    With an augmentation, the sheet is sixteen of them as they are, and as a training sees them.

    Args:
        name: As `kcnn.load_data` takes it.
        columns: Of a table.
        skip_bad: Go on without files that cannot be used.
        near: Look for near copies, too, which reads all pictures.
        output: The PNG; None is `NAME-data.png`, or `NAME-augmented.png`, in the working directory.
        console: Where it is said.
        augment: As a recipe takes it.
        image_size: (H, W) that a network would see of files; None goes by the pictures.
        seed: Of the augmentation.

    Returns:
        The paths of the PNG, and of the one with copies where there are such, NAME-copies.png.

    Raises:
        InputError: Data that cannot be read; files that cannot be used; an augmentation that is
            none, or not for these data.
    """
    recipe = None if augment is None else Recipe(augment=augment, seed=seed)
    if recipe is None and image_size is not None:
        raise InputError(f"image_size={image_size} is of augmented pictures: give augment, too.")
    data = load_data(name, columns=columns)
    path = output or Path(f"{data.name}-{'data' if recipe is None else 'augmented'}.png")
    if path.suffix.lower() != ".png":
        raise InputError(f"A PNG is written: --output NAME.png; received {str(path)!r}.")
    total = sum(len(getattr(data, part)) for part in PARTS) * data.is_files
    with terminal.files_bar(console, "checking", total) as progress:
        data = preflight(data, skip_bad=skip_bad, progress=progress)
    _print(console, overview(data))
    if recipe is not None:
        drawn, said = augmented_sheet(data, recipe, image_size)
        console.print(styled(printable(f"augmented: {said}")), soft_wrap=True)
        replace(path, partial(write_bytes, drawn))
        return [path]
    total = sum(len(getattr(data, part)) for part in PARTS)
    with terminal.files_bar(console, "comparing", total * near, "pictures") as progress:
        found = duplicates(data, near=near, progress=progress)
    console.print()
    console.print(table_of_copies(found.counts()) or "No picture is there twice.")
    sheets = {path: contact_sheet(data)}
    if copies := sheet_of_copies(data, found):
        sheets[path.with_name(f"{path.stem.removesuffix('-data')}-copies.png")] = copies
    for place, drawn in sheets.items():
        replace(place, partial(write_bytes, drawn))
    return list(sheets)


def contact_sheet(data: Data) -> bytes:
    """A PNG of the first training pictures of each class; of many classes, the largest."""
    train = data.train
    if train.annotations is not None:
        tiles = [tile(train, index) for index in range(min(len(train), 4 * _COLUMNS))]
        return strips([Strip(f"{data.name}: {len(train):,} training pictures", tiles)])
    counts = np.bincount(train.labels, minlength=data.classes)
    largest = np.sort(np.argsort(-counts, kind="stable")[:_CLASSES])
    found = []
    for label in largest[counts[largest] > 0].tolist():
        members = np.flatnonzero(train.labels == label)[:_COLUMNS]
        tiles = [tile(train, index) for index in members.tolist()]
        title = f"{data.class_names[label]}, {counts[label]:,} training pictures"
        found.append(Strip(title, tiles))
    return strips(found, columns=_COLUMNS)


def _print(console: Console, found: Overview) -> None:
    data = found.data
    rows = {
        "data": f"{data.name}, of {data.task}",
        "": data.provenance,
        "splits": ", ".join(f"{len(getattr(data, part)):,} {part}" for part in PARTS),
        "sizes": found.sizes,
        "values": found.values,
    }
    if found.balance is not None:
        rows["balance"] = f"the largest class has {found.balance:.3g} times the smallest's images"
        if found.balance >= 3:
            rows["balance"] += " (see --class-weights balanced, --balanced)"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan")
    grid.add_column(overflow="fold")
    for title, text in rows.items():
        grid.add_row(title, styled(printable(text)))
    console.print(grid)
    if found.counts:
        console.print(_by_class(found))


def _by_class(found: Overview) -> Table:
    """Images of each class in each split; of many classes, the smallest."""
    names, train = found.data.class_names, found.counts["train"]
    order = np.arange(len(names))
    title = "Images by class"
    if len(names) > _ROWS:
        title += f": the {_ROWS} smallest of {len(names)}"
        order = np.argsort(train, kind="stable")[:_ROWS]
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = title, "left"
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=24)
    for part in found.counts:
        table.add_column(part, justify="right")
    table.add_column("", style="green", no_wrap=True)
    table.show_header = True
    for label in order.tolist():
        counts = [f"{counts[label]:,}" for counts in found.counts.values()]
        bar = "█" * round(30 * train[label] / max(train.max(), 1))
        table.add_row(styled(printable(names[label])), *counts, bar)
    return table
