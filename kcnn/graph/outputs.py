"""What the outputs of a model mean: the one place where that is found out."""

from __future__ import annotations

from kcnn.startup import keras


def gives_logits(model: keras.Model) -> bool:
    """Whether the model ends without softmax or sigmoid."""
    return getattr(model.layers[-1], "activation", None) is keras.activations.linear
