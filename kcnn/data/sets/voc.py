"""Detection data in Pascal VOC's XML (Everingham et al. 2010): 1-based, both corners inside a box.

`JPEGImages/`, `Annotations/*.xml` and `ImageSets/Main/{train,val,trainval,test}.txt`, in the folder
itself or in its only `VOC2007`, `VOCdevkit/VOC2007`. Without image sets all of it is one.

| Found                                   | Becomes                                             |
|-----------------------------------------|-----------------------------------------------------|
| `xmin`, `ymin`, `xmax`, `ymax`          | xmin - 1, ymin - 1, xmax, ymax                      |
| `xmax` not above `xmin`, `ymax` likewise| a box without area: dropped, with a remark          |
| an `xmin` or `ymin` of 0                | as VOC says, so one pixel outside; with a remark    |
| `difficult` 1                           | kept as a crowd                                     |
| `part` of an object                     | not read                                            |
| `trainval.txt` without `train.txt`      | train: those that `val.txt` does not list           |
| `aeroplane_train.txt`                   | no split, not read                                  |
| a second column in an image set         | not read                                            |
| `filename`                              | not read: image and XML have one stem               |
| classes                                 | the names that occur, 2 before 10                   |
| DTD or entities in the XML              | refused                                             |
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

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
)
from kcnn.data.sets.classes import by_number
from kcnn.data.sets.filetypes import SUFFIXES
from kcnn.errors import InputError

_LARGEST, _LARGEST_LIST = 8 * 2**20, 64 * 2**20
_MAIN = "ImageSets/Main"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FORM = "An <object> has a <name> and a <bndbox> of xmin, ymin, xmax, ymax."


def is_there(tree: Tree) -> bool:
    """Whether a folder has the layout."""
    return bool(_bases(tree))


def read(tree: Tree) -> dict[str, Part]:
    """By split, what it holds; {"train": ...} without image sets.

    Raises:
        InputError: An XML of another form; images or XMLs that are not there.
    """
    bases = _bases(tree)
    if len(bases) > 1:
        raise InputError(
            f"{tree.root} holds {' and '.join(bases[:5])}: hand over one of them, as a path."
        )
    base = bases[0]
    sets, remarks = _sets(tree, base)
    if not sets:
        xmls = (n.removesuffix(".xml") for n in tree.files(join(base, "Annotations")))
        sets = {"train": sorted(xmls, key=by_number)}
    parts = {part: _part(tree, base, *_found(tree, base, stems)) for part, stems in sets.items()}
    next(iter(parts.values())).remarks += remarks
    return parts


_Object = tuple[int, str, list[float], bool]  # image, name, corners as written, difficult
_Images = dict[str, tuple[int, int]]  # path: declared (H, W)


def _bases(tree: Tree) -> list[str]:
    devkits = [f for f in tree.folders("") if f.startswith("VOC")]
    inner = [join(f, g) for f in devkits for g in tree.folders(f) if g.startswith("VOC")]
    return [base for base in ("", *devkits, *inner) if _is_base(tree, base)]


def _is_base(tree: Tree, base: str) -> bool:
    if not {"JPEGImages", "Annotations"} <= set(tree.folders(base)):
        return False
    return any(name.endswith(".xml") for name in tree.files(join(base, "Annotations")))


def _sets(tree: Tree, base: str) -> tuple[dict[str, list[str]], list[str]]:
    """Stems by split, where the data name any; remarks."""
    folder, listed, remarks = join(base, _MAIN), dict[str, list[str]](), list[str]()
    for name in ("train", "val", "trainval", "test"):
        if f"{name}.txt" in tree.files(folder):
            path = tree.root / folder / f"{name}.txt"
            text = read_bounded(path, _LARGEST_LIST).decode(errors="surrogateescape")
            stems = [_stem(line.split()[0], path) for line in text.splitlines() if line.split()]
            refuse_twice(stems, "image", path)
            if stems:
                listed[name] = stems
            else:
                remarks.append(f"{name}.txt is empty, no split")
    both = listed.pop("trainval", None)
    if both is not None and "train" not in listed:
        held_out = set(listed.get("val", ()))
        listed["train"] = [stem for stem in both if stem not in held_out]
    elif both is not None and (
        lost := set(both) - set(listed["train"]) - set(listed.get("val", ()))
    ):
        remarks.append(f"{len(lost):,} images of trainval.txt are in neither train.txt nor val.txt")
    order = {"train": "train", "val": "validation", "test": "test"}
    return {part: listed[name] for name, part in order.items() if name in listed}, remarks


def _stem(text: str, path: Path) -> str:
    name = inside(text, path)
    ending = next((end for end in SUFFIXES if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)]


def _found(tree: Tree, base: str, stems: list[str]) -> tuple[_Images, list[_Object]]:
    folder, source = join(base, "JPEGImages"), tree.root / base
    files: dict[str, list[str]] = {}
    for name in tree.images(folder):
        files.setdefault(name.rpartition(".")[0], []).append(name)
    missing = [f"{join(folder, stem)}.*" for stem in stems if stem not in files]
    refuse_missing(missing, len(stems), "images", source)
    xmls = [f"{join(base, 'Annotations')}/{stem}.xml" for stem in stems]
    refuse_missing([x for x in xmls if not tree.has(x)], len(xmls), "annotations", source)
    images, objects = _Images(), list[_Object]()
    for i, (stem, xml) in enumerate(zip(stems, xmls, strict=True)):
        if len(files[stem]) > 1:
            raise InputError(f"{source}: {' and '.join(files[stem])} have one annotation.")
        path = tree.root / xml
        root = _parsed(path)
        images[join(folder, files[stem][0])] = _size(root, path)
        objects += [_object(i, one, path) for one in root.findall("object")]
    return images, objects


def _parsed(path: Path) -> Element:
    """The root of an XML; no DTD, so no entities, and nothing outside of it is read."""
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise InputError(f"{path}: it has a DTD, which is not read. Remove its <!DOCTYPE ...>.")

    parser.buffer_text = True
    parser.StartElementHandler = builder.start  # type: ignore[assignment]
    parser.EndElementHandler = builder.end  # type: ignore[assignment]
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(read_bounded(path, _LARGEST), True)
        root = builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged: {error}.") from error
    if root.tag != "annotation":
        raise InputError(f"{path}: its root is <{shown(root.tag)}>, not <annotation>.")
    return root


def _size(root: Element, path: Path) -> tuple[int, int]:
    """(H, W), 0 where it is not declared."""
    found = root.find("size")
    if found is None:
        return 0, 0
    values = [(found.findtext(side) or "0").strip() for side in ("height", "width")]
    if not all(v.isdecimal() and len(v) <= 6 for v in values):
        raise InputError(f"{path}: the size is {shown(values)}; it is height and width in pixels.")
    return int(values[0]), int(values[1])


def _object(index: int, one: Element, path: Path) -> _Object:
    name = (one.findtext("name") or "").strip()
    box, difficult = one.find("bndbox"), (one.findtext("difficult") or "0").strip()
    texts = [] if box is None else [(box.findtext(corner) or "").strip() for corner in _CORNERS]
    try:
        corners = [float(text) for text in texts]
    except ValueError:
        corners = []
    if not name or len(corners) != 4 or difficult not in ("0", "1"):
        raise InputError(
            f"{path}: an object is named {shown(name)}, its box is {shown(texts)}, difficult "
            f"{shown(difficult)}. {_FORM} <difficult> is 0 or 1."
        )
    return index, name, corners, difficult == "1"


def _part(tree: Tree, base: str, images: _Images, objects: list[_Object]) -> Part:
    names, class_names = list(images), sorted({o[1] for o in objects}, key=by_number)
    number = {name: k for k, name in enumerate(class_names)}
    corners = np.array([o[2] for o in objects], np.float64).reshape(-1, 4)
    boxes = corners - [1, 1, 0, 0]
    # One column or row of pixels is a slip of the hand, as in BCCD; here it would have an area.
    empty = ~(corners[:, 2:] > corners[:, :2]).all(axis=1) & np.isfinite(corners).all(axis=1)
    boxes[empty, 2:] = boxes[empty, :2]
    part = Part(
        names=names,
        class_names=class_names,
        pictures=np.array([o[0] for o in objects], np.int64),
        boxes=boxes,
        classes=np.array([number[o[1]] for o in objects], np.int64),
        crowd=np.array([o[3] for o in objects], np.bool_),
        sizes=np.array(list(images.values()), np.int64).reshape(-1, 2),
    )
    zero = (corners[:, :2] == 0).any(axis=1).sum()
    part.remark(zero, "box", "from 0, where Pascal VOC counts from 1")
    return part.tidied(
        lambda i: f"{tree.root / base}/Annotations/{Path(names[objects[i][0]]).stem}.xml"
    )
