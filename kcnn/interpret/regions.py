"""How a network errs that gives each pixel a class: by class, and picture by picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kcnn.errors import InputError


@dataclass(frozen=True, eq=False)
class MaskErrors:
    """Pixels that were taken for another class."""

    confusion: np.ndarray  #: (K, K) int64 pixels; rows are true, columns said
    iou: np.ndarray  #: (N,) mean IoU of each picture; NaN where no pixel counts

    @property
    def missed(self) -> np.ndarray:
        """(K,) share of the pixels of each class that were said to be of another; NaN of none."""
        return _share_beside(self.confusion, 1)

    @property
    def invented(self) -> np.ndarray:
        """(K,) share of the pixels said to be of each class that are of another; NaN of none."""
        return _share_beside(self.confusion, 0)


def mask_errors(
    truth: Iterable[np.ndarray], said: Iterable[np.ndarray], classes: int, *, ignored: int = 255
) -> MaskErrors:
    """What of masks is missed and invented, and how good each picture is.

    Args:
        truth: Class numbers of each picture, (H, W) integers; sizes may differ.
        said: As well.
        classes: K.
        ignored: The number in `truth` of pixels that do not count.

    Raises:
        InputError: Not as many of one as of the other; other shapes; numbers of no class.
    """
    counts, scores = np.zeros((classes, classes), np.int64), list[float]()
    try:
        for real, found in zip(truth, said, strict=True):
            own = confusion_of(*_checked(real, found, classes, ignored), classes, ignored)
            iou = iou_per_class(own)
            scores.append(float(np.nanmean(iou)) if own.any() else np.nan)
            counts += own
    except ValueError as error:
        if "zip()" not in str(error):
            raise
        raise InputError("There is one mask that was said for each that is true.") from error
    return MaskErrors(counts, np.array(scores))


def confusion_of(
    truth: np.ndarray, said: np.ndarray, classes: int, ignored: int = 255
) -> np.ndarray:
    """Counts (K, K) int64 of class numbers of equal shapes; truth of `ignored` does not count."""
    counted = truth != ignored
    pairs = truth[counted].astype(np.int64) * classes + said[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """(K,) |A ∩ B| / |A ∪ B| of (K, K) counts; NaN for a class in neither truth nor prediction."""
    both = np.diagonal(confusion).astype("float64")
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    with np.errstate(invalid="ignore", divide="ignore"):
        return both / union


def _share_beside(confusion: np.ndarray, axis: int) -> np.ndarray:
    """(K,) what of sums over an axis lies beside the diagonal."""
    total = confusion.sum(axis=axis)
    with np.errstate(invalid="ignore"):
        return np.where(total, (total - np.diagonal(confusion)) / np.maximum(total, 1), np.nan)


def _checked(
    truth: np.ndarray, said: np.ndarray, classes: int, ignored: int
) -> tuple[np.ndarray, np.ndarray]:
    truth, said = np.asarray(truth), np.asarray(said)
    if truth.shape != said.shape or truth.dtype.kind not in "iu" or said.dtype.kind not in "iu":
        raise InputError(
            f"Masks are class numbers (H, W), integers, of the same size on both sides; received "
            f"{truth.dtype} of {truth.shape} and {said.dtype} of {said.shape}."
        )
    counted = truth != ignored
    for numbers in (truth[counted], said[counted]):
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < classes:
            raise InputError(
                f"Class numbers are 0 to {classes - 1}; received {numbers.min()} to "
                f"{numbers.max()}."
            )
    return truth, said
