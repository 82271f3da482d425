"""Masks: a class for each pixel, in files that are read when a batch needs them, or in an array.

A mask is a palette PNG, whose numbers count and whose colours do not; a grey one, whose values
count; or one in colours, of which a list of classes says what each is. What each value is to the
training stands in a table of 256: a class number, `IGNORED`, or `UNKNOWN`, which is refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from kcnn.data.sets.annotations import Progress, View
from kcnn.data.sets.decoding import BadImage, load_pixels, open_image
from kcnn.data.sets.images import ImageFiles
from kcnn.data.sets.upright import upright_sizes
from kcnn.errors import InputError

#: In a target, of pixels that are neither learned nor counted. So there are at most 254 classes.
IGNORED = 255
UNKNOWN = 254

_SHOWN = 20  # faults that a message lists


@dataclass(frozen=True, eq=False)
class Masks:
    """The masks of a split, in the order of its pictures.

    Args:
        source: Files, or an array (N, H, W) uint8.
        table: (256,) uint8: what each value of a mask is.
        colours: Packed 0xRRGGBB to value, of masks in colours; None for others.
        counts: (K + 1,) int64, pixels of each class, and ignored ones last; None before `checked`.
        remarks: What was guessed.
    """

    source: ImageFiles | np.ndarray
    table: np.ndarray
    colours: Mapping[int, int] | None = None
    counts: np.ndarray | None = None
    remarks: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: np.ndarray) -> Self:
        return replace(self, source=self.source[indices], counts=None)

    def files(self) -> ImageFiles | None:
        """Where they are files."""
        return self.source if isinstance(self.source, ImageFiles) else None

    def state(self) -> bytes:
        """Of the table, and of an array the masks themselves."""
        digest = hashlib.sha256(self.table.tobytes())
        digest.update(repr(sorted((self.colours or {}).items())).encode())
        if isinstance(self.source, np.ndarray):
            digest.update(np.ascontiguousarray(self.source).tobytes())
        return digest.digest()

    def values(self, index: int) -> np.ndarray:
        """A mask as it is stored, (H, W) uint8.

        Raises:
            InputError: It cannot be read, or holds what is no class; with the file.
        """
        if isinstance(self.source, np.ndarray):
            return np.asarray(self.source[index])
        path = self.source[index]
        try:
            return read_values(path, self.colours)
        except BadImage as error:
            raise InputError(f"{path}: {error}.") from error

    def numbers(self, index: int) -> np.ndarray:
        """A mask as class numbers, (H, W) uint8; 255 is ignored."""
        return np.asarray(self.table[self.values(index)])

    def target(self, index: int, view: View) -> np.ndarray:
        """(H, W) uint8 class numbers in a view: of the nearest pixel; padding is ignored."""
        numbers = self.numbers(index)
        if numbers.shape != tuple(view.scaled):
            image = Image.fromarray(numbers)
            numbers = np.asarray(image.resize(view.scaled[::-1], Image.Resampling.NEAREST))
        rows, columns = view.places()
        inside = ((rows >= 0) & (rows < view.scaled[0]))[:, np.newaxis] & (
            (columns >= 0) & (columns < view.scaled[1])
        )
        rows, columns = (
            np.clip(rows, 0, view.scaled[0] - 1),
            np.clip(columns, 0, view.scaled[1] - 1),
        )
        return np.where(inside, numbers[rows[:, np.newaxis], columns], np.uint8(IGNORED))

    def spec(self, size: tuple[int, int]) -> tuple[tuple[int, ...], str]:
        """(H, W) uint8."""
        return size, "uint8"

    @cached_property
    def shares(self) -> np.ndarray:
        """(K,) float64: of the pixels that count, how many are of each class."""
        assert self.counts is not None, "the masks were not looked at"
        return np.asarray(self.counts[:-1] / max(self.counts[:-1].sum(), 1))

    @property
    def ignored_share(self) -> float:
        """Of all pixels those that do not count."""
        assert self.counts is not None, "the masks were not looked at"
        return float(self.counts[-1] / max(self.counts.sum(), 1))

    def checked(self, images: Any, class_names: Sequence[str], progress: Progress = None) -> Self:
        """Every mask read: its size is that of its picture, its values are classes.

        Args:
            images: Their pictures.
            class_names: Of the classes.
            progress: Called with the number of masks done so far.

        Raises:
            InputError: Those that cannot be used, the first 20 by file, with value or size.
        """
        if self.counts is not None:
            return self
        counts, faults = np.zeros(len(class_names) + 1, np.int64), []
        known = [value for value in range(256) if self.table[value] != UNKNOWN]

        def look(index: int) -> tuple[np.ndarray, str | None]:
            try:
                return self._look(index, images, known)
            except (InputError, BadImage) as error:
                return np.zeros(256, np.int64), str(error)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for index, (found, fault) in enumerate(threads.map(look, range(len(self)))):
                if fault is not None:
                    faults.append(fault)
                numbers = np.bincount(self.table, weights=found, minlength=256)
                counts[:-1] += numbers[: len(class_names)].astype(np.int64)
                counts[-1] += int(numbers[IGNORED])
                if progress is not None:
                    progress(index + 1)
        if faults:
            more = [f"  and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
            listed = "\n".join([*(f"  {fault}" for fault in faults[:_SHOWN]), *more])
            raise InputError(f"{len(faults)} of {len(self)} masks cannot be used:\n{listed}")
        return replace(self, counts=counts)

    def _look(self, index: int, images: Any, known: Sequence[int]) -> tuple[np.ndarray, str | None]:
        """Pixels of each value (256,), and what is wrong with the mask."""
        values = self.values(index)
        found = np.bincount(values.reshape(-1), minlength=256)
        if isinstance(images, ImageFiles):
            height, width = upright_sizes(images[np.array([index])])[0].tolist()
        else:
            height, width = images.shape[1:3]
        name = self.name(index)
        if values.shape != (height, width):
            return found, (
                f"{name}: the mask is {values.shape[0]}×{values.shape[1]} pixels, its picture "
                f"{height}×{width}"
            )
        wrong = np.flatnonzero((found > 0) & (self.table == UNKNOWN))
        if wrong.size:
            ignore = "ignore=" if self.files() is None else "--ignore"
            return found, (
                f"{name}: holds the value {wrong[0]}, which is no class (classes are "
                f"{_ranges(known)}; {ignore} {wrong[0]} leaves such pixels out)"
            )
        return found, None

    def name(self, index: int) -> str:
        """What messages call a mask."""
        files = self.files()
        return f"mask {index}" if files is None else str(files[index])


def read_values(path: Path, colours: Mapping[int, int] | None = None) -> np.ndarray:
    """A mask file as it is stored, (H, W) uint8.

    Args:
        path: PNG, BMP or GIF.
        colours: Packed 0xRRGGBB to value, for masks in colours.

    Raises:
        BadImage: No such image; colours that nothing explains; 16 bits beyond 255.
    """
    with open_image(path) as image:
        if image.format in ("JPEG", "MPO", "WEBP"):
            raise BadImage(
                f"is a {image.format} file, which changes values. Masks are PNG, BMP or GIF"
            )
        load_pixels(image)
        if colours is not None:
            return _of_colours(image, colours)
        if image.mode in ("L", "P", "1"):
            return np.asarray(image).astype(np.uint8)
        if image.mode.startswith("I"):
            wide = np.asarray(image)
            if wide.max(initial=0) > 255 or wide.min(initial=0) < 0:
                raise BadImage(f"holds the value {wide.max()}; a mask's values are 0 to 255")
            return wide.astype(np.uint8)
        pixels = np.asarray(image.convert("RGB"))
    if (pixels == pixels[..., :1]).all():  # grey, stored as colours
        return np.ascontiguousarray(pixels[..., 0])
    first = pixels.reshape(-1, 3)[np.argmax((pixels != pixels[..., :1]).any(axis=-1))]
    raise BadImage(
        f"is a mask in colours, such as {tuple(map(int, first))}, of which nothing says what they "
        f"are. Put a classes.txt or classes.csv beside the folders, with lines NAME,RED,GREEN,BLUE"
    )


def _of_colours(image: Image.Image, colours: Mapping[int, int]) -> np.ndarray:
    pixels = np.asarray(image.convert("RGB")).astype(np.int32)
    packed = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    known = np.array(sorted(colours), np.int32)
    place = np.minimum(np.searchsorted(known, packed), len(known) - 1)
    if (wrong := known[place] != packed).any():
        value = int(packed[wrong][0])
        raise BadImage(
            f"holds the colour ({value >> 16}, {value >> 8 & 255}, {value & 255}), which is none "
            f"of the {len(known)} in the list of classes"
        )
    values = np.array([colours[int(colour)] for colour in known], np.uint8)
    return values[place]


def table_of(values: Sequence[int], ignored: Sequence[int]) -> tuple[np.ndarray, list[int]]:
    """What each value of a mask is; and which of `values` are classes, in order.

    Args:
        values: Those that are there, or could be.
        ignored: Those that are no class.

    Raises:
        InputError: All are ignored; more classes than there is room for.
    """
    classes = [value for value in values if value not in set(ignored)]
    if not classes:
        raise InputError(
            f"ignore={tuple(ignored)} leaves none of the values {_ranges(values)} to be a class."
        )
    if len(classes) > UNKNOWN:
        raise InputError(f"Masks have at most {UNKNOWN} classes; these have {len(classes)}.")
    table = np.full(256, UNKNOWN, np.uint8)
    table[classes] = np.arange(len(classes))
    table[list(ignored)] = IGNORED
    return table, classes


def values_of(class_names: Sequence[str], ignored: Sequence[int]) -> list[int]:
    """The values of a run's classes, where no list says them.

    Classes without names of their own are called by their values; others are the values from 0 on
    that are not ignored, in order.
    """
    if all(name.isdecimal() and int(name) < 256 for name in class_names):
        return [int(name) for name in class_names]
    return [value for value in range(256) if value not in ignored][: len(class_names)]


def _ranges(numbers: Sequence[int]) -> str:
    """0, 1, 2, 3, 7 as `0-3, 7`."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
