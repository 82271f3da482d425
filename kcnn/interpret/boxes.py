"""How a detector errs: objects that it missed, boxes that it invented, and names that it confused.

Boxes are matched as COCO's evaluation matches them (Lin et al. 2014, and its code): in each picture
and class the most certain detection chooses first, and takes the object that it overlaps most, from
an IoU on. What is left of both sides is matched once more without regard to the class: that object
was found, and named wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kcnn.errors import InputError

#: In the place of a partner: there is none; it does not count (a crowd, what lies in one, padding,
#: what is less certain than asked for).
ALONE, UNCOUNTED = -1, -2


@dataclass(frozen=True, eq=False)
class BoxErrors:
    """What became of objects and of detections, in N pictures and K classes."""

    #: (K + 1, K + 1) int64: rows are true, columns said; the last row was invented, the last
    #: column missed.
    counts: np.ndarray
    #: Of each picture (M,) int64: the number of the detection that matches each object, `ALONE`
    #: where it was missed, or `UNCOUNTED`. A wrong name is a match, too.
    partners: Sequence[np.ndarray]
    #: Of each picture (D,) int64: the number of the object that each detection matches, `ALONE`
    #: where it was invented (an object that was found twice as well), or `UNCOUNTED`.
    objects: Sequence[np.ndarray]
    f1: np.ndarray  #: (N,) of each picture: 2 · right / (objects + detections); 1 of nothing

    @property
    def right(self) -> np.ndarray:
        """(K,) objects of each class that were found and rightly named."""
        return np.diagonal(self.counts)[:-1]

    @property
    def missed(self) -> np.ndarray:
        """(K,) objects of each class where nothing was found."""
        return self.counts[:-1, -1]

    @property
    def invented(self) -> np.ndarray:
        """(K,) detections of each class where no object is left."""
        return self.counts[-1, :-1]

    @property
    def confused(self) -> np.ndarray:
        """(K,) objects of each class that were found and wrongly named."""
        return self.counts[:-1, :-1].sum(axis=1) - self.right


def missed_and_invented(
    truth: Sequence[np.ndarray],
    predictions: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    classes: int,
    *,
    iou: float = 0.5,
    confidence: float = 0.0,
) -> BoxErrors:
    """What a detector missed, invented and confused.

    Args:
        truth: Of each picture (M, 5) rows [x_min, y_min, x_max, y_max, class], or (M, 6) with 1
            behind them for a crowd (COCO's iscrowd), which need not be found, and in which nothing
            is invented. Rows of class -1 are none.
        predictions: Of each picture boxes (D, 4), confidences (D,) in 0..1, class numbers (D,).
        classes: K.
        iou: Intersection over union from which on two boxes are the same, in (0, 1].
        confidence: Detections below do not count.

    Raises:
        InputError: Not as many pictures on both sides; other shapes; numbers of no class; limits
            out of range.
    """
    if len(truth) != len(predictions):
        raise InputError(
            f"Truth and predictions are of the same pictures; received {len(truth)} and "
            f"{len(predictions)}."
        )
    if not 0.0 < iou <= 1.0 or not 0.0 <= confidence <= 1.0:
        raise InputError(
            f"iou is above 0 and at most 1, confidence 0 to 1; received {iou}, {confidence}."
        )
    counts, partners, objects = np.zeros((classes + 1, classes + 1), np.int64), [], []
    scores = np.ones(len(truth))
    for picture, (rows, found) in enumerate(zip(truth, predictions, strict=True)):
        real, crowds = _real(rows, classes, picture)
        boxes, certain, said = _checked(found, classes, picture)
        pairs = _matched(real, crowds, boxes, certain, said, iou, confidence)
        of_truth, of_found = pairs
        kinds, open_, counted = real[:, 4].astype(int), of_truth != UNCOUNTED, of_found != UNCOUNTED
        both = of_truth >= 0
        np.add.at(counts, (kinds[both], said[of_truth[both]]), 1)
        np.add.at(counts, (kinds[of_truth == ALONE], classes), 1)
        np.add.at(counts, (classes, said[of_found == ALONE]), 1)
        right = int((kinds[both] == said[of_truth[both]]).sum())
        if total := int(open_.sum() + counted.sum()):
            scores[picture] = 2.0 * right / total
        partners.append(of_truth)
        objects.append(of_found)
    return BoxErrors(counts, partners, objects, scores)


def _matched(
    real: np.ndarray,
    crowds: np.ndarray,
    boxes: np.ndarray,
    certain: np.ndarray,
    said: np.ndarray,
    iou: float,
    confidence: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Partners of the objects (M,) and of the detections (D,) of one picture."""
    overlaps = box_overlaps(boxes, real[:, :4], crowds)  # (D, M)
    same = said[:, np.newaxis] == real[:, 4]
    of_truth = np.where(crowds | (real[:, 4] < 0), UNCOUNTED, ALONE)
    of_found = np.where(certain < confidence, UNCOUNTED, ALONE)
    order = [d for d in np.argsort(-certain, kind="stable") if of_found[d] == ALONE]
    for fits in (same, ~same):
        for d in order:
            free = fits[d] & (of_truth == ALONE) & (overlaps[d] >= iou)
            if of_found[d] == ALONE and free.any():
                # Of equals the last, as COCO's loop has it.
                best = len(free) - 1 - int(np.where(free, overlaps[d], -1.0)[::-1].argmax())
                of_found[d], of_truth[best] = best, d
        if fits is same:  # what lies in a crowd of its class was not invented, and found no object
            within = (same & crowds & (overlaps >= iou)).any(axis=1)
            of_found[within & (of_found == ALONE)] = UNCOUNTED
    return of_truth, of_found


def box_overlaps(a: np.ndarray, b: np.ndarray, crowds: np.ndarray | None = None) -> np.ndarray:
    """Intersection over union of boxes (A, 4) and (B, 4), (A, B); 0 where both are empty.

    Args:
        a: [x_min, y_min, x_max, y_max].
        b: As well.
        crowds: (B,) bool: over the area of the first box alone, as COCO has it of crowds.
    """
    low = np.maximum(a[:, np.newaxis, :2], b[:, :2])
    high = np.minimum(a[:, np.newaxis, 2:], b[:, 2:])
    both = np.maximum(high - low, 0.0).prod(axis=2)
    own = (a[:, 2:] - a[:, :2]).prod(axis=1)[:, np.newaxis]
    whole = own + (b[:, 2:] - b[:, :2]).prod(axis=1) - both
    if crowds is not None:
        whole = np.where(crowds, own, whole)
    return np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)


