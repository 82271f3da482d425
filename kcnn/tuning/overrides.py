"""A network's search space: its family's table, changed from the command line or by a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kcnn.errors import InputError
from kcnn.models import registry
from kcnn.recipes.defaults import SMALLEST_TO_CROP
from kcnn.recipes.domains import Choice, Domain, Range, parse, searched, value_text
from kcnn.recipes.families import CONDITIONS, NOT_SEARCHED, Scaled
from kcnn.recipes.fields import declarations
from kcnn.recipes.recipe import SWITCHES, Recipe
from kcnn.tuning.space import Space


def space_of(
    model: str,
    overrides: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
    image_shape: tuple[int | None, int | None, int] | None = None,
) -> Space:
    """The search space of a network: its family's table, with the user's changes.

    Args:
        model: A name of `kcnn list`, or FILE.py:NAME.
        overrides: NAME=DOMAIN, as on the command line; they come last.
        changes: Domains by name: `Range`, `Choice`, a list of values, or a fixed value.
        image_shape: (H, W, C) of the images, where it is known; small ones are not cropped.

    Raises:
        InputError: Names that neither a recipe nor the network has; nothing left to search.
    """
    entry = registry.lookup(model)
    rows: dict[str, Domain] = {
        name: domain.of(entry.options[name]) if isinstance(domain, Scaled) else domain
        for name, domain in entry.family.space.items()
        if not isinstance(domain, Scaled) or entry.options.get(name)
    }
    rows = {n: d for n, d in rows.items() if _known(n, entry)}  # a row may lack what others have
    height, width, _ = image_shape or (None, None, 0)
    if height and width and min(height, width) < SMALLEST_TO_CROP:
        rows.pop("augment", None)
    given: dict[str, Domain] = {}
    for name, value in (changes or {}).items():
        given[name] = Choice(tuple(value)) if isinstance(value, list) else value
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(
                f"A row of the search space is NAME=LOW:HIGH[:SCALE], NAME=A,B,C or NAME=VALUE; "
                f"received {text!r}."
            )
        given[name] = parse(value, given.get(name, rows.get(name)))
    if given.get("weights") or given.get("backbone_weights"):
        # Weights are of one network: what would make another of it is not searched unasked.
        rows = {n: d for n, d in rows.items() if n == "dropout" or n not in entry.options}
    for name, domain in given.items():
        _check(name, domain, entry)
        rows[name] = domain
    return Space(_ordered(_switched(rows, given)))


def space_file(path: str | Path) -> dict[str, Any]:
    """The changes that a Python file makes: its mapping `space`.

    Raises:
        InputError: No such file, or it has no such mapping.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.is_file():
        raise InputError(
            f"A search space is in a Python file (.py); {str(path)!r} is "
            f"{'no such file' if path.exists() else 'not there'}."
        )
    found = getattr(registry.run_file(path), "space", None)
    if not isinstance(found, Mapping):
        raise InputError(
            f"{str(path)!r} is to hold `space`, a mapping of names to kcnn.tuning.Range, lists of "
            f"values, or values; received {type(found).__name__}."
        )
    return dict(found)


def _known(name: str, entry: registry.Entry) -> bool:
    fields = {f.name for f in dataclasses.fields(Recipe)} - {*NOT_SEARCHED}
    switches = set(SWITCHES)
    return name == "swa" or name in fields - switches or name in entry.options


def _check(name: str, domain: Domain, entry: registry.Entry) -> None:
    if name in NOT_SEARCHED:
        raise InputError(f"{name} is the same for all trials: give it as an option, not as a row.")
    if not _known(name, entry):
        raise InputError(
            f"The search space has no {name!r}: neither a recipe nor {entry.name} knows it. "
            f"Options of the network: {', '.join(sorted(entry.options))}."
        )
    if name == "swa":
        if not isinstance(domain, (Choice, bool)):
            raise InputError(f"swa is true, false, or false,true; received {value_text(domain)}.")
        return
    for value in _values(domain):
        _check_value(name, value, entry)


def _values(domain: Domain) -> tuple[Any, ...]:
    """Those that say whether a row can be: of a range its ends."""
    if isinstance(domain, Range):
        return domain.low, domain.high
    return domain.values if isinstance(domain, Choice) else (domain,)


def _check_value(name: str, value: Any, entry: registry.Entry) -> None:
    """Refuse a value at once that no trial could have.

    Raises:
        InputError: As the recipe, or the network, refuses it.
    """
    if value is None:
        return
    declared = dict(declarations(Recipe)).get(name)
    try:
        if declared is not None:
            declared.check(name, value)
        if name in entry.options:
            entry.accepted({name: value})
    except InputError as error:
        raise InputError(f"The row {name} of the search space has {value!r}: {error}") from error


def _switched(rows: dict[str, Domain], given: Mapping[str, Domain]) -> dict[str, Domain]:
    """The rows without those that can never count; averaging that is given a start is on."""
    if "swa" not in given and not searched(given.get("swa_start", Range(0.0, 1.0))):
        rows["swa"] = given["swa_start"] is not None
    for name, (parent, values) in CONDITIONS.items():
        domain = rows.get(parent)
        possible = domain.values if isinstance(domain, Choice) else (domain,)
        if name in rows and not set(possible) & set(values):
            if name in given and given[name] is not None:
                raise InputError(
                    f"{name} counts only where {parent} is {' or '.join(map(value_text, values))}; "
                    f"received {parent}={value_text(rows.get(parent))}."
                )
            del rows[name]
    if not any(map(searched, rows.values())):
        raise InputError("Everything in the search space is fixed: train it by kcnn train.")
    return rows


def _ordered(rows: dict[str, Domain]) -> dict[str, Domain]:
    """Rows behind those that they depend on."""
    parents = [parent for parent, _ in CONDITIONS.values() if parent in rows]
    return {name: rows[name] for name in dict.fromkeys([*parents, *rows])}
