"""Two classifiers on the same images: what one gets right and the other wrong; how sure that is.

Images that both get right, or both wrong, say nothing of a difference: McNemar (1947) tests the
others. The interval of the difference is Wald's with half an image added to each of the four counts
(Agresti & Min 2005, section 3), which keeps its level where Wald's own does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from kcnn.errors import InputError


@dataclass(frozen=True)
class Pair:
    """Counts of N images that two classifiers answered."""

    both: int  #: right
    first: int  #: right by the first alone
    second: int  #: right by the second alone
    neither: int

    @property
    def images(self) -> int:
        """N."""
        return self.both + self.first + self.second + self.neither

    @property
    def difference(self) -> float:
        """Accuracy of the second minus that of the first."""
        return (self.second - self.first) / self.images

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The ends of the interval of the difference."""
        z = NormalDist().inv_cdf(0.5 + level / 2)
        first, second, images = self.first + 0.5, self.second + 0.5, self.images + 2
        middle = (second - first) / images
        half = z * math.sqrt((first + second) / images - middle**2) / math.sqrt(images)
        return max(middle - half, -1.0), min(middle + half, 1.0)

    @property
    def p_value(self) -> float:
        """How probable at least so uneven a split is, were both as good: McNemar's, exact."""
        less, total = min(self.first, self.second), self.first + self.second
        # A binomial tail with p = 1/2, each term from the one before it; in logs, for large N.
        terms = [_log_choose(total, k) - total * math.log(2) for k in range(less + 1)]
        return min(1.0, 2 * math.fsum(map(math.exp, terms)))


def mcnemar(first: np.ndarray, second: np.ndarray) -> Pair:
    """The counts of two classifiers on the same images.

    Args:
        first: (N,) bool: what the first gets right.
        second: (N,) bool: what the second does, of the same images in the same order.

    Raises:
        InputError: Of other shapes or kinds; no image.
    """
    for one in (first, second):
        if one.ndim != 1 or one.dtype != bool or len(one) != len(first) or not len(one):
            raise InputError(
                f"A pair is of (N,) bool each, of the same images; received {first.dtype} "
                f"{first.shape} and {second.dtype} {second.shape}."
            )
    both = int((first & second).sum())
    alone = int(first.sum()) - both, int(second.sum()) - both
    return Pair(both, *alone, len(first) - both - sum(alone))


def _log_choose(total: int, part: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(part + 1) - math.lgamma(total - part + 1)
