"""How the arrays of other libraries lie, and which of them a network needs.

| | convolution | dense | flattened | BatchNorm's epsilon |
|---|---|---|---|---|
| Keras, kcnn | (h, w, in, out) | (in, out) | (H, W, C) | 1e-5 in kcnn |
| PyTorch | (out, in, h, w) | (out, in) | (C, H, W) | 1e-5 |
| keras.applications | (h, w, in, out) | (in, out) | (H, W, C) | 1.001e-5 |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.walk import leaves
from kcnn.startup import keras
from kcnn.weights.names import PLACES, stranger
from kcnn.weights.streams import reordered, streams

#: Of a layer, its array in the file to our shape.
Conversion = Callable[[np.ndarray], np.ndarray]

#: Layers of a top, from the last down, where networks have them.
TOP = ("predictions", "fc2", "fc1")

#: Dense layers that may read a flattened map.
_FIRST = ("fc1", "predictions")


@dataclass(frozen=True)
class Wanted:
    """An array that a layer needs.

    Args:
        layer: Name of the layer.
        weight: Keras' name of the weight: kernel, bias, gamma and so on.
        names: What files call it; one of these.
        convert: From the file's order of axes to Keras'.
    """

    layer: str
    weight: str
    names: tuple[str, ...]
    convert: Conversion


@dataclass(frozen=True)
class Scheme:
    """A library's names for all layers of one network.

    Args:
        title: What a message calls them.
        wanted: The network's weights, layer by layer.
        biases: Of convolutions without a bias in front of a BatchNorm: what files call theirs, by
            the name of the BatchNorm.
        epsilon: Of the library's BatchNorm.
        tops: What names of arrays begin with that are of a top that the network does not have.
        unused: Ends of names of arrays that no network needs.
        notes: What is taken for granted, a sentence each.
    """

    title: str
    wanted: tuple[Wanted, ...]
    biases: Mapping[str, tuple[str, ...]]
    epsilon: float
    tops: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def scheme_of(
    names: Iterable[str], model: keras.Model, family: str, keep: Collection[str] = ()
) -> Scheme:
    """The scheme by which the names of a file are to be read for a network of a family.

    Args:
        names: Of the file's arrays.
        model: A network of kcnn, without preprocessing or with.
        family: "resnet", "vgg" or "alexnet".
        keep: Names of layers that are none of that family's network.

    Raises:
        InputError: Nobody publishes such weights, or not in that form; they are another family's.
    """
    names = list(names)
    pytorch = any(name.endswith((".weight", ".running_mean")) for name in names)
    library = "PyTorch" if pytorch else "keras.applications"
    places = PLACES.get((library, family))
    if places is None:
        raise InputError(
            f"The names in it are those of {library}, where {model.name} has no counterpart that "
            f"kcnn knows; those that have: "
            f"{', '.join(sorted(name for lib, name in PLACES if lib == library))}."
        )
    if other := stranger(names, family):
        raise InputError(
            f"its arrays have the names of {other}. Give that network's name in place of "
            f"{model.name}."
        )
    layers = [layer for layer in leaves(model) if layer.weights and layer.name not in keep]
    known = places(layers)
    if family == "resnet" and not any(layer.name.endswith("_add") for layer in leaves(model)):
        # Of the same shapes, where shortcuts have no weights.
        raise InputError(
            f"These are weights of a residual network; this {model.name} has no shortcuts. Leave "
            f"residual=False out."
        )
    if strangers := [layer.name for layer in layers if layer.name not in known]:
        raise InputError(
            f"{library} has no network with the layers {', '.join(strangers[:4])} of this "
            f"{model.name}. Leave options out that make another network of it."
        )
    return _pytorch(model, layers, known) if pytorch else _keras(model, layers, known)


def _pytorch(
    model: keras.Model, layers: list[keras.layers.Layer], known: Mapping[str, tuple[str, ...]]
) -> Scheme:
    ends = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias",
            "moving_mean": "running_mean", "moving_variance": "running_var"}  # fmt: skip
    padded, notes = streams(model), list[str]()
    if padded:
        notes.append(
            "shortcuts without parameters are taken to pad channels on both sides, as in the "
            "published PyTorch networks"
        )
    _refuse_stride(model, "conv{stage}_1_1", "3x3")
    wanted = []
    for layer in layers:
        for weight in layer.weights:
            names = tuple(
                f"{module}{place}.{ends[weight.name]}"
                for place in known[layer.name]
                for module in ("", "module.")
            )
            convert = _from_pytorch(model, layer, weight.name)
            if layer.name in padded:
                convert = reordered(convert, padded[layer.name], weight.name)
            wanted.append(Wanted(layer.name, weight.name, names, convert))
    biases = {
        f"{layer.name}_bn": tuple(f"{place}.bias" for place in known[layer.name])
        for layer in layers
        if isinstance(layer, keras.layers.Conv2D) and not layer.use_bias
    }
    tops = tuple(f"{place}." for place in _tops(layers, known))
    unused = ("num_batches_tracked",)
    return Scheme("PyTorch", tuple(wanted), biases, 1e-5, tops, unused, tuple(notes))


def _keras(
    model: keras.Model, layers: list[keras.layers.Layer], known: Mapping[str, tuple[str, ...]]
) -> Scheme:
    _refuse_stride(model, "conv{stage}_1_2", "1x1")
    wanted = []
    for layer in layers:
        for index, weight in enumerate(layer.weights):
            names = tuple(name for place in known[layer.name] for name in _stored(place, index,
                          weight.name))  # fmt: skip
            wanted.append(Wanted(layer.name, weight.name, names, _as_it_is))
    biases = {
        f"{layer.name}_bn": tuple(
            name for place in known[layer.name] for name in _stored(place, 1, "bias")
        )
        for layer in layers
        if isinstance(layer, keras.layers.Conv2D) and not layer.use_bias
    }
    tops = tuple(f"{place}{end}" for place in _tops(layers, known) for end in ("/", "__"))
    return Scheme("keras.applications", tuple(wanted), biases, 1.001e-5, tops)


def _tops(layers: list[keras.layers.Layer], known: Mapping[str, tuple[str, ...]]) -> list[str]:
    here = {layer.name for layer in layers}
    return [place for name in TOP if name not in here for place in known.get(name, ())]


def _stored(place: str, index: int, weight: str) -> tuple[str, ...]:
    """What files call a layer's weight: by its place in the layer, or by its name."""
    return f"{place}/{index}", f"{place}/{weight}", f"{place}__{weight}"


