"""Tuning: a search space, trials that are trainings, and a winner that a file repeats.

Names load on first use.
"""

import importlib
from typing import Any

_HOME = {
    "Choice": "domains",
    "Found": "search",
    "Options": "options",
    "Range": "domains",
    "Space": "space",
    "hypermodel": "hypermodel",
    "script": "script",
    "space_of": "overrides",
    "tune": "search",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
