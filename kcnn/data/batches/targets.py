"""What a network is to give for each image: labels of a batch as tensors of its outputs' shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kcnn.data.sets.splits import Split
from kcnn.errors import InputError
from kcnn.startup import tf

#: Labels of a batch (B, ...) -> targets (B, K) float32, within a graph. Equal objects are the same
#: function: a trace of a step serves all of them.
Targets = Callable[[tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class ClassTargets:
    """Class labels as float32 targets: one-hot (B, K), or (B, 1) where `binary`.

    Takes class numbers (B,) or (B, 1), and rows (B, K) that are one-hot, or soft, already.
    """

    classes: int
    binary: bool = False

    def __call__(self, labels: tf.Tensor) -> tf.Tensor:
        if labels.shape.rank == 2 and labels.shape[-1] not in (1, None):
            rows = tf.cast(labels, tf.float32)
            return rows[:, 1:] if self.binary else rows
        labels = tf.reshape(labels, [-1])
        if not labels.dtype.is_integer:  # whole, as whoever read them has seen
            labels = tf.cast(labels, tf.int64)
        if self.binary:
            return tf.cast(labels, tf.float32)[:, tf.newaxis]
        return tf.one_hot(labels, self.classes)

    def check(self, labels: np.ndarray) -> None:
        """Refuse labels that are no such classes.

        Raises:
            InputError: Labels beyond `classes`; a binary target of other than two.
        """
        if labels.max() >= self.classes:
            raise InputError(
                f"The split has the label {labels.max()}, but classes is {self.classes}: labels "
                f"are 0..{self.classes - 1}."
            )
        if self.binary and self.classes != 2:
            raise InputError(f"A binary target needs classes=2. Received: classes={self.classes}.")


def targets_of(split: Split, classes: int | None, binary: bool, targets: Targets | None) -> Targets:
    """`targets`, or else those of `classes`, checked against the labels of a split.

    Raises:
        InputError: Labels that they are not for; neither of the two is given.
    """
    if targets is None:
        if classes is None:
            raise InputError("Labels become targets by classes=K, or by targets; received neither.")
        targets = ClassTargets(classes, binary)
    if isinstance(targets, ClassTargets) and len(split):
        targets.check(split.labels)
    return targets
