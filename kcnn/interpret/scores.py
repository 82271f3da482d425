"""The number that says how much an image is of a class: what evidence is looked for.

It is the logit: a softmax leaves the graph, for its gradient is small wherever a network is sure,
and says of one class what belongs to the others (Simonyan et al. 2014, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.flat import Flat, flat
from kcnn.graph.outputs import Meaning, meaning
from kcnn.interpret.pixels import at_once, shape_of
from kcnn.startup import keras

_TINY = 1e-12


@dataclass(frozen=True)
class Scores:
    """How a model's outputs become scores, and of which class for each image."""

    found: Flat | None  #: its calls without softmax; None: of a class of its own
    network: Any  #: from images to outputs (N, K)
    probabilities: bool  #: that could not be undone in the graph: their logarithm is the score
    classes: np.ndarray  #: (N,) int

    def of(self, outputs: Any, classes: Any) -> Any:
        """The scores (N,) of outputs (N, K); keras.ops, differentiable.

        Of one output for two classes (K = 1), the logit for class 1 and its negative for class 0.
        """
        outputs = keras.ops.cast(outputs, "float32")
        single = outputs.shape[1] == 1
        if self.probabilities:
            log = keras.ops.log(keras.ops.maximum(outputs, _TINY))
            outputs = log - keras.ops.log(keras.ops.maximum(1 - outputs, _TINY)) if single else log
        classes = keras.ops.cast(classes, "int32")
        if single:
            return outputs[:, 0] * keras.ops.cast(2 * classes - 1, "float32")
        return keras.ops.take_along_axis(outputs, classes[:, None], axis=1)[:, 0]


def scores(
    model: keras.Model,
    images: np.ndarray,
    classes: int | Sequence[int] | np.ndarray | None,
    said: Meaning | None = None,
) -> Scores:
    """How `model` is to be asked about `images`.

    Args:
        model: Of images (N, H, W, C), to a row (N, K) for each.
        images: Real ones, float32.
        classes: A class for all, or one each; None is what the model predicts.
        said: What the outputs are, where neither graph nor values tell.

    Raises:
        InputError: Its outputs are no rows, or what they mean cannot be seen; no such class.
    """
    seen = bool(getattr(model, "inputs", None) and getattr(model, "outputs", None))
    found = flat(model, shape_of(images), logits=True) if seen else None
    network = model if found is None else found.model(found.output)
    end = None if found is None else found.ending
    if end is not None and said not in (None, "logits" if end == "linear" else "probabilities"):
        raise InputError(
            f"The model's outputs are said to be {said}, but it ends with a {end} layer."
        )
    shape: tuple[int | None, ...] = () if found is None else tuple(found.output.shape)
    if end is not None and classes is not None and len(shape) == 2 and shape[1] is not None:
        # The graph says it all: no image has to go through.
        return Scores(found, network, False, _asked(classes, len(images), shape[1]))
    size = at_once(images)
    outputs = np.concatenate([
        np.asarray(keras.ops.convert_to_numpy(
            keras.ops.cast(network(images[i : i + size], training=False), "float32")
        ))
        for i in range(0, len(images), size)
    ])  # fmt: skip
    logits = end is not None
    if not logits or outputs.ndim != 2 or not np.isfinite(outputs).all():
        logits = meaning(model, outputs, said) == "logits"
    if classes is None:
        return Scores(found, network, not logits, _said(outputs, 0.0 if logits else 0.5))
    return Scores(found, network, not logits, _asked(classes, *outputs.shape))


def refuse_not_finite(values: np.ndarray) -> None:
    """Refuse scores of which no evidence can be made.

    Raises:
        InputError: Some are NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise InputError(
            "The model's outputs for these images are not finite. Perhaps it divides by the "
            "images' deviation, or its weights are NaN."
        )


def _said(outputs: np.ndarray, threshold: float) -> np.ndarray:
    """(N,) the classes that a model predicts; of one output class 1 above the threshold."""
    if outputs.shape[1] > 1:
        return outputs.argmax(axis=1)
    return (outputs[:, 0] > threshold).astype(int)


def _asked(classes: int | Sequence[int] | np.ndarray, images: int, outputs: int) -> np.ndarray:
    """(N,) the classes that are asked for."""
    count, wanted = max(outputs, 2), np.asarray(classes)
    fits = wanted.shape in ((), (images,)) and np.issubdtype(wanted.dtype, np.integer)
    if not fits or wanted.min() < 0 or wanted.max() >= count:
        raise InputError(
            f"classes is a number from 0 to {count - 1}, or one for each of the {images} "
            f"images; received {classes!r}."
        )
    return np.broadcast_to(wanted, (images,)).astype(int)
