"""Loss and figures of a class for each pixel: Keras' own objects, with serialisable configs.

Truth is (B, H, W) class numbers, 255 where a pixel does not count; outputs are (B, H, W, K)
probabilities or logits, or (B, H, W, 1) of the second of two classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcnn.data.sets.masks import IGNORED
from kcnn.interpret.regions import confusion_of as confusion_of
from kcnn.interpret.regions import iou_per_class as iou_per_class
from kcnn.startup import keras

ops = keras.ops

#: Figures in their order: what `of_confusion` gives.
FIGURES = ("mean_iou", "pixel_accuracy", "dice")


def of_confusion(confusion: np.ndarray) -> dict[str, float]:
    """Mean IoU, pixel accuracy and mean Dice, of counts (K, K); rows are true, columns predicted.

    A class that is in neither truth nor prediction does not count (Long et al. 2015, section 5;
    Everingham et al. 2010). Of no pixel at all they are 0.
    """
    iou = iou_per_class(confusion)
    known = iou[~np.isnan(iou)]
    total = confusion.sum()
    dice = 2.0 * known / (1.0 + known)  # of a class, 2 |A ∩ B| / (|A| + |B|)
    return {
        "mean_iou": float(known.mean()) if known.size else 0.0,
        "pixel_accuracy": float(np.trace(confusion) / total) if total else 0.0,
        "dice": float(dice.mean()) if known.size else 0.0,
    }


def class_numbers(outputs: Any, logits: bool) -> Any:
    """Of outputs (B, H, W, K) the largest; of (B, H, W, 1) whether it is above one half."""
    if outputs.shape[-1] == 1:
        return ops.cast(outputs[..., 0] > (0.0 if logits else 0.5), "int32")
    return ops.argmax(outputs, axis=-1)


def shares(outputs: Any, logits: bool) -> Any:
    """Probabilities (B, H, W, K) of outputs; (B, H, W, 1) gives two."""
    outputs = ops.cast(outputs, "float32")
    if outputs.shape[-1] == 1:
        second = ops.sigmoid(outputs) if logits else outputs
        return ops.concatenate([1.0 - second, second], axis=-1)
    return ops.softmax(outputs, axis=-1) if logits else outputs


def pixel_cross_entropy(truth: Any, outputs: Any, logits: bool) -> Any:
    """(B, H, W) nats of class numbers, of which all count, given outputs."""
    outputs = ops.cast(outputs, "float32") if outputs.dtype != "float32" else outputs
    if outputs.shape[-1] == 1:
        target = ops.cast(truth, "float32")[..., None]
        return ops.binary_crossentropy(target, outputs, from_logits=logits)[..., 0]
    return ops.sparse_categorical_crossentropy(truth, outputs, from_logits=logits)


def picture_loss(
    truth: Any,
    outputs: Any,
    logits: bool,
    class_weights: Sequence[float] | None = None,
    dice: float = 0.0,
) -> Any:
    """Loss of each picture, (B,) float32: the mean of its pixels that count.

    Args:
        truth: (B, H, W) class numbers, 255 does not count.
        outputs: (B, H, W, K).
        logits: Whether these are logits.
        class_weights: One for each class: cross-entropy is the weighted mean.
        dice: Share of the Dice loss, 1 - 2 Σ p t / (Σ p² + Σ t²) as Milletari et al. 2016,
            section 3, have it, the mean of the classes that are in the picture.
    """
    truth = ops.cast(truth, "int32")
    counted = ops.cast(truth != IGNORED, "float32")
    truth = ops.where(truth != IGNORED, truth, 0)
    weights = counted
    if class_weights is not None:
        weights = counted * ops.take(ops.convert_to_tensor(class_weights, "float32"), truth)
    losses = pixel_cross_entropy(truth, outputs, logits) * weights
    total = ops.sum(weights, axis=(1, 2))
    found = ops.sum(losses, axis=(1, 2)) / ops.where(total > 0, total, 1.0)
    if not dice:
        return found
    return (1.0 - dice) * found + dice * dice_loss(truth, counted, shares(outputs, logits))


def dice_loss(truth: Any, counted: Any, probabilities: Any) -> Any:
    """(B,) of class numbers (B, H, W), which pixels count, and probabilities (B, H, W, K)."""
    counted = counted[..., None]
    target = ops.one_hot(truth, probabilities.shape[-1], dtype="float32") * counted
    probabilities = probabilities * counted
    both = ops.sum(probabilities * target, axis=(1, 2))  # (B, K)
    each = ops.sum(ops.square(probabilities) + target, axis=(1, 2))  # t² = t
    there = ops.cast(ops.sum(target, axis=(1, 2)) > 0, "float32")
    score = 2.0 * both / ops.where(each > 0, each, 1.0)
    classes = ops.sum(there, axis=1)
    mean = ops.sum(score * there, axis=1) / ops.where(classes > 0, classes, 1.0)
    return ops.where(classes > 0, 1.0 - mean, 0.0)


@keras.saving.register_keras_serializable("kcnn")
class PixelLoss(keras.losses.Loss):
    """`picture_loss`, averaged over the pictures of a batch."""

    def __init__(
        self,
        logits: bool = False,
        class_weights: Sequence[float] | None = None,
        dice: float = 0.0,
        name: str = "pixel_loss",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.logits, self.dice = logits, dice
        self.class_weights = None if class_weights is None else list(class_weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(B,) of truth (B, H, W) and outputs (B, H, W, K)."""
        return picture_loss(y_true, y_pred, self.logits, self.class_weights, self.dice)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        own = {"logits": self.logits, "class_weights": self.class_weights, "dice": self.dice}
        return super().get_config() | own


