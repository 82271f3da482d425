"""A folder of class folders becomes data: its index is read, no image is opened.

| Folder                             | Read as                                          |
|------------------------------------|--------------------------------------------------|
| `flowers/{daisy,rose}/*.jpg`       | classes daisy and rose; test is a fixed fifth    |
| `flowers/{train,val}/CLASS/*.jpg`  | val is the published test split                  |
| `flowers/{train,test}/CLASS/*.jpg` | as named; validation is split off train          |
| `flowers/{train,val,test}/...`     | as named                                         |

Splits are known by the names that people give them: `Training`, `training_set`, `seg_train`; `val`,
`valid`, `validation`, `dev`; `test`, `Testing`, `test_set`.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kcnn.data.sets.classes import by_number
from kcnn.data.sets.filetypes import SUFFIXES
from kcnn.data.sets.images import ImageFiles, files_fingerprint
from kcnn.data.sets.seen import Seen
from kcnn.data.sets.splits import Data, Split, divided
from kcnn.errors import InputError

#: Of a folder's name in small letters, without what stands around: `seg_`, `_set`.
_SPLIT = re.compile(
    r"(?:seg[_-])?(train(?:ing)?|val(?:id(?:ation)?)?|dev|test(?:ing)?)(?:[_-]?(?:set|data|images))?"
)
_PARTS = {"tr": "train", "te": "test"}  # by the first letters; the others are for validation
#: Of files that say something of the images: a folder of them alone is no class.
_DOCUMENTS = {
    ".txt", ".md", ".csv", ".tsv", ".json", ".xml", ".yaml", ".yml", ".pdf", ".html", ".py", ".db",
    ".ini", ".log",
}  # fmt: skip
_LITTER = {"__MACOSX"}  # what archivers leave; hidden names never count anyway

_EXPECTED = (
    "Expected: a folder of class folders (NAME/CLASS/*.jpg), or train/ and val/ or test/ with "
    f"class folders in them; images end in {', '.join(SUFFIXES)}."
)


@dataclass
class _Index:
    """What a walk finds: for each class its files, relative to the root."""

    root: Path
    classes: dict[str, list[str]] = field(default_factory=dict)
    outside: int = 0  #: links left out because they lead outside the root
    others: Counter[str] = field(default_factory=Counter)  #: files left out, by their suffix
    empty: dict[str, Counter[str]] = field(default_factory=dict)  #: folders of such files alone
    beside: list[str] = field(default_factory=list)  #: folders beside the splits


def load_folder(folder: Path, *, name: str, validation: float, seed: int) -> Data:
    """Index a folder of image files. Costs the reading of directories only.

    Nested folders belong to their class folder. Hidden files and folders, files without an image
    suffix (they are counted in the provenance), empty folders, and links that lead outside
    `folder` do not count. Class numbers follow the sorted class names, 2 before 10.

    Args:
        folder: the folder; the layouts are listed at the top of this module.
        name: what reports call the data.
        validation: size of the validation split where the folder has none.
        seed: of that split.

    Raises:
        InputError: a folder that cannot be read, fewer than two classes, a class folder of which
            no file is read, or a held-out split with a class that train lacks.
    """
    root = folder.resolve()
    folders, beside = split_folders(root)
    parts = {key: _index(root, sub) for key, sub in folders.items()}
    class_names = tuple(sorted(parts["train"].classes, key=by_number))
    _check_classes(folder, parts, class_names)
    seen = Seen(root)
    splits = {key: _as_split(index, class_names, seen) for key, index in parts.items()}
    note = "".join(f"; {remark}" for remark in _left_out(parts, beside))
    return divided(
        splits,
        name=name,
        class_names=class_names,
        image_shape=(None, None, 3),
        provenance=f"folder {folder} of {sum(map(len, splits.values()))} image files{note}",
        fingerprint=lambda: files_fingerprint([s.files for s in splits.values() if s.files]),
        validation=validation,
        seed=seed,
    )


def files_of(folder: Path) -> tuple[ImageFiles, list[str], str]:
    """Images to be evaluated: the test split that a folder names, else all; and their classes.

    Returns:
        The files; the name of the class of each; which part of the folder it is.

    Raises:
        InputError: A folder that cannot be read, or without class folders with images.
    """
    root = folder.resolve()
    folders, _ = split_folders(root, training=False)
    part = folders.get("test", "")
    index = _index(root, part)
    if not index.classes:
        raise InputError(f"{folder} has no class folder with images. {_EXPECTED}")
    pairs = [(path, name) for name, files in index.classes.items() for path in files]
    files = ImageFiles(root, [path for path, _ in pairs])
    return files, [name for _, name in pairs], part or "all of it"


#: How lists of splits are called, the one that counts first.
SPLIT_PARTS = {
    "train": ("train", "trainval", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def held_out(parts: Collection[str]) -> str:
    """Of the splits that data name, the one to be evaluated; "all of it" where none is held out."""
    if "test" in parts:
        return "test"
    return "validation" if {"train", "validation"} <= set(parts) else "all of it"


def split_named(folder: str) -> str | None:
    """The split that a folder's name says: "train", "validation", "test"; None: none."""
    match = _SPLIT.fullmatch(folder.lower())
    return _PARTS.get(match[1][:2], "validation") if match else None


