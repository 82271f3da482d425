"""Data that somebody hands over to be evaluated: they are the test split, all of them.

Of data that name a test split themselves (a published set, a folder `test/`, `x_test` of an
archive) it is that one: the rest is what others are trained on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.sets import sources, tables
from kcnn.data.sets.arrays import as_images, check_pair, fingerprint
from kcnn.data.sets.classes import as_labels
from kcnn.data.sets.folders import files_of
from kcnn.data.sets.forms import is_pair, parts_of
from kcnn.data.sets.images import ImageFiles
from kcnn.data.sets.splits import Data, Split
from kcnn.errors import InputError
from kcnn.terminal import counted


def handed_over(given: Any, class_names: Sequence[str], columns: str | None = None) -> Data:
    """Data to be evaluated, their classes numbered as `class_names` are.

    Args:
        given: A name or a path as `load_data` takes it; a pair (images, labels), or a mapping with
            "test"; `Data`, of which the test split counts; a frame of files and labels.
        class_names: Those that a network knows. Classes go by name; numbers without names are
            those of these classes.
        columns: Names of a table's columns; where it has them not, the usual ones are taken.

    Returns:
        `Data` whose splits are all the images to be evaluated.

    Raises:
        InputError: Data that cannot be read; a class that the network does not know.
    """
    if isinstance(given, Data):
        names = np.array(given.class_names)
        return _data(given.test.images, names[given.test.labels], class_names, given.name, "test")
    if isinstance(given, str | os.PathLike):
        return _by_name(os.fspath(given), class_names, columns)
    if tables.is_frame(given):
        files, labels, part = tables.table_to_evaluate(given, columns)
        return _data(files, np.array(labels), class_names, "frame", part)
    only_test = isinstance(given, Mapping) and set(given) == {"test"}
    parts = parts_of({"train": given["test"]} if only_test else given)
    pair = None if parts is None else parts.get("test", parts["train"])
    if parts is None or not is_pair(pair):
        received = type(given if parts is None else pair).__name__
        raise InputError(
            f"Data to be evaluated are a name, a path, a pair (images, labels), a mapping with "
            f"'test', or a kcnn.Data; received {received}."
        )
    return _of_pair(pair, class_names, "arrays", "test" if "test" in parts else "all of them")


def _by_name(text: str, class_names: Sequence[str], columns: str | None) -> Data:
    path = sources.find(text)
    if path is None or text in sources.NAMES:
        return handed_over(sources.load_data(text), class_names)
    name = sources.label(text)
    if tables.is_table(path):
        files, labels, part = tables.table_to_evaluate(path, columns)
        return _data(files, np.array(labels), class_names, name, part)
    if path.is_dir():
        files, of_files, part = files_of(path)
        return _data(files, np.array(of_files), class_names, name, part)
    parts, stored, _ = sources.read_npz(path)
    pair, part = parts.get("test", parts["train"]), "x_test" if "test" in parts else "all of it"
    if stored is not None:
        pair = pair[0], _named(pair[1], np.array(sources.names_in(stored, path)), path)
    return _of_pair(pair, class_names, name, part)


def _named(values: np.ndarray, names: np.ndarray, path: Path) -> np.ndarray:
    """Labels of an archive that has names of its own, by name."""
    labels = as_labels(values, f"labels of {path}")
    labels = labels.argmax(axis=1) if labels.ndim == 2 else labels
    if labels.dtype.kind == "U":
        return labels
    if labels.max(initial=-1) >= len(names):
        raise InputError(f"{path}: label {labels.max()} has no name in class_names.")
    return names[labels]


def _of_pair(pair: Any, class_names: Sequence[str], name: str, part: str) -> Data:
    images, labels = as_images(pair[0], f"x of {name}"), as_labels(pair[1], f"y of {name}")
    check_pair(images, labels, name)
    if labels.ndim == 2:
        labels = labels.argmax(axis=1)
    if labels.dtype.kind == "U" or set(map(str, np.unique(labels))) <= set(class_names):
        return _data(images, labels.astype(str), class_names, name, part)
    if labels.max(initial=-1) >= len(class_names):
        raise InputError(
            f"{name} has the label {labels.max()}; the network knows {len(class_names)} classes: "
            f"{', '.join(class_names[:20])}."
        )
    return _data(images, np.array(class_names)[labels], class_names, name, part)


def _data(
    images: np.ndarray | ImageFiles,
    names: np.ndarray,
    class_names: Sequence[str],
    name: str,
    part: str,
) -> Data:
    number = {known: index for index, known in enumerate(class_names)}
    if unknown := sorted(set(names.tolist()) - number.keys()):
        raise InputError(
            f"{name!r} has classes that the network does not know: {', '.join(unknown[:10])}. It "
            f"knows {', '.join(class_names[:20])}."
        )
    if not len(names):
        raise InputError(f"{name!r} holds no image to evaluate.")
    labels = np.array([number[one] for one in names.tolist()], np.int64)
    split, arrays = Split(images, labels), isinstance(images, np.ndarray)
    return Data(
        name=name,
        train=split,
        validation=split,
        test=split,
        class_names=tuple(class_names),
        image_shape=split.array.shape[1:] if arrays else (None, None, 3),
        provenance=f"{name}: {part}, {counted(len(labels), 'image')}",
        fingerprint=fingerprint([split.array, labels]) if arrays else "none: handed over",
    )
