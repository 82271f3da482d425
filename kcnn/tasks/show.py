"""Figures, evaluations and predictions of any task on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kcnn.tasks.task import Evaluation, Task
from kcnn.terminal import printable, styled


def print_evaluation(
    console: Console, task: Task, evaluation: Evaluation, class_names: Sequence[str]
) -> None:
    """The task's figures on a line, and its tables."""
    parts: list[str | tuple[str, str]] = []
    for figure in task.figures:
        value = figure.text(evaluation.figures[figure.name])
        parts += [f"test {figure.label} ", (value, "bold green"), ", "]
    console.print(styled(*parts, f"loss {evaluation.loss:.4f}, {evaluation.images:,} images"))
    for table in task.tables(evaluation.details(class_names)):
        console.print(table)


def print_predictions(console: Console, task: Task, predictions: Sequence[Any], top: int) -> None:
    """One line an image, however long its path."""
    for line in task.lines(predictions, top):
        console.print(line, soft_wrap=True)


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
