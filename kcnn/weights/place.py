"""Arrays of another library onto a network, by name: all of them, or none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.walk import leaves
from kcnn.startup import keras
from kcnn.storage.refusals import brief
from kcnn.weights.arrays import Arrays
from kcnn.weights.scheme import TOP, Scheme, Wanted, scheme_of

#: Names that a message lists.
_SHOWN = 8
_HEAD = "predictions"


@dataclass
class _Found:
    """What there is for each weight, and what does not go together."""

    values: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)  # layers that the file has nothing for


def begin_at_zero(layer: keras.layers.Layer) -> None:
    """Let a new classifier on trained features begin without an opinion: a kernel of zeros.

    What trained bodies give is of any size (VGG-19's means have a deviation of 7), and of Glorot's
    kernel, which is for inputs around 1, logits are so large that a training first has to unlearn
    them. Big Transfer begins in this way, too (Kolesnikov et al. 2020).
    """
    kernel = next(one for one in layer.weights if one.name == "kernel")
    kernel.assign(np.zeros(kernel.shape, kernel.dtype))


def place(
    model: keras.Model,
    arrays: Arrays,
    *,
    family: str,
    keep: Collection[str] = (),
    new_head: bool = False,
    flip: bool = False,
    part: bool = False,
) -> list[str]:
    """Assign the arrays of a file to the weights of `model`.

    Args:
        model: A network of kcnn.
        arrays: As `read_arrays` gives them.
        family: Of the network: "resnet", "vgg", "alexnet".
        keep: Names of layers that are none of the network's, such as preprocessing.
        new_head: Where the file has another number of classes, the layer `predictions` begins
            at zero; where it has none of the dense layers at the end, all of them are new.
        flip: The file's first kernel reads blue, green, red.
        part: The network ends before the file's does: what is left over is not taken.

    Returns:
        What was adapted or taken for granted, a sentence each.

    Raises:
        InputError: Arrays that are missing, left over or of other shapes, with both sides; nothing
            is assigned then.
    """
    by_name = {one.name: one for one in leaves(model) if one.weights and one.name not in keep}
    if all(name.startswith("arr_") for name in arrays):
        found = _in_order(by_name, arrays)
    else:
        scheme = scheme_of(arrays, model, family, keep)
        found = _by_name(by_name, arrays, scheme, new_head)
        _absorb(by_name, arrays, scheme, found)
        found.notes += scheme.notes
        left = [n for n in arrays if n not in found.used and not part
                and not n.endswith(scheme.unused) and not n.startswith(scheme.tops)]  # fmt: skip
        _refuse(model, scheme.title, found, left)
    if flip:
        first = (next(iter(by_name)), "kernel")
        found.values[first] = found.values[first][:, :, ::-1]
    for (layer, weight), value in found.values.items():
        variable = next(one for one in by_name[layer].weights if one.name == weight)
        variable.assign(value)
    if _HEAD in found.new:
        begin_at_zero(by_name[_HEAD])
    return found.notes


def _by_name(
    by_name: Mapping[str, keras.layers.Layer], arrays: Arrays, scheme: Scheme, new_head: bool
) -> _Found:
    found, first = _Found(), next(iter(by_name))
    tops = [name for wanted in scheme.wanted if wanted.layer in TOP for name in wanted.names]
    without_top = new_head and not any(name in arrays for name in tops)
    for wanted in scheme.wanted:
        if wanted.layer not in by_name:
            continue
        shape = _shape(by_name[wanted.layer], wanted.weight)
        name = next((name for name in wanted.names if name in arrays), None)
        if name is None and without_top and wanted.layer in TOP:
            found.new += [wanted.layer] * (wanted.layer not in found.new)
            continue
        if name is None:
            found.missing.append(f"{wanted.layer}/{wanted.weight} {shape} (as {wanted.names[0]})")
            continue
        found.used.add(name)
        value = wanted.convert(arrays[name])
        if wanted.layer == first and wanted.weight == "kernel":
            value = _channels(value, shape, found)
        if value.shape == shape:
            found.values[wanted.layer, wanted.weight] = value
        elif new_head and _other_classes(wanted, value, shape):
            if wanted.weight == "kernel":
                found.new.append(_HEAD)
                found.notes.append(
                    f"predictions is new: {shape[-1]} classes, in the file {value.shape[-1]}"
                )
        else:
            found.shapes.append(
                f"{wanted.layer}/{wanted.weight} {shape} here, {name} {arrays[name].shape} there"
            )
    if without_top and found.new:
        found.notes.append(f"{', '.join(found.new)} new: the file ends with the last feature map")
    return found


def _other_classes(wanted: Wanted, value: np.ndarray, shape: tuple[int, ...]) -> bool:
    return wanted.layer == _HEAD and value.ndim == len(shape) and value.shape[:-1] == shape[:-1]


def _channels(kernel: np.ndarray, shape: tuple[int, ...], found: _Found) -> np.ndarray:
    """A first kernel for colour images (h, w, 3, K), for those of another number of channels."""
    if kernel.ndim != 4 or kernel.shape[2] != 3 or len(shape) != 4 or shape[2] == 3:
        return kernel
    channels = shape[2]
    if channels == 1:
        found.notes.append("the first kernel's three channels are summed, for grey images")
        return kernel.sum(axis=2, keepdims=True)
    found.notes.append(
        f"the first kernel's three channels are repeated for {channels}, times 3/{channels}"
    )
    return kernel[:, :, np.arange(channels) % 3] * (3.0 / channels)


def _absorb(
    by_name: Mapping[str, keras.layers.Layer], arrays: Arrays, scheme: Scheme, found: _Found
) -> None:
    """Make BatchNorm with our epsilon, behind convolutions without biases, of the file's.

    gamma (x + b - mean) / sqrt(var + e) + beta is the same with mean - b and var + e - e' for e'.
    """
    biases = 0
    for name, layer in by_name.items():
        if (name, "moving_variance") in found.values:
            found.values[name, "moving_variance"] = found.values[name, "moving_variance"] + (
                np.float32(scheme.epsilon - layer.epsilon)
            )
        for bias in scheme.biases.get(name, ()):
            key = (name, "moving_mean")
            if bias in arrays and key in found.values and arrays[bias].shape == found.values[
                key].shape:  # fmt: skip
                found.values[key] = found.values[key] - arrays[bias]
                found.used.add(bias)
                biases += 1
    if biases:
        found.notes.append(
            f"biases of {biases} convolutions are in the means of the BatchNorm behind them"
        )


def _in_order(by_name: Mapping[str, keras.layers.Layer], arrays: Arrays) -> _Found:
    """Arrays without names are `get_weights()` of the very same network."""
    wanted = [(layer.name, w.name, tuple(w.shape)) for layer in by_name.values()
              for w in layer.weights]  # fmt: skip
    shapes = [array.shape for array in arrays.values()]
    if shapes != [shape for _, _, shape in wanted]:
        place = next(
            (i for i, (s, w) in enumerate(zip(shapes, wanted, strict=False)) if s != w[2]),
            min(len(shapes), len(wanted)),
        )
        here = "nothing" if place >= len(wanted) else f"{wanted[place][0]}/{wanted[place][1]} " + (
            f"{wanted[place][2]}")  # fmt: skip
        there = "nothing" if place >= len(shapes) else str(shapes[place])
        raise InputError(
            f"arrays without names go in as set_weights takes them: {len(wanted)} of this network, "
            f"{len(shapes)} in the file, and number {place} is {here} here, {there} there."
        )
    values = {(w[0], w[1]): a for w, a in zip(wanted, arrays.values(), strict=True)}
    return _Found(values)


def _refuse(model: keras.Model, title: str, found: _Found, left: list[str]) -> None:
    parts = []
    if found.missing:
        parts.append(f"no array for {_some(found.missing)}")
    if found.shapes:
        parts.append(f"other shapes: {_some(found.shapes)}")
    if left:
        parts.append(f"nothing here takes {_some(map(brief, left))}")
    if parts:
        raise InputError(
            f"it has {title}'s names, and does not fit this {model.name}: {'; '.join(parts)}. "
            f"Build the network that was saved: its options, classes and image size "
            f"(include_top=False for files without a top)."
        )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _shape(layer: keras.layers.Layer, weight: str) -> tuple[int, ...]:
    return next(tuple(one.shape) for one in layer.weights if one.name == weight)
