"""Data: three splits by name, path or from arrays, and the batches made of them.

Names load on first use, and TensorFlow only when batches are made.
"""

import importlib
from typing import Any

_HOME = {
    "load_data": "sources",
    "from_arrays": "splits",
    "Data": "splits",
    "Split": "splits",
    "ImageFiles": "images",
    "load_image": "images",
    "preflight": "images",
    "statistics": "pipeline",
    "steps_per_epoch": "pipeline",
    "training_batches": "pipeline",
    "training_feed": "feed",
    "Feed": "feed",
    "fill_cache": "feed",
    "evaluation_batches": "pipeline",
    "feed_batches": "pipeline",
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
