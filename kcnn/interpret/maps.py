"""Feature maps: where in pictures a layer sees its patterns, and which of its units see none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.cost import Stride
from kcnn.graph.flat import Call, Flat, flat
from kcnn.graph.receptive import Field, fields
from kcnn.interpret.pixels import batches, shape_of
from kcnn.startup import keras
from kcnn.terminal import shape_text


@dataclass(frozen=True)
class FeatureMaps:
    """What one layer says of some images."""

    layer: str
    kind: str  #: the layer's class
    maps: np.ndarray  #: (N, h, w, K) float32, of the first images; row i is unit [..., i]
    receptive_field: tuple[int, int] | None  #: rows, columns of pixels; None: the whole image
    stride: tuple[Stride, Stride] | None  #: pixels between neighbouring values; None: no grid
    dead: np.ndarray  #: (K,) bool: one value for all images and places
    images: int  #: how many `dead` was seen on

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, K): rows, columns, units."""
        return shape_of(self.maps)

    @property
    def title(self) -> str:
        """All but the maps, in a line: shape, stride, receptive field, dead units."""
        field, stride = self.receptive_field, self.stride
        seen = "sees the whole image" if field is None else f"sees {field[0]}×{field[1]} pixels"
        steps = "×".join(map(str, dict.fromkeys(stride or ())))
        step = f"a value every {steps} pixels, " if steps not in ("", "1") else ""
        return (
            f"{self.layer}: {shape_text(self.shape)}, {step}{seen}; {int(self.dead.sum())} of "
            f"{len(self.dead)} units dead on {self.images} images"
        )

    @property
    def dead_share(self) -> float:
        """Share of the units that are dead, in 0..1."""
        return float(self.dead.mean())


def feature_maps(
    model: keras.Model,
    images: Any,
    layers: Sequence[str | keras.layers.Layer] | None = None,
    *,
    keep: int = 8,
) -> list[FeatureMaps]:
    """The feature maps of layers for some images, early to late.

    A unit is dead on these images where it gives the same value at every place of every one of
    them: a ReLU that never opens, a filter of zeros. With few images a unit may be called dead that
    only waits for its pattern; `images` of the result says how many there were.

    Args:
        model: Functional or sequential, nested ones too; (N, H, W, C) with the values it was
            trained on.
        images: (N, H, W, C), or an iterable of batches of one size of image; see
            `kcnn.interpret.pixels`.
        layers: Names, or layers; None is `map_layers`.
        keep: Of how many of the first images the maps are kept; `dead` looks at all.

    Raises:
        InputError: No such layer, one whose output is no map (N, h, w, K), or no images.
    """
    if keep < 1:
        raise InputError(f"keep is a number of images from 1 up; received {keep}.")
    stream = batches(images)
    first = next(stream)
    found = flat(model, shape_of(first))
    calls = map_calls(found) if layers is None else [map_call(found, layer) for layer in layers]
    run = found.model([call.output for call in calls])
    kept: list[list[np.ndarray]] = [[] for _ in calls]
    low, high, seen = [np.inf] * len(calls), [-np.inf] * len(calls), 0
    for batch in chain([first], stream):
        outputs = keras.tree.flatten(run(_fitting(batch, first), training=False))
        for index, output in enumerate(outputs):
            values = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(output, "float32")))
            low[index] = np.minimum(low[index], values.min(axis=(0, 1, 2)))
            high[index] = np.maximum(high[index], values.max(axis=(0, 1, 2)))
            kept[index].append(values[: max(keep - seen, 0)])
        seen += len(batch)
    known = fields(found)
    return [
        _result(call, known[id(call.output)], np.concatenate(parts), np.equal(a, b), seen)
        for call, parts, a, b in zip(calls, kept, low, high, strict=True)
    ]


def map_layers(model: keras.Model, shape: Sequence[int] | None = None) -> list[str]:
    """Layers that show a network early to late: the first map, and the last of each size.

    Args:
        model: Functional or sequential.
        shape: (H, W, C) of the images, where the model takes any size.
    """
    return [call.name for call in map_calls(flat(model, shape))]


def map_calls(found: Flat) -> list[Call]:
    """The calls of `map_layers`."""
    learned, by_size = False, dict[tuple[int | None, ...], Call]()
    candidates = {id(call): call for call in found.narrow()}
    calls: list[Call] = []
    for call in found.calls:
        learned = learned or any(len(w.shape) > 1 for w in getattr(call.operation, "weights", ()))
        if learned and id(call) in candidates and call.kind not in ("ZeroPadding2D", "Cropping2D"):
            if not calls or (len(calls) == 1 and _of_the_first(call, calls[0])):
                calls = [call]
            by_size[call.output.shape[1:3]] = call
    if not calls:
        raise InputError(f"{found.name} has no feature map: it sees the image as a vector.")
    return list(dict.fromkeys([*calls, *by_size.values()]))


def map_call(found: Flat, layer: str | keras.layers.Layer) -> Call:
    """The call of a layer whose output is a map (N, h, w, K).

    Raises:
        InputError: It is none.
    """
    call = found.find(layer)
    if len(call.output.shape) != 4:
        raise InputError(
            f"The output of {call.name!r} is no feature map (N, h, w, K) but of shape "
            f"{tuple(call.output.shape)}. Feature maps here are those of "
            f"{', '.join(c.name for c in map_calls(found))}, and of other layers before them."
        )
    return call


def _of_the_first(call: Call, first: Call) -> bool:
    """Whether a layer only finishes what the first one with filters began: norm, activation."""
    return call.inputs[0] is first.output and call.kind in (
        "BatchNormalization", "Activation", "ReLU", "LeakyReLU", "Relu", "PReLU", "ELU",
    )  # fmt: skip


def _fitting(batch: np.ndarray, first: np.ndarray) -> np.ndarray:
    if batch.shape[1:] != first.shape[1:]:
        raise InputError(
            f"The images are of one size; received {first.shape[1:]} and then {batch.shape[1:]}."
        )
    return batch


def _result(
    call: Call, field: Field | None, maps: np.ndarray, dead: np.ndarray, images: int
) -> FeatureMaps:
    size = None if field is None else field.size
    stride = None if field is None else field.stride
    return FeatureMaps(call.name, call.kind, maps, size, stride, dead, images)
