"""Loss, accuracy and accuracy per class of a model on labelled images, and the fast way there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from kcnn.graph.forward import forward, progress
from kcnn.startup import keras, tf
from kcnn.tasks.objective import cross_entropy, probabilities


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
        predicted = probabilities(model, run(images))
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


def as_two_columns(labels: Any) -> np.ndarray:
    """Labels (N, K) with a column for each class: a single one becomes two."""
    return np.concatenate([1.0 - labels, labels], axis=1) if labels.shape[1] == 1 else labels
