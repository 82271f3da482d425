"""The forms in which people hand over splits of arrays, brought to one: parts by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kcnn.errors import InputError

PARTS = ("train", "validation", "test")

#: Names of a part in archives and mappings: Keras', and those of published sets (MedMNIST).
_ALIASES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
#: Names of what an element of a split is, where it is a mapping: tfds', and other libraries'.
_FEATURES = {
    "images": ("image", "images", "x", "pixels", "img"),
    "labels": ("label", "labels", "y"),
    "weights": ("weight", "weights", "sample_weight"),
}
_IMAGES, _LABELS = ("x_{}", "X_{}", "{}_images"), ("y_{}", "{}_labels")


def is_pair(value: Any) -> bool:
    """Whether it is a tuple of two: images and labels, or two parts."""
    return isinstance(value, tuple | list) and len(value) == 2


def is_labelled(value: Any) -> bool:
    """Whether it is images and labels, with or without weights of the images behind them."""
    return is_pair(value) or (isinstance(value, tuple | list) and len(value) == 3)


def parts_of(data: Any) -> dict[str, Any] | None:
    """Parts by name, of a pair (images, labels), a tuple of such pairs, or a mapping; else None.

    A pair may have weights of the images behind it, or be a mapping of "image" and "label". A tuple
    of two pairs is what `keras.datasets` give: train and test; of three, train, validation and
    test. Of two streams it is what `image_dataset_from_directory` gives: train and validation.

    Raises:
        InputError: A mapping whose keys name a part twice, or no part.
    """
    if features(data):
        return {"train": as_tuple(data)}
    if isinstance(data, Mapping):
        found = {_part(key): value for key, value in data.items()}
        if None in found or len(found) < len(data) or "train" not in found:
            raise InputError(
                f"A mapping of data has the keys 'train', 'validation' and 'test', at least the "
                f"first; received {', '.join(map(repr, data))}."
            )
        return {str(part): as_tuple(value) for part, value in found.items()}
    if is_pair(data) and all(hasattr(part, "element_spec") for part in data):
        return {"train": data[0], "validation": data[1]}
    if isinstance(data, tuple | list) and len(data) in (2, 3) and all(map(features, data)):
        data = tuple(map(as_tuple, data))
    if isinstance(data, tuple | list) and len(data) in (2, 3) and all(map(_is_split, data)):
        return dict(zip(PARTS if len(data) == 3 else ("train", "test"), data, strict=True))
    return {"train": data} if is_labelled(data) else None


def features(value: Any) -> dict[str, str] | None:
    """Of a mapping that has images and labels, the keys of these, and of weights; else None.

    Raises:
        InputError: Several keys could be one of them.
    """
    if not isinstance(value, Mapping):
        return None
    found = {what: [n for n in names if n in value] for what, names in _FEATURES.items()}
    if not (found["images"] and found["labels"]):
        return None
    for what, names in found.items():
        if len(names) > 1:
            raise InputError(
                f"A mapping has {' and '.join(map(repr, names))}: only one of them can be the "
                f"{what}. Leave the others out."
            )
    return {what: names[0] for what, names in found.items() if names}


def as_tuple(value: Any) -> Any:
    """(images, labels), with weights behind them where there are such, of a mapping of these.

    Whatever is none passes as it is; other keys are not read.
    """
    keys = features(value)
    return value if keys is None else tuple(value[key] for key in keys.values())


def keys_of(names: Collection[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Of an archive: by part, the keys of its images and labels; and those that nothing reads.

    Raises:
        InputError: A part has images and no labels, or the other way round; there is no train.
    """
    found, missing = {}, []
    for part, aliases in _ALIASES.items():
        images = [form.format(a) for a in aliases for form in _IMAGES if form.format(a) in names]
        labels = [form.format(a) for a in aliases for form in _LABELS if form.format(a) in names]
        if images and labels:
            found[part] = images[0], labels[0]
        elif part == "train" or images or labels:
            missing += [] if images else [f"x_{part}"]
            missing += [] if labels else [f"y_{part}"]
    if missing:
        raise InputError(f"lacks {', '.join(missing)}")
    used = {key for pair in found.values() for key in pair} | {"class_names"}
    return found, [name for name in names if name not in used]


def _is_split(value: Any) -> bool:
    """Whether it is arrays of images and labels, and not itself an array of two images."""
    if not is_pair(value) and not (isinstance(value, tuple) and len(value) == 3):
        return False
    return not any(isinstance(part, int | float | str) for part in value)


def _part(key: Any) -> str | None:
    return next((part for part, names in _ALIASES.items() if key in names), None)
