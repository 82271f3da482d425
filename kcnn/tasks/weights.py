"""Weights of classes in the loss of a classification.

An image's cross-entropy is multiplied by the weight of its class, as `class_weight` does in Keras'
`fit`; of a mixture, the part of each class by its own. The loss of a batch is the sum over its
images divided by their number, whatever the weights are: Keras' `sum_over_batch_size`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kcnn.data.batches.batch import Batch
from kcnn.recipes.class_weights import by_class
from kcnn.startup import tf
from kcnn.tasks.problem import Problem
from kcnn.tasks.stored import StoredProblem
from kcnn.tasks.streams import StreamProblem


def class_weights(said: str, problem: Problem) -> tuple[float, ...] | None:
    """Of the classes in the loss, as a recipe says it; None is 1 for each.

    `balanced` is N / (K N_k) of N training images in K classes that occur, N_k of them of class k
    (scikit-learn's `compute_class_weight`): each class has the same weight in all, and the mean
    weight of an image is 1.

    Raises:
        InputError: Numbers or names that do not fit the classes.
    """
    if said == "none":
        return None
    if said != "balanced":
        return by_class(said, problem.class_names)
    assert isinstance(problem, StoredProblem | StreamProblem)
    counts = problem.class_counts
    share = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return tuple(np.where(counts > 0, share, 0.0).tolist())


def weighted(batch: Batch, class_weights: tuple[float, ...] | None) -> Batch:
    """`Feed.batch` with weights (B,) of the images by their classes, times those that they have.

    Args:
        batch: Gives targets (B, K), or (B, 1) of the second of two classes; they may be soft.
        class_weights: One for each class; None leaves `batch` as it is.
    """
    if class_weights is None:
        return batch

    def weigh(element: Any, resident: tuple) -> tuple[Any, ...]:
        images, labels, *weights = batch(element, resident)
        single = labels.shape[-1] == 1
        shares = tf.concat([1.0 - labels, labels], axis=1) if single else labels  # (B, K)
        rows = shares * tf.constant(class_weights, tf.float32)
        total = tf.reduce_sum(rows, axis=1, keepdims=True)  # (B, 1)
        shares = tf.where(total > 0, tf.math.divide_no_nan(rows, total), shares)
        found = total[:, 0] * weights[0] if weights else total[:, 0]
        return images, shares[:, 1:] if single else shares, found

    return weigh
