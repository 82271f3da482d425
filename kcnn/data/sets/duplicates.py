"""The same picture more than once: across splits, within one, under two labels; and left out.

A test picture that is in training measures memory. Exact copies are files of the same bytes, or
arrays of the same pixels; near ones (`kcnn.data.sets.lookalikes`) were stored anew, made smaller or
brighter.

| Of a picture that is there several times | `deduplicate`                                         |
|------------------------------------------|-------------------------------------------------------|
| copies under one label                   | one stays: of test before validation before train     |
| exact copies under two labels            | none stays: nobody knows which label is right         |
| near ones under two labels               | all stay, and are counted: they may be two pictures   |
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcnn.data.sets.images import ImageFiles
from kcnn.data.sets.lookalikes import Progress, fingerprints, near_pairs
from kcnn.data.sets.splits import Data, Split
from kcnn.errors import InputError

#: In which copies are kept: one that figures are of before one that is learned from.
ORDER = ("test", "validation", "train")
#: Kinds of finds, by what `Duplicates.counts` calls them, the worst first.
FINDS = {
    "train_test": "test pictures that are in training",
    "train_validation": "validation pictures that are in training",
    "validation_test": "test pictures that are in validation",
    "two_labels": "pictures under two labels",
    "train": "repeated in training",
    "validation": "repeated in validation",
    "test": "repeated in test",
}


@dataclass(frozen=True)
class Duplicates:
    """What was found. Pictures are numbered through `ORDER`, those of test first."""

    parts: np.ndarray  #: (N,) int64, the split of each: its place in `ORDER`
    labels: np.ndarray | None  #: (N,) int64; None of pictures with masks or boxes
    first: np.ndarray  #: (N,) int64, the first exact copy of each; itself, where there is none
    near: np.ndarray | None  #: (P, 2) int64, i < j, among such first ones; None: not looked for

    def counts(self) -> dict[str, dict[str, int]]:
        """By "exact" and "near", how many pictures are of each of `FINDS`.

        Across splits and under two labels, pictures that have such a copy, across those of the
        split that is held out; within a split, those beyond the first.
        """
        found = {"exact": self._counted(self.exact)}
        found["exact"]["two_labels"] = int(np.isin(self.first, self._torn).sum())
        return found if self.near is None else {**found, "near": self._counted(self.near)}

    @property
    def _torn(self) -> np.ndarray:
        """The first of each picture of which exact copies are under several labels."""
        if self.labels is None:
            return self.first[:0]
        return np.unique(self.first[self.labels != self.labels[self.first]])

    @property
    def exact(self) -> np.ndarray:
        """(P, 2) int64, i < j: each picture with the first exact copy of it in each split."""
        index, found = np.arange(len(self.first)), []
        for part in range(len(ORDER)):
            inside = np.flatnonzero(self.parts == part)
            kinds, where = np.unique(self.first[inside], return_index=True)
            head = np.full(len(index), -1)
            head[kinds] = inside[where]
            found.append(np.stack([head[self.first], index], axis=1))
        pairs = np.concatenate(found)
        pairs = pairs[(pairs[:, 0] >= 0) & (pairs[:, 0] != pairs[:, 1])]
        return np.unique(np.sort(pairs, axis=1), axis=0)

    def pairs(self, kind: str, pairs: np.ndarray) -> np.ndarray:
        """Those of one of `FINDS`."""
        one, other = pairs.T
        if kind == "two_labels":
            if self.labels is None:
                return pairs[:0]
            return pairs[self.labels[one] != self.labels[other]]
        wanted = [ORDER.index(part) for part in kind.split("_")]
        low, high = min(wanted), max(wanted)
        return pairs[(self.parts[one] == low) & (self.parts[other] == high)]

    def _counted(self, pairs: np.ndarray) -> dict[str, int]:
        found = {}
        for kind in FINDS:
            own = self.pairs(kind, pairs)
            if kind == "two_labels":
                found[kind] = len(np.unique(own))
            else:  # the held-out one comes first; within a split the copy comes last
                found[kind] = len(np.unique(own[:, 0 if "_" in kind else 1]))
        return found

    def kept(self) -> np.ndarray:
        """(N,) bool: what `deduplicate` leaves, as the table above says."""
        kept = self.first == np.arange(len(self.first))
        kept[self._torn] = False
        for one, other in () if self.near is None else self._near_alike():
            if kept[one]:  # decided already: one < other, and others come in order
                kept[other] = False
        return kept

    def _near_alike(self) -> list[list[int]]:
        """Near pairs under one label, by the second."""
        assert self.near is not None
        one, other = self.near.T
        same = np.full(len(one), True)
        if self.labels is not None:
            same = self.labels[one] == self.labels[other]
        pairs = self.near[same]
        return pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))].tolist()


def duplicates(data: Data, *, near: bool = False, progress: Progress = None) -> Duplicates:
    """Find the same picture more than once.

    Args:
        data: Past the preflight, where they are files.
        near: Look at how pictures look, too: reads all of them.
        progress: Called with the number of pictures looked at so far.
    """
    splits = [getattr(data, part) for part in ORDER]
    sizes = [len(split) for split in splits]
    parts = np.repeat(np.arange(len(ORDER)), sizes)
    labels = None
    if data.train.annotations is None:
        labels = np.concatenate([split.labels for split in splits])
    first = _first([digest for split in splits for digest in _digests(split)])
    if not near:
        return Duplicates(parts, labels, first, None)
    looks, done = [], 0
    for split in splits:
        looks.append(fingerprints(split.images, _from(done, progress)))
        done += len(split)
    hashes, thumbnails = (np.concatenate(both) for both in zip(*looks, strict=True))
    alone = np.flatnonzero(first == np.arange(len(first)))
    return Duplicates(parts, labels, first, alone[near_pairs(hashes[alone], thumbnails[alone])])


def without_duplicates(data: Data, how: str, progress: Progress = None) -> Data:
    """The data with what was found in `Data.duplicates`, and without it where that is wanted.

    Args:
        data: Past the preflight, where they are files.
        how: Which copies are left out: "no", "exact" or "near", which are exact ones, too.
        progress: As in `duplicates`.

    Raises:
        InputError: A split is empty without them, or a class has no training picture.
    """
    if how != "no" and (data.duplicates or {}).get("deduplicate") == how:
        return data  # it is done: of a search, for each trial
    found = duplicates(data, near=how == "near", progress=progress)
    record: dict[str, Any] = {"deduplicate": how, **found.counts()}
    if how == "no":
        return replace(data, duplicates=record)
    kept, splits = found.kept(), {}
    for number, part in enumerate(ORDER):
        split = getattr(data, part)
        stays = kept[found.parts == number]
        splits[part] = split if stays.all() else split.take(np.flatnonzero(stays))
    _refuse_lost(data, splits)
    record["dropped"] = {p: len(getattr(data, p)) - len(splits[p]) for p in reversed(ORDER)}
    remark = left_out(record)
    return replace(data, **splits, duplicates=record, provenance=f"{data.provenance}; {remark}")


def left_out(record: Mapping[str, Any]) -> str:
    """Of what is recorded of data, how many copies were left out, in words."""
    counts = ", ".join(f"{n:,} of {part}" for part, n in record["dropped"].items() if n)
    kind = "exact" if record["deduplicate"] == "exact" else "exact and near"
    return f"{kind} copies left out: {counts or 'none'}"


def _refuse_lost(data: Data, splits: Mapping[str, Split]) -> None:
    for part, split in splits.items():
        if not len(split) and len(getattr(data, part)):
            raise InputError(
                f"Without the copies the {part} split of {data.name} is empty: all its pictures "
                f"are elsewhere, too, or under two labels."
            )
    if data.train.annotations is None:
        had, has = (
            np.bincount(split.labels, minlength=data.classes)
            for split in (data.train, splits["train"])
        )
        if lost := [data.class_names[k] for k in np.flatnonzero((had > 0) & (has == 0))]:
            raise InputError(
                f"Without the copies no training picture is left of {', '.join(lost[:10])}. Look "
                f"at them with kcnn data, and repair the data; or leave deduplicate out."
            )


def _digests(split: Split) -> list[bytes | None]:
    """Of the bytes of each file, or of the pixels of each image; None: of no other's."""
    if isinstance(split.images, ImageFiles):
        return [row.tobytes() if row.any() else None for row in split.images.digests()]
    rows = np.ascontiguousarray(split.images)
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]


def _first(digests: list[bytes | None]) -> np.ndarray:
    seen: dict[bytes, int] = {}
    places = [i if d is None else seen.setdefault(d, i) for i, d in enumerate(digests)]
    return np.array(places, np.int64)


def _from(before: int, progress: Progress) -> Progress:
    return None if progress is None else lambda count: progress(before + count)
