"""From a data NAME to `Data`: digits, the sets of keras.datasets, .npz files, and folders."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.sets import boxes, mask_folders, tables
from kcnn.data.sets.boxes import load_boxes
from kcnn.data.sets.folders import load_folder
from kcnn.data.sets.labels import CLASS_NAMES
from kcnn.data.sets.mask_folders import load_masks
from kcnn.data.sets.npz import KEYS, names_in, read_npz
from kcnn.data.sets.preflight import preflight
from kcnn.data.sets.splits import Data, from_arrays
from kcnn.errors import InputError, did_you_mean
from kcnn.startup import keras

_KERAS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
NAMES = ("digits", *_KERAS)


def load_data(
    name: str | os.PathLike,
    *,
    validation: float = 0.1,
    seed: int = 0,
    skip_bad: bool = False,
    task: str | None = None,
    ignore: Sequence[int] | None = None,
    columns: str | None = None,
) -> Data:
    """Load a data set by name or path, in three disjoint splits.

    Args:
        name: `digits` (scikit-learn's 1,797 images of 8×8, integers 0..16 scaled to uint8 as
            round(x * 255 / 16)); `mnist`, `fashion_mnist`, `cifar10` or `cifar100`; a NAME for
            which the folder that KCNN_DATA names holds `NAME.npz` or a folder NAME; a path to an
            .npz with x_train, y_train and optionally x_val, y_val, x_test, y_test, class_names (or
            train_images, train_labels, ..., as MedMNIST has them); a path to a .csv or .tsv
            beside pictures (`kcnn.data.sets.tables`); or a path to a folder: of class folders
            (`kcnn.data.sets.folders` has the layouts), of images and masks
            (`kcnn.data.sets.mask_folders`), of images and boxes (`kcnn.data.sets.boxes`).
        validation: how much of the training images to hold out: a fraction in (0, 1), a count of
            at least 1, or 0 for none. A validation split that a folder names is taken as it is.
        seed: decides which images are held out, at least 0. The test split is the published one,
            or where there is none a stratified fifth, the same for every seed.
        skip_bad: check every image file now and leave the bad ones out (`images.preflight`).
        task: what a folder is read as where it can be both masks and boxes.
        ignore: values of masks that are no class.
        columns: names of a table's columns, such as `file=path,label=diagnosis`.

    Returns:
        Arrays (N, H, W, C) of uint8 (float32 where the file holds floats), or an index of image
        files whose pixels are read batch by batch.

    Raises:
        InputError: an unknown name, a file that cannot be read, or data that cannot be divided.
    """
    if not isinstance(name, str | os.PathLike) or not str(os.fspath(name)).strip():
        raise InputError(f"The data must be a name or a path. Received: {name!r}. {_possible()}")
    text, options = os.fspath(name), {"validation_size": validation, "seed": seed}
    if text.startswith("own: "):
        raise InputError(
            f"The recipe is of data of your own ({text.removeprefix('own: ')}), which it does not "
            f"hold: kcnn.train(recipe, data=...) in your program takes them again."
        )
    path = None if text == "digits" else find(text)
    if columns and (path is None or not tables.is_table(path)):
        raise InputError(
            f"columns are of a table, a .csv or .tsv; received columns={columns!r} with the data "
            f"{text!r}. Leave them out."
        )
    if text == "digits":
        return _digits(**options)
    if path is None and text in _KERAS:
        return _from_keras(text, **options)
    if path is None:
        raise InputError(_unknown(text))
    if path.is_dir():
        kind, name = folder_kind(path, task), label(text)
        if kind == "segmentation":
            data = load_masks(path, name=name, validation=validation, seed=seed, ignore=ignore)
        elif kind == "detection":
            data = load_boxes(path, name=name, validation=validation, seed=seed)
        else:
            data = load_folder(path, name=name, validation=validation, seed=seed)
        return preflight(data, skip_bad=True) if skip_bad else data
    if tables.is_table(path):
        data = tables.load_table(
            path, name=label(text), columns=columns, validation=validation, seed=seed
        )
        return preflight(data, skip_bad=True) if skip_bad else data
    return _from_npz(path, label(text), CLASS_NAMES.get(text), **options)


def folder_kind(path: Path, wanted: str | None = None) -> str:
    """What a folder holds data of: the task that is wanted, where it could be that one."""
    kinds = ["detection"] if boxes.recognised(path) else []
    kinds += ["segmentation"] if mask_folders.recognised(path) else []
    if wanted in kinds:
        return str(wanted)
    return kinds[0] if kinds else "classification"


def find(text: str) -> Path | None:
    """The file or folder that a name means; a published name means only KCNN_DATA's copy."""
    folder = os.environ.get("KCNN_DATA")
    candidates = [] if text in _KERAS else [Path(text).expanduser()]
    if folder and not os.path.dirname(text):
        candidates += [Path(folder).expanduser() / f"{text}.npz"]
        candidates += [] if text in _KERAS else [Path(folder).expanduser() / text]
    return next((path for path in candidates if path.exists()), None)


