"""Weights of classes as a recipe takes them, brought to one text: it is what `recipe.json` holds.

A file is read once, when the recipe is made; so a run repeats whatever becomes of the file.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kcnn.errors import InputError

_WORDS = ("none", "balanced")
_FILES = (".json", ".csv")


def class_weights(name: str, value: Any) -> str:
    """A check of `kcnn.recipes.checks`: weights of classes as text.

    Args:
        name: Of the field.
        value: `none`, `balanced`; a number for each class, `1,0.5,2` or a list; by name,
            `cat=2,dog=0.5` or a mapping; or a file that ends in .json (a list, or an object) or
            .csv (lines of class and weight).

    Returns:
        A word, numbers with commas between, or an object of JSON.

    Raises:
        InputError: Anything else; a file that cannot be read.
    """
    try:
        return _text(_meant(value))
    except (TypeError, ValueError, AttributeError):
        raise InputError(
            f"{name} is none, balanced, a number from 0 up for each class, such as 1,0.5,2, or by "
            f"name, such as cat=2,dog=0.5, or a .json or .csv file of them; received {value!r}."
        ) from None


def by_class(text: str, class_names: tuple[str, ...]) -> tuple[float, ...]:
    """The numbers of that text, one for each class; 1 for classes that it does not name.

    Args:
        text: What `class_weights` gave, other than a word.
        class_names: Of the data. Where a text names numbers that are no names, they are those of
            the classes, from 0.

    Raises:
        InputError: Another number of numbers than of classes; names that no class has.
    """
    if not text.startswith("{"):
        weights = tuple(float(number) for number in text.split(","))
        if len(weights) != len(class_names):
            raise InputError(
                f"class_weights has {len(weights)} numbers; the data have {len(class_names)} "
                f"classes: {', '.join(class_names)}."
            )
        return weights
    given = json.loads(text)
    numbered = [str(number) for number in range(len(class_names))]
    names = class_names if any(name in class_names for name in given) else numbered
    if unknown := [name for name in given if name not in names]:
        raise InputError(
            f"class_weights names {', '.join(map(repr, unknown))}; the classes of the data are "
            f"{', '.join(class_names)}."
        )
    return tuple(float(given.get(name, 1.0)) for name in names)


def _meant(value: Any) -> Any:
    """A word, a list of numbers, or a mapping."""
    if not isinstance(value, str):
        return value
    if value in _WORDS:
        return value
    if value.startswith("{"):
        return json.loads(value)
    if value.lower().endswith(_FILES):
        return _of_file(Path(value).expanduser())
    parts = value.split(",")
    if all("=" in part for part in parts):
        return _without_repeats(part.rsplit("=", 1) for part in parts)
    return parts


def _text(meant: Any) -> str:
    if isinstance(meant, str) or list(meant) in ([word] for word in _WORDS):
        word = meant if isinstance(meant, str) else next(iter(meant))
        if word not in _WORDS:
            raise ValueError
        return str(word)
    named = isinstance(meant, Mapping)
    numbers = [float(number) for number in (meant.values() if named else meant)]
    if not numbers or not all(math.isfinite(n) and n >= 0 for n in numbers) or not any(numbers):
        raise ValueError
    if named:
        names = [str(name) for name in meant]
        return json.dumps(dict(zip(names, numbers, strict=True)), ensure_ascii=False)
    return ",".join(map(_number, numbers))


def _number(number: float) -> str:
    """As short as it may be, and the same number when it is read."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def _of_file(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return json.loads(text, object_pairs_hook=_without_repeats)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"class_weights: {path} cannot be read: {error}.") from error
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and len(rows[0]) == 2 and not _is_number(rows[0][1]):  # a header
        rows = rows[1:]
    if not rows or any(len(row) != 2 or not _is_number(row[1]) for row in rows):
        raise InputError(f"class_weights: {path} does not hold lines of class and weight.")
    return _without_repeats((name.strip(), weight) for name, weight in rows)


def _without_repeats(pairs: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, weight in pairs:
        if name in found:
            raise InputError(f"class_weights names {name!r} twice.")
        found[name] = weight
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
