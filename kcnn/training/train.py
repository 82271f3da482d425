"""`kcnn.train`: from a recipe to a run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from kcnn import terminal
from kcnn.data import Data, load_data, preflight
from kcnn.devices import precision
from kcnn.errors import InputError
from kcnn.models import registry
from kcnn.recipes.defaults import resolve
from kcnn.recipes.recipe import Recipe
from kcnn.runs import resuming
from kcnn.runs.directory import Run, RunDirectory, load_run
from kcnn.startup import keras
from kcnn.storage import files
from kcnn.tasks import plan as plans
from kcnn.tasks.inputs import as_problem
from kcnn.tasks.problem import Problem
from kcnn.training import report
from kcnn.training.loop.steps import even, per_execution
from kcnn.training.setup import Task


def train(
    recipe: Recipe | None = None,
    *,
    model: keras.Model | None = None,
    data: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    save_model: bool = True,
    verbose: bool = True,
) -> Run:
    """Train a network as `recipe` says, and write one run directory.

    The weights kept are those of the epoch that was best on validation (`recipe.select`); the
    test split is read once, at the end.

    Args:
        recipe: What to train and how; the default trains LeNet-5 on digits.
        model: A model of the user's own in place of `recipe.model`: images (N, H, W, C) in,
            probabilities or logits (N, K) out. It is compiled anew, trained in place, and sees
            the images as they are: normalising them is its own affair. A model of a class of
            its own is wrapped in a functional one, which shares its weights.
        data: The user's own data in place of `recipe.data`: `kcnn.Data`, a pair (images,
            labels), or a mapping of "train", "validation", "test" to pairs or to batched
            `tf.data.Dataset`s.
        callbacks: Further Keras callbacks.
        save_model: Write `model.keras` and `best.weights.h5`. Without, the network is in what is
            returned, and in the checkpoints as long as the run has not ended.
        verbose: Show header, progress and results on standard output.

    Raises:
        InputError: Bad input of any kind, before training starts.
        NonFiniteError: A loss was not finite, a FloatingPointError; the run can be resumed.
        OutOfMemoryError: A step found no memory, a MemoryError; with a batch size that would fit.
        KeyboardInterrupt, SystemExit: By SIGINT and SIGTERM, behind a step and a checkpoint.
        OSError: A checkpoint or the model cannot be written.
    """
    recipe = recipe or Recipe()
    console = terminal.console() if verbose else Console(quiet=True)
    made = _prepared(recipe, model, data, console)
    directory = RunDirectory.create(made.recipe, made.problem.name, made.title)
    with files.Lock(directory.path), _precision(made.recipe):
        return made.task(directory, save_model).run(
            callbacks, lambda: directory.write_recipe(made.recipe, made.problem)
        )


def resume(
    directory: str | os.PathLike,
    *,
    epochs: int | None = None,
    on_nan: str | None = None,
    model: keras.Model | None = None,
    data: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    save_model: bool = True,
    verbose: bool = True,
) -> Run:
    """Go on with a run that was ended, to the same bits as if it never had been.

    It goes on from the newest whole checkpoint; where there is none yet, from the beginning. A
    finished run is left as it is, and returned.

    Args:
        directory: Of the run.
        epochs: More epochs than before extend the run, a finished one, too. A schedule of the
            learning rate is from then on that of the longer training.
        on_nan: In place of the recipe's.
        model: The user's own model, where the run is of one; built as it was then.
        data: The user's own data, where the run is of such.
        callbacks: Those of the run.
        save_model: As `train`.
        verbose: Show header, progress and results on standard output.

    Raises:
        InputError: No run; one that another process is writing; other data, or another model or
            batch size than the run's, with all differences. Nothing is touched then.
        NonFiniteError, OutOfMemoryError, KeyboardInterrupt, SystemExit, OSError: As `train`.
    """
    path = Path(directory)
    recipe, recorded = resuming.recorded(path)
    console = terminal.console() if verbose else Console(quiet=True)
    with files.Lock(path):
        finished = (path / "result.json").is_file()
        if finished and epochs in (None, recipe.epochs):
            console.print(f"{path} is finished; --epochs above {recipe.epochs} extends it.")
            return load_run(path)
        resuming.refuse_missing(path, recipe, recorded, model, data)
        extended = resuming.extended(path, recipe, epochs)
        changes = {"epochs": extended, "on_nan": on_nan or recipe.on_nan}
        made = _prepared(dataclasses.replace(recipe, **changes), model, data, console)
        resuming.refuse_other_data(path, recorded["data"], made.problem)
        report.changed_versions(console, recorded)
        task = made.task(RunDirectory(path), save_model)

        def begin() -> None:
            if finished:
                task.directory.set_result_aside(recipe.epochs)
            if extended != recipe.epochs:
                task.directory.write_recipe(made.recipe, made.problem)

        with _precision(made.recipe):
            return task.run(callbacks, begin)


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """All of a task but its directory."""

    recipe: Recipe
    problem: Problem
    plan: plans.Plan
    own: keras.Model | None
    console: Console
    why_precision: str

    @property
    def title(self) -> str:
        """Of the network, for the run's name."""
        return self.recipe.model.rpartition(":")[2] if self.own is None else self.own.name

    def task(self, directory: RunDirectory, save_model: bool) -> Task:
        """The whole."""
        return Task(
            self.recipe,
            self.problem,
            self.plan,
            self.own,
            directory,
            self.console,
            self.why_precision,
            save_model,
        )


