"""What labels mean: class numbers and names, made of whatever form they are handed over in.

Numbers, whole floats, one-hot rows and texts are plainly meant; what is neither is refused. Labels
of all splits are read together, so that a form, a hole or a name means the same in each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kcnn.data.sets.arrays import as_array
from kcnn.errors import InputError

#: More classes than this share of the training images: they are numbers to predict, or names.
_MOST = 0.5
_FEW = 20  # classes of which nobody wonders
_SHOWN = 20  # names that a message lists
#: Numbers below this are classes of a larger set of which a few are there, such as ImageNet's.
_PUBLISHED = 25_000


def as_labels(given: Any, what: str) -> np.ndarray:
    """The labels of a split as they are meant: numbers or texts, (N,); or one-hot rows, (N, K).

    Args:
        given: (N,) or (N, 1) of integers, booleans, whole floats or texts; or (N, K) of zeros with
            a single one in each row.
        what: How messages name it.

    Returns:
        int64 (N,); str (N,); or int64 (N, K), one-hot.

    Raises:
        InputError: Another form, with the first label that is of it.
    """
    if isinstance(given, list | tuple):  # NumPy would make texts of numbers beside texts
        _refuse_mixed(given, what)
    value = as_array(given, what)
    if value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    if value.dtype.kind == "O":
        value = _of_objects(value, what)
    if value.ndim == 2 and value.dtype.kind in "buif":
        return _one_hot(value, what)
    if value.ndim != 1:
        raise InputError(
            f"{what} has shape {value.shape}. Labels have shape (N,) or (N, 1), a class for each "
            f"image, or (N, classes), one-hot."
        )
    if value.dtype.kind in "US":
        return np.char.decode(value, "utf-8") if value.dtype.kind == "S" else value
    if value.dtype.kind == "f":
        _first_wrong(~np.isfinite(value) | (value != np.round(value)), value, what)
    elif value.dtype.kind not in "bui":
        raise InputError(
            f"{what} has dtype {value.dtype}. Labels are class numbers, or names of classes."
        )
    _first_wrong(value < 0, value, what)
    if value.size and value.max() > np.iinfo(np.int32).max:
        raise InputError(f"{what} holds the label {value.max()}: that is no class number.")
    return value.astype(np.int64)


def encoded(
    parts: Mapping[str, np.ndarray], class_names: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    """Class numbers of each split, (N,) int64 from 0; the names of the classes; a remark, or "".

    Args:
        parts: By name of the split, what `as_labels` gives; "train" is one of them.
        class_names: One for each class; None takes numbers and texts for names. Labels that begin
            at 1, or have holes, then are the classes that occur.

    Raises:
        InputError: Splits of different forms; a class that train does not have, or that has no
            name; as many classes as images.
    """
    names = None if class_names is None else checked_names(class_names)
    for part, labels in parts.items():
        _refuse_other_form(labels, parts["train"], part)
    train = parts["train"]
    if train.ndim == 2:
        return _of_columns(parts, names)
    if train.dtype.kind == "U":
        return _of_texts(parts, names)
    if names is not None:
        for part, labels in parts.items():
            check_labels_below(labels, len(names), part, "from class_names")
        return dict(parts), names, ""
    return _of_numbers(parts)


def occurring(labels: np.ndarray, part: str) -> dict[int, int]:
    """The classes that occur in a batch of a stream, and how often; of rows, those of the largest.

    Raises:
        InputError: Labels of another form.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        shares = labels.astype("float64")
        if shares.min() < 0 or np.abs(shares.sum(axis=1) - 1.0).max() > 1e-3:
            raise InputError(
                f"Rows of labels of the {part!r} dataset do not sum to 1: {labels[0].tolist()}. "
                f"Labels are one class for each image, one-hot or as shares of classes."
            )
        labels = shares.argmax(axis=1)
    numbers = as_labels(labels, f"a batch of labels of the {part!r} dataset")
    found, counts = np.unique(numbers, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def of_stream(
    found: Mapping[str, Collection[int]],
    columns: int | None,
    outputs: int,
    names: Sequence[str] | None,
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Names of the classes of a stream; and their labels, where these have holes or begin at 1.

    Args:
        found: By split, the labels that occur.
        columns: Of labels that are rows.
        outputs: Of a model of the user's own; 0 where there is none.
        names: Of the classes, where the stream has them.

    Raises:
        InputError: A class that train does not have; another number of names than of classes.
    """
    labels, largest = sorted(set().union(*found.values())), max(found["train"])
    if columns is None and names is None and labels[-1] > max(largest, outputs - 1):
        raise InputError(
            f"The 'train' dataset has labels up to {largest}; another has {labels[-1]}. Each class "
            f"needs images to learn from."
        )
    whole = names is not None or outputs > labels[-1] or len(labels) == labels[-1] + 1
    if columns is None and not whole:
        return tuple(map(str, labels)), tuple(labels)
    classes = columns or max(len(names or ()), outputs, labels[-1] + 1, 2)
    if names is not None and len(names) != classes:
        raise InputError(f"The dataset has {len(names)} class_names, and {classes} classes.")
    return checked_names(names or [str(number) for number in range(classes)]), None


def checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes: distinct, none of them empty.

    Raises:
        InputError: With those that are repeated.
    """
    names = tuple(str(name) for name in class_names)
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated or "" in names:
        raise InputError(
            f"class_names must be distinct and not empty. Received: {_some(names)}."
            + (f" Repeated: {_some(repeated)}." if repeated else "")
        )
    return names


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{list(names[:_SHOWN])}{more}"


def check_labels_below(labels: np.ndarray, classes: int, what: str, reason: str) -> None:
    """Raise InputError where a label is not in [0, classes); `reason` says whence `classes`."""
    outside = labels >= classes
    if outside.any():
        first = int(np.argmax(outside))
        raise InputError(
            f"{what}: {int(outside.sum())} of {len(labels)} labels lie outside the {classes} "
            f"classes 0..{classes - 1} ({reason}); the first is {labels[first]} at index {first}. "
            "Correct the labels, or name every class with class_names."
        )


def by_number(name: str) -> list[Any]:
    """A key that sorts texts with their numbers as numbers: 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _of_numbers(
    parts: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    train = parts["train"]
    for part, labels in parts.items():
        check_labels_below(labels, int(train.max(initial=-1)) + 1, part, "from the labels of train")
    occurring = np.unique(np.concatenate(list(parts.values())))
    _refuse_many(len(occurring), len(train))
    _refuse_far(train)
    names = tuple(map(str, occurring.tolist()))
    if len(occurring) == occurring.max(initial=-1) + 1:
        return dict(parts), names, ""
    numbers = {part: np.searchsorted(occurring, labels) for part, labels in parts.items()}
    remark = f"classes are the {len(names)} labels that occur, {names[0]} to {names[-1]}"
    return numbers, names, remark


def _of_texts(
    parts: Mapping[str, np.ndarray], names: tuple[str, ...] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    if names is None:
        names = tuple(sorted(set(parts["train"].tolist()), key=by_number))
        _refuse_many(len(names), len(parts["train"]))
    number = {name: index for index, name in enumerate(names)}
    for part, labels in parts.items():
        if unknown := sorted(set(labels.tolist()) - number.keys()):
            raise InputError(
                f"{part} has labels that are no classes: {', '.join(map(repr, unknown[:5]))}. The "
                f"classes: {', '.join(names[:20])}."
            )
    numbers = {
        part: np.array([number[label] for label in labels.tolist()], np.int64)
        for part, labels in parts.items()
    }
    return numbers, names, ""


def _of_columns(
    parts: Mapping[str, np.ndarray], names: tuple[str, ...] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    columns = parts["train"].shape[1]
    if names is not None and len(names) != columns:
        raise InputError(f"Labels have {columns} columns; there are {len(names)} class_names.")
    numbers = {part: labels.argmax(axis=1) for part, labels in parts.items()}
    return numbers, names or tuple(map(str, range(columns))), ""


def _one_hot(rows: np.ndarray, what: str) -> np.ndarray:
    good = ((rows == 0) | (rows == 1)).all(axis=1) & (rows.sum(axis=1) == 1)
    if not good.all():
        first = int(np.argmin(good))
        raise InputError(
            f"{what} has shape {rows.shape}, and row {first} is {rows[first][:8].tolist()}: not "
            f"one-hot. Labels are one class for each image; several at once, or shares, are "
            f"another task."
        )
    return rows.astype(np.int64)


def _of_objects(value: np.ndarray, what: str) -> np.ndarray:
    """Of pandas, or of a list: texts or numbers that NumPy keeps as objects."""
    _refuse_mixed(value.reshape(-1).tolist(), what)
    if value.size and isinstance(value.reshape(-1)[0], str):
        return value.astype(str)
    try:
        return np.asarray(value.tolist())
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} holds no labels: {error}.") from error


def _refuse_mixed(labels: Sequence[Any], what: str) -> None:
    texts = [isinstance(label, str) for label in labels]
    if any(texts) and not all(texts):
        first = texts.index(not texts[0])
        raise InputError(
            f"{what} mixes texts and other labels: index 0 is {labels[0]!r}, index {first} is "
            f"{labels[first]!r}. Labels are class numbers, or names of classes."
        )


def _first_wrong(wrong: np.ndarray, labels: np.ndarray, what: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(
            f"{what}[{first}] is {labels[first]}. Labels are class numbers that begin at 0: "
            "shift them, or drop the images without a label."
        )


def _refuse_other_form(labels: np.ndarray, train: np.ndarray, part: str) -> None:
    if labels.ndim == train.ndim == 2 and labels.shape[1] != train.shape[1]:
        raise InputError(
            f"Labels of {part} have {labels.shape[1]} columns, those of train {train.shape[1]}."
        )
    if (labels.ndim, labels.dtype.kind) != (train.ndim, train.dtype.kind):
        raise InputError(
            f"Labels of {part} are {_form(labels)}, those of train {_form(train)}. Hand over the "
            f"same form in each: what a number means there cannot be known here."
        )


def _form(labels: np.ndarray) -> str:
    if labels.ndim == 2:
        return "one-hot rows"
    return "names" if labels.dtype.kind == "U" else "class numbers"


def _refuse_many(classes: int, images: int) -> None:
    if classes > max(_FEW, _MOST * images):
        raise InputError(
            f"{images} training images have {classes} different labels: these are no classes. Give "
            f"class numbers, with several images of each."
        )


def _refuse_far(labels: np.ndarray) -> None:
    """Refuse a number that is no class number by its size: one slip among many that are."""
    largest = int(labels.max(initial=0))
    if largest >= max(_PUBLISHED, len(labels)):
        index = int(np.argmax(labels))
        raise InputError(
            f"The label {largest} at index {index} of train is far above the {len(labels)} images "
            f"there: no class number. Correct it, or name the classes with class_names."
        )
