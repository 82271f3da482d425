"""Models from files that nobody vouches for."""

from kcnn.loading.model import load_model

__all__ = ["load_model"]
