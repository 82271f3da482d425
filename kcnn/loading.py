"""Models from files of strangers: a public name, whose home is `kcnn.storage.load_model`."""

from kcnn.storage.load_model import load_model

__all__ = ["load_model"]