@keras.saving.register_keras_serializable("kcnn")
class PixelFigure(keras.metrics.Metric):
    """A figure of one confusion matrix over all batches.

    Args:
        name: One of `FIGURES`.
        classes: K.
        logits: Whether outputs are logits.
    """

    def __init__(self, name: str, classes: int, logits: bool = False, **options: Any) -> None:
        super().__init__(name=name, **options)
        self.classes, self.logits = classes, logits
        # Whole numbers: float32 stops counting at 16.8 million pixels.
        self.confusion = self.add_variable(
            (classes * classes,), keras.initializers.Zeros(), dtype="int64", name="confusion"
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count the pixels of a batch."""
        truth, predicted = ops.cast(y_true, "int32"), class_numbers(y_pred, self.logits)
        pairs = truth * self.classes + ops.cast(predicted, "int32")
        pairs = ops.reshape(ops.where(truth != IGNORED, pairs, self.classes**2), -1)
        counts = ops.segment_sum(ops.ones_like(pairs), pairs, self.classes**2 + 1)
        self.confusion.assign(self.confusion + ops.cast(counts[:-1], "int64"))

    def result(self) -> Any:
        """The figure of what was counted."""
        counts = ops.cast(ops.reshape(self.confusion, (self.classes, self.classes)), "float32")
        both = ops.diagonal(counts)
        if self.name == "pixel_accuracy":
            total = ops.sum(counts)
            return ops.sum(both) / ops.where(total > 0, total, 1.0)
        union = ops.sum(counts, axis=0) + ops.sum(counts, axis=1) - both
        iou = both / ops.where(union > 0, union, 1.0)
        score = iou if self.name == "mean_iou" else 2.0 * iou / (1.0 + iou)
        known = ops.sum(ops.cast(union > 0, "float32"))
        return ops.sum(score) / ops.where(known > 0, known, 1.0)

    def reset_state(self) -> None:
        """Begin to count anew."""
        self.confusion.assign(ops.zeros_like(self.confusion))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().get_config() | {"classes": self.classes, "logits": self.logits}
