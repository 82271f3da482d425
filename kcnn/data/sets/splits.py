"""Three splits, three jobs: fit on train, choose on validation, report on test once."""

import hashlib
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kcnn.data.sets.annotations import Annotations
from kcnn.data.sets.arrays import (
    as_images,
    as_weights,
    check_pair,
    check_reach,
    check_varied,
    fingerprint,
    reach,
)
from kcnn.data.sets.classes import as_labels, encoded
from kcnn.data.sets.forms import is_labelled
from kcnn.data.sets.images import ImageFiles, files_fingerprint
from kcnn.data.sets.stratify import stratified
from kcnn.errors import InputError

TEST_SEED = 0  # where no test split is published, its fifth is the same for every run


@dataclass(frozen=True, eq=False)
class Split:
    """Images with what is known of them."""

    images: np.ndarray | ImageFiles  #: (N, H, W, C) uint8 or float32, or N files
    #: (N,) int64 in [0, classes): class numbers; or masks, or boxes (`kcnn.data.sets.annotations`).
    labels: Any
    #: (N,) float32 from 0 up, of the images in the loss of a training; None is 1 for each.
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def files(self) -> ImageFiles | None:
        """The images where they are files; None for arrays."""
        return self.images if isinstance(self.images, ImageFiles) else None

    @property
    def is_files(self) -> bool:
        """Whether the images are files."""
        return self.files is not None

    @property
    def array(self) -> np.ndarray:
        """The images where they are an array (N, H, W, C)."""
        assert isinstance(self.images, np.ndarray)
        return self.images

    @property
    def annotations(self) -> Annotations | None:
        """The labels where they are more than a class for each image."""
        return None if isinstance(self.labels, np.ndarray) else self.labels

    @property
    def strata(self) -> np.ndarray:
        """(N,) int64: of each of these a part is taken in proportion; of annotations, of all."""
        return self.labels if self.annotations is None else np.zeros(len(self), np.int64)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at `indices`, (M,) integers, in that order."""
        weights = None if self.weights is None else self.weights[indices]
        return Split(self.images[indices], self.labels[indices], weights)


class _Fingerprint:
    """A field of a text, or of a function without arguments that gives it when it is asked for."""

    def __get__(self, data: Any, owner: type | None = None) -> str:
        if data is None:
            raise AttributeError  # a dataclass takes it that there is no default
        found: str | Callable[[], str] = vars(data)["fingerprint"]
        if not isinstance(found, str):
            found = vars(data)["fingerprint"] = found()
        return found

    def __set__(self, data: Any, value: str | Callable[[], str]) -> None:
        vars(data)["fingerprint"] = value


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set, divided. `validation` may be empty, `train` and `test` are not."""

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]  #: (H, W, C); (None, None, 3) for files
    provenance: str  #: one line: where the images come from and who divided them
    #: `sha256:<hex>` of the whole set, the same for every seed; of files `sha256-files:<hex>`,
    #: which reads them when it is first asked for. A function that gives it is taken, too.
    fingerprint: _Fingerprint = _Fingerprint()
    task: str = "classification"  #: what they are data of
    #: How many pictures are there twice, and what became of them (`kcnn.data.sets.duplicates`).
    duplicates: Mapping[str, Any] | None = None

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def is_files(self) -> bool:
        """Whether the images are files, of any size."""
        return self.train.is_files

    def __repr__(self) -> str:
        height, width, channels = self.image_shape
        size = "photographs" if height is None else f"{height}×{width}×{channels}"
        return (
            f"<Data {self.name!r}: {len(self.train)} train, {len(self.validation)} validation, "
            f"{len(self.test)} test; {self.classes} classes; {size}>"
        )


def fingerprint_of(splits: Iterable[Split]) -> str:
    """Of splits of files: names and content of pictures and masks, and what else is known."""
    held = [split for split in splits if len(split)]
    known = [split.annotations for split in held if split.annotations is not None]
    files = [*(split.files for split in held), *(one.files() for one in known)]
    found = files_fingerprint([one for one in files if one is not None])
    states = sorted({one.state() for one in known})
    if not states:
        return found
    return f"sha256-files:{hashlib.sha256(found.encode() + b''.join(states)).hexdigest()}"


def split_off(split: Split, size: float, seed: int) -> tuple[Split, Split]:
    """(rest, part) of a split by `stratified`; a `size` of 0 gives an empty part.

    The part is held out: its images have no weights, since figures count each of them once.
    """
    held_out = replace(split, weights=None)
    if not isinstance(size, bool) and isinstance(size, numbers.Real) and size == 0:
        return split, held_out.take(np.arange(0))
    rest, part = stratified(split.strata, size, seed)
    return split.take(rest), held_out.take(part)


