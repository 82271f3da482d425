"""Detection data in YOLO's text files: `class cx cy width height`, fractions of the picture.

`data.yaml` has `names` and the paths `train`, `val`, `test`; the boxes of `images/train/a.jpg` are
in `labels/train/a.txt`, and beside the image where no folder is called `images`.

| Found                                  | Becomes                                                |
|----------------------------------------|--------------------------------------------------------|
| `names`, a list                        | class numbers in its order                             |
| `names`, a mapping with gaps           | class numbers by ascending key; other keys are refused |
| an image without a file of labels      | without boxes, with a remark; of all images refused    |
| a line of six columns, or of a polygon | refused, with file and line                            |
| a path that is absolute, or `../train` | its end that is in the folder, with a remark           |
| `path`                                 | the folder itself, unless there is such a one in it    |
| a `test` path that is not there        | no test split, with a remark                           |
| fractions                              | of the upright picture                                 |
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from kcnn.data.sets.box_parts import (
    Part,
    Tree,
    inside,
    join,
    read_bounded,
    refuse_missing,
    refuse_twice,
    shown,
    split_of,
)
from kcnn.errors import InputError

_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_LARGEST, _LARGEST_LABELS, _LARGEST_LIST = 2**19, 8 * 2**20, 64 * 2**20


def is_there(tree: Tree) -> bool:
    """Whether a folder has the layout, by its names."""
    return _yaml(tree) is not None


def read(tree: Tree) -> dict[str, Part]:
    """By split, what it holds.

    Raises:
        InputError: Files of another form, with file and line; paths that are not there.
    """
    source = tree.root / (_yaml(tree) or _FILES[0])
    content = _content(source)
    numbers, names = _names(content, source)
    parts = {}
    for key, part in _SPLITS.items():
        if entry := content.get(key) or None:
            remarks: list[str] = []
            images = _images(tree, entry, _base(tree, content), source, key, remarks)
            if images is not None:
                parts[part] = _part(tree, images, numbers, names, source, remarks)
            elif parts:
                next(iter(parts.values())).remarks += remarks
    if not parts:
        raise InputError(f"{source} names no train, val or test that is there.")
    return parts


def _yaml(tree: Tree) -> str | None:
    files = tree.files("")
    named = [name for name in _FILES if name in files]
    others = [name for name in sorted(files) if name.endswith((".yaml", ".yml"))]
    if not named and len(others) != 1:
        return None
    folders = tree.folders("")
    labelled = "labels" in folders or any("labels" in tree.folders(f) for f in folders)
    return (named or others)[0] if labelled else None


def _content(path: Path) -> dict[str, Any]:
    """Of a YAML file; every scalar is a text, so that the class `no` is no false."""
    text = read_bounded(path, _LARGEST)
    yaml = importlib.import_module("yaml")  # without types of its own
    try:
        content = yaml.load(text, Loader=yaml.BaseLoader)  # texts, lists, mappings, nothing else
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is damaged: {reason[:300]}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no mapping with names, train and val.")
    return content


def _told(value: Any) -> str:
    """A text of a YAML file; of lists and mappings the kind: aliases in them can mean millions."""
    return shown(value) if isinstance(value, str) else f"a {type(value).__name__}"


def _names(content: dict[str, Any], source: Path) -> tuple[dict[str, int], list[str]]:
    """Class numbers by the numbers in the files, as texts; names."""
    given = content.get("names")
    pairs = list(given.items()) if isinstance(given, dict) else None
    if isinstance(given, list):
        pairs = [(str(key), name) for key, name in enumerate(given)]
    if not pairs or not all(
        isinstance(key, str) and re.fullmatch(r"[0-9]{1,9}", key) and isinstance(name, str) and name
        for key, name in pairs
    ):
        raise InputError(
            f"{source}: names is {_told(given)}. It is a list of names, or a mapping of numbers to "
            f"names."
        )
    named = sorted((int(key), name) for key, name in pairs)
    refuse_twice([key for key, _ in named], "class number", source)
    refuse_twice([name for _, name in named], "class name", source)
    if (count := content.get("nc")) is not None and count != str(len(named)):
        raise InputError(f"{source}: nc is {_told(count)}, and there are {len(named)} names.")
    return {str(key): k for k, (key, _) in enumerate(named)}, [name for _, name in named]


def _base(tree: Tree, content: dict[str, Any]) -> str:
    """The folder that `path` names, where it is in the root; else the root, whatever it says."""
    entry = content.get("path")
    given = PurePosixPath(entry if isinstance(entry, str) else ".")
    plain = not given.is_absolute() and ".." not in given.parts and given.parts
    return str(given) if plain and _is_folder(tree, str(given)) else ""


def _images(
    tree: Tree, entry: Any, base: str, source: Path, key: str, remarks: list[str]
) -> list[str] | None:
    """Paths of a split's images, relative to the root; None for a test split that is not there."""
    entries = entry if isinstance(entry, list) else [entry]
    if not all(isinstance(one, str) and one for one in entries):
        raise InputError(f"{source}: {key} is {_told(entry)}. It is a path, or a list of paths.")
    images: list[str] = []
    for one in entries:
        place = _place(tree, one, base)
        if place is None and key == "test":
            remarks.append(f"the test path {shown(one)} is not there, no test split")
            return None
        if place is None:
            raise InputError(
                f"{source}: the {key} path {shown(one)} is not there. Paths are relative to "
                f"{tree.root}, and in it."
            )
        if place and place not in (join(base, str(PurePosixPath(one))), str(PurePosixPath(one))):
            remarks.append(f"the {key} path {shown(one)} is read as {place}")
        images += _listed(tree, place, base) if tree.has(place) else tree.below(place)
    refuse_twice(images, f"image of {key}", source)
    return images


