"""A network's feature maps by stride, found by its graph alone: names of layers say nothing.

The map of a stride is the last one of it through which all that follows goes, or the first one.
Within a residual block there are two ways, and no map is taken; of a stage the last is what the
next one begins with. An image is no feature, nor is what comes of it in front of the first kernel;
nor are maps with a border added or cut off, which are (N, H / s, W / s, C) no longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from kcnn.errors import InputError
from kcnn.graph.cost import strides
from kcnn.graph.walk import operations
from kcnn.startup import keras

#: Layers that change a map's border alone.
_BORDERS = ("ZeroPadding2D", "Cropping2D")


def feature_maps(model: keras.Model, wanted: Sequence[int], *, first: bool = False) -> list[Any]:
    """The maps (N, H / s, W / s, C) of `model`, symbolic, for each stride s in `wanted`.

    Args:
        model: Functional or sequential, of images (N, H, W, C).
        wanted: Strides in pixels.
        first: Of each stride the first map, such as the pooling that makes it, not the last.

    Raises:
        InputError: There is no map of a stride; with those that there are.
    """
    found = maps(model, first=first)
    if missing := [stride for stride in wanted if stride not in found]:
        known = f"it has those of {', '.join(map(str, sorted(found)))}" if found else "it has none"
        raise InputError(
            f"{model.name} has no feature map of stride {', '.join(map(str, missing))}: {known}."
        )
    return [found[stride] for stride in wanted]


def body(model: keras.Model, wanted: Sequence[int] | None = None) -> keras.Model:
    """The layers of `model` up to its feature maps, with the weights that they have.

    Args:
        model: A classifier.
        wanted: Strides in pixels; None for the last map.

    Raises:
        InputError: There is no such map.
    """
    if wanted is None:
        found = maps(model)
        if not found:
            raise InputError(f"{model.name} has no feature map: it sees the image as a vector.")
        outputs = found[max(found)]
    else:
        outputs = feature_maps(model, wanted)
    return keras.Model(model.input, outputs, name=f"{model.name}_body")


def maps(model: keras.Model, *, first: bool = False) -> dict[int, Any]:
    """By stride, the last map through which all that follows goes; or the `first`."""
    every, by_output = operations(model), strides(model)
    uses = Counter(id(x) for operation in every for x in _inputs(operation))
    uses.update(id(x) for x in keras.tree.flatten(model.outputs))
    open_ways, found, learned = Counter[int](), dict[int, Any](), False
    for operation in every:
        open_ways -= Counter(id(x) for x in _inputs(operation))  # drops what is used up
        output = operation.output
        open_ways[id(output)] = uses[id(output)]
        learned = learned or _has_kernel(operation)
        if not learned or type(operation).__name__ in _BORDERS:
            continue
        stride = by_output[id(output)]
        if not isinstance(stride, int) or len(output.shape) != 4 or set(open_ways) != {id(output)}:
            continue
        if not (first and stride in found):
            found[stride] = output
    return found


def _has_kernel(operation: keras.Operation) -> bool:
    """Whether it has a weight of several axes; scales and statistics have one."""
    return any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))


def _inputs(operation: keras.Operation) -> list[Any]:
    """What an operation is called on; nothing where it begins the graph."""
    if isinstance(operation, keras.layers.InputLayer):
        return []
    return keras.tree.flatten(operation.input)
