"""What a network has learned, as arrays, of any `keras.Model`; `kcnn.draw` draws them."""

import importlib
from typing import Any

#: name: the module that defines it, which has another name: a module is its package's attribute
#: once it is imported, and would stand where the function shall.
_HOME: dict[str, str] = {
    "Answers": "kcnn.interpret.answers",
    "BoxErrors": "kcnn.interpret.boxes",
    "Exciting": "kcnn.interpret.excitation",
    "FeatureMaps": "kcnn.interpret.maps",
    "Filters": "kcnn.interpret.kernels",
    "MaskErrors": "kcnn.interpret.regions",
    "Pair": "kcnn.interpret.pairs",
    "Preferred": "kcnn.interpret.preference",
    "accuracy_by_corruption": "kcnn.interpret.robustness",
    "accuracy_by_shift": "kcnn.interpret.robustness",
    "balanced_accuracy": "kcnn.interpret.mistakes",
    "best_temperature": "kcnn.interpret.calibration",
    "by_class": "kcnn.interpret.mistakes",
    "calibration_curve": "kcnn.interpret.calibration",
    "cascade": "kcnn.interpret.randomisation",
    "classifier": "kcnn.interpret.robustness",
    "confusion": "kcnn.interpret.mistakes",
    "corrupt": "kcnn.interpret.corruptions",
    "edges": "kcnn.interpret.kernels",
    "evidence_layer": "kcnn.interpret.activation",
    "exciting": "kcnn.interpret.excitation",
    "exciting_each": "kcnn.interpret.excitation",
    "feature_maps": "kcnn.interpret.maps",
    "filter_layers": "kcnn.interpret.kernels",
    "filters": "kcnn.interpret.kernels",
    "grad_cam": "kcnn.interpret.activation",
    "look": "kcnn.interpret.health",
    "macro_f1": "kcnn.interpret.mistakes",
    "map_layers": "kcnn.interpret.maps",
    "mask_errors": "kcnn.interpret.regions",
    "mcnemar": "kcnn.interpret.pairs",
    "missed_and_invented": "kcnn.interpret.boxes",
    "most_confident_mistakes": "kcnn.interpret.mistakes",
    "negative_log_likelihood": "kcnn.interpret.calibration",
    "occlusion": "kcnn.interpret.covering",
    "permuted": "kcnn.interpret.robustness",
    "preferred": "kcnn.interpret.preference",
    "preferred_each": "kcnn.interpret.preference",
    "rank_correlation": "kcnn.interpret.randomisation",
    "risk_coverage": "kcnn.interpret.calibration",
    "saliency": "kcnn.interpret.sensitivity",
    "shifted": "kcnn.interpret.robustness",
    "style_transfer": "kcnn.interpret.style",
    "thresholds": "kcnn.interpret.two_classes",
    "wilson": "kcnn.interpret.mistakes",
    "worst_pictures": "kcnn.interpret.mistakes",
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
