"""Training: recipes, runs, and what leads from one to the other.

`Recipe` needs no Keras; the others load it when they are first asked for.
"""

import importlib
from typing import Any

_HOME = {
    "Evaluation": "kcnn.training.evaluate",
    "Recipe": "kcnn.training.recipe",
    "Run": "kcnn.training.run",
    "evaluate_model": "kcnn.training.evaluate",
    "evaluate_run": "kcnn.training.predict",
    "load_run": "kcnn.training.run",
    "predict": "kcnn.training.predict",
    "train": "kcnn.training.train",
}

__all__ = [*_HOME]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name != "Recipe":
        from kcnn import startup

        startup.load()
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
