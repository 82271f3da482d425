"""The pictures of the data that excite a unit most, cut to what it sees of them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.flat import Call, flat
from kcnn.graph.receptive import Field, fields
from kcnn.interpret.pixels import batches, shape_of
from kcnn.startup import keras


@dataclass(frozen=True)
class Exciting:
    """The most exciting pictures of one unit, the strongest first, each picture once."""

    layer: str
    unit: int
    images: np.ndarray  #: (k, H, W, C) float32, whole
    boxes: np.ndarray  #: (k, 4) int: top, left, bottom, right of what the unit sees of each
    values: np.ndarray  #: (k,) float32, of the unit
    indices: np.ndarray  #: (k,) int: which of the images, counted from 0

    @property
    def crops(self) -> list[np.ndarray]:
        """What the unit sees: (h, w, C) each; smaller at the border of a picture."""
        return [
            image[top:bottom, left:right]
            for image, (top, left, bottom, right) in zip(self.images, self.boxes, strict=True)
        ]


def exciting(
    model: keras.Model,
    layer: str | keras.layers.Layer,
    unit: int,
    images: Any,
    *,
    top: int = 9,
) -> Exciting:
    """The pictures that excite one unit most (Zeiler & Fergus 2014); see `exciting_each`."""
    return exciting_each(model, layer, [unit], images, top=top)[0]


def exciting_each(
    model: keras.Model,
    layer: str | keras.layers.Layer,
    units: Sequence[int],
    images: Any,
    *,
    top: int = 9,
) -> list[Exciting]:
    """The pictures that excite each of some units of a layer most, in one pass over the images.

    Of a unit of a feature map, a picture counts with the largest value on it, and is cut to the
    receptive field of that place. Whether the value is there whatever lies outside is tried out;
    where it is not (a layer that sees more than its kind says), the box is the whole picture.

    Args:
        model: Functional or sequential, nested ones too.
        layer: Whose output is (N, h, w, K), or (N, K): there the box is the whole picture.
        units: Numbers of channels or outputs, from 0.
        images: (N, H, W, C) or an iterable of batches of one size of image, which is read once;
            only the most exciting pictures are kept.
        top: How many pictures of each; fewer where there are fewer.

    Raises:
        InputError: No such layer or unit, or no images.
    """
    if top < 1:
        raise InputError(f"top is a number of pictures from 1 up; received {top}.")
    stream = batches(images)
    first = next(stream)
    found = flat(model, shape_of(first))
    call = found.find(layer)
    _check_units(call, units)
    run = found.model(call.output)
    best: list[list[_Entry]] = [[] for _ in units]
    number = count()
    for batch in chain([first], stream):
        values = _values(run, batch)[..., list(units)]
        numbers = [next(number) for _ in batch]
        for entries, of_unit in zip(best, np.moveaxis(values, -1, 0), strict=True):
            _keep(entries, of_unit, batch, numbers, top)
    field = fields(found)[id(call.output)]
    return [
        _result(run, call, unit, field, sorted(entries, reverse=True))
        for unit, entries in zip(units, best, strict=True)
    ]


#: Value, minus the number of the picture (of two alike the first wins), place, picture.
_Entry = tuple[float, int, tuple[int, ...], np.ndarray]


def _keep(
    entries: list[_Entry], values: np.ndarray, batch: np.ndarray, numbers: list[int], top: int
) -> None:
    """Put the pictures of a batch that are among the best so far into the heap."""
    highest = values.reshape(len(values), -1).max(axis=1)
    for index in np.argsort(-highest, kind="stable")[:top]:
        new = (float(highest[index]), -numbers[index])
        if len(entries) == top and entries[0][:2] >= new:
            break
        place = np.unravel_index(np.argmax(values[index]), values.shape[1:])
        entry = (*new, tuple(map(int, place)), batch[index].copy())
        (heapq.heappush if len(entries) < top else heapq.heapreplace)(entries, entry)


def _result(
    run: keras.Model, call: Call, unit: int, field: Field | None, entries: list[_Entry]
) -> Exciting:
    images = np.stack([image for *_, image in entries])
    values = np.array([value for value, *_ in entries], "float32")
    height, width = images.shape[1:3]
    boxes = np.tile([0, 0, height, width], (len(images), 1))
    if field is not None:
        places = [place for _, _, place, _ in entries]
        seen = [field.box(row, column, height, width) for row, column in places]
        if _enough(run, unit, images, places, seen):
            boxes = np.array(seen)
    numbers = np.array([-number for _, number, *_ in entries])
    return Exciting(call.name, unit, images, boxes, values, numbers)


def _enough(
    run: keras.Model,
    unit: int,
    images: np.ndarray,
    places: Sequence[tuple[int, ...]],
    boxes: Sequence[tuple[int, ...]],
) -> bool:
    """Whether the unit's values stay where all outside of the boxes becomes something else."""
    others = images[:, ::-1, ::-1].copy()
    for other, image, (top, left, bottom, right) in zip(others, images, boxes, strict=True):
        other[top:bottom, left:right] = image[top:bottom, left:right]
    at = [(index, *place, unit) for index, place in enumerate(places)]
    before, after = (np.array([_values(run, x)[i] for i in at]) for x in (images, others))
    return bool(np.allclose(before, after, rtol=1e-3, atol=1e-4 * max(np.abs(before).max(), 1e-6)))


def _values(run: keras.Model, batch: np.ndarray) -> np.ndarray:
    outputs = run(batch, training=False)
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32")))


def _check_units(call: Call, units: Sequence[int]) -> None:
    count_ = call.output.shape[-1]
    if len(call.output.shape) not in (2, 4):
        raise InputError(
            f"A unit is a channel of a map (N, h, w, K) or one of (N, K) values; the output of "
            f"{call.name!r} is {tuple(call.output.shape)}."
        )
    if wrong := [unit for unit in units if not 0 <= unit < count_]:
        raise InputError(
            f"{call.name!r} has units 0 to {count_ - 1}; received {', '.join(map(str, wrong))}."
        )
