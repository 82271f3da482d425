"""What a checkpoint holds, by types: checked as a whole before any of it is believed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, InstanceOf

from kcnn.storage import schema
from kcnn.storage.archive import DamagedError

#: Of the content. In 1 the rate of a schedule of kcnn's was no variable.
VERSION = 2

_Count = Annotated[int, Field(ge=0, lt=2**62)]
_Array = InstanceOf[np.ndarray] | InstanceOf[np.generic]


class _Variables(BaseModel):
    model: list[_Array]
    optimizer: list[_Array]
    others: dict[str, list[_Array]] = {}
    metrics: list[_Array] = []


class _Course(BaseModel):
    epoch: list[int] = []
    history: dict[str, list[float | _Array]] = {}


class _Random(BaseModel):
    python: tuple[int, tuple[_Count, ...], float | None]
    numpy: tuple[str, InstanceOf[np.ndarray], int, int, float]


class _Content(BaseModel):
    epoch: _Count
    batch: _Count
    step: _Count
    before_validation: bool
    stopped: bool
    identity: dict[str, Any]
    variables: _Variables
    callbacks: list[Annotated[list[Any], Field(min_length=2, max_length=2)]]
    kinds: dict[str, str] = {}  # missing in those of before, as is the next one
    first: str | None = None
    history: _Course
    random: _Random


def check(path: Path, content: Any, epoch: int, batch: int) -> None:
    """Refuse what an archive holds unless it is a checkpoint, and that of its name.

    Args:
        path: Of the archive.
        content: What it holds, of a known version.
        epoch: By its name.
        batch: Steps in that epoch, by its name.

    Raises:
        DamagedError: With the first fault.
    """
    found = schema.faults(content, _Content) or [*_faults(content, epoch, batch)]
    if found:
        raise DamagedError(f"{str(path)!r} is damaged: {found[0]}.")


def _faults(content: dict[str, Any], epoch: int, batch: int) -> list[str]:
    """What types do not tell."""
    found = []
    if (content["epoch"], content["batch"]) != (epoch, batch):
        found.append(f"it is of epoch {content['epoch']}, step {content['batch']} of it")
    if content["step"] < content["batch"]:
        found.append("it has done fewer steps than those of its epoch")
    if not all(isinstance(name, str) for name, _ in content["callbacks"]):
        found.append("a callback has no name")
    try:
        random.Random().setstate(content["random"]["python"])
        np.random.RandomState().set_state(content["random"]["numpy"])
    except (ValueError, TypeError, OverflowError) as error:
        found.append(f"no state of random numbers ({error})")
    return found
