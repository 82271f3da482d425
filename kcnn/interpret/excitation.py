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
    kept = [sorted(entries, reverse=True) for entries in best]
    boxes = _boxes(run, units, fields(found)[id(call.output)], kept)
    return [
        Exciting(
            call.name,
            unit,
            np.stack([image for *_, image in entries]),
            of_unit,
            np.array([value for value, *_ in entries], "float32"),
            np.array([-number for _, number, *_ in entries]),
        )
        for unit, entries, of_unit in zip(units, kept, boxes, strict=True)
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


def _boxes(
    run: keras.Model, units: Sequence[int], field: Field | None, kept: Sequence[Sequence[_Entry]]
) -> list[np.ndarray]:
    """What each unit sees of its pictures, (k, 4) each; all of them where that is not enough."""
    if not kept:
        return []
    height, width = kept[0][0][3].shape[:2]
    whole = [np.tile([0, 0, height, width], (len(entries), 1)) for entries in kept]
    if field is None:
        return whole
    seen = [
        np.array([field.box(place[0], place[1], height, width) for _, _, place, _ in entries])
        for entries in kept
    ]
    enough = _enough(run, units, kept, seen)
    return [a if fits else b for fits, a, b in zip(enough, seen, whole, strict=True)]


def _enough(
    run: keras.Model,
    units: Sequence[int],
    kept: Sequence[Sequence[_Entry]],
    boxes: Sequence[np.ndarray],
) -> list[bool]:
    """Whether each unit's values stay where all outside of the boxes becomes something else."""
    others = []
    for entries, of_unit in zip(kept, boxes, strict=True):
        for (*_, image), (top, left, bottom, right) in zip(entries, of_unit, strict=True):
            other = image[::-1, ::-1].copy()
            other[top:bottom, left:right] = image[top:bottom, left:right]
            others.append(other)
    changed = [_values(run, batch) for batch in batches(np.stack(others))]
    after, found = iter(np.concatenate(changed)), list[bool]()
    for unit, entries in zip(units, kept, strict=True):
        old = np.array([value for value, *_ in entries])
        new = np.array([next(after)[(*place, unit)] for _, _, place, _ in entries])
        near = 1e-4 * max(np.abs(old).max(), 1e-6)
        found.append(bool(np.allclose(old, new, rtol=1e-3, atol=near)))
    return found


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
