"""What the files of a run directory hold, by types; they are read as if a stranger wrote them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, FiniteFloat

from kcnn.errors import InputError
from kcnn.figures import Figure
from kcnn.recipes.places import found_again
from kcnn.storage import schema
from kcnn.storage.files import open_regular, read_json
from kcnn.storage.schema import Text

_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Seconds = Annotated[FiniteFloat, Field(ge=0)]
_Pair = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]
_Shape = Annotated[list[Annotated[int, Field(ge=1)] | None], Field(min_length=3, max_length=3)]


class _Pixels(BaseModel):
    dtype: str
    range: _Pair


class _Images(BaseModel):
    train: _Count
    validation: _Count
    test: _Count


class _Data(BaseModel):
    name: Text
    source: Text | None
    provenance: Text
    fingerprint: str
    images: _Images
    image_shape: _Shape
    class_names: list[Text]
    pixels: _Pixels | None = None  # runs of before have none
    duplicates: dict[str, Any] | None = None  # so have those


class Recorded(BaseModel):
    """Of `recipe.json`."""

    recipe: dict[str, Any]
    task: str | None = None  # as before
    outputs: str | None = None
    data: _Data
    data_path: Text | None = None  # runs of before have none
    paths: dict[str, Text] = {}  # nor these
    versions: dict[str, str]
    device: str


class _Result(BaseModel):
    epochs: Annotated[int, Field(ge=1, lt=2**53)]
    kept_epoch: _Count
    seconds: _Seconds
    seconds_per_epoch: _Seconds
    images_per_second: _Seconds


def read_recorded(directory: Path) -> dict[str, Any]:
    """What `recipe.json` of a run holds; the recipe in it is not looked at yet.

    Data of which a relative path was given are named by where they are, if that is elsewhere.

    Raises:
        InputError: It is damaged.
    """
    path = directory / "recipe.json"
    content = read_json(path)
    schema.check(path, content, Recorded)
    return found_again(content)


def read_result(directory: Path, figures: Iterable[Figure]) -> dict[str, Any]:
    """What `result.json` of a run holds.

    Args:
        directory: Of the run.
        figures: Of its task: each has a number there, or null where there was nothing to measure.

    Raises:
        InputError: It is damaged.
    """
    path = directory / "result.json"
    content = read_json(path)
    schema.check(path, content, _Result)
    names = [f"{part}_{figure.name}" for figure in figures for part in ("test", "validation")]
    missing = [name for name in names if name not in content]
    if missing:
        raise InputError(f"{str(path)!r} is damaged: it has no {', '.join(missing)}.")
    schema.check(path, {name: content[name] for name in names}, dict[str, float | None])
    return content


def read_history(directory: Path) -> dict[str, list[float]]:
    """The figures of `metrics.csv` by name, one an epoch; none where there is no such file.

    Raises:
        InputError: It is damaged.
    """
    path = directory / "metrics.csv"
    if not path.exists():
        return {}
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8")
        rows = list(csv.DictReader(text.splitlines()))
        names = [name for name in (rows[0] if rows else {}) if name != "epoch"]
        return {name: [float(row[name]) for row in rows if row[name]] for name in names}
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise InputError(f"{str(path)!r} is damaged: {error}.") from error
