"""What a network has learned, as arrays, of any `keras.Model`; `kcnn.draw` draws them."""

import importlib
from typing import Any

#: name: the module that defines it
_HOME: dict[str, str] = {
    "style_transfer": "kcnn.interpret.style",
}

__all__: list[str] = [*_HOME]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kcnn.interpret' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
