"""The network that a recipe trains: built to the data, with raw images going in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from kcnn.errors import GeometryError, InputError
from kcnn.graph.cost import cost
from kcnn.models import registry
from kcnn.models.build import Card, card
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras
from kcnn.tasks.problem import Problem


@dataclass(frozen=True)
class Plan:
    """Which image size a network sees, decided before anything is built."""

    input_shape: tuple[int, int, int]  #: (H, W, C) behind the resizing
    resized_from: tuple[int, int] | None  #: (H, W) of the data, where the model resizes
    macs: int  #: multiply-accumulates of one image


def plan(recipe: Recipe, problem: Problem) -> Plan:
    """Decide the image size: the recipe's, else the data's own, else the network's default.

    Raises:
        InputError: The network does not take the recipe's size; unknown model or option.
    """
    entry = registry.lookup(recipe.model)
    height, width, _ = problem.image_shape
    default = entry.input_shape[:2]
    if height is None or width is None:  # photographs: the pipeline fits them
        found = known_card(recipe, problem, recipe.image_size or default)
        return Plan(found.input_shape, None, found.macs)
    if recipe.image_size:
        found = known_card(recipe, problem, recipe.image_size)
    else:
        try:
            found = known_card(recipe, problem, (height, width))
        except GeometryError:
            found = known_card(recipe, problem, default)
    resized = found.input_shape[:2] != (height, width)
    return Plan(found.input_shape, (height, width) if resized else None, found.macs)


def known_card(recipe: Recipe, problem: Problem, size: tuple[int, int]) -> Card:
    """The card of the recipe's network on images of `size`; computed once.

    Raises:
        GeometryError: It does not take them.
    """
    shape = (*size, problem.image_shape[2])
    builder = registry.lookup(recipe.model).builder
    found = _card_or_error(
        builder, recipe.model, shape, problem.outputs, json.dumps(recipe.model_options)
    )
    if isinstance(found, GeometryError):
        raise found.with_traceback(None)  # of the last time
    return found


@lru_cache(maxsize=256)
def _card_or_error(
    builder: Callable, model: str, shape: tuple[int, int, int], classes: int, options: str
) -> Card | GeometryError:
    """The card, or why there is none, kept for the next training.

    `builder` tells apart what took one name in turn.
    """
    del builder
    try:
        return card(model, input_shape=shape, classes=classes, **json.loads(options))
    except GeometryError as error:
        return error


def as_functional(model: keras.Model, problem: Problem) -> keras.Model:
    """A model of the user's own with its shapes known; one of their own class is wrapped.

    The wrapper shares the weights of `model`, which is trained in place all the same.
    """
    shape = problem.image_shape
    if getattr(model, "inputs", None):
        return model
    if None in shape:
        raise InputError(
            f"The model has no input shape yet and the photographs differ in size. Give its first "
            f"layer one: keras.Input((height, width, {shape[2]}))."
        )
    if isinstance(model, keras.Sequential):
        model.build((None, *shape))
        return model
    inputs = keras.Input(shape, name="image")
    return keras.Model(inputs, model(inputs), name=model.name)


def own_plan(model: keras.Model, problem: Problem) -> Plan:
    """The plan for a model of the user's own: its images as they are.

    Raises:
        InputError: Its shapes do not go with the data; with both shapes.
    """
    expected, found = tuple(model.input_shape[1:]), problem.image_shape
    pairs = zip(expected, found, strict=False)
    if len(expected) != 3 or any(a and b and a != b for a, b in pairs):
        raise InputError(
            f"The model takes inputs of shape {expected}; the data's images are {found}. Build "
            f"it with input_shape={found}, or resize the images."
        )
    outputs = model.output_shape[-1]
    if outputs not in (problem.outputs, problem.classes):
        allowed = f"{problem.classes}{' or 1' if problem.outputs == 1 else ''}"
        raise InputError(
            f"The model has {outputs} outputs; the data has {problem.classes} classes. Build it "
            f"with {allowed} outputs."
        )
    height, width, channels = (a or b for a, b in zip(expected, found, strict=True))
    if height is None or width is None:
        raise InputError(
            f"Neither the model {expected} nor the data {found} says how large images are. Build "
            f"the model with a fixed input_shape."
        )
    return Plan((height, width, channels), None, cost(model).macs)
