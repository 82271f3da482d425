"""Loss, accuracy and accuracy per class of a model on labelled images, and the fast way there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from kcnn.folding import fold_batchnorm
from kcnn.startup import keras, tf
from kcnn.summary import cost
from kcnn.training import network
from kcnn.training.objective import cross_entropy, probabilities

#: Batches that are still cheaper layer by layer than folding and tracing first. Break-even on two
#: cores of an AMD EPYC, at the batch sizes of `batch_size_for`: see benchmarks/inference.py.
_FEW = 3

#: Bytes that the outputs of all layers may take. TensorFlow frees most of them on the way: a batch
#: of 16 at 1 GiB (ResNet-34, 224×224) took 0.2 GiB.
_MEMORY = 2**30
_LARGEST = 1024
_UNKNOWN = 32  # images, for a model with layers that cannot be looked into


@dataclass(frozen=True)
class Evaluation:
    """What a model got right."""

    images: int
    loss: float  #: mean cross-entropy in nats
    accuracy: float
    confusion: np.ndarray  #: (classes, classes) counts; rows are true, columns predicted

    @property
    def accuracy_per_class(self) -> list[float | None]:
        """Share of each class's images that were recognised; None for a class without images."""
        totals = self.confusion.sum(axis=1)
        right = np.diagonal(self.confusion)
        return [float(r / n) if n else None for r, n in zip(right, totals, strict=True)]


def evaluate_model(
    model: keras.Model, batches: tf.data.Dataset, *, console: Console | None = None
) -> Evaluation:
    """Evaluate `model` on batches of images (B, H, W, C) and labels (B, K) in one pass.

    A terminal at `console` shows how far it is.
    """
    count = int(batches.cardinality())
    run, loss, confusion = forward(model, count), 0.0, None
    for images, labels in progress(batches, "evaluating", count, console):
        predicted = run(images)
        truth = as_two_columns(labels.numpy())
        if confusion is None:
            confusion = np.zeros((truth.shape[1],) * 2, dtype="int64")
        loss += cross_entropy(truth, predicted)
        np.add.at(confusion, (truth.argmax(axis=1), predicted.argmax(axis=1)), 1)
    images = int(confusion.sum())
    return Evaluation(
        images=images,
        loss=loss / images,
        accuracy=float(np.trace(confusion) / images),
        confusion=confusion,
    )


def forward(model: keras.Model, batches: int) -> Callable[[Any], np.ndarray]:
    """A function from images (B, H, W, C) to class probabilities (B, classes).

    For few batches the model is called as it is, layer by layer. For more, a copy with BatchNorm
    folded is traced once, for any B: the same probabilities, but for rounding.

    Args:
        model: Functional or sequential.
        batches: How many will come; negative: nobody knows, perhaps many.
    """
    if 0 <= batches <= _FEW:
        return lambda images: probabilities(model, model(images, training=False))
    layers = list(network.leaves(model))
    norm = any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
    own = all(map(network.is_keras_own, layers))
    folded = fold_batchnorm(model) if norm and own else model

    @cache
    def traced(shape: tuple[int, ...], dtype: tf.DType) -> Callable[[tf.Tensor], tf.Tensor]:
        # A concrete function: calling a new tf.function for every model makes TensorFlow warn.
        function = tf.function(lambda images: folded(images, training=False), autograph=False)
        return function.get_concrete_function(tf.TensorSpec((None, *shape), dtype))

    def run(images: Any) -> np.ndarray:
        images = tf.convert_to_tensor(images)
        outputs = traced(tuple(images.shape[1:]), images.dtype)(images)
        return probabilities(model, outputs)

    return run


def batch_size_for(model: keras.Model) -> int:
    """Images to run at once: a power of two up to 1024, by the memory that one image takes.

    Throughput hardly rises beyond: `python -m benchmarks.inference --batches` shows it.
    """
    if not all(map(network.is_keras_own, network.leaves(model))):
        return _UNKNOWN
    fitting = _MEMORY // max(cost(model).activation_memory(), 1)
    return min(1 << max(fitting, 1).bit_length() - 1, _LARGEST)


def progress(
    batches: Iterable[Any], what: str, count: int, console: Console | None
) -> Iterable[Any]:
    """The batches, with a bar on a terminal while there are more than a few (negative: unknown)."""
    shown = console is not None and console.is_terminal and not 0 <= count <= _FEW
    total = count if count >= 0 else None
    return track(batches, what, total, console=console, transient=True, disable=not shown)


def as_two_columns(labels: Any) -> np.ndarray:
    """Labels (N, K) with a column for each class: a single one becomes two."""
    return np.concatenate([1.0 - labels, labels], axis=1) if labels.shape[1] == 1 else labels
