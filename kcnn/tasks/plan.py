"""Which images a network sees: decided before anything is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from kcnn.errors import GeometryError, InputError
from kcnn.graph.cost import cost, largest_stride, sized
from kcnn.models import registry
from kcnn.models.build import Card, card
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras
from kcnn.tasks.pictures import PictureProblem
from kcnn.tasks.problem import Problem
from kcnn.tasks.task import Task


@dataclass(frozen=True)
class Plan:
    """Which image size a network sees, decided before anything is built."""

    input_shape: tuple[int, int, int]  #: (H, W, C) behind the resizing
    resized_from: tuple[int, int] | None  #: (H, W) of the data, where the model resizes
    macs: int  #: multiply-accumulates of one image
    #: Where pictures go in whole: what their sides are a multiple of; None: they are of one size.
    multiple: int | None = None

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """(H, W, C) at the network's input, where it has one."""
        return (*(self.resized_from or self.input_shape[:2]), self.input_shape[2])


def plan(task: Task, entry: registry.Entry, recipe: Recipe, problem: Problem, outputs: int) -> Plan:
    """Decide the image size: the recipe's, else the data's own, else the network's default.

    Args:
        task: That is to be solved.
        entry: The recipe's network.
        recipe: Its options and image size.
        problem: Whose images go in.
        outputs: Of the network.

    Raises:
        InputError: The network does not take the recipe's size; an unknown option.
    """
    task.check_options(recipe.model_options, outputs)
    if isinstance(problem, PictureProblem):
        return _picture_plan(entry, recipe, problem, outputs)
    height, width, channels = problem.image_shape
    default = entry.input_shape[:2]

    def found(size: tuple[int, int]) -> Card:
        return known_card(entry, recipe, (*size, channels), outputs)

    if height is None or width is None:  # photographs: the pipeline fits them
        card = found(recipe.image_size or default)
        return Plan(card.input_shape, None, card.macs)
    try:
        card = found(recipe.image_size or (height, width))
    except GeometryError:
        if recipe.image_size:
            raise
        card = found(default)
    resized = card.input_shape[:2] != (height, width)
    return Plan(card.input_shape, (height, width) if resized else None, card.macs)


def _picture_plan(
    entry: registry.Entry, recipe: Recipe, problem: PictureProblem, outputs: int
) -> Plan:
    """Windows of the recipe's size, else about as large as the pictures; whole ones of any size."""
    size = recipe.image_size or problem.window(recipe.longest_side)
    card = known_card(entry, recipe, (*size, problem.image_shape[2]), outputs)
    strides = [layer.stride for layer in card.cost.layers if layer.stride]
    return Plan(card.input_shape, None, card.macs, int(max(strides, default=1)))


def known_card(
    entry: registry.Entry, recipe: Recipe, input_shape: tuple[int, int, int], outputs: int
) -> Card:
    """The card of the recipe's network on images of that shape; computed once.

    Raises:
        GeometryError: It does not take them.
    """
    found = _card_or_error(
        entry.builder, recipe.model, input_shape, outputs, json.dumps(recipe.model_options)
    )
    if isinstance(found, GeometryError):
        raise found.with_traceback(None)  # of the last time
    return found


@lru_cache(maxsize=256)
def _card_or_error(
    builder: Callable[..., keras.Model],
    model: str,
    shape: tuple[int, int, int],
    outputs: int,
    options: str,
) -> Card | GeometryError:
    """The card, or why there is none, kept for the next training.

    `builder` tells apart what took one name in turn.
    """
    del builder
    try:
        return card(model, input_shape=shape, classes=outputs, **json.loads(options))
    except GeometryError as error:
        return error


#: Methods of a model that say what a training step is.
_STEP = ("train_step", "compute_loss", "compute_metrics")


def as_functional(model: keras.Model, problem: Problem) -> keras.Model:
    """A model of the user's own with its shapes known; one of their own class is wrapped.

    The wrapper shares the weights of `model`, which is trained in place all the same.

    Raises:
        InputError: Neither the model nor the photographs say how large these are; a class with a
            step of its own as well, which the wrapper would not do.
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
    own = [name for name in _STEP if getattr(type(model), name) is not getattr(keras.Model, name)]
    if own:
        raise InputError(
            f"The class {type(model).__name__} has a {own[0]} of its own, which a training honours "
            f"in functional models only: call super().__init__(inputs, outputs) in the class, or "
            f"train it with its own fit."
        )
    inputs = keras.Input(shape, name="image")
    return keras.Model(inputs, model(inputs), name=model.name)


def own_plan(task: Task, model: keras.Model, problem: Problem, recipe: Recipe) -> Plan:
    """The plan for a model of the user's own: its images as they are.

    Where pictures go in whole, a model of one size gets them scaled down to it; one of any size
    gets windows, as one by name does.

    Raises:
        InputError: Its shapes do not go with the data; with both shapes.
    """
    expected, found = tuple(model.input_shape[1:]), problem.image_shape
    if isinstance(problem, PictureProblem):
        return _own_picture_plan(task, model, problem, recipe)
    pairs = zip(expected, found, strict=False)
    if len(expected) != 3 or any(a and b and a != b for a, b in pairs):
        raise InputError(
            f"The model takes inputs of shape {expected}; the data's images are {found}. Build "
            f"it with input_shape={found}, or resize the images."
        )
    task.check(model, problem)
    height, width, channels = (a or b for a, b in zip(expected, found, strict=True))
    assert channels is not None  # data say so
    if height is None or width is None:
        raise InputError(
            f"Neither the model {expected} nor the data {found} says how large images are. Build "
            f"the model with a fixed input_shape."
        )
    shape = (height, width, channels)
    return Plan(shape, None, cost(sized(model, shape)).macs)


def _own_picture_plan(
    task: Task, model: keras.Model, problem: PictureProblem, recipe: Recipe
) -> Plan:
    expected, channels = tuple(model.input_shape[1:]), problem.image_shape[2]
    if len(expected) != 3 or expected[2] != channels:
        raise InputError(
            f"The model takes inputs of shape {expected}; the data's pictures have {channels} "
            f"channels: build it with keras.Input((None, None, {channels}))."
        )
    task.check(model, problem)
    if None not in expected[:2]:
        if recipe.image_size not in (None, expected[:2]):
            raise InputError(
                f"image_size={recipe.image_size}, but the model takes {expected[:2]} alone."
            )
        if recipe.longest_side is not None:
            raise InputError(
                f"longest_side={recipe.longest_side}, but the model takes pictures of "
                f"{expected[:2]} alone, to which larger ones are scaled down. Leave it out."
            )
        return Plan((*expected[:2], channels), None, cost(model).macs)
    size = recipe.image_size or problem.window(recipe.longest_side)
    multiple = largest_stride(model)
    if any(side % multiple for side in size):
        fitting = tuple(-(-side // multiple) * multiple for side in size)
        raise InputError(
            f"image_size={size}: the model halves its pictures down to a stride of {multiple}, of "
            f"which sides must be multiples. Try {fitting}."
        )
    return Plan((*size, channels), None, cost(sized(model, (*size, channels))).macs, multiple)
