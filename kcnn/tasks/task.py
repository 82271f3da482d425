"""What a task is: the data it takes, its targets, loss, figures, evaluation and predictions.

`Task` is a protocol: each task is one file that fulfils it, and inherits nothing. Everything above
(training, runs, tuning, the command line) asks the task, and knows none by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kcnn.data.batches.batch import Batch
from kcnn.data.batches.targets import Targets
from kcnn.data.sets.annotations import View
from kcnn.errors import InputError, did_you_mean
from kcnn.figures import LOSS, Figure
from kcnn.recipes.recipe import Meaning, Recipe
from kcnn.startup import keras, tf
from kcnn.tasks.problem import Problem

#: Tasks by name: the module whose `TASK` each is.
_TASKS = {
    "classification": "kcnn.tasks.classification",
    "segmentation": "kcnn.tasks.segmentation",
    "detection": "kcnn.tasks.detection",
}
DEFAULT = "classification"


class Evaluation(Protocol):
    """What a model is worth on labelled images."""

    @property
    def images(self) -> int:
        """How many there were."""

    @property
    def loss(self) -> float:
        """Mean loss of an image."""

    @property
    def figures(self) -> Mapping[str, float]:
        """The task's figures by name, the first of them first."""

    def details(self, class_names: Sequence[str]) -> Mapping[str, Any]:
        """What `result.json` holds beside them, by name, as plain data."""


class Writer(Protocol):
    """Writes predictions as files, one after the other."""

    def add(self, prediction: Any) -> Path:
        """Write what belongs to one prediction; the file to look at."""

    def close(self) -> list[Path]:
        """Write what belongs to all of them, where there is such; those files."""


class Task(Protocol):
    """What makes images a problem to be solved."""

    @property
    def name(self) -> str:
        """What `kcnn list` and run directories call it."""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Its figures; the first decides epochs, ranks trials and heads tables."""

    def problem(self, data: Any, recipe: Recipe, model: keras.Model | None) -> Problem:
        """The problem that the user's `data` pose.

        Args:
            data: `kcnn.Data`, or what `kcnn.train` takes as data of the user's own.
            recipe: For the share and the seed of splits that are to be made.
            model: The user's own, which may say what labels mean; None for one by name.

        Raises:
            InputError: They are not of this task.
        """

    @property
    def whole(self) -> bool:
        """Whether pictures of any size are evaluated whole, and trained on windows of them."""

    def prepared(self, problem: Problem, recipe: Recipe) -> Task:
        """The task with what its loss takes from the data and the recipe."""

    def handed(self, data: Any, class_names: Sequence[str], recipe: Recipe) -> Any:
        """What `problem` takes, of data that somebody hands over to be evaluated, all of them.

        Args:
            data: A name, a path, arrays, or whatever `problem` takes.
            class_names: Those of the run.
            recipe: Of the run.

        Raises:
            InputError: They cannot be read, or are not what the run knows.
        """

    def outputs(self, problem: Problem) -> int:
        """What `kcnn.build` takes as `classes` for a network of this problem."""

    def check_options(self, options: Mapping[str, Any], outputs: int) -> None:
        """Refuse options of a network with so many outputs that training could not honour.

        Raises:
            InputError: With what is allowed.
        """

    def check(self, model: keras.Model, problem: Problem) -> None:
        """Refuse a model of the user's own whose outputs do not fit.

        Raises:
            InputError: With both.
        """

    def meaning(self, model: keras.Model, images: Any, said: Meaning | None) -> Meaning | None:
        """What the outputs of a model that is not kcnn's own are; None where that is no question.

        Args:
            model: Functional or sequential.
            images: A batch (B, H, W, C) of real ones.
            said: By the user.

        Raises:
            InputError: They are nothing that the task knows; nothing tells; or not what was said.
        """

    def knowing(self, meaning: Meaning | None) -> Task:
        """The task, where it is known what the outputs are; None leaves it to the model's graph."""

    def targets(self, problem: Problem, outputs: int) -> Targets:
        """What makes targets of labels, for a network of so many outputs."""

    def batch(self, batch: Batch, recipe: Recipe) -> Batch:
        """`Feed.batch` with what a training does to targets last, such as smoothing them."""

    def compile(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        recipe: Recipe | None = None,
        **options: Any,
    ) -> None:
        """Compile with the task's loss, and metrics named as its figures; Keras' own objects.

        Args:
            model: Functional or sequential.
            optimizer: Of Keras.
            recipe: Of the training; None for a model that is handed out.
            **options: Others of `keras.Model.compile`.
        """

    def describe(self, problem: Problem) -> str:
        """In a few words, for the header of a training: `10 classes`."""

    def validate(
        self, model: keras.Model, batches: tf.data.Dataset, callbacks: keras.callbacks.Callback
    ) -> Mapping[str, float]:
        """Loss and the figures behind an epoch, by name; `callbacks` hear of it as `fit` tells."""

    def evaluate(
        self, model: keras.Model, batches: tf.data.Dataset, console: Console | None = None
    ) -> Evaluation:
        """Evaluate `model` on batches of images and targets, in one pass.

        Args:
            model: With the weights to evaluate.
            batches: (images (B, H, W, C), targets).
            console: A terminal there shows how far it is.
        """

    def tables(self, details: Mapping[str, Any]) -> Sequence[Table]:
        """Tables for the terminal of what `Evaluation.details` gave."""

    def predictions(
        self,
        model: keras.Model,
        outputs: Any,
        paths: Sequence[Path | None],
        class_names: Sequence[str],
        views: Sequence[View] | None = None,
    ) -> list[Any]:
        """What the model's `outputs` for a batch of image files say of each.

        Args:
            model: That gave them.
            outputs: Of the batch.
            paths: Of the files; None for arrays.
            class_names: Of the run.
            views: How each picture went in, where they go in whole.
        """

    def pictures(
        self, model: keras.Model, problem: Problem, part: str, evaluation: Any
    ) -> Mapping[str, bytes]:
        """PNGs, by name, of how the model did on a split that was evaluated.

        Args:
            model: That was evaluated.
            problem: Whose split it is.
            part: "validation" or "test".
            evaluation: What `evaluate` gave.
        """

    def writer(self, directory: Path, class_names: Sequence[str]) -> Writer | None:
        """What writes predictions to files in `directory`; None: lines say it all."""

    def lines(self, predictions: Sequence[Any], top: int) -> Sequence[Text]:
        """Predictions for the terminal, a line each."""