def whole_path(text: str | None) -> str | None:
    """The absolute path that a name is; None for what is no path, but a name of kcnn's own."""
    if text is None or text in NAMES or not (path := Path(text).expanduser()).exists():
        return None
    return os.path.abspath(path)


def _digits(**options: Any) -> Data:
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Integers 0..16, held as floats: 8×8 counts of the black pixels in 4×4 blocks.
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)
    data = from_arrays(
        (images, digits.target), class_names=CLASS_NAMES["digits"], name="digits", **options
    )
    return _from(data, "scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits)")


def _from_keras(name: str, **options: Any) -> Data:
    try:
        train, test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # keras raises a bare Exception when a download fails
        raise InputError(
            f"{name} could not be downloaded: {error}. Without network, put {name}.npz, with the "
            f"keys {KEYS}, into a folder and set KCNN_DATA to that folder; or use "
            "digits, which needs no download."
        ) from error
    data = from_arrays(train, test=test, class_names=CLASS_NAMES[name], name=name, **options)
    return _from(data, f"keras.datasets.{name}")


def _from_npz(path: Path, name: str, names: tuple[str, ...] | None, **options: Any) -> Data:
    parts, stored, unused = read_npz(path)
    names = names if stored is None else tuple(names_in(stored, path))
    try:
        data = from_arrays(
            parts["train"],
            parts.get("validation"),
            parts.get("test"),
            class_names=names,
            name=name,
            **options,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    remark = f" (not read: {', '.join(unused)})" if unused else ""
    return _from(data, f"{path}{remark}")


def _from(data: Data, provenance: str) -> Data:
    return replace(data, provenance=f"{provenance}; {data.provenance}")


def label(text: str) -> str:
    """What reports call the data: a name as it is; of a path its last part."""
    path = Path(text)
    return re.sub(r"\.(npz|csv|tsv)$", "", path.name) or path.resolve().name or text


def _unknown(text: str) -> str:
    found = sorted({path.removesuffix(".npz") for path in _in_kcnn_data()})
    suggestion = did_you_mean(text, [*NAMES, *found])
    return f"No data {text!r}: neither a name nor an existing path.{suggestion} {_possible()}"


def _possible() -> str:
    folder = os.environ.get("KCNN_DATA")
    names = sorted({*NAMES, *(path.removesuffix(".npz") for path in _in_kcnn_data())}, key=str)
    where = f" (KCNN_DATA={folder})" if folder else ""
    return (
        f"Possible: {', '.join(names)}{where}, a path to an .npz with {KEYS}, to a .csv of file "
        "and label, or to a folder of class folders."
    )


def _in_kcnn_data() -> list[str]:
    folder = Path(os.environ.get("KCNN_DATA") or os.devnull).expanduser()
    if not folder.is_dir():
        return []
    return [
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".") and (path.suffix == ".npz" or path.is_dir())
    ]
