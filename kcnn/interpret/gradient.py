"""Gradients with respect to images: the one thing here that Keras leaves to its backend."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kcnn.errors import InputError
from kcnn.startup import keras, tf

#: From a tensor, and more that is not differentiated, to a value for each image (N,); or to such
#: values and a tensor within, by which they are differentiated in its place.
Score = Callable[..., Any]


class Gradient(NamedTuple):
    """Scores and how they change."""

    scores: np.ndarray  #: (N,) float32
    at: np.ndarray  #: (N, ...) float32, what they are differentiated by
    slope: np.ndarray  #: of the same shape, float32


def gradient(score: Score, *, traced: bool = False) -> Callable[..., Gradient]:
    """A function to the scores and their gradient.

    Args:
        score: Of keras.ops. The score of an image has to depend on that image alone.
        traced: Compile it on the first call with arguments of some shapes, for many calls.

    Returns:
        Of NumPy arrays, the first float32 (N, ...).

    Raises:
        InputError: Keras has another backend than TensorFlow.
    """
    if (backend := keras.backend.backend()) != "tensorflow":
        raise InputError(
            f"Gradients of a network are taken by TensorFlow here, and the backend of Keras is "
            f"{backend!r}. Set the environment's KERAS_BACKEND to tensorflow before Keras is "
            f"imported. Filters, feature maps, exciting pictures and occlusion need none."
        )

    def both(first: Any, *more: Any) -> tuple[Any, Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(first)
            found = score(first, *more)
            scores, at = found if isinstance(found, tuple) else (found, first)
        slope = tape.gradient(scores, at, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return scores, at, slope

    @functools.cache
    def compiled(*kinds: tuple[tuple[int, ...], str]) -> Callable[..., Any]:
        # A concrete function: calling a new tf.function for every model makes TensorFlow warn.
        specs = [tf.TensorSpec(shape, dtype) for shape, dtype in kinds]
        return tf.function(both, autograph=False).get_concrete_function(*specs)

    def run(*arguments: np.ndarray) -> Gradient:
        kinds = [(x.shape, x.dtype.name) for x in arguments]
        found = (compiled(*kinds) if traced else both)(*map(tf.convert_to_tensor, arguments))
        return Gradient(*(np.asarray(value, "float32") for value in found))

    return run