def find(task: str | Task | None) -> Task:
    """The task of that name; one that is given stays as it is; None is classification.

    Raises:
        InputError: No task has that name.
    """
    if task is not None and not isinstance(task, str):
        return task
    name = task or DEFAULT
    if name not in _TASKS:
        raise InputError(
            f"A task is one of {', '.join(_TASKS)}; received {name!r}. One of your own is given as "
            f"task=..., the object."
        )
    found: Task = importlib.import_module(_TASKS[name]).TASK
    return found


def monitored(task: Task, name: str | None) -> Figure:
    """The figure on validation that a training goes by.

    Args:
        task: Whose figures; what it has beside those of every epoch is its `further`, where it has
            such, which `validate` gives where the recipe asks for one.
        name: Of the figure; None is the task's first.

    Raises:
        InputError: The task has no such figure.
    """
    further: tuple[Figure, ...] = getattr(task, "further", ())
    known = {figure.name: figure for figure in (*task.figures, LOSS, *further)}
    if name is not None and name not in known:
        raise InputError(
            f"A figure to monitor in {task.name} is one of {', '.join(known)}; received {name!r}."
            f"{did_you_mean(name, known)}"
        )
    return task.figures[0] if name is None else known[name]


def ranking(
    task: Task, objective: str | None = None, monitor: str | None = None
) -> tuple[Figure, ...]:
    """The figures that rank trainings, on validation: what they go by, the task's, then the loss.

    Args:
        task: Whose figures.
        objective: The one that comes first, as `validation_NAME`; None is what they go by.
        monitor: What they go by, as a recipe has it; None is the task's first.

    Raises:
        InputError: The task has no such figure.
    """
    figures = tuple(dict.fromkeys((monitored(task, monitor), *task.figures, LOSS)))
    if objective is None:
        return figures
    first = [figure for figure in figures if f"validation_{figure.name}" == objective]
    if not first:
        allowed = [f"validation_{figure.name}" for figure in figures]
        further = [figure.name for figure in getattr(task, "further", ())]
        name = objective.removeprefix("validation_")
        hint = f" monitor={name!r} measures it, and ranks by it." if name in further else ""
        raise InputError(
            f"An objective of {task.name} is one of {', '.join(allowed)}; received {objective!r}."
            f"{hint or did_you_mean(objective, allowed)}"
        )
    return (*first, *(figure for figure in figures if figure not in first))
