"""What a run has on record, and what cannot go on with it: refused before anything is touched."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from kcnn.callbacks.checkpoint.files import newest
from kcnn.data import Data
from kcnn.data.sets.images import files_fingerprint_of_before
from kcnn.errors import InputError
from kcnn.recipes import checks
from kcnn.recipes.checks import OWN
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.recipes.recipe import Recipe
from kcnn.runs.directory import recipe_of
from kcnn.runs.record import read_recorded
from kcnn.tasks.problem import Problem, description


def recorded(path: Path) -> tuple[ResolvedRecipe, dict[str, Any]]:
    """The recipe of a run directory, and all that is recorded beside it.

    Raises:
        InputError: No such directory; no recipe in it, or a damaged one.
    """
    if not path.is_dir():
        raise InputError(f"There is no run directory {str(path)!r}.")
    if not (path / "recipe.json").is_file():
        raise InputError(
            f"{str(path)!r} is no run that could go on: it has no recipe.json. Runs are the "
            f"folders below `logs`; one that ended before its first step is begun anew, by "
            f"kcnn train."
        )
    content = read_recorded(path)
    return recipe_of(path, content), content


def refuse_missing(
    path: Path, recipe: Recipe, recorded: dict[str, Any], model: Any, data: Any
) -> None:
    """Refuse to go on without what only the user's own program has.

    Raises:
        InputError: The run is of a model or data of the user's own, and none is given.
    """
    own_model = recipe.model.startswith("own: ")
    own_data = recorded["data"]["source"] is None
    for what, is_own, given in (("model", own_model, model), ("data", own_data, data)):
        if is_own and given is None:
            raise InputError(
                f"{str(path)!r} was trained on {what} of your own, which it does not hold: "
                f"kcnn.resume({str(path)!r}, {what}=...) in your program goes on with it."
            )


def extended(path: Path, recipe: ResolvedRecipe, epochs: int | None) -> int:
    """How many epochs the run is to have: those of its recipe, or more.

    Raises:
        InputError: Fewer; more for a run that was stopped early, or that has no checkpoint.
    """
    if epochs is None or epochs == recipe.epochs:
        return recipe.epochs
    if epochs < recipe.epochs:
        raise InputError(
            f"{str(path)!r} is a run of {recipe.epochs} epochs; more extend it, fewer do not end "
            f"it: received epochs={epochs}."
        )
    _, found = newest(path / "checkpoints")
    if found and found["stopped"]:
        raise InputError(
            f"{str(path)!r} was stopped early, in epoch {found['epoch']}: more epochs would not "
            f"change that. Train anew with another early_stopping."
        )
    if found is None and (path / "result.json").is_file():
        raise InputError(f"{str(path)!r} has no checkpoint from which it could go on.")
    return epochs


def refuse_rate_of_finished(path: Path, recipe: ResolvedRecipe, rate: float | None) -> None:
    """Refuse another rate for a run of which nothing is left to do.

    Raises:
        InputError: With what would be.
    """
    if rate is not None:
        raise InputError(
            f"{str(path)!r} is finished: no step is left for learning_rate={rate!r}. Extend it, by "
            f"epochs above {recipe.epochs}; or train anew with that rate."
        )


def rates(path: Path, recipe: ResolvedRecipe, rate: float | None) -> tuple[tuple[int, float], ...]:
    """The peak rates of a run from the newest checkpoint on, where it is to have another.

    Args:
        path: The run directory.
        recipe: As it is recorded.
        rate: From the next step on; None leaves it as it is.

    Raises:
        InputError: No rate; one that the run's optimizer would not heed.
    """
    if rate is None:
        return recipe.rates
    rate = checks.between(1e-12, math.inf, "a number above 0")("learning_rate", rate)
    if str(recipe.schedule).startswith(OWN):
        raise InputError(
            f"The learning rate of {str(path)!r} is that of its optimizer's own schedule, "
            f"{recipe.schedule.removeprefix(OWN)}; learning_rate={rate!r} would not count."
        )
    _, found = newest(path / "checkpoints")
    step = found["step"] if found else 0
    if recipe.peak(step) == rate:
        return recipe.rates
    # What was changed for steps that are not done any more is changed anew.
    before = tuple(pair for pair in recipe.rates if pair[0] < step)
    return dataclasses.replace(recipe, rates=(*before, (step, rate))).rates


def as_recorded(fingerprint: str, data: Data) -> Data:
    """The data under the fingerprint that a run has of them, where they are the same.

    Runs of kcnn 0.1 know a folder by the names and sizes of its files alone.
    """
    parts = [split.files for split in (data.train, data.validation, data.test) if split.files]
    if not parts or not fingerprint.startswith("sha256:"):
        return data
    if fingerprint != files_fingerprint_of_before(parts):
        return data
    return dataclasses.replace(data, fingerprint=fingerprint)


def refuse_other_data(path: Path, recorded: dict[str, Any], problem: Problem) -> None:
    """Refuse data that are not those of the run.

    Raises:
        InputError: With all differences.
    """
    found = description(problem)
    names = ("fingerprint", "images", "class_names", "image_shape")
    found = json.loads(json.dumps({name: found[name] for name in names}))
    differences = [
        f"  {name}: {recorded[name]!r} there, {found[name]!r} here"
        for name in names
        if recorded[name] != found[name]
    ]
    if differences:
        listed = "\n".join(differences)
        raise InputError(
            f"The data {problem.name!r} are not those of the run {str(path)!r}:\n{listed}\nNothing "
            f"was changed."
        )
