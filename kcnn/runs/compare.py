"""Runs side by side: curves, what of their recipes differs, figures, pairs on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from kcnn.data.sets.arrays import fingerprint
from kcnn.errors import InputError
from kcnn.figures import LOSS, Figure
from kcnn.interpret.pairs import Pair, mcnemar
from kcnn.runs.directory import Run
from kcnn.runs.evaluation import folder_of
from kcnn.runs.inference import Evaluated, evaluated
from kcnn.tasks.classification import ClassEvaluation
from kcnn.tasks.stored import StoredProblem
from kcnn.tasks.task import ranking
from kcnn.terminal import styled

#: Of a recipe: where a run lies says nothing of it.
_PLACES = ("name", "logs")


@dataclass(frozen=True, eq=False)
class Paired:
    """A run against the first, on the same images; or why not."""

    run: int  #: which of the runs
    pair: Pair | None = None
    why_not: str = ""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found of runs of one task."""

    names: tuple[str, ...]  #: of the runs, each another
    runs: tuple[Run, ...]
    #: What differs, of recipe and data: a value for each run.
    fields: Mapping[str, Sequence[Any]]
    #: On test: by name of the figure, one for each run; None where there is none.
    figures: Mapping[str, Sequence[float | None]]
    measured: tuple[Evaluated | None, ...]  #: of each run, where it could be evaluated
    pairs: tuple[Paired, ...]  #: every other run against the first

    @property
    def shown(self) -> tuple[Figure, ...]:
        """The figures by which the task ranks trainings."""
        return ranking(self.runs[0].task)

    def curves(self) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
        """For `kcnn.draw.curves`: by figure, by run, on training and on validation images."""
        panels = {}
        for figure in (LOSS, *self.runs[0].task.figures):
            rows = {
                name: (run.history.get(figure.name, []), run.history[f"val_{figure.name}"])
                for name, run in zip(self.names, self.runs, strict=True)
                if f"val_{figure.name}" in run.history
            }
            if rows:
                panels[figure.label] = rows
        return panels

    def disagreements(self, run: int) -> tuple[np.ndarray, np.ndarray]:
        """Which test images the first gets right and `run` wrong; and the other way round.

        Of each the most confident mistakes first. Empty where there is no pair.
        """
        one, other = self.measured[0], self.measured[run]
        if one is None or other is None or self.pairs[run - 1].pair is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        first, second = _answers(one), _answers(other)
        return (
            _surest(first.right & ~second.right, second.confidence),
            _surest(second.right & ~first.right, first.confidence),
        )


def compare(runs: Sequence[Run], data: Any = None, console: Console | None = None) -> Comparison:
    """Compare finished runs of one task.

    Classifiers are evaluated again, each on the test split of its own data, or all on `data`; a
    pair is made of two whose test images and their classes are the same, picture by picture.

    Args:
        runs: Two at least.
        data: As `kcnn.runs.inference.evaluate_run` takes it; None: each run's own.
        console: A terminal there shows how far it is.

    Raises:
        InputError: Fewer than two; runs of several tasks; `data` that a run cannot take.
    """
    if len(runs) < 2:
        raise InputError(f"Two runs at least can be compared; received {len(runs)}.")
    if len(tasks := {run.task.name for run in runs}) > 1:
        raise InputError(
            f"Runs of one task can be compared; these are of {', '.join(sorted(tasks))}."
        )
    names = _names(runs)
    measured, reasons = list[Evaluated | None](), list[str]()
    for name, run in zip(names, runs, strict=True):
        found, why_not = _measured(run, name, data, console)
        measured.append(found)
        reasons.append(why_not)
    return Comparison(
        names=names,
        runs=tuple(runs),
        fields=_fields(runs),
        figures=_figures(runs, measured),
        measured=tuple(measured),
        pairs=tuple(_pairs(names, measured, reasons)),
    )


def _measured(
    run: Run, name: str, data: Any, console: Console | None
) -> tuple[Evaluated | None, str]:
    """An evaluation; or why there is none."""
    if run.task.name != "classification":
        return None, f"pairs are of classifiers; these runs are of {run.task.name}"
    if console is not None:
        console.print(styled(f"evaluating {name}"))
    try:
        return evaluated(run, data, console=console), ""
    except (InputError, OSError) as error:
        if data is not None:
            raise
        return None, f"{name} cannot be evaluated again: {error}"


def _names(runs: Sequence[Run]) -> tuple[str, ...]:
    """Names of the folders; with what is above where they are alike."""
    paths = [run.directory for run in runs]
    for names in ([path.name for path in paths], [str(path) for path in paths]):
        if len(set(names)) == len(names):
            return tuple(names)
    raise InputError(f"A run is compared with others; received {paths[0]} more than once.")


def _fields(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """What differs, by name."""
    recipes = [run.recipe.to_dict() for run in runs]
    found = {name: [one.get(name) for one in recipes] for name in recipes[0]}
    found["data's fingerprint"] = [run.data.get("fingerprint", "")[:19] for run in runs]
    found["classes"] = [len(run.class_names) for run in runs]
    found["parameters"] = [run.result.get("parameters") for run in runs]
    found["device"] = [run.result.get("device", "") for run in runs]
    return {
        name: values
        for name, values in found.items()
        if name not in _PLACES and any(value != values[0] for value in values[1:])
    }


def _figures(
    runs: Sequence[Run], measured: Sequence[Evaluated | None]
) -> dict[str, list[float | None]]:
    """Of test: as evaluated now, else as recorded."""
    rows = [_row(run, found) for run, found in zip(runs, measured, strict=True)]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _row(run: Run, found: Evaluated | None) -> dict[str, float]:
    if found is None:
        recorded = {n: v for n, v in run.result.items() if n.startswith("test_")}
        values = {name.removeprefix("test_"): value for name, value in recorded.items()}
    else:
        evaluation = found.evaluation
        values = {**evaluation.figures, "loss": evaluation.loss}
        values |= evaluation.details(run.class_names)
    return {name: float(v) for name, v in values.items() if isinstance(v, int | float)}


def _pairs(
    names: Sequence[str], measured: Sequence[Evaluated | None], reasons: Sequence[str]
) -> Iterator[Paired]:
    first, digest = measured[0], None if measured[0] is None else _digest(measured[0])
    for index, found in enumerate(measured[1:], 1):
        if first is None or found is None:
            yield Paired(index, why_not=reasons[0] or reasons[index])
        elif digest is None or _digest(found) != digest:
            yield Paired(
                index,
                why_not=f"the test images of {names[0]} and {names[index]} differ, or their order "
                f"or classes do; name images for both with --data",
            )
        else:
            yield Paired(index, mcnemar(_answers(first).right, _answers(found).right))


def _digest(found: Evaluated) -> str | None:
    """Of the images and the names of their classes, in order; None: of images that pass by."""
    if not isinstance(found.problem, StoredProblem):
        return None
    split, names = getattr(found.problem.data, found.part), found.problem.class_names
    text = "\0".join(names[k] for k in split.labels)
    labels = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    if split.files is None:
        return fingerprint([split.array, labels])
    return fingerprint([np.frombuffer(split.files.state(), np.uint8), labels])


def _answers(found: Evaluated) -> Any:
    assert isinstance(found.evaluation, ClassEvaluation)
    return found.evaluation.answers


def _surest(which: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    indices = np.flatnonzero(which)
    return indices[np.argsort(-confidence[indices], kind="stable")]


def default_folder(runs: Sequence[Run]) -> Path:
    """Where a comparison is written: in the first run's folder, where it has one."""
    return folder_of(runs[0], "comparison")
