"""Evaluations and predictions on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kcnn.tasks.evaluate import Evaluation
from kcnn.tasks.objective import Prediction


def class_table(accuracy: Mapping[str, float | None], most: int = 20) -> Table:
    """Accuracy by class as numbers and bars; of many classes, the worst."""
    known = {name: value for name, value in accuracy.items() if value is not None}
    title = "Test accuracy by class"
    if len(known) > most:
        title = f"Test accuracy by class: the {most} worst of {len(known)}"
        known = dict(sorted(known.items(), key=lambda item: item[1])[:most])
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = title, "left"
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column(justify="right")
    table.add_column(style="green", no_wrap=True)
    for name, value in known.items():
        table.add_row(name, f"{value:.1%}", "█" * round(40 * value))
    return table


def print_evaluation(
    console: Console, evaluation: Evaluation, class_names: tuple[str, ...]
) -> None:
    """Loss, accuracy and accuracy by class."""
    console.print(
        f"test accuracy [bold green]{evaluation.accuracy:.2%}[/], loss {evaluation.loss:.4f}, "
        f"{evaluation.images:,} images"
    )
    per_class = zip(class_names, evaluation.accuracy_per_class, strict=True)
    console.print(class_table(dict(per_class)))


def print_predictions(console: Console, predictions: Sequence[Prediction], top: int) -> None:
    """One line an image, however long its path: the most probable classes."""
    rows = []
    for prediction in predictions:
        ranked = list(prediction.probabilities.items())[: max(top, 1)]
        named = [f"{name} {probability:.1%}" for name, probability in ranked]
        rows.append([str(prediction.path), *named])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        line = Text("  ".join(cells).rstrip())
        line.stylize("bold green", widths[0] + 2, widths[0] + 2 + widths[1])
        console.print(line, soft_wrap=True)
