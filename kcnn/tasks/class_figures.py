"""Figures of a classifier beside its accuracy: in `result.json`, in `kcnn evaluate`, in tables.

| Name                  | What it is                                                              |
|-----------------------|-------------------------------------------------------------------------|
| `balanced_accuracy`   | mean recall of the classes that have images                             |
| `macro_f1`            | mean F1 of the classes that have images or were said                    |
| `top5_accuracy`       | of more than five classes: the true one is among the five most probable |
| `roc_auc`             | of two classes: the second scores higher than the first                 |
| `average_precision`   | of two classes: of the second                                           |
| `calibration_error`   | expected calibration error over 15 bins of equal width                  |
| `recall_per_class`    | the same as `accuracy_per_class`; null without images                   |
| `precision_per_class` | null where nothing was said to be of the class                          |
| `f1_per_class`        | null where neither                                                      |
| `confusion`           | `{true: {said: images}}`, without zeros                                 |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from kcnn.errors import InputError
from kcnn.figures import Figure
from kcnn.interpret.answers import Answers
from kcnn.interpret.calibration import BINS, calibration_curve
from kcnn.interpret.mistakes import ByClass, balanced_accuracy, by_class, macro_f1
from kcnn.interpret.two_classes import thresholds
from kcnn.tasks import show
from kcnn.terminal import styled

#: Of all of these there is a number, or the data have no such. Balanced accuracy counts as a share
#: of all images where epochs are chosen: less uncertain than it is where some classes are rare.
FIGURES = (
    Figure("balanced_accuracy", share=True, short="bal. acc"),
    Figure("macro_f1", title="macro F1"),
    Figure("top5_accuracy", share=True, short="top-5", title="top-5 accuracy"),
    Figure("roc_auc", title="ROC AUC"),
    Figure("average_precision", short="AP"),
    Figure("calibration_error", higher_is_better=False, short="ECE"),
)
#: Of more classes than that, being among the five most probable means something.
_TOP = 5
#: Classes of which a table has rows, and how many of the answers that are wrong it names.
_ROWS, _NAMED = 20, 2


def figures(answers: Answers, counts: np.ndarray) -> dict[str, float]:
    """Those of `FIGURES` that the data have, by name.

    Args:
        answers: Of N images.
        counts: (K, K): their confusion matrix.
    """
    found = {"balanced_accuracy": balanced_accuracy(counts), "macro_f1": macro_f1(counts)}
    if answers.classes > _TOP:
        found["top5_accuracy"] = answers.top(_TOP)
    if answers.classes == 2 and counts.any(axis=1).all():  # both occur
        ranked = thresholds(answers.truth == 1, answers.positive)
        found["roc_auc"] = ranked.roc_auc
        found["average_precision"] = ranked.average_precision
    found["calibration_error"] = calibration_curve(answers.confidence, answers.right).error
    return found


def refuse_missing(name: str, classes: int, occurring: int) -> None:
    """Refuse to go by a figure that the validation split does not have.

    Args:
        name: One of `FIGURES`.
        classes: Of the data.
        occurring: How many of them the split has images of.

    Raises:
        InputError: With what the figure is of.
    """
    if name == "top5_accuracy" and classes <= _TOP:
        raise InputError(
            f"monitor={name!r} is of more than {_TOP} classes; the data have {classes}."
        )
    if name not in ("roc_auc", "average_precision"):
        return
    if classes != 2:
        raise InputError(
            f"monitor={name!r} is of two classes; the data have {classes}. Take macro_f1 or "
            f"balanced_accuracy."
        )
    if occurring < 2:
        raise InputError(
            f"monitor={name!r} needs images of both classes; the validation split has one. Give it "
            f"more images: validation."
        )


def details(answers: Answers, counts: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """All that the table above names, as plain data."""
    rows = by_class(counts)
    per_class = {"recall": rows.recall, "precision": rows.precision, "f1": rows.f1}
    return {
        **figures(answers, counts),
        **{f"{what}_per_class": _named(values, class_names) for what, values in per_class.items()},
        "confusion": {
            name: {class_names[int(said)]: int(row[said]) for said in np.flatnonzero(row)}
            for name, row in zip(class_names, counts, strict=True)
        },
    }


def tables(details: Mapping[str, Any]) -> list[Table]:
    """For the terminal; of a run of before, the accuracy of each class."""
    if "confusion" not in details:
        known = details.get("accuracy_per_class")
        return [show.bars(known, "Test accuracy by class")] if known else []
    return [_summary(details), _by_class(details["confusion"])]


def counts_of(named: Mapping[str, Mapping[str, int]]) -> tuple[np.ndarray, list[str]]:
    """The confusion matrix (K, K) of `details`, and the names of the classes."""
    names = list(named)
    number = {name: index for index, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    for true, row in named.items():
        for said, images in row.items():
            counts[number[true], number[said]] = images
    return counts, names


def taken_for(row: np.ndarray, true: int, class_names: Sequence[str], most: int = _NAMED) -> str:
    """What images of a class were taken for, the most frequent first: `cat ×12, dog ×3`."""
    wrong = row.copy()
    wrong[true] = 0
    order = np.argsort(-wrong, kind="stable")[:most]
    return ", ".join(f"{class_names[k][:24]} ×{wrong[k]:,}" for k in order if wrong[k])


def _named(values: np.ndarray, names: Sequence[str]) -> dict[str, float | None]:
    pairs = zip(names, values, strict=True)
    return {name: None if np.isnan(value) else float(value) for name, value in pairs}


def _summary(details: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan")
    table.add_column(justify="right")
    table.add_column(style="dim", overflow="ellipsis", no_wrap=True)
    looked_for = f"looked for: {list(details['confusion'])[-1]}"
    more = {
        "calibration_error": f"{BINS} bins of equal width",
        "roc_auc": looked_for,
        "average_precision": looked_for,
    }
    for figure in FIGURES:
        if (value := details.get(figure.name)) is not None:
            table.add_row(
                f"test {figure.label}", figure.text(value), styled(more.get(figure.name, ""))
            )
    return table


def _by_class(named: Mapping[str, Mapping[str, int]]) -> Table:
    """A row for each class that has images or was said, the lowest recall first."""
    counts, names = counts_of(named)
    rows = by_class(counts)
    ranked = np.argsort(np.where(np.isnan(rows.recall), 2.0, rows.recall), kind="stable")
    order = [int(k) for k in ranked if rows.images[k] or rows.said[k]]
    title = "By class, the worst first; with 95 % intervals"
    if len(order) > _ROWS:
        title = f"The {_ROWS} worst of {len(order)} classes, with 95 % intervals"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("class", overflow="ellipsis", no_wrap=True, max_width=24)
    for heading in ("images", "recall", "", "precision", "", "F1"):
        table.add_column(heading, justify="right", no_wrap=True, style="dim" * (not heading))
    table.add_column("taken for", overflow="ellipsis", no_wrap=True)
    for k in order[:_ROWS]:
        said = taken_for(counts[k], k, names)
        table.add_row(styled(names[k]), *_cells(rows, k), styled(said))
    return table


def _cells(rows: ByClass, k: int) -> list[str | Text]:
    cells: list[str | Text] = [f"{rows.images[k]:,}"]
    for share, (low, high) in (
        (rows.recall[k], rows.recall_interval[k]),
        (rows.precision[k], rows.precision_interval[k]),
    ):
        known = not math.isnan(share)
        cells += [f"{share:.1%}", f"{100 * low:.0f}–{100 * high:.0f}"] if known else ["–", ""]
    return [*cells, "–" if math.isnan(rows.f1[k]) else f"{rows.f1[k]:.3f}"]
