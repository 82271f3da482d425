"""Folders of pictures and masks become data: directories are read, and lists; no picture is opened.

| Folder                                                            | Read as                     |
|-------------------------------------------------------------------|-----------------------------|
| `NAME/{images,masks}/*`, equal stems                              | test is a fixed fifth       |
| `NAME/{train,val,test}/{images,masks}/*`                          | as named                    |
| `NAME/{images,masks}/{train,val,test}/*`                          | as named                    |
| `NAME/{train,trainannot,val,valannot,test,testannot}/*`           | as named (CamVid in SegNet) |
| `JPEGImages`, `SegmentationClass`, `ImageSets/Segmentation/*.txt` | as listed (Pascal VOC)      |
| `images`, `annotations/trimaps`, `annotations/{trainval,test}.txt`| as listed (Oxford-IIIT Pet) |

`val` is what epochs are chosen on. Where data name a `val` and no `test`, there is no test split:
nothing is split off data that somebody has divided, of which neighbours may look alike.

Classes are the lines of `classes.txt` (a NAME each, the first is value 0; or NAME,RED,GREEN,BLUE
for masks in colours), or `classes.csv`, `class_dict.csv`; those of the published sets are known;
else they are the values that occur.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kcnn.data.sets.decoding import BadImage
from kcnn.data.sets.folders import held_out
from kcnn.data.sets.images import ImageFiles
from kcnn.data.sets.mask_layouts import Layout, layout_of, lines_of
from kcnn.data.sets.masks import IGNORED, Masks, read_values, table_of, values_of
from kcnn.data.sets.seen import Seen
from kcnn.data.sets.splits import Data, Split, divided, fingerprint_of
from kcnn.errors import InputError

_LISTS = ("classes.txt", "classes.csv", "class_dict.csv", "labels.txt")

EXPECTED = (
    "Expected: images/ and masks/ with equal stems, or train/ and val/ with both in them; Pascal "
    "VOC's, CamVid's or the Oxford pets' folder"
)


def recognised(folder: Path) -> bool:
    """Whether a folder looks like one of pictures and masks."""
    return layout_of(folder.resolve()) is not None


def load_masks(
    folder: Path, *, name: str, validation: float, seed: int, ignore: Sequence[int] | None = None
) -> Data:
    """Index a folder of pictures and masks.

    Args:
        folder: Of one of the layouts at the top of this module.
        name: What reports call the data.
        validation: Size of the validation split where the folder has none.
        seed: Of that split.
        ignore: Values of masks that are no class; None is 255, where that is no class.

    Raises:
        InputError: No such layout; pictures without masks; a list of classes that is none.
    """
    found = _found(folder)
    table, colours, class_names = _classes(found, ignore)
    seen = Seen(found.root)
    splits = {
        part: Split(
            ImageFiles(found.root, [image for image, _ in pairs], seen),
            Masks(ImageFiles(found.root, [mask for _, mask in pairs], seen), table, colours),
        )
        for part, pairs in found.parts.items()
    }
    if "validation" in splits and "test" not in splits:
        splits["test"] = splits["train"].take(np.arange(0))
        found.remarks.append("no test split")
    every = list(splits.values())
    total = sum(map(len, splits.values()))
    return divided(
        splits,
        name=name,
        class_names=class_names,
        image_shape=(None, None, 3),
        provenance="; ".join([f"folder {folder} of {total} pictures with masks", *found.remarks]),
        fingerprint=lambda: fingerprint_of(every),
        validation=validation,
        seed=seed,
        task="segmentation",
    )


def masks_to_evaluate(
    folder: Path, class_names: Sequence[str], *, name: str, ignore: Sequence[int] | None
) -> Data:
    """Pictures to be evaluated: the test split that a folder names, or val beside train, or all.

    Args:
        folder: As `load_masks`.
        class_names: Those that a network knows; classes go by name.
        name: What reports call the data.
        ignore: As `load_masks`.

    Raises:
        InputError: As `load_masks`; a class that the network does not know.
    """
    found = _found(folder, training=False)
    part = held_out(found.parts)
    pairs = found.parts.get(part) or [pair for pairs in found.parts.values() for pair in pairs]
    _name_by_value(found, class_names, ignore)
    table, colours, names = _classes(found, ignore)
    number = {known: index for index, known in enumerate(class_names)}
    if unknown := [one for one in names if one not in number]:
        raise InputError(
            f"{name!r} has classes that the network does not know: {', '.join(unknown[:10])}. It "
            f"knows {', '.join(class_names[:20])}."
        )
    classes = table < len(names)
    table[classes] = np.array([number[one] for one in names])[table[classes]]
    seen = Seen(found.root)
    images = ImageFiles(found.root, [image for image, _ in pairs], seen)
    files = ImageFiles(found.root, [mask for _, mask in pairs], seen)
    split = Split(images, Masks(files, table, colours))
    return Data(
        name=name,
        train=split,
        validation=split,
        test=split,
        class_names=tuple(class_names),
        image_shape=(None, None, 3),
        provenance="; ".join([f"{name}: {part}, {len(pairs):,} pictures", *found.remarks]),
        fingerprint="none: handed over",
        task="segmentation",
    )


def _name_by_value(found: Layout, class_names: Sequence[str], ignore: Sequence[int] | None) -> None:
    """Where no list says what values are, they are those of the classes of the run, in order."""
    listed = any((found.root / one).is_file() for one in _LISTS)
    if listed or found.names is not None:
        return
    found.values = values_of(class_names, ignore or (IGNORED,))
    found.names = class_names
    named = ", ".join(f"{v} {n}" for v, n in zip(found.values, class_names, strict=True))
    found.remarks.append(f"values taken for the run's classes: {named}")


def _found(folder: Path, training: bool = True) -> Layout:
    found = layout_of(folder.resolve())
    if found is None:
        raise InputError(f"{folder} has no pictures with masks. {EXPECTED}.")
    if training and "train" not in found.parts:
        raise InputError(
            f"{folder} holds {', '.join(found.parts)}, and no split to train on. {EXPECTED}."
        )
    for part, pairs in found.parts.items():
        if not pairs:
            raise InputError(f"The {part} split of {folder} has no picture with a mask.")
    return found


def _classes(
    found: Layout, ignore: Sequence[int] | None
) -> tuple[np.ndarray, dict[int, int] | None, tuple[str, ...]]:
    """What values of masks are; colours; names of the classes."""
    names, colours = found.names, None
    path = next((found.root / one for one in _LISTS if (found.root / one).is_file()), None)
    if path is not None:
        names, colours = _list_of_classes(path)
    if names is None:
        values = _occurring(found)
        if ignore is None and IGNORED in values and values != [0, IGNORED]:
            values.remove(IGNORED)
        found.remarks.append(f"classes are the values that occur: {', '.join(map(str, values))}")
        names = [str(value) for value in values]
    else:
        values = list(found.values or range(len(names)))
    ignored = [IGNORED] if ignore is None and IGNORED not in values else list(ignore or ())
    table, classes = table_of(values, ignored)
    named = dict(zip(values, names, strict=True))
    left_out = [named[value] for value in ignored if value in named]
    if left_out:
        found.remarks.append(f"ignored: {', '.join(left_out)}")
    return table, colours, tuple(named[value] for value in classes)


def _list_of_classes(path: Path) -> tuple[list[str], dict[int, int] | None]:
    """Names, and the value of each colour, of a list of classes.

    Raises:
        InputError: Lines of different forms; a name or a colour twice.
    """
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines_of(path)) if row]
    rows = [row for row in rows if any(row)]
    if rows and [cell.lower() for cell in rows[0][:4]] == ["name", "r", "g", "b"]:
        rows = rows[1:]
    if rows and all(len(row) == 1 and _is_colour(row[0].split()[-3:]) for row in rows):
        rows = [[" ".join(row[0].split()[:-3]), *row[0].split()[-3:]] for row in rows]
    names = [row[0] for row in rows]
    if not names or "" in names or len(set(names)) < len(names):
        raise InputError(f"{path} must hold a name on each line, each once.")
    if all(len(row) == 1 for row in rows):
        return names, None
    if not all(len(row) >= 4 and _is_colour(row[1:4]) for row in rows):
        raise InputError(
            f"{path} must hold lines NAME, or lines NAME,RED,GREEN,BLUE with numbers 0 to 255."
        )
    packed = [(int(r) << 16) | (int(g) << 8) | int(b) for _, r, g, b, *_ in rows]
    if len(set(packed)) < len(packed):
        raise InputError(f"{path} gives two classes the same colour.")
    return names, {colour: index for index, colour in enumerate(packed)}


def _is_colour(cells: Sequence[str]) -> bool:
    return len(cells) == 3 and all(c.isdecimal() and int(c) <= 255 for c in cells)


def _occurring(found: Layout) -> list[int]:
    """The values that the masks of all splits hold."""
    seen = np.zeros(256, bool)
    for pairs in found.parts.values():
        for _, mask in pairs:
            try:
                seen[np.unique(read_values(found.root / mask))] = True
            except BadImage as error:
                raise InputError(f"{found.root / mask}: {error}.") from error
    return [int(value) for value in np.flatnonzero(seen)]
