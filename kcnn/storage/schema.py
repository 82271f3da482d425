"""What a file of plain data has to hold, by types; what does not is refused in a sentence."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pydantic import InstanceOf, TypeAdapter, ValidationError

from kcnn.errors import InputError
from kcnn.storage.refusals import brief

_SHOWN = 3  # faults that a message lists

#: Text that may hold bytes of a file's name that are no UTF-8, which pydantic's own str refuses.
Text = InstanceOf[str]


def check(path: Path, content: Any, kind: Any) -> None:
    """Refuse content of a file that is not of the type `kind`; what it has beyond is let be.

    Args:
        path: Of the file.
        content: As JSON gives it.
        kind: A type as pydantic takes it, such as a `BaseModel`; nothing is converted to it.

    Raises:
        InputError: With the first faults, each by its place.
    """
    if found := faults(content, kind):
        listed = "; ".join(found[:_SHOWN])
        raise InputError(
            f"{str(path)!r} is damaged: {listed}. kcnn did not write it so; take a copy of it, or "
            f"train anew."
        )


def faults(content: Any, kind: Any) -> list[str]:
    """Where content is not of the type `kind`: places, and what is wrong there."""
    try:
        _adapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        return [
            f"{brief('.'.join(map(str, e['loc'])), 80) or 'it'}: {e['msg'][:1].lower()}"
            f"{brief(e['msg'][1:])}"
            for e in error.errors(include_url=False)
        ]
    return []


@functools.cache
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)
