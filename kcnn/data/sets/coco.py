"""Detection data in COCO's JSON (cocodataset.org/#format-data): `bbox` is [x, y, width, height].

| Layout                                                 | Images                              |
|--------------------------------------------------------|-------------------------------------|
| `annotations/instances_train2017.json`                 | `train2017/`, or `images/train2017/`|
| `annotations_train.json`, `train.json`                 | `train/`, `images/train/`, `images/`|
| `train/_annotations.coco.json` (Roboflow)              | beside it                           |
| one of them without a split's name                     | `images/`, beside it, ...           |

Which folder it is, the files say: the first in which all of them are.

| Found                                     | Becomes                                           |
|-------------------------------------------|---------------------------------------------------|
| categories with gaps, or without a box    | class numbers by ascending id, all of them        |
| `iscrowd: 1`                              | kept as a crowd                                   |
| `bbox: []`, width or height not positive  | dropped, with a remark                            |
| an annotation id twice, all of it alike   | one of them dropped, with a remark                |
| an annotation id twice, otherwise         | both kept, with a remark                          |
| an annotation of an image not listed      | dropped, with a remark; if all are so, refused    |
| an image id or file, or a category, twice | refused                                           |
| a category id that is not declared        | refused                                           |
| a number as a string, NaN                 | refused                                           |
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, FailFast, Field, TypeAdapter, ValidationError

from kcnn.data.sets.box_geometry import counted
from kcnn.data.sets.box_parts import Part, Tree, inside, join, read_bounded, refuse_twice, shown
from kcnn.data.sets.coco_files import found, image_folder, is_there
from kcnn.errors import InputError
from kcnn.storage.files import check_values
from kcnn.storage.refusals import brief
from kcnn.terminal import printable

__all__ = ["is_there", "read"]

_LARGEST = 2**30  # instances_train2017.json, the largest published, has 448 MB
_MOST_VALUES = 2**27

_Size = Annotated[int, Field(ge=0, le=10**6)]


class _Image(BaseModel):
    id: int | str
    file_name: str
    width: _Size = 0
    height: _Size = 0


class _Category(BaseModel):
    id: int
    name: Annotated[str, Field(min_length=1)]


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int
    bbox: Annotated[list[float], Field(max_length=4)]
    iscrowd: bool | Annotated[int, Field(ge=0, le=1)] | None = None
    id: int | str | None = None


class _Coco(BaseModel):
    images: Annotated[list[_Image], FailFast()]
    categories: Annotated[list[_Category], FailFast()]
    annotations: Annotated[list[_Annotation], FailFast()]


def read(tree: Tree) -> dict[str, Part]:
    """By split, what it holds; {"train": ...} where no split is named.

    Raises:
        InputError: A file of another form, with the place; images that are not there.
    """
    chosen, rest = found(tree)
    parts = {part or "train": _part(tree, path, part) for part, path in chosen.items()}
    for part in list(parts.values())[:1] if rest else []:
        part.remarks.append(f"not read: {', '.join(map(printable, rest[:10]))}")
    return parts


@cache
def _adapter() -> TypeAdapter[_Coco]:
    return TypeAdapter(_Coco)


@contextmanager
def _without_collector() -> Iterator[None]:
    """A million new objects, none of them in a circle: looking for those takes half of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _content(path: Path) -> _Coco:
    text = read_bounded(path, _LARGEST)
    try:
        check_values(text, _MOST_VALUES)
        with _without_collector():
            return _adapter().validate_json(text.removeprefix(b"\xef\xbb\xbf"), strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)[:3]
        listed = "; ".join(
            f"{brief('.'.join(map(str, e['loc'])), 80) or 'it'}: {e['msg'][:1].lower()}"
            f"{brief(e['msg'][1:])}"
            for e in faults
        )
        raise InputError(
            f"{path} is not COCO's JSON: {listed}. It holds the lists images (id, file_name), "
            f"categories (id, name) and annotations (image_id, category_id, bbox of four numbers)."
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is too large: {error}.") from error


def _part(tree: Tree, path: str, part: str) -> Part:
    source = tree.root / path
    content = _content(source)
    names = [inside(image.file_name, source) for image in content.images]
    refuse_twice([image.id for image in content.images], "image id", source)
    refuse_twice(names, "file_name", source)
    categories = sorted(content.categories, key=lambda category: category.id)
    refuse_twice([c.id for c in categories], "category id", source)
    refuse_twice([c.name for c in categories], "category name", source)
    folder = image_folder(tree, path, part, names)
    index = {image.id: i for i, image in enumerate(content.images)}
    number = {category.id: k for k, category in enumerate(categories)}
    remarks = list[str]()
    kept, places = _kept(content.annotations, index, number, source, remarks)
    x_min, y_min, width, height = np.array([a.bbox for a in kept], np.float64).reshape(-1, 4).T
    return Part(
        names=[join(folder, name) for name in names],
        class_names=[category.name for category in categories],
        pictures=np.array([index[a.image_id] for a in kept], np.int64),
        boxes=np.stack([x_min, y_min, x_min + width, y_min + height], axis=1),
        classes=np.array([number[a.category_id] for a in kept], np.int64),
        crowd=np.array([bool(a.iscrowd) for a in kept], np.bool_),
        sizes=np.array([(i.height, i.width) for i in content.images], np.int64).reshape(-1, 2),
        remarks=remarks,
    ).tidied(lambda i: f"{source}: annotations.{places[i]}")


def _kept(
    annotations: list[_Annotation],
    index: dict[Any, int],
    number: dict[int, int],
    source: Path,
    remarks: list[str],
) -> tuple[list[_Annotation], list[int]]:
    """The annotations that become boxes, and their places in the file."""
    places, orphans, empty = list[int](), 0, 0
    for place, one in enumerate(annotations):
        if one.category_id not in number:
            raise InputError(
                f"{source}: annotations.{place} has the category_id {shown(one.category_id)}, and "
                f"categories are {', '.join(map(str, list(number)[:20]))}."
            )
        if one.image_id not in index:
            orphans += 1
        elif not one.bbox:
            empty += 1
        elif len(one.bbox) < 4:
            raise InputError(
                f"{source}: annotations.{place} has the bbox {shown(one.bbox)}; it is [x, y, "
                f"width, height]."
            )
        else:
            places.append(place)
    if orphans and orphans == len(annotations):
        raise InputError(
            f"{source}: no annotation is of an image that is listed: image_id is "
            f"{shown(annotations[0].image_id)}, ids are {', '.join(map(shown, list(index)[:5]))}."
        )
    repeated, differing = _repeated(annotations, places)
    told = (
        (orphans, "of images that are not listed dropped"),
        (empty, "with an empty bbox dropped"),
        (len(repeated), "there twice under one id, one dropped"),
        (differing, "under the id of another one kept"),
    )
    remarks += [f"{counted(count, 'annotation')} {text}" for count, text in told if count]
    places = [place for place in places if place not in repeated]
    return [annotations[place] for place in places], places


def _repeated(annotations: list[_Annotation], places: list[int]) -> tuple[set[int], int]:
    """Places of the annotations that repeat another one and its id; and how many an id only."""
    first, repeated, differing = dict[Any, _Annotation](), set[int](), 0
    for place in places:
        one = annotations[place]
        if one.id is not None and (other := first.setdefault(one.id, one)) is not one:
            if one == other:
                repeated.add(place)
            else:
                differing += 1
    return repeated, differing
