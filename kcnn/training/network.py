"""The network that is trained: the recipe's, with raw images going in, or the user's."""

from __future__ import annotations

from functools import partial

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.cost import abstract
from kcnn.graph.walk import is_keras_own
from kcnn.models import registry
from kcnn.models.build import build
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras
from kcnn.tasks.plan import Plan
from kcnn.tasks.problem import Problem
from kcnn.weights.transfer import classifier, transfer


def build_network(recipe: Recipe, problem: Problem, plan: Plan, outputs: int) -> keras.Model:
    """The recipe's network behind resizing and normalisation: raw images (N, H, W, C) in."""
    height, width, channels = plan.input_shape
    mean, variance = problem.statistics((height, width))
    whole = plan.multiple is not None
    # Raw values up to 255 are normalised in float32 whatever the precision of the network. Two
    # numbers a channel, in a layer that every exporter knows.
    mean, deviation = mean.astype("float64"), np.sqrt(variance.astype("float64"))
    preprocessing = [
        keras.layers.Rescaling(
            (1.0 / deviation).tolist(), (-mean / deviation).tolist(), dtype="float32",
            name="normalize",
        )
    ]  # fmt: skip
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
        **recipe.model_options,
    )
    if recipe.backbone_weights is not None:
        _begin(network, recipe, recipe.backbone_weights)
    return network


def _begin(network: keras.Model, recipe: Recipe, path: str) -> None:
    """Give a network's backbone the weights of a classifier.

    Raises:
        InputError: The network is built on none; a layer of the backbone is not in the classifier.
    """
    entry, options = registry.lookup(recipe.model), recipe.model_options
    backbone = options.get("backbone", entry.options.get("backbone"))
    if backbone is None:
        raise InputError(
            f"backbone_weights={path!r} are of a classifier on which a network is built; this "
            f"{recipe.model} has an encoder of its own. Name one with --backbone, such as resnet18."
        )
    found = transfer(classifier(path), network)
    shape = (None, None, network.input_shape[3])
    bare = abstract(partial(build, backbone, include_top=False, input_shape=shape))
    own = {layer.name for layer in bare.layers if layer.weights}
    if lost := [name for name in found.missing if name in own]:
        raise InputError(
            f"{path!r} has weights for {len(found.filled)} layers of {recipe.model}, and none for "
            f"{', '.join(lost[:5])} of its backbone {backbone}. Train the same network as a "
            f"classifier, with the same options."
        )


def twin(model: keras.Model) -> keras.Model:
    """The layers of `model` in a model of their own: how `model` is compiled stays as it is.

    One of a class of the user's is given back itself: the class says what a step is, and what it
    reads there (`self.optimizer`, `self.loss`) has to be the training's.
    """
    if not is_keras_own(model):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
