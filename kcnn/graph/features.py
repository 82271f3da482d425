"""A network's feature maps by stride, found by its graph alone: names of layers say nothing.

The map of a stride is the last one of it through which all that follows goes. Within a residual
block there are two ways, and no map is taken; of a stage it is what the next one begins with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from kcnn.errors import InputError
from kcnn.graph.cost import strides
from kcnn.graph.walk import operations
from kcnn.startup import keras


def feature_maps(model: keras.Model, wanted: Sequence[int]) -> list[Any]:
    """The maps (N, H / s, W / s, C) of `model`, symbolic, for each stride s in `wanted`.

    Args:
        model: Functional or sequential, of images (N, H, W, C).
        wanted: Strides in pixels.

    Raises:
        InputError: There is no map of a stride; with those that there are.
    """
    found = maps(model)
    if missing := [stride for stride in wanted if stride not in found]:
        known = f"it has those of {', '.join(map(str, sorted(found)))}" if found else "it has none"
        raise InputError(
            f"{model.name} has no feature map of stride {', '.join(map(str, missing))}: {known}."
        )
    return [found[stride] for stride in wanted]


def maps(model: keras.Model) -> dict[int, Any]:
    """By stride, the last map through which all that follows goes."""
    every, by_output = operations(model), strides(model)
    uses = Counter(id(x) for operation in every for x in _inputs(operation))
    uses.update(id(x) for x in keras.tree.flatten(model.outputs))
    open_ways, found = Counter[int](), dict[int, Any]()
    for operation in every:
        open_ways -= Counter(id(x) for x in _inputs(operation))  # drops what is used up
        output = operation.output
        open_ways[id(output)] = uses[id(output)]
        if isinstance(operation, keras.layers.InputLayer):
            continue  # an image is no feature
        if isinstance(operation, keras.layers.InputLayer):
            continue  # an image is no feature
        stride = by_output[id(output)]
        if stride is not None and len(output.shape) == 4 and set(open_ways) == {id(output)}:
            found[stride] = output
    return found


def _inputs(operation: keras.Operation) -> list[Any]:
    """What an operation is called on; nothing where it begins the graph."""
    if isinstance(operation, keras.layers.InputLayer):
        return []
    return keras.tree.flatten(operation.input)
