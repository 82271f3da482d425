"""The network that is trained: the recipe's, with raw images going in, or the user's."""

from __future__ import annotations

import numpy as np

from kcnn.graph.walk import is_keras_own
from kcnn.models.build import build
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras
from kcnn.tasks.plan import Plan
from kcnn.tasks.problem import Problem


def build_network(recipe: Recipe, problem: Problem, plan: Plan, outputs: int) -> keras.Model:
    """The recipe's network behind resizing and normalisation: raw images (N, H, W, C) in."""
    height, width, channels = plan.input_shape
    mean, variance = problem.statistics((height, width))
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
    return build(
        recipe.model,
        input_shape=(*raw, channels),
        classes=outputs,
        preprocessing=preprocessing,
        **recipe.model_options,
    )


def twin(model: keras.Model) -> keras.Model:
    """The layers of `model` in a model of their own: how `model` is compiled stays as it is.

    One of a class of the user's is given back itself: the class says what a step is, and what it
    reads there (`self.optimizer`, `self.loss`) has to be the training's.
    """
    if not is_keras_own(model):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
