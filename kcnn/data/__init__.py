"""Data: three splits by name, path or from arrays, and the batches made of them.

Names load on first use, and TensorFlow only when batches are made.
"""

import importlib
from typing import Any

_HOME = {
    "load_data": "sets.sources",
    "from_arrays": "sets.splits",
    "Data": "sets.splits",
    "Split": "sets.splits",
    "ImageFiles": "sets.images",
    "load_image": "sets.images",
    "preflight": "sets.preflight",
    "statistics": "batches.pipeline",
    "steps_per_epoch": "batches.pipeline",
    "training_batches": "batches.pipeline",
    "training_feed": "batches.feed",
    "Feed": "batches.feed",
    "ClassTargets": "batches.targets",
    "fill_cache": "batches.feed",
    "evaluation_batches": "batches.pipeline",
    "feed_batches": "batches.pipeline",
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