def _as_it_is(array: np.ndarray) -> np.ndarray:
    return array


def _from_pytorch(model: keras.Model, layer: keras.layers.Layer, weight: str) -> Conversion:
    if weight != "kernel":
        return _as_it_is
    if isinstance(layer, keras.layers.Conv2D):
        return lambda array: array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    return partial(_dense, _map_before(model, layer))


def _dense(map_shape: tuple[int, ...] | None, array: np.ndarray) -> np.ndarray:
    """(out, in), or a convolution over the whole map (out, C, H, W), to (in, out).

    Args:
        map_shape: (H, W, C) of the map that is flattened in front of the layer, if there is one.
        array: As PyTorch has it.
    """
    if array.ndim == 4:
        array = array.reshape(len(array), -1)  # a convolution reads its window as (C, H, W), too
    if array.ndim != 2:
        return array
    if map_shape is None or array.shape[1] != np.prod(map_shape):
        return array.T
    height, width, channels = map_shape
    apart = array.reshape(-1, channels, height, width)
    return apart.transpose(2, 3, 1, 0).reshape(-1, len(array))


def _map_before(model: keras.Model, layer: keras.layers.Layer) -> tuple[int, ...] | None:
    """(H, W, C) of the map that becomes this layer's vector."""
    flat = next((one for one in leaves(model) if isinstance(one, keras.layers.Flatten)), None)
    if flat is None:
        return None
    shape = tuple(flat.input.shape[1:])
    return shape if np.prod(shape) == layer.kernel.shape[0] and layer.name in _FIRST else None


def _refuse_stride(model: keras.Model, first: str, where: str) -> None:
    """Refuse bottlenecks that subsample in another place: their weights have the same shapes."""
    by_name = {layer.name: layer for layer in leaves(model)}
    if not any(re.fullmatch(r"conv\d+_1_3", name) for name in by_name):
        return
    for stage in range(3, 6):
        layer = by_name.get(first.format(stage=stage))
        if layer is not None and max(layer.strides) > 1:
            other = "1x1" if where == "3x3" else "3x3"
            raise InputError(
                f"These weights are of bottlenecks that subsample in their {where}; this "
                f"{model.name} does in the {other}. Build it with stride_in={where!r}."
            )