def _real(rows: np.ndarray, classes: int, picture: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects (M, 5) float64, and which are crowds (M,)."""
    found = np.asarray(rows, "float64")
    found = found.reshape(-1, 5) if not found.size else found
    if found.ndim != 2 or found.shape[1] not in (5, 6):
        raise InputError(
            f"Truth of a picture is (M, 5) rows [x_min, y_min, x_max, y_max, class], or (M, 6) "
            f"with crowds; that of picture {picture} is {found.shape}."
        )
    if len(found) and not -1 <= found[:, 4].min() <= found[:, 4].max() < classes:
        raise InputError(
            f"Classes are 0 to {classes - 1}; picture {picture} has {found[:, 4].min():g} to "
            f"{found[:, 4].max():g}."
        )
    crowds = found[:, 5] > 0 if found.shape[1] == 6 else np.zeros(len(found), bool)
    return found[:, :5], crowds


def _checked(
    found: tuple[np.ndarray, np.ndarray, np.ndarray], classes: int, picture: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (D, 4), confidences (D,), class numbers (D,)."""
    boxes, certain, said = (np.asarray(part) for part in found)
    boxes = np.asarray(boxes.reshape(-1, 4) if not boxes.size else boxes, "float64")
    shapes = boxes.shape, certain.shape, said.shape
    if shapes != ((len(boxes), 4), (len(boxes),), (len(boxes),)):
        raise InputError(
            f"Predictions of a picture are boxes (D, 4), confidences (D,), class numbers (D,); "
            f"those of picture {picture} are {', '.join(map(str, shapes))}."
        )
    if len(said) and not 0 <= said.min() <= said.max() < classes:
        raise InputError(
            f"Classes are 0 to {classes - 1}; picture {picture} was said to have {said.min():g} to "
            f"{said.max():g}."
        )
    return boxes, certain.astype("float64"), said.astype(int)
