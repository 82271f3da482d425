"""Tuning: a search space, trials that are trainings, and a winner that a file repeats.

Names load on first use.
"""

import importlib
from typing import Any

_HOME = {
    "Choice": "recipes.domains",
    "Found": "tuning.search",
    "Options": "tuning.options",
    "Range": "recipes.domains",
    "Space": "tuning.space",
    "hypermodel": "tuning.hypermodel",
    "script": "tuning.script",
    "space_of": "tuning.overrides",
    "tune": "tuning.search",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"kcnn.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