def from_arrays(
    train: tuple[Any, ...],
    validation: tuple[Any, Any] | None = None,
    test: tuple[Any, Any] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    name: str = "arrays",
    seed: int = 0,
    validation_size: float = 0.1,
) -> Data:
    """Your own arrays as data. What is missing is split off `train`, stratified.

    Args:
        train: (x, y); x (N, H, W, C) or (N, H, W); y (N,) or (N, 1), class numbers or names, or
            one-hot (N, K). uint8 stays uint8 and floats become float32 (`as_images` has the other
            dtypes). Numbers with holes, or from 1, are the classes that occur. Or (x, y, w): w
            (N,) from 0 up weighs images in the loss of a training, as `sample_weight` does in
            Keras' `fit`. Figures on validation and test count each image once.
        validation: (x, y), or None: `validation_size` of train, drawn by `seed`.
        test: (x, y), or None: a fifth of train, the same for every seed.
        class_names: one for each class; by default the class numbers, to the largest in train.
        name: what reports call the data.
        seed: of the validation split, at least 0.
        validation_size: a fraction in (0, 1), a count, or 0 for none.

    Raises:
        InputError: arrays that cannot be trained on, with the array, the value and its place.
    """
    given = {"train": train, "validation": validation, "test": test}
    read = {key: _as_split(pair, key) for key, pair in given.items() if pair is not None}
    numbers, names, remark = encoded({k: split.labels for k, split in read.items()}, class_names)
    splits = {key: replace(split, labels=numbers[key]) for key, split in read.items()}
    for key, split in splits.items():
        _check_alike(split.array, splits["train"].array, key)
    check_varied(splits["train"].array, "train")
    parts = [part for s in splits.values() for part in (s.array, s.labels)]
    weights = splits["train"].weights
    remarks = [f"arrays of {sum(map(len, splits.values()))} images", remark]
    if weights is not None:
        parts.append(weights)
        remarks.append(weights_remark(weights.min(), weights.max()))
    return divided(
        splits,
        name=name,
        class_names=names,
        image_shape=splits["train"].array.shape[1:],
        provenance="; ".join(filter(None, remarks)),
        fingerprint=fingerprint(parts),
        validation=validation_size,
        seed=seed,
    )


def weights_remark(low: float, high: float) -> str:
    """Which weights training images have, in words."""
    return f"training images weigh {low:.4g} to {high:.4g}"


def divided(splits: dict[str, Split], *, validation: float, seed: int, **facts: Any) -> Data:
    """`Data` from the splits that are given, at least `train`; the missing ones are split off."""
    train = splits["train"]
    if train.annotations is None:
        check_trainable(train.labels, facts["class_names"], facts["name"])
    notes = []
    test = splits.get("test")
    if test is None:
        fifth = -(-len(train) // 5)  # rounded up: 360 of the 1,797 digits
        train, test = split_off(train, fifth, TEST_SEED)
        notes.append("test is a fixed stratified fifth")
    held_out = splits.get("validation")
    if held_out is None:
        train, held_out = split_off(train, validation, seed)
        notes.append(f"validation is split off train by seed {seed}" if len(held_out) else "")
    facts["provenance"] = "; ".join(filter(None, [facts["provenance"], *notes]))
    return Data(train=train, validation=held_out, test=test, **facts)


def check_trainable(labels: np.ndarray, class_names: Sequence[str], name: str) -> None:
    """Raise InputError unless there are two images of two classes at least."""
    if len(labels) < 2:
        raise InputError(
            f"{name} has {len(labels)} training image{'' if len(labels) == 1 else 's'}. At least "
            "two are needed, of two classes."
        )
    if len(class_names) < 2 or len(np.unique(labels)) < 2:
        only = class_names[labels[0]]
        raise InputError(
            f"All {len(labels)} training images of {name} are of one class ({only}). A "
            "classifier needs two classes at least."
        )


def _as_split(pair: Any, what: str) -> Split:
    if not is_labelled(pair):
        raise InputError(
            f"{what} must be a pair (images, labels), of train with weights of the images behind "
            f"them. Received: {type(pair).__name__}."
        )
    if len(pair) == 3 and what != "train":
        raise InputError(
            f"{what} has weights of images: they are of training alone, figures count each image "
            f"once. Leave them out: (images, labels)."
        )
    images = as_images(pair[0], f"x of {what}")
    labels = as_labels(pair[1], f"y of {what}")
    check_pair(images, labels, what)
    if not len(labels):
        hint = "" if what == "train" else " Leave it out, and it is split off train."
        raise InputError(f"{what} holds no image.{hint}")
    weights = as_weights(pair[2], len(labels), what) if len(pair) == 3 else None
    return Split(images, labels, weights)


def _check_alike(images: np.ndarray, train: np.ndarray, what: str) -> None:
    if images.shape[1:] != train.shape[1:] or images.dtype != train.dtype:
        raise InputError(
            f"Images of {what} are {images.dtype} of shape {images.shape[1:]}, those of train "
            f"{train.dtype} of shape {train.shape[1:]}. All must be alike, in the same range of "
            "values: convert them the same way."
        )
    check_reach(reach(images), reach(train), what)
