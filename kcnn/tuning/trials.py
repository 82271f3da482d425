"""Trials: each is a training with a run directory and a record; what there is, is not repeated.

    DIRECTORY/trial-0007/          the run, as kcnn.train writes it
    DIRECTORY/trials/0007.json     its values, what came of it, and its recipe: kcnn train --recipe

A record is replaced in one step. One that is missing or damaged is made again from the run.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kcnn.errors import InputError
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras
from kcnn.storage import files
from kcnn.training.loop import engine
from kcnn.training.train import resume, train
from kcnn.tuning.dashboard import write_score

Callbacks = Callable[[], Sequence[keras.callbacks.Callback]]
Status = Literal["running", "completed", "failed"]


@dataclass(frozen=True)
class Trial:
    """A trial, and what came of it."""

    number: int
    values: Mapping[str, Any]  #: by row of the search space
    epochs: int
    seed: int  #: of its training
    status: Status = "running"
    accuracy: float | None = None  #: on validation, of the weights that were kept
    loss: float | None = None
    seconds: float = 0.0  #: of training
    reason: str | None = None  #: why it failed
    recipe: Mapping[str, Any] = field(default_factory=dict, compare=False)  #: trains it again

    def score(self, objective: str) -> float | None:
        """The figure that ranks it."""
        return self.accuracy if objective == "validation_accuracy" else self.loss

    def rank(self, objective: str) -> tuple[float, float, int]:
        """A key that sorts the best first; equal accuracies go by loss, then by number."""
        accuracy, loss = -(self.accuracy or 0.0), self.loss or 0.0
        by = (accuracy, loss) if objective == "validation_accuracy" else (loss, accuracy)
        return (*by, self.number)


def trial_name(number: int) -> str:
    """Of the run directory."""
    return f"trial-{number:04d}"


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial's training, a function of the search's seed and the trial's number."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) % 2**31


class Trials:
    """The trials of a search directory.

    Args:
        directory: Of the search.
        data: What trials are trained on; it has no test split.
        save_models: Keep the network of each.
    """

    def __init__(self, directory: Path, data: Any, save_models: bool = False) -> None:
        self.directory, self.data, self.save_models = directory, data, save_models
        (directory / "trials").mkdir(parents=True, exist_ok=True)

    def recorded(self, number: int) -> Trial | None:
        """The record of a trial; None where there is none that can be read."""
        try:
            fields = json.loads(self._record(number).read_text(encoding="utf-8"))
            fields["values"] = {n: _tuples(v) for n, v in fields["values"].items()}
            return Trial(**fields)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def fail(self, number: int, reason: str) -> None:
        """Put on record that a trial has failed which cannot say so itself."""
        if trial := self.recorded(number):
            self._write(dataclasses.replace(trial, status="failed", reason=reason))

    def run(self, trial: Trial, recipe: Recipe, callbacks: Callbacks = tuple) -> Trial:
        """Train, go on with, or read back `trial`.

        Args:
            trial: Its number, values and epochs.
            recipe: What is trained; its name and logs are the trial's own.
            callbacks: Makes Keras callbacks for one training.

        Raises:
            InputError: The directory holds this trial with other values.
            OSError: The disk is full, or cannot be written: not the trial's fault.
            KeyboardInterrupt, SystemExit: It goes on from its checkpoint next time.
        """
        before = self.recorded(trial.number)
        if before:
            self._refuse_other(before, trial)
            if before.status != "running":
                return before
        trial = dataclasses.replace(trial, recipe=recipe.to_dict())
        self._write(trial)
        name = trial_name(trial.number)
        recipe = dataclasses.replace(recipe, name=name, logs=str(self.directory))
        ended = self._ended(trial, recipe, callbacks)
        if ended.status == "completed":
            write_score(self.directory / name, ended.accuracy, ended.loss)
        self._write(ended)
        # The result is there; checkpoints are for going on.
        shutil.rmtree(self.directory / name / "checkpoints", ignore_errors=True)
        return ended

    def _ended(self, trial: Trial, recipe: Recipe, callbacks: Callbacks) -> Trial:
        started = time.monotonic()
        try:
            result = self._result(recipe, callbacks)
        except OSError:
            raise
        except Exception as error:  # whatever it is, the search goes on without this trial
            seconds = time.monotonic() - started
            failed = {"status": "failed", "reason": _reason(error), "seconds": seconds}
            return dataclasses.replace(trial, **failed)
        accuracy, loss = result["validation_accuracy"], result["validation_loss"]
        found = {"accuracy": accuracy, "loss": loss, "seconds": result["seconds"]}
        if not (math.isfinite(accuracy) and math.isfinite(loss)):
            reason = f"The validation loss is not finite: {loss}."
            return dataclasses.replace(trial, status="failed", reason=reason)
        return dataclasses.replace(trial, status="completed", **found)

    def _result(self, recipe: Recipe, callbacks: Callbacks) -> dict[str, Any]:
        try:
            return self._trained(recipe, callbacks)
        except MemoryError:
            forget_engines()  # those of former trials take memory that this one may need
        return self._trained(recipe, callbacks)

    def _trained(self, recipe: Recipe, callbacks: Callbacks) -> dict[str, Any]:
        """The result of the run, which is begun, gone on with, or there already."""
        path = self.directory / recipe.name
        if (result := _read(path / "result.json")) and _is_result(result):
            return result
        options = {
            "data": self.data,
            "callbacks": callbacks(),
            "save_model": self.save_models,
            "verbose": False,
        }
        if _read(path / "recipe.json") and any((path / "checkpoints").glob("epoch-*")):
            for name in ("result.json", "model.keras"):  # damaged, or of no use without the other
                (path / name).unlink(missing_ok=True)
            return resume(path, **options).result
        set_aside(path)
        return train(recipe, **options).result

    def _refuse_other(self, before: Trial, trial: Trial) -> None:
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

    def _write(self, trial: Trial) -> None:
        text = json.dumps(dataclasses.asdict(trial), indent=2) + "\n"
        files.replace(self._record(trial.number), lambda file: file.write(text.encode()))


def forget_engines() -> None:
    """Let go of the compiled networks that are kept for the next training."""
    engine.forget()
    gc.collect()


def _reason(error: Exception) -> str:
    """One line: what it is, and the first line of what it says."""
    lines = str(error).strip().splitlines() or [""]
    first = lines[0].split(" Checkpoints before it are kept.")[0]  # how to go on is not wanted here
    return f"{type(error).__name__}: {first}"[:400]


def _read(path: Path) -> dict[str, Any] | None:
    """A JSON file; None where there is none, or not a whole one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _is_result(result: dict[str, Any]) -> bool:
    return all(
        isinstance(result.get(name), (int, float))
        for name in ("validation_accuracy", "validation_loss", "seconds")
    )


def set_aside(path: Path) -> None:
    """Make room for a run that begins anew; what was there is kept unless it is nothing."""
    if not path.is_dir():
        return
    if not any(p.is_file() and not p.name.startswith(".") for p in path.rglob("*")):
        shutil.rmtree(path)
        return
    count = 1
    while (kept := path.with_name(f"damaged-{path.name}-{count}")).exists():
        count += 1
    path.rename(kept)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(values)))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
