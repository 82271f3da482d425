"""Folders of images with boxes: COCO's JSON, Pascal VOC's XML, YOLO's text files, told by names.

`coco`, `voc` and `yolo` beside this file have layouts and what becomes of what; `Boxes.checked` has
what is found beside the images. Splits are those that the data name; `val` is for validation. Data
with train and val have no test split; where nothing is named, test and validation are split off.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kcnn.data.sets import coco, voc, yolo
from kcnn.data.sets.box_index import Boxes
from kcnn.data.sets.box_parts import Part, Tree
from kcnn.data.sets.folders import held_out
from kcnn.data.sets.images import ImageFiles
from kcnn.data.sets.seen import Seen
from kcnn.data.sets.splits import Data, Split, divided, fingerprint_of
from kcnn.errors import InputError
from kcnn.terminal import printable

__all__ = ["Boxes", "handed", "load_boxes", "recognised"]

_FORMS = {"coco": coco, "voc": voc, "yolo": yolo}
_NAMES = {"coco": "COCO JSON", "voc": "Pascal VOC", "yolo": "YOLO"}
_EXPECTED = (
    "Expected: COCO's JSON (annotations/instances_train2017.json, annotations_train.json, "
    "train/_annotations.coco.json), Pascal VOC's JPEGImages/ and Annotations/*.xml, or YOLO's "
    "data.yaml with images/ and labels/."
)


def recognised(folder: Path) -> str | None:
    """The form of a folder's boxes: "coco", "voc" or "yolo"; None for none of them.

    Costs the names in a few folders, and the beginning and end of JSON files among them.
    """
    return _form(Tree(folder.resolve()))


def load_boxes(folder: Path, *, name: str, validation: float, seed: int) -> Data:
    """Index a folder of images with boxes. Annotations are read, no image is opened.

    Args:
        folder: The folder.
        name: What reports call the data.
        validation: Size of the validation split where the data name none.
        seed: Of that split.

    Returns:
        Data of the task "detection": `ImageFiles` with `Boxes`. Classes are those of train, also
        the ones without a box.

    Raises:
        InputError: A form that is not known; a file that cannot be used, with its place; an image
            in two splits; a class of a held-out split that train does not have.
    """
    root, form, parts = _read(folder)
    if "train" not in parts:
        raise InputError(f"{folder} names {', '.join(parts)}, and no split to train on.")
    class_names = tuple(parts["train"].class_names)
    number = {known: k for k, known in enumerate(class_names)}
    most = max(_most(part) for part in parts.values())
    seen = Seen(root)
    splits = {}
    for key, part in parts.items():
        classes = _renumbered(part, number, f"The {key} split of {folder}", "train")
        notes = [f"{key}: {text}" if len(parts) > 1 else text for text in part.remarks]
        splits[key] = _split(root, part, classes, most, notes, seen)
    train = splits["train"].labels
    if not len(train.classes[~train.crowd]):
        raise InputError(f"The train split of {folder} has no box to learn from.")
    remarks = [note for split in splits.values() for note in split.labels.notes]
    if unused := [class_names[k] for k in np.flatnonzero(train.share(len(class_names))[0] == 0)]:
        remarks.append(f"classes without a box in train: {printable(', '.join(unused[:10]))}")
    given = list(splits.values())
    images, boxes = sum(map(len, given)), sum(len(split.labels.boxes) for split in given)
    if "validation" in splits and "test" not in splits:
        splits["test"] = splits["train"].take(np.arange(0))
        remarks.append("no test split")
    said = [f"folder {folder} of {images} image files with {boxes} boxes, {_NAMES[form]}", *remarks]
    return divided(
        splits,
        name=name,
        class_names=class_names,
        image_shape=(None, None, 3),
        provenance="; ".join(said),
        fingerprint=lambda: fingerprint_of(given),
        task="detection",
        validation=validation,
        seed=seed,
    )


def handed(folder: Path, class_names: Sequence[str], name: str) -> Data:
    """Data to be evaluated: the test split that a folder names, or val beside train, or all.

    Args:
        folder: The folder.
        class_names: Of the network; classes are numbered by name as these are.
        name: What reports call the data.

    Returns:
        `Data` whose three splits are all the images to be evaluated.

    Raises:
        InputError: As `load_boxes`; a box of a class that the network does not know.
    """
    root, form, parts = _read(folder)
    part = held_out(parts)
    chosen = {part: parts[part]} if part in parts else parts
    number, known = {one: k for k, one in enumerate(class_names)}, "the network"
    classes = [_renumbered(part, number, f"{name!r}", known) for part in chosen.values()]
    whole = _joined(list(chosen.values()))
    notes = [text for part in chosen.values() for text in part.remarks]
    split = _split(root, whole, np.concatenate(classes), _most(whole), notes, Seen(root))
    said = f"{name}: {part}, {len(split):,} images with {len(whole.boxes):,} boxes, {_NAMES[form]}"
    return Data(
        name=name,
        train=split,
        validation=split,
        test=split,
        class_names=tuple(class_names),
        image_shape=(None, None, 3),
        provenance="; ".join([said, *notes]),
        fingerprint="none: handed over",
        task="detection",
    )


def _form(tree: Tree) -> str | None:
    return next((form for form, reader in _FORMS.items() if reader.is_there(tree)), None)


def _read(folder: Path) -> tuple[Path, str, dict[str, Part]]:
    """Root, form, and what is there by split; no image is in two."""
    root = folder.resolve()
    tree = Tree(root)
    form = _form(tree)
    if form is None:
        raise InputError(f"{folder} holds no boxes in a form that is read. {_EXPECTED}")
    parts = _FORMS[form].read(tree)
    split_of: dict[str, str] = {}
    for key, part in parts.items():
        if not part.names:
            raise InputError(f"The {key} split of {folder} has no image.")
        for name in part.names:
            if (other := split_of.setdefault(name, key)) != key:
                raise InputError(
                    f"{root / name} is in {other} and in {key}: figures on images that were "
                    f"trained on say nothing. Take it out of one of them."
                )
    first = next(iter(parts.values()))
    first.remark(tree.unlisted(list(split_of)), "image", "beside those listed left out")
    first.remark(tree.outside, "link", "to outside left out")
    return root, form, parts


def _most(part: Part) -> int:
    return max(1, int(np.bincount(part.pictures, minlength=1).max()))


def _renumbered(part: Part, number: dict[str, int], what: str, known: str) -> np.ndarray:
    """(T,) class numbers by name; InputError for a box of another class."""
    new = np.array([number.get(name, -1) for name in part.class_names], np.int64)
    classes = new[part.classes]
    if (classes < 0).any():
        unknown = [part.class_names[k] for k in np.unique(part.classes[classes < 0])]
        raise InputError(
            f"{what} has boxes of classes that {known} does not have: {', '.join(unknown[:10])}. "
            f"Classes go by name: {', '.join(list(number)[:20])}."
        )
    return classes


def _split(
    root: Path, part: Part, classes: np.ndarray, most: int, notes: Sequence[str], seen: Seen
) -> Split:
    # By name: a fingerprint of boxes in this order says whose they are.
    order = sorted(range(len(part.names)), key=part.names.__getitem__)
    boxes = Boxes.gathered(
        part.pictures,
        part.boxes,
        classes,
        part.crowd,
        part.sizes,
        most=most,
        relative=part.relative,
        notes=tuple(notes),
    )
    return Split(ImageFiles(root, part.names, seen), boxes).take(np.array(order, np.int64))


def _joined(parts: Sequence[Part]) -> Part:
    """One after the other; class numbers are no longer of use."""
    firsts = np.cumsum([0, *(len(part.names) for part in parts)])
    numbered = zip(parts, firsts[:-1], strict=True)
    return Part(
        names=[name for part in parts for name in part.names],
        class_names=[],
        pictures=np.concatenate([part.pictures + first for part, first in numbered]),
        boxes=np.concatenate([part.boxes for part in parts]),
        classes=np.concatenate([part.classes for part in parts]),
        crowd=np.concatenate([part.crowd for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        relative=parts[0].relative,
    )
