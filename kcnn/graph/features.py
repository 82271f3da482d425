"""A network's feature maps by stride, found by its graph alone: names of layers say nothing.

The map of a stride is the last one of it through which all that follows goes, or the first one.
Within a residual block there are two ways, and no map is taken; of a stage the last is what the
next one begins with. An image is no feature, nor is what comes of it in front of the first kernel;
nor are maps with a border added or cut off, which are (N, H / s, W / s, C) no longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from kcnn.errors import InputError
from kcnn.graph.cost import strides
from kcnn.graph.walk import is_keras_own, operations
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
    by_output, found, learned = strides(model), dict[int, Any](), False
    for operation, narrow in _in_order(model):
        learned = learned or _has_kernel(operation)
        if not learned or not narrow or type(operation).__name__ in _BORDERS:
            continue
        output = operation.output
        stride = by_output[id(output)]
        if isinstance(stride, int) and not (first and stride in found):
            found[stride] = output
    return found


def last_fixed_map(model: keras.Model) -> Any | None:
    """The last map (N, H, W, C) in front of all that is trained or random; None without one.

    All that follows goes through it, and it is behind the first kernel.
    """
    found, learned = None, False
    for operation, narrow in _in_order(model):
        if getattr(operation, "trainable_weights", ()) or _is_random(operation):
            break
        learned = learned or _has_kernel(operation)
        if learned and narrow:
            found = operation.output
    return found


def _in_order(model: keras.Model) -> Iterator[tuple[keras.Operation, bool]]:
    """Operations, and whether the output is a map through which all that follows goes."""
    every = operations(model)
    uses = Counter(id(x) for operation in every for x in _inputs(operation))
    uses.update(id(x) for x in keras.tree.flatten(model.outputs))
    open_ways = Counter[int]()
    for operation in every:
        open_ways -= Counter(id(x) for x in _inputs(operation))  # drops what is used up
        output = operation.output
        open_ways[id(output)] = uses[id(output)]
        yield operation, len(output.shape) == 4 and set(open_ways) == {id(output)}


def _is_random(operation: keras.Operation) -> bool:
    """Whether a training computes anything else there each time, as far as Keras' layers say."""
    own = not isinstance(operation, keras.layers.Layer) or is_keras_own(operation)
    return not own or any(hasattr(operation, name) for name in ("seed_generator", "generator"))


def _has_kernel(operation: keras.Operation) -> bool:
    """Whether it has a weight of several axes; scales and statistics have one."""
    return any(len(weight.shape) > 1 for weight in getattr(operation, "weights", ()))


def _inputs(operation: keras.Operation) -> list[Any]:
    """What an operation is called on; nothing where it begins the graph."""
    if isinstance(operation, keras.layers.InputLayer):
        return []
    return keras.tree.flatten(operation.input)
