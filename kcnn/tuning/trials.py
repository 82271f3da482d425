"""Trials: each is a training with a run directory and a record; what there is, is not repeated.

    DIRECTORY/trial-0007/          the run, as kcnn.train writes it
    DIRECTORY/trials/0007.json     its values, what came of it, and its recipe: kcnn train --recipe

A record is replaced in one step. One that is missing or damaged is made again from the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kcnn.callbacks.checkpoint.files import files_in
from kcnn.errors import InputError
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras
from kcnn.storage.files import read_json
from kcnn.tasks.task import Task, ranking
from kcnn.training.loop import engine
from kcnn.training.train import resume, train
from kcnn.tuning.records import Records, Trial, trial_name

Callbacks = Callable[[], Sequence[keras.callbacks.Callback]]

_DEATHS = 4  # of processes within one trial, which come no further, before it counts as failed


class Trials:
    """The trials of a search directory.

    Args:
        directory: Of the search.
        task: Whose figures are measured.
        data: What trials are trained on; it has no test split.
        save_models: Keep the network of each.
    """

    def __init__(self, directory: Path, task: Task, data: Any, save_models: bool = False) -> None:
        self.directory, self.task, self.data = directory, task, data
        self.save_models, self.records = save_models, Records(directory)

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
        before = self.records.read(trial.number)
        if before:
            self.records.refuse_other(before, trial)
            if before.status != "running":
                return before
        name = trial_name(trial.number)
        at = _newest(self.directory / name)
        deaths = before.deaths if before and before.at == at else 0
        trial = dataclasses.replace(trial, recipe=recipe.to_dict(), at=at, deaths=deaths)
        if deaths >= _DEATHS:
            reason = f"Its process died {deaths} times (killed, as for lack of memory, or crashed)."
            ended = dataclasses.replace(trial, status="failed", reason=reason)
            self.records.write(ended)
            return ended
        # A death cannot be put on record by who dies.
        self.records.write(dataclasses.replace(trial, deaths=deaths + 1))
        recipe = dataclasses.replace(recipe, name=name, logs=str(self.directory))
        try:
            ended = self._ended(trial, recipe, callbacks)
        except BaseException:  # an end in order
            with contextlib.suppress(OSError):
                self.records.write(trial)
            raise
        self.records.write(ended)
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
            reason = _reason(error)
            return dataclasses.replace(trial, status="failed", reason=reason, seconds=seconds)
        measured = ranking(self.task, monitor=recipe.monitor)
        found = {figure.name: result[f"validation_{figure.name}"] for figure in measured}
        if not all(map(math.isfinite, found.values())):
            reason = f"A figure on validation is not finite: {found}."
            return dataclasses.replace(trial, status="failed", reason=reason)
        seconds = result["seconds"]
        return dataclasses.replace(trial, status="completed", figures=found, seconds=seconds)

    def _result(self, recipe: Recipe, callbacks: Callbacks) -> dict[str, Any]:
        try:
            return self._trained(recipe, callbacks)
        except MemoryError:
            forget_engines()  # those of former trials take memory that this one may need
        return self._trained(recipe, callbacks)

    def _trained(self, recipe: Recipe, callbacks: Callbacks) -> dict[str, Any]:
        """The result of the run, which is begun, gone on with, or there already."""
        path = self.directory / str(recipe.name)
        if (result := _read(path / "result.json")) and self._is_result(result, recipe):
            return result
        options = {
            "data": self.data,
            "task": self.task,
            "callbacks": callbacks(),
            "save_model": self.save_models,
            "verbose": False,
        }
        if _read(path / "recipe.json") and any((path / "checkpoints").glob("epoch-*")):
            for name in ("result.json", "model.keras"):  # damaged, or of no use without the other
                (path / name).unlink(missing_ok=True)
            try:
                return resume(path, **options).result
            except InputError:  # no checkpoint is whole, or they are of another version
                pass
        set_aside(path)
        return train(recipe, **options).result

    def _is_result(self, result: dict[str, Any], recipe: Recipe) -> bool:
        measured = ranking(self.task, monitor=recipe.monitor)
        names = ["seconds", *(f"validation_{figure.name}" for figure in measured)]
        return all(isinstance(result.get(name), (int, float)) for name in names)


def _newest(run: Path) -> str:
    """The name of the newest checkpoint of a run; "" without any."""
    found = files_in(run / "checkpoints")
    return found[-1][1].name if found else ""


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
        return read_json(path)
    except (OSError, InputError):
        return None


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
