"""Boxes of many pictures in a few arrays: an index, and what a view of a picture makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcnn.data.sets.annotations import View
from kcnn.data.sets.box_geometry import Notes, areas, inside_pictures
from kcnn.data.sets.images import ImageFiles
from kcnn.data.sets.upright import measured, turned
from kcnn.errors import InputError

#: Of a box's area in a view, so much has to be left of it.
LEAST = 0.1
_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of N pictures, T in all; those of picture i are `offsets[i]` to `offsets[i + 1]`."""

    offsets: np.ndarray  #: (N + 1,) int64
    boxes: np.ndarray  #: (T, 4) float32, [x_min, y_min, x_max, y_max], from 0, x_max exclusive
    classes: np.ndarray  #: (T,) int64 in [0, K)
    crowd: np.ndarray  #: (T,) bool: not learned from, not counted (COCO's crowd, VOC's difficult)
    sizes: np.ndarray  #: (N, 2) int64, (H, W) that the file declares; 0 where it does not
    most: int  #: boxes of the picture with the most, in all splits of the data: `target`'s rows
    relative: bool = False  #: `boxes` are fractions of width and height, until `checked`
    notes: tuple[str, ...] = ()
    origin: Boxes | None = None  #: before `checked`: what `state` is of

    @classmethod
    def gathered(
        cls,
        pictures: np.ndarray,
        boxes: np.ndarray,
        classes: np.ndarray,
        crowd: np.ndarray,
        sizes: np.ndarray,
        **fields: Any,
    ) -> Boxes:
        """From boxes in any order, each with the index of its picture: `pictures`, (T,)."""
        order = np.argsort(pictures, kind="stable")
        counts = np.bincount(pictures, minlength=len(sizes))
        fields.setdefault("most", max(1, int(counts.max(initial=0))))
        return cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.asarray(boxes, np.float32).reshape(-1, 4)[order],
            np.asarray(classes, np.int64)[order],
            np.asarray(crowd, np.bool_)[order],
            np.asarray(sizes, np.int64).reshape(-1, 2),
            **fields,
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, indices: np.ndarray | slice) -> Boxes:
        """Those of the pictures at (M,) integers, where (N,) booleans are true, or of a slice."""
        chosen = np.arange(len(self))[indices]
        if chosen.ndim != 1:
            raise TypeError("Boxes take an array of indices, or a slice; `of` has one picture's.")
        counts = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        flat = np.repeat(self.offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return replace(
            self,
            offsets=offsets,
            boxes=self.boxes[flat],
            classes=self.classes[flat],
            crowd=self.crowd[flat],
            sizes=self.sizes[chosen],
            origin=None if self.origin is None else self.origin[chosen],
        )

    @property
    def remarks(self) -> Sequence[str]:
        """What was dropped, repaired or guessed, one short phrase each."""
        return self.notes

    @property
    def pictures(self) -> np.ndarray:
        """(T,) int64, the index of each box's picture."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def of(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(M, 4) boxes in pixels of the upright picture, (M,) classes, (M,) crowd, of a picture."""
        if self.relative:
            raise ValueError("Boxes relative to a picture have pixels when they are `checked`.")
        part = slice(self.offsets[index], self.offsets[index + 1])
        return self.boxes[part], self.classes[part], self.crowd[part]

    def share(self, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """(K,) boxes, (K,) pictures with such a box, by class; a crowd does not count."""
        known, pictures = self.classes[~self.crowd], self.pictures[~self.crowd]
        pairs = np.unique(pictures * max(classes, 1) + known)
        return (
            np.bincount(known, minlength=classes),
            np.bincount(pairs % max(classes, 1), minlength=classes),
        )

    def files(self) -> ImageFiles | None:
        """None: `state` says it all, however the files write it."""
        return None

    def state(self) -> bytes:
        """SHA-256 of boxes, classes, crowd and declared sizes as read, before `checked`."""
        read = self.origin or self
        digest = hashlib.sha256(b"relative" if read.relative else b"pixels")
        for array in (read.offsets, read.boxes, read.classes, read.crowd, read.sizes):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.digest()

    def spec(self, size: tuple[int, int]) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of `target`, for a view of any size."""
        return (self.most + 1, 6), "float32"

    def target(self, index: int, view: View) -> np.ndarray:
        """Boxes in a view: (most + 1, 6) float32, rows [x_min, y_min, x_max, y_max, class, crowd].

        In pixels of the window, cut at its edges; a box of which less than `LEAST` of the area is
        left is none. Rows behind the last box are -1. The last row is no box: class and crowd are
        -1, and its place is the part of the window that the picture covers.
        """
        boxes, classes, crowd = self.of(index)
        height, width = view.size
        scale = np.tile(np.divide(view.scaled[::-1], view.source[::-1]), 2)
        whole = boxes * scale - np.tile([view.left, view.top], 2)
        cut = whole.clip(0, [width, height, width, height])
        left = areas(cut)
        kept = (left > 0) & (left >= LEAST * areas(whole))
        picture = np.array([[0, 0, *view.scaled[::-1]]]) - np.tile([view.left, view.top], 2)
        picture = picture.clip(0, [width, height, width, height])
        if view.mirrored:
            cut[:, [0, 2]] = width - cut[:, [2, 0]]
            picture[:, [0, 2]] = width - picture[:, [2, 0]]
        rows = np.full((self.most + 1, 6), -1, np.float32)
        rows[: kept.sum()] = np.column_stack([cut, classes, crowd])[kept]
        rows[-1, :4] = picture
        return rows

    def checked(
        self,
        images: ImageFiles | np.ndarray,
        class_names: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> Boxes:
        """Boxes in pixels of the upright pictures, inside them; of images of N files or arrays.

        | Found                                        | Becomes                                 |
        |----------------------------------------------|-----------------------------------------|
        | declared size is the upright picture's       | as it is                                |
        | it is the stored one's, EXIF turns a quarter | the boxes are turned, too               |
        | EXIF turns, and the size cannot tell         | of the upright picture, with a remark   |
        | relative coordinates                         | pixels of the upright picture           |
        | a box partly outside                         | cut, with a remark from .1 pixel on     |
        | a box outside, or without area               | dropped, with a remark                  |

        Raises:
            InputError: Another size is declared; a class without name; more than half of 20 boxes
                or more reach out by two pixels: they are in another form.
        """
        if self.classes.max(initial=-1) >= len(class_names):
            raise InputError(
                f"A box is of class {self.classes.max()}, and there are {len(class_names)} classes."
            )
        if len(images) != len(self):
            raise InputError(f"There are {len(images)} images, and boxes of {len(self)}.")
        stored, orientation = _sizes(images, progress)
        upright = np.where(orientation[:, None] >= 5, stored[:, ::-1], stored)
        turn = self._to_turn(images, stored, upright, orientation)
        boxes, notes = self._in_pixels(stored, upright, orientation, turn), Notes(self.notes)
        tells = (orientation >= 5) & (stored[:, 0] != stored[:, 1]) & (self.sizes > 0).all(axis=1)
        unclear = (orientation > 1) & ~tells & (np.diff(self.offsets) > 0)
        notes.add(turn.sum(), "image", "whose boxes are turned with it, by EXIF")
        notes.add(unclear.sum(), "image", "turned by EXIF, boxes taken as of the upright one")
        size = upright[self.pictures]
        cut, kept = inside_pictures(boxes, size, notes)
        return Boxes.gathered(
            self.pictures[kept],
            cut[kept],
            self.classes[kept],
            self.crowd[kept],
            upright,
            most=self.most,
            notes=notes.phrases,
            origin=self.origin or self,
        )

    def _to_turn(
        self,
        images: ImageFiles | np.ndarray,
        stored: np.ndarray,
        upright: np.ndarray,
        orientation: np.ndarray,
    ) -> np.ndarray:
        """(N,) bool: pictures of which the boxes are those of the stored one."""
        unknown = (self.sizes <= 0).any(axis=1)
        fits = unknown | (self.sizes == upright).all(axis=1)
        turn = ~fits & (orientation >= 5) & (self.sizes == stored).all(axis=1)
        wrong = np.flatnonzero(~fits & ~turn)
        if not len(wrong):
            return turn
        lines = [f"The declared size of {len(wrong)} of {len(self)} images is not theirs:"]
        for i in wrong[:_SHOWN].tolist():
            name = images[i] if isinstance(images, ImageFiles) else f"image {i}"
            declared, real = (f"{w}×{h}" for h, w in (self.sizes[i], upright[i]))
            lines.append(f"  {name}: declared {declared} (width×height), it is {real}")
        if len(wrong) > _SHOWN:
            lines.append(f"  and {len(wrong) - _SHOWN} more")
        lines.append("Boxes are in pixels of the declared size: scale them with the images.")
        raise InputError("\n".join(lines))

    def _in_pixels(
        self, stored: np.ndarray, upright: np.ndarray, orientation: np.ndarray, turn: np.ndarray
    ) -> np.ndarray:
        """(T, 4) float64, of the upright pictures."""
        boxes = self.boxes.astype(np.float64)
        if self.relative:
            boxes *= upright[self.pictures][:, [1, 0, 1, 0]]
        for i in np.flatnonzero(turn).tolist():
            part = slice(self.offsets[i], self.offsets[i + 1])
            boxes[part] = turned(boxes[part], tuple(stored[i].tolist()), int(orientation[i]))
        return boxes


def _sizes(
    images: ImageFiles | np.ndarray, progress: Callable[[int], None] | None
) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(images, ImageFiles):
        return measured(images, progress)
    return np.tile(images.shape[1:3], (len(images), 1)), np.ones(len(images), np.int64)