def _place(tree: Tree, entry: str, base: str) -> str | None:
    """A folder or a file in the root: as it is written, or, of a path that leads outside, its end.

    Data are exported in one place and used in another: `/content/cells/train/images`, and
    `../train/images` beside `train/`. An end that names no split, `images`, may be another one's.
    """
    path = PurePosixPath(entry)
    parts = [part for part in path.parts if part not in ("/", "..")]
    moved = path.is_absolute() or ".." in path.parts
    for first in range(len(parts)) if moved else range(1):
        end = "/".join(parts[first:])
        meant = bool(end) and (not first or any(map(split_of, parts[first:])))
        for place in dict.fromkeys((join(base, end), end)):
            if meant and (_is_folder(tree, place) or tree.has(place)):
                return place
    return "" if not parts and not moved else None


def _is_folder(tree: Tree, place: str) -> bool:
    above, _, name = place.rpartition("/")
    return name in tree.folders(above)


def _listed(tree: Tree, place: str, base: str) -> Iterator[str]:
    """The images that a text file lists, relative to its folder, or to the root."""
    source, folder = tree.root / place, place.rpartition("/")[0]
    lines = read_bounded(source, _LARGEST_LIST).decode(errors="surrogateescape").splitlines()
    names = [inside(line.strip(), source) for line in lines if line.strip()]
    found = {}
    for name in names:
        places = (join(folder, name), join(base, name), name)
        found[name] = next((place for place in places if tree.has(place)), "")
    refuse_missing([n for n in names if not found[n]], len(names), "images", source)
    return (found[name] for name in names)


def _part(
    tree: Tree,
    images: list[str],
    numbers: dict[str, int],
    names: list[str],
    source: Path,
    remarks: list[str],
) -> Part:
    rows, files = list[tuple[int, list[float]]](), [_labels_of(image) for image in images]
    refuse_twice(files, "file of labels, of two images,", source)
    there = [tree.has(file) for file in files]
    if images and not any(there):
        raise InputError(
            f"{source}: no image has a file of labels: {files[0]} is not there, nor are the "
            f"{len(files) - 1} others."
        )
    pictures, places = list[int](), list[tuple[str, int]]()
    for i, file in enumerate(files):
        if there[i]:
            for line, row in _rows(tree.root / file, numbers):
                rows.append(row)
                pictures.append(i)
                places.append((file, line))
    x, y, width, height = np.array([box for _, box in rows], np.float64).reshape(-1, 4).T
    half_width, half_height = width / 2, height / 2
    part = Part(
        names=images,
        class_names=names,
        pictures=np.array(pictures, np.int64),
        boxes=np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=1),
        classes=np.array([number for number, _ in rows], np.int64),
        crowd=np.zeros(len(rows), np.bool_),
        sizes=np.zeros((len(images), 2), np.int64),
        relative=True,
        remarks=remarks,
    )
    part.remark(len(files) - sum(there), "image", "without a file of labels")
    return part.tidied(lambda i: f"{tree.root / places[i][0]}, line {places[i][1]}")


def _labels_of(image: str) -> str:
    parts = list(PurePosixPath(image).with_suffix(".txt").parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return "/".join(parts)


def _rows(path: Path, numbers: dict[str, int]) -> Iterator[tuple[int, tuple[int, list[float]]]]:
    text = read_bounded(path, _LARGEST_LABELS).decode("utf-8-sig", errors="replace")
    for line, columns in enumerate(map(str.split, text.splitlines()), 1):
        if not columns:
            continue
        try:
            if len(columns) != 5:
                raise ValueError(_what(len(columns)))
            if columns[0] not in numbers:
                raise ValueError(f"class {shown(columns[0])} is none of {len(numbers)} in names")
            yield line, (numbers[columns[0]], [float(column) for column in columns[1:]])
        except ValueError as error:
            raise InputError(
                f"{path}, line {line}: {error}. A line is `class cx cy width height`."
            ) from error


def _what(columns: int) -> str:
    if columns == 6:
        return "six columns, as of predictions with a confidence"
    if columns > 6 and columns % 2:
        return f"a polygon of {columns // 2} points; boxes are read"
    return f"{columns} columns"
