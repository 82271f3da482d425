"""A folder of class folders becomes data: its index is read, no image is opened.

| Folder                             | Read as                                          |
|------------------------------------|--------------------------------------------------|
| `flowers/{daisy,rose}/*.jpg`       | classes daisy and rose; test is a fixed fifth    |
| `flowers/{train,val}/CLASS/*.jpg`  | val is the published test split                  |
| `flowers/{train,test}/CLASS/*.jpg` | as named; validation is split off train          |
| `flowers/{train,val,test}/...`     | as named (val may be called valid or validation) |
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kcnn.data.sets.decoding import SUFFIXES
from kcnn.data.sets.images import ImageFiles
from kcnn.data.sets.splits import Data, Split, divided
from kcnn.errors import InputError

_VALIDATION = ("val", "valid", "validation")
_HELD_OUT = (*_VALIDATION, "test")
_LITTER = {"__MACOSX"}  # what archivers leave; hidden names never count anyway

_EXPECTED = (
    "Expected: a folder of class folders (NAME/CLASS/*.jpg), or train/ and val/ or test/ with "
    f"class folders in them; images end in {', '.join(SUFFIXES)}."
)


@dataclass
class _Index:
    """What a walk finds: for each class its files, relative to the root, and their sizes."""

    root: Path
    classes: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    outside: int = 0  #: links left out because they lead outside the root


def load_folder(folder: Path, *, name: str, validation: float, seed: int) -> Data:
    """Index a folder of image files. Costs the reading of directories only.

    Nested folders belong to their class folder. Hidden files and folders, files without an image
    suffix, classes without images, and links that lead outside `folder` do not count. Class
    numbers follow the sorted class names.

    Args:
        folder: the folder; the layouts are listed at the top of this module.
        name: what reports call the data.
        validation: size of the validation split where the folder has none.
        seed: of that split.

    Raises:
        InputError: a folder that cannot be read, fewer than two classes, or a held-out split
            with a class that train lacks.
    """
    root = folder.resolve()
    parts = {key: _index(root, sub) for key, sub in _split_folders(root).items()}
    class_names = tuple(sorted(parts["train"].classes))
    _check_classes(folder, parts, class_names)
    splits = {key: _as_split(index, class_names) for key, index in parts.items()}
    outside = sum(index.outside for index in parts.values())
    note = f"; {outside} links that lead outside left out" if outside else ""
    return divided(
        splits,
        name=name,
        class_names=class_names,
        image_shape=(None, None, 3),
        provenance=f"folder {folder} of {sum(map(len, splits.values()))} image files{note}",
        fingerprint=_fingerprint(parts),
        validation=validation,
        seed=seed,
    )


def _split_folders(root: Path) -> dict[str, str]:
    """For each split that the folder names, its subfolder; {"train": ""} where it names none."""
    entries = sorted(_entries(root), key=lambda entry: entry.name)
    index = _Index(root)
    found = {e.name.lower(): e.name for e in entries if _is_inside_dir(e, index)}
    if "train" not in found or (found.keys().isdisjoint(_HELD_OUT) and len(found) > 1):
        return {"train": ""}
    folders = {"train": found["train"]}
    held_out = [found[key] for key in _VALIDATION if key in found]
    if len(held_out) > 1:
        raise InputError(
            f"{root} holds {' and '.join(held_out)}: only one of them can be the validation split."
        )
    if "test" in found:
        folders["test"] = found["test"]
    if held_out:
        # With train and val alone, val is what was held out for the published figure.
        folders["validation" if "test" in found else "test"] = held_out[0]
    return folders


def _index(root: Path, sub: str) -> _Index:
    index = _Index(root)
    for entry in _entries(root / sub):
        if _is_inside_dir(entry, index):
            files = sorted(_walk(entry.path, index, (os.path.realpath(root / sub),)))
            if files:
                index.classes[entry.name] = files
    return index


def _walk(folder: str, index: _Index, above: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """(path relative to the root, bytes) of the images below `folder`."""
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that contains it
        return
    for entry in _entries(folder):
        if _is_inside_dir(entry, index):
            yield from _walk(entry.path, index, (*above, real))
        elif entry.name.lower().endswith(SUFFIXES) and entry.is_file() and _is_inside(entry, index):
            yield os.path.relpath(entry.path, index.root), entry.stat().st_size


def _is_inside_dir(entry: os.DirEntry, index: _Index) -> bool:
    return entry.is_dir() and _is_inside(entry, index)


def _is_inside(entry: os.DirEntry, index: _Index) -> bool:
    if not entry.is_symlink():
        return True
    inside = Path(os.path.realpath(entry.path)).is_relative_to(index.root)
    index.outside += not inside
    return inside


def _entries(folder: str | Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [e for e in entries if not e.name.startswith(".") and e.name not in _LITTER]
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read: {error.strerror}.") from error


def _check_classes(folder: Path, parts: dict[str, _Index], class_names: tuple[str, ...]) -> None:
    if len(class_names) < 2:
        found = f"the one class {class_names[0]}" if class_names else "no class folder with images"
        outside = sum(index.outside for index in parts.values())
        links = f" {outside} links that lead outside were left out." if outside else ""
        raise InputError(f"{folder} has {found}; at least two are needed.{links} {_EXPECTED}")
    for key, index in parts.items():
        unknown = sorted(set(index.classes) - set(class_names))
        if unknown:
            raise InputError(
                f"The {key} split of {folder} has classes that train/ lacks: "
                f"{', '.join(unknown[:10])}. The class folders must have the same names."
            )
        if not index.classes:
            raise InputError(f"The {key} split of {folder} has no class folder with images.")


def _as_split(index: _Index, class_names: tuple[str, ...]) -> Split:
    groups = [index.classes.get(name, []) for name in class_names]
    names = [path for files in groups for path, _ in files]
    labels = np.repeat(np.arange(len(class_names)), [len(files) for files in groups])
    return Split(ImageFiles(index.root, names), labels.astype(np.int64))


def _fingerprint(parts: dict[str, _Index]) -> str:
    digest = hashlib.sha256()
    listed = sorted(
        (os.fsencode(path), size)
        for index in parts.values()
        for files in index.classes.values()
        for path, size in files
    )
    for path, size in listed:
        digest.update(path + b"\0%d\n" % size)
    return f"sha256:{digest.hexdigest()}"
