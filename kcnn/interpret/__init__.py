"""What a network has learned, as arrays, of any `keras.Model`; `kcnn.draw` draws them."""

import importlib
from typing import Any

#: name: the module that defines it, which has another name: a module is its package's attribute
#: once it is imported, and would stand where the function shall.
_HOME: dict[str, str] = {
    "Exciting": "kcnn.interpret.excitation",
    "FeatureMaps": "kcnn.interpret.maps",
    "Filters": "kcnn.interpret.kernels",
    "Preferred": "kcnn.interpret.preference",
    "edges": "kcnn.interpret.kernels",
    "evidence_layer": "kcnn.interpret.activation",
    "exciting": "kcnn.interpret.excitation",
    "exciting_each": "kcnn.interpret.excitation",
    "feature_maps": "kcnn.interpret.maps",
    "filter_layers": "kcnn.interpret.kernels",
    "filters": "kcnn.interpret.kernels",
    "grad_cam": "kcnn.interpret.activation",
    "map_layers": "kcnn.interpret.maps",
    "occlusion": "kcnn.interpret.covering",
    "preferred": "kcnn.interpret.preference",
    "saliency": "kcnn.interpret.sensitivity",
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
