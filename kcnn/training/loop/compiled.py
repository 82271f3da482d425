"""Compiling for a training: with the recipe's and the task's own, or with what was handed over.

Optimiser, loss and metrics of the user's own stand in the recipe as Keras' configs
(`Recipe.compiled`), and are made of them for each training and each resume. Making them runs no
code that the process has not loaded: Keras looks for its own names and for registered ones.

The task's metrics stay beside: they are the figures by which epochs are chosen. What the user's
loss and metrics get are the task's targets, for classes one-hot rows; those of Keras that take
class numbers get the numbers of these rows.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from kcnn.data import ClassTargets
from kcnn.data.batches.targets import Targets
from kcnn.errors import InputError
from kcnn.recipes.checks import OWN
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.trust import refuse_unknown
from kcnn.startup import keras
from kcnn.tasks.task import Task
from kcnn.training.loop import optimizers
from kcnn.training.loop.numbers import LossOfNumbers, MetricOfNumbers, takes_numbers
from kcnn.training.loop.optimizers import Update

#: What Keras makes of these words is the task's own figure.
_ACCURACY = ("accuracy", "acc")


def made(what: str, config: Any) -> Any:
    """The object that a config is of; a name stays one.

    Args:
        what: "optimizer", "loss" or "metrics".
        config: As `keras.saving.serialize_keras_object` gives it.

    Raises:
        InputError: It is none that Keras knows or the process has registered.
    """
    if isinstance(config, str):
        return config
    try:
        return keras.saving.deserialize_keras_object(json.loads(json.dumps(config)), safe_mode=True)
    except Exception as error:  # of a class of anybody's
        refuse_unknown(what, config, error)
        raise AssertionError from error


def optimizer(recipe: ResolvedRecipe) -> keras.optimizers.Optimizer:
    """The one that was handed over, as new; else the recipe's."""
    if "optimizer" not in recipe.compiled:
        return optimizers.optimizer(recipe)
    found = made("optimizer", recipe.compiled["optimizer"])
    if not isinstance(found, keras.optimizers.Optimizer):
        raise InputError(f"The recipe's optimizer is a {type(found).__name__}, which is none.")
    return found


class OwnUpdate(Update):
    """What a step does with an optimiser that was handed over: what its own `apply` does.

    Its rate is its own affair: `schedule` is None.
    """

    def __init__(self, model: keras.Model) -> None:
        outer = model.optimizer
        self.optimizer = getattr(outer, "inner_optimizer", outer)
        outer.build(model.trainable_variables)
        self.schedule = None

    def set(self, recipe: ResolvedRecipe, steps_per_epoch: int) -> None:
        """Nothing: no number of the recipe counts."""

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Nothing is put in its place."""
        yield


def update(model: keras.Model, recipe: ResolvedRecipe, steps_per_epoch: int) -> Update:
    """What a step does to the weights of a model compiled by `compile_model`."""
    if "optimizer" in recipe.compiled:
        return OwnUpdate(model)
    return Update(model, recipe, steps_per_epoch)


def compile_model(
    task: Task,
    model: keras.Model,
    recipe: ResolvedRecipe,
    targets: Targets | None,
    **options: Any,
) -> None:
    """Compile a model that is to be trained.

    Args:
        task: Gives what was not handed over, and its figures.
        model: Functional or sequential.
        recipe: Of the training.
        targets: What labels become.
        **options: Others of `keras.Model.compile`.

    Raises:
        InputError: Metrics of a name that is taken.
    """
    used = optimizer(recipe)
    task.compile(model, used, recipe, **options)
    if not recipe.compiled.keys() & {"loss", "metrics"}:
        return
    config = model.get_compile_config()
    numbers = _are_rows(targets)
    loss = made("loss", recipe.compiled.get("loss", config["loss"]))
    if numbers and "loss" in recipe.compiled and takes_numbers(loss):
        loss = LossOfNumbers(loss)
    own = [made("metrics", one) for one in config["metrics"] or []]
    names = [_name(one) for one in own]
    further = [
        MetricOfNumbers(one) if numbers and takes_numbers(one) else one
        for one in _further(recipe.compiled.get("metrics", []), names)
    ]
    model.compile(used, loss, metrics=[*own, *further], **options)


def compile_handed_out(task: Task, model: keras.Model, recipe: ResolvedRecipe) -> None:
    """Compile a trained model as its user would go on with it, in Keras' own `fit`."""
    if not recipe.compiled:
        task.compile(model, optimizers.for_use(recipe, model))
        return
    own = "optimizer" in recipe.compiled
    used = optimizer(recipe) if own else optimizers.for_use(recipe, model)
    task.compile(model, used)
    if loss := recipe.compiled.get("loss"):
        metrics = [made("metrics", one) for one in recipe.compiled.get("metrics", [])]
        model.compile(used, made("loss", loss), metrics=metrics)


def check(task: Task, recipe: Recipe, targets: Targets) -> None:
    """Refuse metrics of a name that is taken, and a loss of class numbers where there is none.

    Args:
        task: Whose figures stand beside.
        recipe: Of the training.
        targets: What labels become.

    Raises:
        InputError: With another name; with the loss that takes mixed or smoothed labels.
    """
    further_metrics(recipe, task)
    loss = made("loss", recipe.compiled.get("loss", ""))
    for name in ("mixup", "cutmix", "label_smoothing"):
        if (value := getattr(recipe, name)) and _are_rows(targets) and takes_numbers(loss):
            raise InputError(
                f"{_name(loss)} takes class numbers; {name}={value:g} makes shares of several "
                f"classes. Hand over keras.losses.CategoricalCrossentropy(), or leave {name} out."
            )


def further_metrics(recipe: Recipe, task: Task) -> list[str]:
    """Names of the metrics that were handed over beside the task's figures."""
    names = [figure.name for figure in task.figures]
    return [_name(one) for one in _further(recipe.compiled.get("metrics", []), names)]


def _further(configs: list[Any], taken: list[str]) -> Iterator[Any]:
    """Metrics beside the task's, whose names are `taken`.

    Raises:
        InputError: Two of a name.
    """
    seen = {"loss", *taken}
    for config in configs:
        one = made("metrics", config)
        name = _name(one)
        if "accuracy" in taken and (one in _ACCURACY or _is_accuracy(one)):
            continue
        if name in seen:
            raise InputError(
                f"A metric is called {name!r}, which is a figure of the training's already. Give "
                f"it another: {type(one).__name__}(..., name='own_{name}')."
            )
        seen.add(name)
        yield one


def _is_accuracy(metric: Any) -> bool:
    """Whether it counts what the task's accuracy counts."""
    kinds = keras.metrics.CategoricalAccuracy, keras.metrics.SparseCategoricalAccuracy
    return type(metric) in kinds and metric.name == "accuracy"


def _are_rows(targets: Targets | None) -> bool:
    return isinstance(targets, ClassTargets) and not targets.binary


def _name(one: Any) -> str:
    return one if isinstance(one, str) else str(getattr(one, "name", None) or one.__name__)


def shown(config: Any) -> str:
    """What a config is of, in a word or two."""
    if isinstance(config, str):
        return config
    name = config.get("class_name")
    named = config.get("config") if name == "function" else name
    return str(named).rpartition(">")[2]


def own_name(config: Any) -> str:
    """As a recipe names what it does not hold."""
    return f"{OWN}{shown(config)}"
