"""How a classifier errs: confusion, precision and recall by class with intervals, worst mistakes.

All of it follows from counts: of the images of a class (recall, also called the accuracy of a
class), and of those that were said to be of it (precision). Where nothing was counted a share is
NaN, and it is left out of means over classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from kcnn.errors import InputError
from kcnn.interpret.answers import Answers, check_numbers


def confusion(truth: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) int64 counts; rows are true, columns said.

    Args:
        truth: (N,) integers in [0, classes).
        said: (N,), as well.
        classes: How many there are.

    Raises:
        InputError: Numbers of no class, or not as many of one as of the other.
    """
    check_numbers(truth, len(truth), classes)
    check_numbers(said, len(truth), classes, "said")
    found = np.zeros((classes, classes), np.int64)
    np.add.at(found, (truth, said), 1)
    return found


def wilson(
    right: np.ndarray | int, total: np.ndarray | int, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the interval of a share that was counted (Wilson 1927).

    It stays within [0, 1], and has a width where all or none are right.

    Args:
        right: (...) counts.
        total: (...) of how many; 0 gives NaN.
        level: The confidence, in (0, 1).

    Returns:
        Lower and upper ends, (...) float64 each.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    right, total = np.asarray(right, np.float64), np.asarray(total, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share, weight = right / total, z * z / total
        middle = (share + weight / 2) / (1 + weight)
        half = z * np.sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    # At the ends rounding shall not leave a rest.
    low = np.where(right == 0, np.where(total == 0, np.nan, 0.0), middle - half)
    high = np.where(right == total, np.where(total == 0, np.nan, 1.0), middle + half)
    return low, high


@dataclass(frozen=True, eq=False)
class ByClass:
    """Figures of each of K classes, (K,) float64; NaN where nothing was counted.

    Intervals are (K, 2): Wilson's lower and upper end, at 95 %.
    """

    images: np.ndarray  #: (K,) int64: that are of the class
    said: np.ndarray  #: (K,) int64: that were said to be
    right: np.ndarray  #: (K,) int64: both
    recall: np.ndarray
    precision: np.ndarray
    f1: np.ndarray
    recall_interval: np.ndarray
    precision_interval: np.ndarray


def by_class(counts: np.ndarray) -> ByClass:
    """Precision, recall and F1 of each class, of a confusion matrix (K, K)."""
    images, said, right = counts.sum(axis=1), counts.sum(axis=0), np.diagonal(counts)
    return ByClass(
        images=images,
        said=said,
        right=right,
        recall=_share(right, images),
        precision=_share(right, said),
        f1=_share(2 * right, images + said),
        recall_interval=np.stack(wilson(right, images), axis=-1),
        precision_interval=np.stack(wilson(right, said), axis=-1),
    )


def balanced_accuracy(counts: np.ndarray) -> float:
    """The mean recall of the classes that have images, of a confusion matrix (K, K)."""
    return _mean(by_class(counts).recall)


def macro_f1(counts: np.ndarray) -> float:
    """The mean F1 of the classes that have images or were said, of a confusion matrix (K, K)."""
    return _mean(by_class(counts).f1)


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Images that were taken for another class, the most confident mistake first; (M,) each."""

    indices: np.ndarray  #: int64: which images
    truth: np.ndarray  #: int64: class numbers
    said: np.ndarray  #: int64
    confidence: np.ndarray  #: floats: of what was said

    def __len__(self) -> int:
        return len(self.indices)


def most_confident_mistakes(answers: Answers, count: int = 16) -> Mistakes:
    """The `count` mistakes of which the classifier was surest; fewer where there are fewer."""
    wrong = np.flatnonzero(~answers.right)
    order = np.argsort(-answers.confidence[wrong], kind="stable")[: max(count, 0)]
    found = wrong[order]
    return Mistakes(found, answers.truth[found], answers.said[found], answers.confidence[found])


def worst_pictures(scores: np.ndarray, count: int = 6) -> np.ndarray:
    """The numbers of the pictures with the lowest scores, the worst first; of equals the first.

    Args:
        scores: (N,) of each picture, such as mean IoU or F1; NaN is not ranked.
        count: At most so many.

    Returns:
        (M,) int64.
    """
    ranked = np.argsort(scores, kind="stable")  # NaN goes behind
    return ranked[~np.isnan(np.asarray(scores, "float64")[ranked])][: max(count, 0)]


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    if np.isnan(values).all():
        raise InputError("There is no image to count.")
    return float(np.nanmean(values))
