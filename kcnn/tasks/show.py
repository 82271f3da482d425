"""Figures, evaluations and predictions of any task on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kcnn.tasks.task import Evaluation, Task
from kcnn.terminal import counted, printable, styled


def print_evaluation(
    console: Console, task: Task, evaluation: Evaluation, class_names: Sequence[str]
) -> None:
    """The task's figures on a line, and its tables."""
    parts: list[str | tuple[str, str]] = []
    for figure in task.figures:
        value = figure.text(evaluation.figures[figure.name])
        parts += [f"test {figure.label} ", (value, "bold green"), ", "]
    # A file that gives boxes keeps what a loss is made of.
    loss = "" if np.isnan(evaluation.loss) else f"loss {evaluation.loss:.4f}, "
    console.print(styled(*parts, f"{loss}{counted(evaluation.images, 'image')}"))
    for table in task.tables(evaluation.details(class_names)):
        console.print(table)


def print_predictions(console: Console, task: Task, predictions: Sequence[Any], top: int) -> None:
    """One line an image, however long its path."""
    for line in task.lines(predictions, top):
        console.print(line, soft_wrap=True)


@dataclass
class FileNames:
    """Names of files for pictures, each once: of two `a.jpg` the second is `a-2`."""

    taken: set[str] = field(default_factory=set)

    def of(self, path: Path, *endings: str) -> str:
        """The name for a picture, without suffix; with each of the endings it is free, too."""
        name, count = path.stem, 1
        while self.taken.intersection(f"{name}{ending}" for ending in endings):
            count += 1
            name = f"{path.stem}-{count}"
        self.taken.update(f"{name}{ending}" for ending in endings)
        return name


def spread(scores: np.ndarray) -> list[tuple[int, str]]:
    """Of pictures with scores (N,): the best, the middle and the worst, each once."""
    order = np.argsort(-scores, kind="stable")
    places = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    found: dict[int, str] = {}
    for what, place in places.items():
        found.setdefault(int(order[place]), what)
    return list(found.items())


def bars(shares: Mapping[str, float | None], title: str, most: int = 20) -> Table:
    """Shares by name as numbers and bars; of many, the worst."""
    known = {name: value for name, value in shares.items() if value is not None}
    if len(known) > most:
        title = f"{title}: the {most} worst of {len(known)}"
        known = dict(sorted(known.items(), key=lambda item: item[1])[:most])
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = title, "left"
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column(justify="right")
    table.add_column(style="green", no_wrap=True)
    for name, value in known.items():
        table.add_row(styled(printable(name)), f"{value:.1%}", "█" * round(40 * value))
    return table


def columns(rows: Sequence[Sequence[str]]) -> list[Text]:
    """Rows of cells below each other; the second column stands out."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    lines = []
    for row in shown:
        cells = [c + " " * (width - cell_len(c)) for c, width in zip(row, widths, strict=True)]
        line, second = Text("  ".join(cells).rstrip()), len(cells[0]) + 2
        line.stylize("bold green", second, second + len(cells[1]))
        lines.append(line)
    return lines
