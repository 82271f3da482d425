"""The network that is trained: the recipe's, with raw images going in, or the user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.walk import is_keras_own, leaves
from kcnn.models import registry
from kcnn.models.backbones import backbone_names, backbone_of
from kcnn.models.build import build
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras
from kcnn.tasks.plan import Plan
from kcnn.tasks.problem import Problem
from kcnn.weights.origin import Origin, origin
from kcnn.weights.preprocessing import Normalisation, layer_of


def build_network(
    recipe: Recipe,
    problem: Problem,
    plan: Plan,
    outputs: int,
    say: Callable[[str], None] = lambda line: None,
) -> keras.Model:
    """The recipe's network behind resizing and normalisation: raw images (N, H, W, C) in.

    Args:
        recipe: Of the training.
        problem: Whose images go in.
        plan: Their size.
        outputs: Of the network.
        say: Is told what was adapted of the weights that it begins with, in lines.

    Raises:
        InputError: Weights that are not this network's, or for images of other values.
    """
    height, width, channels = plan.input_shape
    start = _origin(recipe, problem)
    whole = plan.multiple is not None
    # Raw values up to 255 are normalised in float32 whatever the precision of the network. Two
    # numbers a channel, in a layer that every exporter knows.
    if start is not None and start.normalisation is not None:
        preprocessing = [layer_of(start.normalisation, channels)]
    else:
        mean, variance = problem.statistics((height, width))
        deviation = np.sqrt(variance.astype("float64"))
        own = Normalisation(tuple(mean.astype("float64").tolist()), tuple(deviation.tolist()))
        preprocessing = [layer_of(own, channels)]
    raw = (height, width)
    if plan.resized_from:
        raw = plan.resized_from
        shrinks = height < raw[0] or width < raw[1]
        resize = keras.layers.Resizing(
            height, width, antialias=shrinks, dtype="float32", name="resize"
        )
        preprocessing.insert(0, resize)
    network = build(
        recipe.model,
        input_shape=(None, None, channels) if whole else (*raw, channels),
        classes=outputs,
        preprocessing=preprocessing,
        **({} if start is None else _own_options(start, recipe)),
        **recipe.model_options,
    )
    if start is not None:
        own_layers = [layer.name for layer in preprocessing]
        notes = start.load(network, own_layers + _beside(network, recipe), part=not recipe.weights)
        for note in notes:
            say(f"{recipe.weights or recipe.backbone_weights}: {note}.")
    return network


def _origin(recipe: Recipe, problem: Problem) -> Origin | None:
    """What the recipe's network begins with, if with anything.

    Raises:
        InputError: Weights of photographs for images of other values.
    """
    weights = recipe.weights or recipe.backbone_weights
    if weights is None:
        return None
    network, options = recipe.model, recipe.model_options
    if recipe.weights is None:
        network = _backbone(recipe)
        options = {name: value for name, value in options.items() if name in ("batchnorm", "stem")}
    found = origin(
        weights,
        network,
        registry.lookup(network).family.name,
        options,
        recipe.preprocessing,
        top=recipe.weights is not None,
    )
    pixels = problem.pixels
    low, high = pixels["range"]
    if found.bytes and not (low >= 0 and 2 < high <= 255):
        raise InputError(
            f"{weights!r} are weights of photographs, 0 to 255; the training images of "
            f"{problem.name!r} go from {low:.4g} to {high:.4g}. Hand over bytes, or begin with a "
            f"run on such images."
        )
    return found


def _own_options(start: Origin, recipe: Recipe) -> dict[str, Any]:
    """What the weights need of the builder and the recipe leaves open."""
    if recipe.weights is None and start.options:
        given = ", ".join(f"{name}={value!r}" for name, value in start.options.items())
        raise InputError(
            f"{recipe.backbone_weights!r} are weights of a {start.network} with {given}, which "
            f"{recipe.model} does not hand to its backbone."
        )
    return {k: v for k, v in start.options.items() if k not in recipe.model_options}


def _backbone(recipe: Recipe) -> str:
    backbone = backbone_of(recipe.model, recipe.model_options)
    if backbone is None:
        raise InputError(
            f"backbone_weights={recipe.backbone_weights!r} are of a classifier on which a network "
            f"is built; this {recipe.model} has an encoder of its own. Name one with --backbone, "
            f"such as resnet18."
        )
    return backbone


def _beside(network: keras.Model, recipe: Recipe) -> list[str]:
    """The layers that are none of the backbone's, where weights are a backbone's."""
    if recipe.weights is not None:
        return []
    own = backbone_names(_backbone(recipe), network.input_shape[3])
    return [layer.name for layer in leaves(network) if layer.weights and layer.name not in own]


def twin(model: keras.Model) -> keras.Model:
    """The layers of `model` in a model of their own: how `model` is compiled stays as it is.

    One of a class of the user's is given back itself: the class says what a step is, and what it
    reads there (`self.optimizer`, `self.loss`) has to be the training's.
    """
    if not is_keras_own(model):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
