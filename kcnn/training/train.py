"""`kcnn.train` and `kcnn.resume`: the two doors to a training."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from kcnn import terminal
from kcnn.models.registry import import_code
from kcnn.recipes.idle import refuse_idle, refuse_idle_skipping
from kcnn.recipes.recipe import OnNan, Recipe
from kcnn.recipes.trust import Trust
from kcnn.runs import resuming
from kcnn.runs.directory import Run, RunDirectory, check_code, load_run, task_of
from kcnn.startup import keras, need_tensorflow
from kcnn.storage import files
from kcnn.tasks.pictures import PictureProblem
from kcnn.tasks.problem import description
from kcnn.tasks.stored import StoredProblem
from kcnn.tasks.task import Task
from kcnn.training import report
from kcnn.training.handed import Loss, Metrics, handed, say_replaced
from kcnn.training.loop.compiled import check
from kcnn.training.retry import refuse_idle_rate
from kcnn.training.setup import Setup, decide
from kcnn.training.trainer import Trainer

#: What a training shows: all, nothing, or epochs as lines of JSON.
Verbose = bool | Literal["json"]


def train(
    recipe: Recipe | None = None,
    *,
    model: keras.Model | None = None,
    data: Any = None,
    task: str | Task | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    loss: Loss | None = None,
    metrics: Metrics = (),
    keep_compiled: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    save_model: bool = True,
    verbose: Verbose = True,
) -> Run:
    """Train a network as `recipe` says, and write one run directory.

    The weights kept are those of the epoch that was best on validation (`recipe.select`); the
    test split is read once, at the end.

    Args:
        recipe: What to train and how; the default trains LeNet-5 on digits.
        model: A model of the user's own in place of `recipe.model`: images (N, H, W, C) in,
            probabilities or logits (N, K) out. It is trained in place, and sees the images as
            they are: normalising them is its own affair. How it is compiled stays as it is, and
            counts with `keep_compiled`; one that is not compiled is, by the task, and so is a
            functional one of the user's own class, whose `train_step` is what a step does. A
            model with a `call` of its own is wrapped in a functional one, which shares its weights.
        data: The user's own data in place of `recipe.data`: `kcnn.Data`, a pair (images,
            labels), a pandas frame of files and labels, or a mapping of "train", "validation",
            "test" to pairs or to streams: batched `tf.data.Dataset`s, Keras' `PyDataset`s,
            PyTorch's `DataLoader`s. Those to train on may give weights of images behind the
            labels, as Keras' `sample_weight`.
        task: What `model` is for, where it is no classifier; a network by name has its own.
        optimizer: Keras' or the user's own, in place of the recipe's: with its own rate and
            schedule, decay and clipping. It is made anew of its config, which the run records: it
            begins with no step done, and without what `exclude_from_weight_decay` was told.
        loss: In place of the task's: an object, a function or a name of Keras', or the user's own
            with a config. It gets the task's targets, one-hot rows for classes; losses of Keras'
            that take class numbers get those. Its value is the loss that is shown and recorded.
        metrics: Beside the task's figures, of the same kinds; in the history, the logs and
            `result.json` by their names.
        keep_compiled: Train `model` with the optimizer, the loss and the metrics that it is
            compiled with, likewise; else the recipe's count, which is said.
        callbacks: Further Keras callbacks.
        save_model: Write `model.keras` and `best.weights.h5`. Without, the network is in what is
            returned, and in the checkpoints as long as the run has not ended.
        verbose: Show header, progress and results on standard output, and draw for TensorBoard what
            was learned. "json": instead, a line of JSON for each epoch. Without either, pictures
            are drawn only where `images_every` asks for them.

    Raises:
        InputError: Bad input of any kind, before training starts.
        NonFiniteError: A loss was not finite, a FloatingPointError; the run can be resumed.
        OutOfMemoryError: A step found no memory, a MemoryError; with a batch size that would fit.
        KeyboardInterrupt, SystemExit: By SIGINT and SIGTERM, behind a step and a checkpoint.
        OSError: A checkpoint or the model cannot be written.
    """
    need_tensorflow("kcnn.train")
    recipe = recipe or Recipe()
    console = terminal.console(quiet=verbose is not True)
    refuse_idle(recipe)
    recipe = handed(
        recipe,
        model=model,
        optimizer=optimizer,
        loss=loss,
        metrics=metrics,
        keep_compiled=keep_compiled,
    )
    setup = decide(recipe, model=model, data=data, task=task, console=console)
    check(setup.task, setup.recipe, setup.targets)
    say_replaced(console, setup, model)
    problem = setup.problem
    checked = problem.is_files or isinstance(problem, PictureProblem)
    refuse_idle_skipping(recipe, problem.name, checked)
    directory = RunDirectory.create(setup.recipe, setup.problem.name, setup.title)
    trainer = Trainer(setup, directory, console, callbacks, save_model, verbose == "json")
    try:
        with files.Lock(directory.path), _precision(setup.recipe):
            return trainer.run(lambda: _record(directory, setup))
    except BaseException:
        directory.remove_unless_begun()
        raise


def resume(
    directory: str | os.PathLike,
    *,
    epochs: int | None = None,
    learning_rate: float | None = None,
    on_nan: OnNan | None = None,
    model: keras.Model | None = None,
    data: Any = None,
    task: str | Task | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    save_model: bool = True,
    trust: Trust = None,
    cache: str | None = None,
    verbose: Verbose = True,
) -> Run:
    """Go on with a run that was ended, to the same bits as if it never had been.

    It goes on from the newest whole checkpoint; where there is none yet, from the beginning. A
    finished run is left as it is, and returned.

    Args:
        directory: Of the run.
        epochs: More epochs than before extend the run, a finished one, too. A schedule of the
            learning rate is from then on that of the longer training.
        learning_rate: A peak rate from here on, in place of the recipe's: what a schedule makes of
            it stays. It is recorded with its step (`Recipe.rates`), and a later resume keeps it;
            the run is then another one than it would have been.
        on_nan: In place of the recipe's.
        model: The user's own model, where the run is of one; built as it was then.
        data: The user's own data, where the run is of such.
        task: As `train`; by default the run's.
        callbacks: Those of the run.
        save_model: As `train`.
        trust: The Python file or module of the run's network, where the recipe names one, or of a
            loss, a metric or an optimizer of the user's own: its code runs then.
        cache: As in a recipe. A folder that the run's own recipe names is not written to.
        verbose: Show header, progress and results on standard output, and draw for TensorBoard what
            was learned. "json": instead, a line of JSON for each epoch. Without either, pictures
            are drawn only where `images_every` asks for them.

    Raises:
        InputError: No run; a network whose code is not trusted; one that another process is
            writing; other data, or another model or batch size than the run's, with all
            differences. Nothing is touched then.
        NonFiniteError, OutOfMemoryError, KeyboardInterrupt, SystemExit, OSError: As `train`.
    """
    need_tensorflow("kcnn.resume")
    path = Path(directory)
    recipe, recorded = resuming.recorded(path)
    console = terminal.console(quiet=verbose is not True)
    finished = (path / "result.json").is_file()
    if finished and epochs in (None, recipe.epochs):  # also where nothing can be written
        resuming.refuse_rate_of_finished(path, recipe, learning_rate)
        console.print(f"{path} is finished; --epochs above {recipe.epochs} extends it.")
        return load_run(path, task=task, trust=trust)
    with files.Lock(path):
        finished = (path / "result.json").is_file()
        resuming.refuse_missing(path, recipe, recorded, model, data)
        if model is None:
            check_code(recipe.model, trust)
        if trust is not None and recipe.compiled:
            import_code(trust)
        extended = resuming.extended(path, recipe, epochs)
        nan: OnNan = on_nan or recipe.on_nan
        rates = resuming.rates(path, recipe, learning_rate)
        wanted = dataclasses.replace(recipe, epochs=extended, on_nan=nan, cache=cache, rates=rates)
        if cache is None and recipe.cache is not None:
            console.print(f"Without the cache {recipe.cache!r}: --cache uses one again.")
        task = task_of(recorded, task, trust)
        setup = decide(wanted, model=model, data=data, task=task, console=console)
        setup = _as_recorded(setup, recorded["data"]["fingerprint"])
        resuming.refuse_other_data(path, recorded["data"], setup.problem)
        refuse_idle_rate(setup, rates)
        report.changed_versions(console, recorded)
        written = RunDirectory(path)
        named = {k: v for k, v in recorded.get("named", {}).items() if k != "cache"}

        def begin() -> None:
            if finished:
                written.set_result_aside(recipe.epochs)
            if (extended, rates) != (recipe.epochs, recipe.rates):
                _record(written, setup, named)

        with _precision(setup.recipe):
            lines = verbose == "json"
            trainer = Trainer(setup, written, console, callbacks, save_model, lines, named)
            return trainer.run(begin)


def _as_recorded(setup: Setup, fingerprint: str) -> Setup:
    if not isinstance(setup.problem, StoredProblem):
        return setup
    data = resuming.as_recorded(fingerprint, setup.problem.data)
    problem = dataclasses.replace(setup.problem, data=data)
    return dataclasses.replace(setup, problem=problem)


def _record(directory: RunDirectory, setup: Setup, named: Mapping[str, Any] | None = None) -> None:
    data = description(setup.problem)
    directory.write_recipe(setup.recipe, setup.task.name, data, setup.meaning, named)


@contextlib.contextmanager
def _precision(recipe: Recipe) -> Iterator[None]:
    """The recipe's precision is Keras' for the time being."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
