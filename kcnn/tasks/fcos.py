"""What FCOS' outputs mean: targets, loss, detections (Tian et al. 2019, sections 3.1 to 3.3).

Boxes are [x_min, y_min, x_max, y_max] in pixels. Truth (B, M, 6) has rows [box, class, crowd];
rows of -1 fill an image's up to M. Outputs (B, P, 8 + K) are those of `kcnn.models.fcos`: box,
centerness' logit, x, y and stride of the position, and K class logits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kcnn.startup import keras, tf

ops = keras.ops

#: Columns of the outputs.
BOX, CENTERNESS, POINT, STRIDE, LOGITS = slice(0, 4), 4, slice(5, 7), 7, slice(8, None)

#: A level is for objects whose farthest side is at most so many of its strides away: (0, 64] of
#: stride 8, (64, 128] of 16, and so on; the last takes all that are larger (section 3.2).
REACH = 8.0


class Targets(NamedTuple):
    """What each of P positions is to say, for each of B images."""

    classes: Any  #: (B, P) int32; -1 is background
    boxes: Any  #: (B, P, 4) float32; zeros for background
    centerness: Any  #: (B, P) float32 in 0..1; 0 for background
    weights: Any  #: (B, P) float32: 0 where the class is not learned, else 1


def iou(a: Any, b: Any) -> Any:
    """Intersection over union of boxes (..., 4), pair by pair: (...), 0 where both are empty."""
    intersection, union = _overlap(a, b)
    return ops.divide_no_nan(intersection, union)


def giou(a: Any, b: Any) -> Any:
    """Generalised IoU of boxes (..., 4), pair by pair: (...) in (-1, 1].

    IoU less the share of the smallest box around both that neither covers (Rezatofighi et al.
    2019, algorithm 2).
    """
    intersection, union = _overlap(a, b)
    low, high = ops.minimum(a[..., :2], b[..., :2]), ops.maximum(a[..., 2:], b[..., 2:])
    hull = ops.prod(high - low, axis=-1)
    return ops.divide_no_nan(intersection, union) - ops.divide_no_nan(hull - union, hull)


def _overlap(a: Any, b: Any) -> tuple[Any, Any]:
    """Areas of intersection and union."""
    low, high = ops.maximum(a[..., :2], b[..., :2]), ops.minimum(a[..., 2:], b[..., 2:])
    intersection = ops.prod(ops.maximum(high - low, 0.0), axis=-1)
    return intersection, _area(a) + _area(b) - intersection


def _area(boxes: Any) -> Any:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def assign(points: Any, strides: Any, truth: Any, *, radius: float | None = 1.5) -> Targets:
    """Which object each position learns, if any (section 3.1 and 3.2).

    It is one around the position whose farthest side is within the level's reach; of several, the
    one of the smallest area. Of crowds nothing is learned: neither them, nor, where no other box
    is around a position, that it is background.

    Args:
        points: (P, 2) x and y.
        strides: (P,) of each position's level.
        truth: (B, M, 6).
        radius: The position is nearer than so many strides to the box's middle along each axis
            (center sampling, of the paper's second version); None: anywhere inside.
    """
    truth = ops.cast(truth, "float32")
    truth = ops.pad(truth, ((0, 0), (0, 1), (0, 0)), constant_values=-1.0)  # at least one row
    left, top, right, bottom = (truth[:, None, :, side] for side in range(4))  # (B, 1, M)
    x, y, stride = points[:, :1], points[:, 1:], ops.reshape(strides, (-1, 1))  # (P, 1)
    away = (x - left, y - top, right - x, bottom - y)  # (B, P, M) each
    nearest = ops.minimum(ops.minimum(*away[:2]), ops.minimum(*away[2:]))
    farthest = ops.maximum(ops.maximum(*away[:2]), ops.maximum(*away[2:]))
    crowd = truth[:, None, :, 5] > 0
    inside = (nearest > 0) & (truth[:, None, :, 4] >= 0)
    own = inside & ~crowd
    low, high = _reach(strides)
    chosen = own & (farthest > low) & (farthest <= high)
    if radius is not None:
        off = ops.maximum(ops.abs(away[0] - away[2]), ops.abs(away[1] - away[3])) / 2
        chosen = chosen & (off < radius * stride)
    area = (right - left) * (bottom - top)
    index = ops.argmin(ops.where(chosen, area, np.inf), axis=-1)
    found = ops.any(chosen, axis=-1)
    row = tf.gather(truth, index, batch_dims=1)  # (B, P, 6)
    boxes = ops.where(found[..., None], row[..., :4], 0.0)
    ignored = ops.any(inside & crowd, axis=-1) & ~ops.any(own, axis=-1)
    return Targets(
        classes=ops.where(found, ops.cast(row[..., 4], "int32"), -1),
        boxes=boxes,
        centerness=ops.where(found, centerness(points, boxes), 0.0),
        weights=ops.cast(~ignored, "float32"),
    )


def _reach(strides: Any) -> tuple[Any, Any]:
    """(P, 1) each: the farthest side's distance is above the one, at most the other."""
    ascending = ops.sort(strides)
    below = ops.searchsorted(ascending, strides, side="left")  # positions of finer levels
    finer = ops.take(ascending, ops.maximum(below - 1, 0))
    low = ops.where(below > 0, REACH * finer, 0.0)
    high = ops.where(strides < ascending[-1], REACH * strides, np.inf)
    return low[:, None], high[:, None]


def centerness(points: Any, boxes: Any) -> Any:
    """How central points (P, 2) are in boxes (..., P, 4): (..., P), 1 in the middle (equation 3).

    0 on a side and outside.
    """
    before, behind = points - boxes[..., :2], boxes[..., 2:] - points
    shares = ops.divide_no_nan(ops.minimum(before, behind), ops.maximum(before, behind))
    return ops.sqrt(ops.prod(ops.maximum(shares, 0.0), axis=-1))


def focal_loss(targets: Any, logits: Any, *, alpha: float = 0.25, gamma: float = 2.0) -> Any:
    """-alpha_t (1 - p_t)^gamma log p_t, value by value (Lin et al. 2017, equation 5).

    Args:
        targets: 0 or 1, of the shape of `logits`.
        logits: Of probabilities that are independent of each other.
        alpha: Weight of ones; that of zeros is 1 - alpha.
        gamma: 0 is cross-entropy.
    """
    right = logits * (2.0 * targets - 1.0)  # of p_t
    weight = alpha * targets + (1.0 - alpha) * (1.0 - targets)
    return weight * ops.exp(-gamma * ops.softplus(right)) * ops.softplus(-right)


def losses(truth: Any, outputs: Any, **options: Any) -> tuple[Any, Any, Any]:
    """Of each image: focal loss of the classes, GIoU loss of boxes, cross-entropy of centerness.

    Sums over positions, divided by the positions with an object of an average image of the batch
    (at least one in the batch): the means over the batch are equation 2's terms. The GIoU loss is
    weighted by the centerness that is to be.

    Args:
        truth: (B, M, 6).
        outputs: (B, P, 8 + K).
        **options: `radius` of `assign`; `alpha` and `gamma` of `focal_loss`.

    Returns:
        (B,) float32 each.
    """
    outputs = ops.cast(outputs, "float32")
    radius = options.pop("radius", 1.5)
    position = ops.stop_gradient(outputs[0])
    targets = assign(position[:, POINT], position[:, STRIDE], truth, radius=radius)
    logits, found = outputs[..., LOGITS], ops.cast(targets.classes >= 0, "float32")
    ones = targets.classes[..., None] == ops.arange(logits.shape[-1])
    of_classes = focal_loss(ops.cast(ones, "float32"), logits, **options)
    of_boxes = targets.centerness * (1.0 - giou(outputs[..., BOX], targets.boxes))
    logit = outputs[..., CENTERNESS]
    of_centerness = found * (ops.softplus(logit) - targets.centerness * logit)
    average = ops.maximum(ops.sum(found), 1.0) / ops.cast(ops.shape(outputs)[0], "float32")
    return (
        ops.sum(targets.weights[..., None] * of_classes, axis=(1, 2)) / average,
        ops.sum(of_boxes, axis=1) / average,
        ops.sum(of_centerness, axis=1) / average,
    )


@keras.saving.register_keras_serializable("kcnn")
class FCOSLoss(keras.losses.Loss):
    """The sum of the three `losses` (equation 2), as `loss(truth, outputs)`.

    Args:
        radius: Of center sampling, in strides; None: positions anywhere inside a box.
        alpha: Of the focal loss: weight of an object against the background.
        gamma: Of the focal loss.
        reduction: Of the images' values; they depend on their batch, of which the mean is the loss.
        name: Of the loss.
    """

    def __init__(
        self,
        radius: float | None = 1.5,
        alpha: float = 0.25,
        gamma: float = 2.0,
        reduction: str = "sum_over_batch_size",
        name: str = "fcos",
        **options: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **options)
        self.radius, self.alpha, self.gamma = radius, alpha, gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(B,) float32."""
        options = {"radius": self.radius, "alpha": self.alpha, "gamma": self.gamma}
        return sum(losses(y_true, y_pred, **options))

    def get_config(self) -> dict[str, Any]:
        """What the loss is made of."""
        options = {"radius": self.radius, "alpha": self.alpha, "gamma": self.gamma}
        return super().get_config() | options


class Detections(NamedTuple):
    """What was found in one image, the most certain first."""

    boxes: np.ndarray  #: (D, 4) float32, within the image
    scores: np.ndarray  #: (D,) float32 in 0..1
    classes: np.ndarray  #: (D,) int32


def decode(
    outputs: Any,
    size: Any,
    *,
    threshold: float = 0.05,
    overlap: float = 0.6,
    per_class: int = 100,
    most: int = 100,
) -> list[Detections]:
    """The objects in each image (section 3.1, "Inference", and 3.3).

    A score is the square root of the class' probability times centerness. Of boxes of one class
    that overlap, the most certain stays: `tf.image.combined_non_max_suppression`.

    Args:
        outputs: (B, P, 8 + K).
        size: (H, W) to which boxes are cut, or (B, 2) with each image's own.
        threshold: Scores are above.
        overlap: IoU above which the less certain of two boxes of a class goes.
        per_class: Boxes of a class in an image, at most.
        most: Boxes in an image, at most.
    """
    outputs = tf.cast(outputs, tf.float32)
    high = tf.reshape(tf.cast(size, tf.float32)[..., ::-1], (-1, 1, 2))  # W, H
    corners = tf.reshape(outputs[..., BOX], (-1, tf.shape(outputs)[1], 2, 2))
    boxes = tf.clip_by_value(corners, 0.0, high[:, :, None])
    empty = tf.reduce_any(boxes[:, :, 0] >= boxes[:, :, 1], axis=-1)
    boxes = tf.reshape(boxes, (-1, tf.shape(outputs)[1], 1, 4))
    certain = tf.sigmoid(outputs[..., LOGITS]) * tf.sigmoid(outputs[..., CENTERNESS, None])
    scores = tf.where(empty[..., None], 0.0, tf.sqrt(certain))
    # The axes' order, which is (y, x) in the operation's words, does not matter to an overlap.
    *found, counts = tf.image.combined_non_max_suppression(
        boxes, scores, per_class, most, overlap, threshold, clip_boxes=False
    )
    most_boxes, most_scores, most_classes = (part.numpy() for part in found)
    return [
        Detections(
            boxes=most_boxes[image, :count],
            scores=most_scores[image, :count],
            classes=most_classes[image, :count].astype("int32"),
        )
        for image, count in enumerate(counts.numpy())
    ]
