"""Two classes, and a score of the second for each image: every threshold at once.

ROC and its area (Fawcett 2006), precision by recall and average precision, and a threshold that was
chosen: on validation, for what it is chosen on says too much good of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kcnn.errors import InputError

Rule = Literal["f1", "balanced"]


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Counts at each score that occurs, said to be positive from it up; (M,) from high to low."""

    threshold: np.ndarray
    true: np.ndarray  #: int64: positives that are said to be
    false: np.ndarray  #: int64: negatives that are said to be positive
    positives: int
    negatives: int

    @property
    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """False and true positive rate, (M + 1,) each, from (0, 0) to (1, 1)."""
        false, true = (np.insert(one, 0, 0) for one in (self.false, self.true))
        return false / self.negatives, true / self.positives

    @property
    def roc_auc(self) -> float:
        """Area under it: how often a positive scores higher than a negative; equals count half."""
        false, true = self.roc
        return float(np.trapezoid(true, false))

    @property
    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall, (M,) each, at the thresholds."""
        return self.true / (self.true + self.false), self.true / self.positives

    @property
    def average_precision(self) -> float:
        """The sum of precision times the recall that each threshold adds; no interpolation."""
        precision, recall = self.precision_recall
        return float((precision * np.diff(recall, prepend=0.0)).sum())

    def best(self, rule: Rule = "f1") -> float:
        """The threshold at which F1, or the balanced accuracy (Youden 1950), is highest.

        Of several the highest. Said to be positive is what scores at least that much.
        """
        false, true = self.roc[0][1:], self.roc[1][1:]
        f1 = 2 * self.true / (self.true + self.false + self.positives)
        return float(self.threshold[np.argmax(f1 if rule == "f1" else true - false)])


def thresholds(positive: np.ndarray, score: np.ndarray) -> Thresholds:
    """What each threshold would give.

    Args:
        positive: (N,) bool, or 0 and 1: whether an image is of the second class.
        score: (N,) finite: high for such.

    Raises:
        InputError: Of other shapes; a score that is not finite; images of one class only.
    """
    if positive.shape != score.shape or score.ndim != 1:
        raise InputError(
            f"Truth and scores are (N,) each; received {positive.shape} and {score.shape}."
        )
    if not np.isfinite(score).all():
        raise InputError("Scores are to be finite; some are NaN or infinite.")
    positives = int(np.count_nonzero(positive))
    if not 0 < positives < len(positive):
        raise InputError(
            f"Thresholds need images of both classes; {positives} of {len(positive)} are of the "
            f"second."
        )
    order = np.argsort(-score, kind="stable")
    ranked, found = score[order], positive[order].astype(np.int64)
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    true = np.cumsum(found)[last]
    return Thresholds(ranked[last], true, last + 1 - true, positives, len(found) - positives)
