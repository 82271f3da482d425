"""A comparison of runs as tables for the terminal, and as files.

| File                  | What it holds                                                           |
|-----------------------|-------------------------------------------------------------------------|
| `comparison.json`     | what differs, figures, pairs                                            |
| `curves.png`          | loss and the task's figures by epoch, over each other                   |
| `disagreements-N.png` | pictures that the first run gets right and run N wrong, and the reverse |
| `disagreements-N.csv` | all of these: `file` or `index`, `label`, and what each run said        |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from kcnn.draw.curves import training_curves
from kcnn.draw.sheets import Section, contact_sheet
from kcnn.interpret.answers import Answers
from kcnn.interpret.pairs import Pair
from kcnn.runs.compare import Comparison
from kcnn.runs.evaluation import csv_bytes, image_files, make_folder, picture, write_bytes
from kcnn.storage import files
from kcnn.tasks import class_figures
from kcnn.tasks.classification import ClassEvaluation
from kcnn.terminal import styled

#: Pictures of each kind on a sheet.
_SHOWN = 16


def tables(found: Comparison) -> list[Table]:
    """Which run is which, what differs, figures, pairs."""
    made = [_runs(found)]
    if found.fields:
        made.append(_fields(found))
    return [*made, _pairs(found)]


def write_comparison(folder: Path, found: Comparison) -> list[Path]:
    """Write all of it; the files.

    Args:
        folder: Made where it is not there; files of these names are replaced.
        found: What `compare` gave.
    """
    make_folder(folder)
    files.write_json(folder / "comparison.json", as_data(found))
    paths = [folder / "comparison.json"]
    if panels := found.curves():
        paths.append(folder / "curves.png")
        files.replace(paths[-1], partial(write_bytes, training_curves(panels)))
    for index in range(1, len(found.runs)):
        first, second = found.disagreements(index)
        if len(first) or len(second):
            name = f"disagreements-{index + 1}"
            paths += [folder / f"{name}.png", folder / f"{name}.csv"]
            files.replace(paths[-2], partial(write_bytes, sheet(found, index)))
            rows = csv_bytes(_rows(found, index, np.concatenate([first, second])))
            files.replace(paths[-1], partial(write_bytes, rows))
    return paths


def as_data(found: Comparison) -> dict[str, Any]:
    """What `comparison.json` holds."""
    return {
        "runs": [str(run.directory) for run in found.runs],
        "differ": dict(found.fields),
        "test": dict(found.figures),
        "pairs": [
            {"first": found.names[0], "second": found.names[one.run]}
            | ({"why_not": one.why_not} if one.pair is None else _as_data(one.pair))
            for one in found.pairs
        ],
    }


def sheet(found: Comparison, index: int) -> bytes:
    """A PNG: what the first run gets right and run `index` wrong, and the reverse."""
    sections = []
    for which, right in zip(found.disagreements(index), (0, index), strict=True):
        wrong = index - right
        heading = (
            f"{len(which):,} images that {found.names[right]} gets right, {found.names[wrong]} not"
        )
        if len(which) > _SHOWN:
            heading += f"; the {_SHOWN} of which that is surest"
        sections.append(_section(found, heading, which[:_SHOWN], wrong))
    return contact_sheet(sections)


def _section(found: Comparison, heading: str, which: np.ndarray, wrong: int) -> Section:
    measured = found.measured[wrong]
    assert measured is not None
    answers, names = _answers(found, wrong), found.runs[wrong].class_names
    captions = [
        f"{names[answers.truth[k]]}\nsaid: {names[answers.said[k]]} {answers.confidence[k]:.0%}"
        for k in which
    ]
    return Section(heading, [picture(measured, int(k)) for k in which], captions)


def _rows(found: Comparison, index: int, which: np.ndarray) -> Iterator[list[Any]]:
    measured = found.measured[0]
    assert measured is not None
    sources, order = image_files(measured), np.sort(which)
    heads = [f"{what} of {found.names[k]}" for k in (0, index) for what in ("answer", "confidence")]
    yield ["index" if sources is None else "file", "label", *heads]
    for k in map(int, order):
        row: list[Any] = [k if sources is None else sources[k]]
        row.append(found.runs[0].class_names[_answers(found, 0).truth[k]])
        for run in (0, index):
            answers = _answers(found, run)
            row += [found.runs[run].class_names[answers.said[k]], f"{answers.confidence[k]:.6g}"]
        yield row


def _answers(found: Comparison, run: int) -> Answers:
    measured = found.measured[run]
    assert measured is not None
    assert isinstance(measured.evaluation, ClassEvaluation)
    return measured.evaluation.answers


def _as_data(pair: Pair) -> dict[str, Any]:
    low, high = pair.interval()
    return {
        "images": pair.images,
        "both_right": pair.both,
        "first_alone_right": pair.first,
        "second_alone_right": pair.second,
        "neither_right": pair.neither,
        "difference": pair.difference,
        "interval": [low, high],
        "p_value": pair.p_value,
    }


def _table(title: str, first: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", overflow="fold")
    return table


def _runs(found: Comparison) -> Table:
    """Figures, a row for each run."""
    known = (*found.shown, *class_figures.FIGURES)
    columns = [figure for figure in known if any(found.figures.get(figure.name, ()))]
    table = _table("Runs, figures on test", "run", [figure.label for figure in columns])
    for index, name in enumerate(found.names):
        values = [found.figures[figure.name][index] for figure in columns]
        cells = [
            "–" if value is None else figure.text(value)
            for figure, value in zip(columns, values, strict=True)
        ]
        table.add_row(styled(f"{index + 1}  {name}"), *cells)
    return table


def _fields(found: Comparison) -> Table:
    """What differs, a column for each run."""
    table = _table("What differs", "field", [f"{k + 1}" for k in range(len(found.runs))])
    for name, values in found.fields.items():
        table.add_row(styled(name), *(styled(_text(value)) for value in values))
    return table


def _pairs(found: Comparison) -> Table:
    """Against the first run, a row for each other."""
    headings = ["accuracy", "95 % interval", "1 alone right", "the other alone", "McNemar's p"]
    table = _table("On the same test images, against run 1, picture by picture", "run", headings)
    for one in found.pairs:
        if (pair := one.pair) is None:
            table.add_row(styled(f"{one.run + 1}  no pair: {one.why_not}"))
            continue
        low, high = (100 * end for end in pair.interval())
        table.add_row(
            f"{one.run + 1}", f"{100 * pair.difference:+.2f} points", f"{low:+.2f} to {high:+.2f}",
            f"{pair.first:,}", f"{pair.second:,}", f"{pair.p_value:.2g}",
        )  # fmt: skip
    return table


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{name}={one}" for name, one in value.items()) or "–"
    return f"{value:g}" if isinstance(value, float) else f"{value}"
