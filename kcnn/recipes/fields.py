"""How a field of a recipe is declared: default, sentence, allowed values, and what it is to a run.

All that is to be said of a field stands at the field. `field` keeps it in the metadata of the
dataclass, where the docstring, the checks, and the identity of a run are read from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from kcnn.errors import InputError, did_you_mean
from kcnn.recipes.checks import Check

#: What a field is to a run that goes on: another value would be another training ("bits"), a
#: longer one ("length"), or the same ("free").
Role = Literal["bits", "length", "free"]

_NAME = "kcnn"
#: Of a field that every version has recorded.
ALWAYS_THERE: Any = object()


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What is declared at a field."""

    sentence: str
    check: Check
    role: Role
    older: Any  #: what a run did that was recorded before the field was there
    tasks: tuple[str, ...]  #: of kcnn's own tasks those that heed it; () is all of them


def field(
    default: Any,
    sentence: str,
    check: Check,
    *,
    role: Role = "bits",
    older: Any = ALWAYS_THERE,
    tasks: tuple[str, ...] = (),
) -> Any:
    """A field of a dataclass.

    Args:
        default: Its default; None is "open" and passes every check.
        sentence: What it is, for people.
        check: Which values it takes.
        role: What it is to a run that goes on.
        older: The value that repeats what runs did before the field was there.
        tasks: Those that heed it, where not all do; the others refuse it.
    """
    declared = Declaration(sentence, check, role, older, tasks)
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata={_NAME: declared})
    return dataclasses.field(default=default, metadata={_NAME: declared})


def declarations(cls: type) -> Iterator[tuple[str, Declaration]]:
    """Names and declarations of a dataclass' fields."""
    for declared in dataclasses.fields(cls):
        if _NAME in declared.metadata:
            yield declared.name, declared.metadata[_NAME]


def documented(cls: type) -> type:
    """A class decorator: the fields' sentences become the `Args` of its docstring."""
    head, raises = (cls.__doc__ or "").split("\n\n    Raises:")
    lines = [f"        {name}: {declared.sentence}" for name, declared in declarations(cls)]
    cls.__doc__ = "\n".join([head, "", "    Args:", *lines, "", f"    Raises:{raises}"])
    return cls


def check_names(given: Iterable[str], cls: type) -> None:
    """Refuse names that are no fields of `cls`.

    Raises:
        InputError: With those that are.
    """
    known = {declared.name for declared in dataclasses.fields(cls)}
    if unknown := set(given) - known:
        raise InputError(
            f"A recipe has no field {', '.join(sorted(unknown))}."
            f"{did_you_mean(min(unknown), known)} Its fields: "
            f"{', '.join(sorted(known))}."
        )


def check_fields(instance: Any, cls: type) -> None:
    """Check what `cls` declares on a frozen dataclass, and set fields to what checks give."""
    for name, declared in declarations(cls):
        value = getattr(instance, name)
        if value is not None:
            object.__setattr__(instance, name, declared.check(name, value))
