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
_IMAGES, _LABELS = ("x_{}", "X_{}", "{}_images"), ("y_{}", "{}_labels")


def is_pair(value: Any) -> bool:
    """Whether it is a tuple of two: images and labels, or two parts."""
    return isinstance(value, tuple | list) and len(value) == 2


def is_labelled(value: Any) -> bool:
    """Whether it is images and labels, with or without weights of the images behind them."""
    return is_pair(value) or (isinstance(value, tuple | list) and len(value) == 3)


def parts_of(data: Any) -> dict[str, Any] | None:
    """Parts by name, of a pair (images, labels), a tuple of such pairs, or a mapping; else None.

    A pair may have weights of the images behind it. A tuple of two pairs is what `keras.datasets`
    give: train and test; of three, train, validation and test.

    Raises:
        InputError: A mapping whose keys name a part twice, or no part.
    """
    if isinstance(data, Mapping):
        found = {_part(key): value for key, value in data.items()}
        if None in found or len(found) < len(data) or "train" not in found:
            raise InputError(
                f"A mapping of data has the keys 'train', 'validation' and 'test', at least the "
                f"first; received {', '.join(map(repr, data))}."
            )
        return {str(part): value for part, value in found.items()}
    if isinstance(data, tuple | list) and len(data) in (2, 3) and all(map(_is_split, data)):
        return dict(zip(PARTS if len(data) == 3 else ("train", "test"), data, strict=True))
    return {"train": data} if is_labelled(data) else None


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