def images_below(root: Path, sub: str) -> list[str]:
    """Paths, relative to `root`, of the image files below its folder `sub`, sorted.

    Hidden ones, and links that lead outside, do not count; none where there is no such folder.
    """
    index = _Index(root)
    return sorted(_walk(str(root / sub), index, set())) if (root / sub).is_dir() else []


def split_folders(root: Path, *, training: bool = True) -> tuple[dict[str, str], list[str]]:
    """For each split that the folder names, its subfolder ({"train": ""} for none); and the rest.

    Raises:
        InputError: Two folders for one split; held-out splits without one to train on.
    """
    entries = sorted(_entries(root), key=lambda entry: entry.name)
    index, beside = _Index(root), list[str]()
    found: dict[str, list[str]] = defaultdict(list)
    for name in (e.name for e in entries if _is_inside_dir(e, index)):
        part = split_named(name)
        (found[part] if part else beside).append(name)
    if not found or (found.keys() == {"train"} and beside):
        return {"train": ""}, []
    if "train" not in found:
        if beside or not training:  # classes of which one is called so
            return {"train": ""}, []
        held_out = ", ".join(sorted(name for names in found.values() for name in names))
        raise InputError(f"{root} holds {held_out}, and no split to train on. {_EXPECTED}")
    for part, names in found.items():
        if len(names) > 1:
            raise InputError(
                f"{root} holds {' and '.join(names)}: only one of them can be the {part} split."
            )
    folders = {part: names[0] for part, names in found.items()}
    if "validation" in folders and "test" not in folders:
        # With train and val alone, val is what was held out for the published figure.
        folders["test"] = folders.pop("validation")
    return folders, beside


def _index(root: Path, sub: str) -> _Index:
    index = _Index(root)
    for entry in _entries(root / sub):
        if _is_inside_dir(entry, index):
            before = index.others.copy()
            files = sorted(_walk(entry.path, index, {os.path.realpath(root / sub)}))
            others = index.others - before
            if files:
                index.classes[entry.name] = files
            elif others.keys() - _DOCUMENTS:
                index.empty[entry.name] = others
    return index


def _walk(folder: str, index: _Index, walked: set[str]) -> Iterator[str]:
    """Paths, relative to the root, of the images below `folder`.

    Each folder once, whichever links lead to it: links among a few make ways without number.
    """
    real = os.path.realpath(folder)
    if real in walked:
        return
    walked.add(real)
    for entry in _entries(folder):
        if _is_inside_dir(entry, index):
            yield from _walk(entry.path, index, walked)
        elif _is(entry.is_file) and _is_inside(entry, index):
            if entry.name.lower().endswith(SUFFIXES):
                yield os.path.relpath(entry.path, index.root)
            else:
                index.others[os.path.splitext(entry.name)[1].lower() or "without suffix"] += 1


def _is_inside_dir(entry: os.DirEntry, index: _Index) -> bool:
    return _is(entry.is_dir) and _is_inside(entry, index)


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself
        return False


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


def _left_out(parts: dict[str, _Index], beside: list[str]) -> Iterator[str]:
    """What does not count, a remark for each kind."""
    if outside := sum(index.outside for index in parts.values()):
        yield f"{outside} links that lead outside left out"
    if others := sum((index.others for index in parts.values()), Counter()):
        yield f"files left out: {_counted(others)}"
    if beside:
        yield f"folders beside the splits left out: {', '.join(beside[:10])}"


def _counted(others: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(10))


def _check_classes(folder: Path, parts: dict[str, _Index], class_names: tuple[str, ...]) -> None:
    vanished = [item for index in parts.values() for item in index.empty.items()]
    if vanished:
        name, others = vanished[0]
        raise InputError(
            f"{folder}: the folder {name!r} holds no image that is read ({_counted(others)}), and "
            f"would be no class. Convert its files ({', '.join(SUFFIXES)} are read), or move it "
            f"away."
        )
    if len(class_names) == 1 and (inner := _inner(folder.resolve() / class_names[0])):
        raise InputError(
            f"{folder} holds the one folder {class_names[0]!r}, which holds folders itself "
            f"({', '.join(inner[:5])}). Perhaps {str(folder / class_names[0])!r} is meant."
        )
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


def _inner(folder: Path) -> list[str]:
    """Folders with images in a folder; more than one are classes, or splits."""
    if not folder.is_dir():
        return []
    names = sorted(entry.name for entry in _entries(folder) if _is(entry.is_dir))
    return names if len(names) > 1 else []


def _as_split(index: _Index, class_names: tuple[str, ...], seen: Seen) -> Split:
    groups = [index.classes.get(name, []) for name in class_names]
    names = [path for files in groups for path in files]
    labels = np.repeat(np.arange(len(class_names)), [len(files) for files in groups])
    return Split(ImageFiles(index.root, names, seen), labels.astype(np.int64))
