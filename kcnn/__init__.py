"""kcnn: the classic convolutional network in Keras 3.

Importing is fast and silent: Keras and TensorFlow load on first real use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see
    from kcnn import callbacks as callbacks
    from kcnn import interpret as interpret
    from kcnn import tuning as tuning
    from kcnn import weights as weights
    from kcnn.data import Data as Data
    from kcnn.data import from_arrays as from_arrays
    from kcnn.data import load_data as load_data
    from kcnn.errors import InputError as InputError
    from kcnn.graph.export import export as export
    from kcnn.graph.folding import fold_batchnorm as fold_batchnorm
    from kcnn.graph.stages import freeze as freeze
    from kcnn.graph.stages import replace_classifier as replace_classifier
    from kcnn.models.build import build as build
    from kcnn.models.build import card as card
    from kcnn.models.registry import list_models as list_models
    from kcnn.models.registry import register as register
    from kcnn.recipes.named import named_recipe as named_recipe
    from kcnn.recipes.recipe import Recipe as Recipe
    from kcnn.runs.directory import load_run as load_run
    from kcnn.runs.predicting import predict as predict
    from kcnn.training.train import resume as resume
    from kcnn.training.train import train as train
    from kcnn.tuning.search import tune as tune

__version__ = "0.1.0"

#: name: the module that defines it
_HOME = {
    "Data": "kcnn.data",
    "InputError": "kcnn.errors",
    "Recipe": "kcnn.recipes.recipe",
    "build": "kcnn.models.build",
    "callbacks": "kcnn.callbacks",
    "card": "kcnn.models.build",
    "export": "kcnn.graph.export",
    "fold_batchnorm": "kcnn.graph.folding",
    "freeze": "kcnn.graph.stages",
    "from_arrays": "kcnn.data",
    "interpret": "kcnn.interpret",
    "list_models": "kcnn.models.registry",
    "load_data": "kcnn.data",
    "load_run": "kcnn.runs.directory",
    "named_recipe": "kcnn.recipes.named",
    "predict": "kcnn.runs.predicting",
    "register": "kcnn.models.registry",
    "replace_classifier": "kcnn.graph.stages",
    "resume": "kcnn.training.train",
    "train": "kcnn.training.train",
    "tune": "kcnn.tuning.search",
    "tuning": "kcnn.tuning",
    "weights": "kcnn.weights",
}

#: What users of `keras.applications` look for.
_HINTS = {
    "preprocess_input": ": a trained network takes raw images and normalises them inside",
    "decode_predictions": ": kcnn.predict takes raw images and names classes",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the names are strings


if not TYPE_CHECKING:  # which would take any name

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'kcnn' has no attribute {name!r}{_HINTS.get(name, '')}")
        home = importlib.import_module(_HOME[name])
        value = home if _HOME[name] == f"kcnn.{name}" else getattr(home, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
