"""What a classifier said of images, beside what is true: the ground of every figure of its errors.

Probabilities come from `kcnn.tasks.classification`, which knows whether a network gives softmax,
logits, or one sigmoid unit; `log_probabilities` goes back to what temperature scaling works on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kcnn.errors import InputError

#: What 1 minus a probability of 32 bits is at least, where it is not 0.
_RESOLUTION = 2.0**-24
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier said of N images, and what is true.

    Args:
        truth: (N,) integers in [0, K): class numbers.
        probabilities: (N, K) floats, K at least 2: of every class.

    Raises:
        InputError: Of other shapes; a class that has no column; no image; not finite.
    """

    truth: np.ndarray
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        images, classes = check_rows(self.probabilities, "probabilities")
        if classes < 2:
            raise InputError(
                "Probabilities (N, 1) are of one class. Of one sigmoid p, give two columns: "
                "np.concatenate([1 - p, p], axis=1)."
            )
        check_numbers(self.truth, images, classes)

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def classes(self) -> int:
        """K."""
        return self.probabilities.shape[1]

    @cached_property
    def said(self) -> np.ndarray:
        """(N,) the most probable class; of several, the first."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def right(self) -> np.ndarray:
        """(N,) bool: whether that is the true one."""
        return self.said == self.truth

    @cached_property
    def confidence(self) -> np.ndarray:
        """(N,) the probability of what was said."""
        return self.probabilities.max(axis=1)

    @cached_property
    def rank(self) -> np.ndarray:
        """(N,) how many classes were said to be more probable than the true one.

        Among equals the first counts as the more probable, as in `said`.
        """
        true = np.take_along_axis(self.probabilities, self.truth[:, np.newaxis], axis=1)
        before = np.arange(self.classes) < self.truth[:, np.newaxis]
        ahead = (self.probabilities > true) | ((self.probabilities == true) & before)
        return ahead.sum(axis=1)

    def top(self, count: int) -> float:
        """Share of the images whose true class is among the `count` most probable."""
        return float((self.rank < count).mean())

    @property
    def positive(self) -> np.ndarray:
        """(N,) of two classes: the probability of the second.

        Raises:
            InputError: There are more than two.
        """
        if self.classes != 2:
            raise InputError(
                f"One score for each image is for two classes; there are {self.classes}."
            )
        return self.probabilities[:, 1]

    @property
    def log_probabilities(self) -> np.ndarray:
        """(N, K) float64: logits, but for a constant of each image.

        A probability that 32 bits hold as 0 becomes the smallest number that they hold; of two
        classes 2⁻²⁴, since the first may be 1 minus a sigmoid.
        """
        least = _RESOLUTION if self.classes == 2 else _SMALLEST
        values = self.probabilities.astype(np.float64)
        return np.log(np.where(values <= 0.0, least, values))


def check_rows(values: np.ndarray, what: str) -> tuple[int, int]:
    """(N, K) of rows that figures can be made of.

    Raises:
        InputError: Not two axes; none; not finite.
    """
    if values.ndim != 2 or not values.size:
        raise InputError(f"{what} are (N, classes), N at least 1; received {values.shape}.")
    if not np.isfinite(values).all():
        raise InputError(f"{what} are to be finite; some are NaN or infinite.")
    return values.shape


def check_numbers(numbers: np.ndarray, images: int, classes: int, what: str = "truth") -> None:
    """Refuse class numbers that are none.

    Raises:
        InputError: Of another shape than (images,); no integers; outside [0, classes).
    """
    if numbers.shape != (images,) or numbers.dtype.kind not in "iu":
        raise InputError(
            f"{what} are class numbers ({images},), integers; received {numbers.dtype} of shape "
            f"{numbers.shape}."
        )
    if images and not 0 <= numbers.min() <= numbers.max() < classes:
        raise InputError(
            f"{what} are class numbers from 0 to {classes - 1}; received {numbers.min()} to "
            f"{numbers.max()}."
        )