def _prepared(recipe: Recipe, model: keras.Model | None, data: Any, console: Console) -> _Prepared:
    """Decide all that a recipe leaves open; nothing is written but the cache of image files."""
    problem = _problem(recipe, data, model, console)
    if model is not None:
        model = plans.as_functional(model, problem)
    recipe = _resolved(recipe, problem, model)
    plan = plans.plan(recipe, problem) if model is None else plans.own_plan(model, problem)
    _fill_cache(recipe, problem, plan, console)
    own = model.dtype_policy.name if model is not None else None
    policy, why = precision.resolve(recipe.precision, plan.macs, own)
    recipe = dataclasses.replace(recipe, precision=policy)
    recipe = _with_steps_per_execution(recipe, plan.macs, problem.steps(recipe))
    return _Prepared(recipe, problem, plan, model, console, why)


def _problem(recipe: Recipe, data: Any, model: keras.Model | None, console: Console) -> Problem:
    source = recipe.data if data is None else None
    if data is None:
        size, seed = recipe.validation_size, recipe.seed_of_split
        data = load_data(recipe.data, validation=size, seed=seed)
    if isinstance(data, Data) and data.image_shape[0] is None:
        total = sum(len(split) for split in (data.train, data.validation, data.test))
        with terminal.files_bar(console, "checking", total) as progress:
            data = preflight(data, skip_bad=recipe.skip_bad, progress=progress)
    outputs = model.output_shape[-1] if getattr(model, "inputs", None) else None
    return dataclasses.replace(as_problem(data, recipe, outputs=outputs), source=source)


def _fill_cache(recipe: Recipe, problem: Problem, plan: plans.Plan, console: Console) -> None:
    if recipe.cache is None:
        return
    if problem.fill_cache is None:
        raise InputError(
            f"cache={recipe.cache!r} keeps image files decoded; the data {problem.name!r} are no "
            f"files. Leave it out."
        )
    with terminal.files_bar(console, "decoding", sum(problem.sizes.values())) as progress:
        problem.fill_cache(recipe, plan.input_shape[:2], progress)


def _resolved(recipe: Recipe, problem: Problem, model: keras.Model | None) -> Recipe:
    family = None
    if model is None:
        family = registry.lookup(recipe.model).builder.__module__.rpartition(".")[2]
    elif recipe.model_options or recipe.image_size:
        raise InputError(
            "A model of your own is trained as it is; received options for building one: "
            f"{recipe.model_options or {'image_size': recipe.image_size}}."
        )
    # What the caller handed over is named by what it is.
    recipe = dataclasses.replace(recipe, data=problem.source or f"own: {problem.name}")
    if model is not None:
        recipe = dataclasses.replace(recipe, model=f"own: {model.name}")
    if problem.batch_size:
        recipe = dataclasses.replace(recipe, batch_size=problem.batch_size, augment="none")
    images, shape = problem.sizes["train"], problem.image_shape
    return resolve(recipe, family=family, images=images, image_shape=shape)


def _with_steps_per_execution(recipe: Recipe, macs: int, steps: int) -> Recipe:
    fused = recipe.steps_per_execution or per_execution(macs, recipe.batch_size)
    if recipe.checkpoint_every and recipe.checkpoint_every.isdecimal():
        fused = min(fused, int(recipe.checkpoint_every))
    return dataclasses.replace(recipe, steps_per_execution=even(fused, steps))


@contextlib.contextmanager
def _precision(recipe: Recipe) -> Iterator[None]:
    """The recipe's precision is Keras' for the time being."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
