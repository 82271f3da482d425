"""FCOS' decoding as part of a network that leaves: boxes, in operations that every runtime knows.

`kcnn.tasks.fcos.decode` takes TensorFlow's `combined_non_max_suppression`, which LiteRT lacks. Here
the same greedy choice is a loop: the most certain box of all, less what it covers of its class, and
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcnn.startup import keras
from kcnn.tasks.fcos import BOX, CENTERNESS, LOGITS, Detections, iou

ops = keras.ops

#: Columns of what is given: a box, its confidence, and its class' number.
COLUMNS = 6
#: The most certain pairs of position and class, among which boxes are chosen.
_CANDIDATES = 4096
#: When two runtimes have seen the same object: overlap at least, confidences apart at most.
_SAME, _APART = 0.9, 0.02


@keras.saving.register_keras_serializable("kcnn")
class Decoding(keras.layers.Layer):
    """From outputs (N, P, 8 + K) and pictures (N, H, W, C) to boxes (N, `most`, 6) float32.

    Rows are [x_min, y_min, x_max, y_max, confidence, class], the most certain first, in pixels of
    the pictures; rows of zeros fill up.

    Args:
        threshold: Confidences are above.
        overlap: IoU above which the less certain of two boxes of a class goes.
        most: Rows of a picture.
        **options: Of a layer.
    """

    def __init__(
        self, threshold: float = 0.05, overlap: float = 0.6, most: int = 100, **options: Any
    ) -> None:
        super().__init__(**options)
        self.threshold, self.overlap, self.most = threshold, overlap, most

    def call(self, outputs: Any, pictures: Any) -> Any:
        """Boxes (N, `most`, 6)."""
        boxes, scores, classes = _candidates(outputs, pictures)

        def choose(step: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
            left, rows = state  # (N, M), (N, most, 6)
            score, first = ops.top_k(left, 1)  # argmax is more than runtimes know
            best = ops.one_hot(first[:, 0], _CANDIDATES, dtype="float32")
            box = ops.sum(best[..., None] * boxes, axis=1)  # (N, 4), one and zeros
            kind = ops.sum(best * classes, axis=1, keepdims=True)
            found = ops.cast(score > self.threshold, "float32")
            row = found * ops.concatenate([box, score, kind], axis=1)
            covered = (classes == kind) & (iou(box[:, None], boxes) > self.overlap)
            place = ops.one_hot(step, self.most, dtype="float32")
            rows = rows + place[None, :, None] * row[:, None]
            return ops.where(covered | (best > 0), 0.0, left), rows

        empty = ops.zeros_like(boxes[:, :1, :1]) * ops.zeros((1, self.most, COLUMNS))
        return ops.fori_loop(0, self.most, choose, (scores, empty))[1]

    def compute_output_shape(
        self, outputs_shape: tuple[int | None, ...], pictures_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """(N, `most`, 6)."""
        return (outputs_shape[0], self.most, COLUMNS)

    def get_config(self) -> dict[str, Any]:
        """What the layer is made of."""
        own = {"threshold": self.threshold, "overlap": self.overlap, "most": self.most}
        return super().get_config() | own


def _candidates(outputs: Any, pictures: Any) -> tuple[Any, Any, Any]:
    """The M most certain boxes (N, M, 4), confidences (N, M) and class numbers (N, M) float32."""
    outputs, kinds = ops.cast(outputs, "float32"), outputs.shape[-1] - LOGITS.start
    logits, centerness = outputs[:, :, LOGITS], outputs[:, :, CENTERNESS : CENTERNESS + 1]
    certain = ops.sigmoid(logits) * ops.sigmoid(centerness)
    size = ops.cast(ops.shape(pictures)[1:3], "float32")
    high = ops.stack([size[1], size[0], size[1], size[0]])
    boxes = ops.minimum(ops.maximum(outputs[:, :, BOX], 0.0), high)
    full = ops.all(boxes[:, :, :2] < boxes[:, :, 2:], axis=-1, keepdims=True)
    scores = ops.where(full, ops.sqrt(certain), 0.0)  # (N, P, K)
    flat = ops.reshape(scores, (-1, ops.shape(scores)[1] * kinds))
    flat = ops.pad(flat, ((0, 0), (0, _CANDIDATES)))  # there may be fewer
    best, index = ops.top_k(flat, _CANDIDATES)
    index = ops.cast(index, "int32")
    last = ops.shape(scores)[1] * kinds - 1
    index = ops.minimum(index, ops.cast(last, "int32"))
    place = index // kinds
    chosen = ops.take_along_axis(boxes, place[..., None], axis=1)
    return chosen, best, ops.cast(index - place * kinds, "float32")


def with_decoding(network: keras.Model) -> keras.Model:
    """The detector with its decoding: pictures (N, H, W, C) to boxes (N, 100, 6)."""
    pictures = network.inputs[0]
    return keras.Model(pictures, Decoding(name="decoding")(network.outputs[0], pictures),
                       name=network.name)  # fmt: skip


def detections(rows: np.ndarray) -> list[Detections]:
    """What `with_decoding` gave for a batch, picture by picture."""
    found = []
    for picture in np.asarray(rows):
        own = picture[picture[:, 4] > 0]
        found.append(Detections(own[:, :4], own[:, 4], own[:, 5].astype("int32")))
    return found


def cut(found: Detections, size: np.ndarray) -> Detections:
    """Boxes within a picture (H, W) of a larger window; those outside go."""
    boxes = np.minimum(found.boxes, np.tile(size[::-1], 2))
    kept = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    return Detections(boxes[kept], found.scores[kept], found.classes[kept])


def compare(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> tuple[float, float]:
    """How far boxes are from those that are expected, of batches (N, M, 6).

    Runtimes round otherwise: two boxes of nearly one confidence may stand in another order, and one
    at the threshold may be missing. So objects are compared, not rows.

    Returns:
        The largest difference of a coordinate or confidence between what was seen by both, relative
        to the largest coordinate; the share of objects on both sides that the other has seen, too.
    """
    apart, seen, total, largest = 0.0, 0, 0, 1e-9
    for ours, theirs in zip(expected, found, strict=True):
        for a, b in zip(detections(ours), detections(theirs), strict=True):
            largest = max(largest, float(np.abs(a.boxes).max(initial=0.0)))
            for one, other in ((a, b), (b, a)):
                differences = [_nearest(one, k, other) for k in range(len(one.boxes))]
                both = [d for d in differences if d is not None]
                apart, seen = max([apart, *both]), seen + len(both)
                total += len(differences)
    return apart / largest, seen / max(total, 1)


def _nearest(one: Detections, index: int, other: Detections) -> float | None:
    """How far the nearest counterpart of a box is; None where there is none."""
    box, score = one.boxes[index], one.scores[index]
    same = (other.classes == one.classes[index]) & (np.abs(other.scores - score) < _APART)
    same &= _overlap(box, other.boxes) > _SAME
    if not same.any():
        return None
    boxes = np.abs(other.boxes[same] - box).max(axis=1)
    return float(np.maximum(boxes, np.abs(other.scores[same] - score)).min())


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.maximum(high - low, 0.0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    return common / np.maximum(areas - common, 1e-9)
