"""Trials and their records: what each tried, and what came of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, FiniteFloat

from kcnn.errors import InputError
from kcnn.figures import Figure
from kcnn.recipes.recipe import Recipe
from kcnn.runs.directory import Run
from kcnn.storage import files, schema
from kcnn.terminal import counted

Ranking = tuple[Figure, ...]  #: what ranks trials: the objective, then what decides a tie
Status = Literal["running", "completed", "failed"]


@dataclass(frozen=True)
class Trial:
    """A trial, and what came of it."""

    number: int
    values: Mapping[str, Any]  #: by row of the search space
    epochs: int
    seed: int  #: of its training
    status: Status = "running"
    figures: Mapping[str, float] = field(default_factory=dict)  #: by name: on validation, of the
    #: weights that were kept
    seconds: float = 0.0  #: of training
    reason: str | None = None  #: why it failed
    recipe: Mapping[str, Any] = field(default_factory=dict, compare=False)  #: trains it again
    #: Starts whose process died without a word and came no further than `at`, a checkpoint's name.
    deaths: int = field(default=0, compare=False)
    at: str = field(default="", compare=False)

    def score(self, ranking: Ranking) -> float | None:
        """The figure that ranks it; None where it has none."""
        return self.figures.get(ranking[0].name)

    def rank(self, ranking: Ranking) -> tuple[float, ...]:
        """A key that sorts the best first; equal ones go by the next figure, then by number."""
        keys = [figure.key(self.figures.get(figure.name, 0.0)) for figure in ranking]
        return (*keys, self.number)


@dataclass(frozen=True, repr=False)
class Found:
    """What a search has found."""

    directory: Path
    trials: tuple[Trial, ...]  #: the best first, those that failed last
    best: Recipe  #: what `best.json` holds, and `kcnn train --recipe best.json` repeats
    repeats: Mapping[int, tuple[float, ...]]  #: scores by trial, with other seeds
    run: Run | None  #: the winner, trained anew and tested; None without `winner`

    def __repr__(self) -> str:
        best = self.trials[0]
        figures = ", ".join(f"{name} {value:.4g}" for name, value in best.figures.items())
        trials = counted(len(self.trials), "trial")
        found = f"{trials}, the best {best.number} (validation {figures})"
        return f"<Found {str(self.directory)!r}: {found}>"


def trial_name(number: int) -> str:
    """Of the run directory."""
    return f"trial-{number:04d}"


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial's training, a function of the search's seed and the trial's number."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) % 2**31


class _Record(BaseModel):
    """A record as it is in its file."""

    number: int
    values: dict[str, Any]
    epochs: int
    seed: int
    status: Status
    figures: dict[str, FiniteFloat]
    seconds: FiniteFloat = 0.0
    reason: schema.Text | None = None
    recipe: dict[str, Any] = {}
    deaths: int = 0
    at: str = ""


class Records:
    """The records of a search's trials: `trials/0007.json`, each replaced in one step.

    Args:
        directory: Of the search.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "trials").mkdir(parents=True, exist_ok=True)

    def read(self, number: int) -> Trial | None:
        """The record of a trial; None where there is none that can be read."""
        try:
            fields = _with_figures(files.read_json(self._record(number)))
            if schema.faults(fields, _Record) or fields["number"] != number:
                return None
            fields["values"] = {n: _tuples(v) for n, v in fields["values"].items()}
            trial = Trial(**fields)
            return None if trial.status == "completed" and not trial.figures else trial
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def refuse_other(self, before: Trial, trial: Trial) -> None:
        """Refuse a trial that has other values than its record."""
        ours, theirs = (
            _plain(t.values) | {"epochs": t.epochs, "seed": t.seed} for t in (trial, before)
        )
        if ours != theirs:
            names = sorted(n for n in ours | theirs if ours.get(n) != theirs.get(n))
            listed = "\n".join(
                f"  {n}: {theirs.get(n)!r} there, {ours.get(n)!r} now" for n in names
            )
            raise InputError(
                f"Trial {trial.number} of {str(self.directory)!r} was another one:\n{listed}\n"
                f"Nothing was changed. Give the search another name, or repeat its first command."
            )

    def _record(self, number: int) -> Path:
        return self.directory / "trials" / f"{number:04d}.json"

    def write(self, trial: Trial) -> None:
        """Replace a record in one step."""
        files.write_json(self._record(trial.number), dataclasses.asdict(trial))


def _with_figures(fields: dict[str, Any]) -> dict[str, Any]:
    """A record's fields; the first version wrote figures beside the others."""
    known = {field.name for field in dataclasses.fields(Trial)}
    beside = {name: fields.pop(name) for name in list(fields) if name not in known}
    figures = fields.pop("figures", beside)
    found = {name: float(value) for name, value in figures.items() if value is not None}
    return {**fields, "figures": found}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(values)))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
