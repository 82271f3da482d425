"""Why a training failed: which layer was first to give what is not finite, what memory it takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kcnn.devices.memory import memory
from kcnn.graph.cost import cost
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.startup import keras


class OutOfMemoryError(MemoryError):
    """A training step needs more memory than there is."""


def first_layer_not_finite(model: keras.Model, images: Any) -> str | None:
    """Name of the first layer, in the order of the graph, that gives a value that is not finite.

    Args:
        model: Functional or sequential.
        images: A batch (B, H, W, C), as in a training step: layers behave as in training.

    Returns:
        None where all outputs are finite.
    """
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    outputs = [output for layer in layers for output in _flat(layer.output)]
    names = [layer.name for layer in layers for _ in _flat(layer.output)]
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    values = keras.Model(inputs, outputs)(images, training=True)
    for name, value in zip(names, _flat(values), strict=True):
        if not np.isfinite(keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))).all():
            return name
    return None


def out_of_memory(model: keras.Model, recipe: ResolvedRecipe) -> OutOfMemoryError:
    """The error for a step that found no memory: batch size, estimate, and what would fit."""
    costs, batch = cost(model), recipe.batch_size
    slots, there = recipe.slots, memory()
    needed = costs.training_memory(batch, slots)
    fitting = batch // 2
    while fitting > 1 and costs.training_memory(fitting, slots) > 0.8 * there:
        fitting //= 2
    fitting = 1 << max(fitting, 1).bit_length() - 1  # a power of two
    remedy = f"Try batch_size={fitting} (about {_gib(costs.training_memory(fitting, slots))})."
    if batch == 1:
        remedy = "Not even one image fits: take smaller images or a smaller network."
    return OutOfMemoryError(
        f"Out of memory with batch_size={batch}: {model.name} takes about {_gib(needed)} to train "
        f"with it, of {_gib(there)} there are. {remedy}"
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.1f} MiB"


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
