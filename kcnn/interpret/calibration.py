"""Whether a classifier is as often right as it says: calibration, temperature, risk by coverage.

Bins are of equal width: of 15, the k-th holds the confidences in ((k - 1) / 15, k / 15], as in Guo
et al. 2017 (On Calibration of Modern Neural Networks), whose expected calibration error (eq. 3) and
temperature scaling (eq. 9) these are. The error depends on the bins: name their number beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kcnn.errors import InputError
from kcnn.interpret.answers import check_numbers, check_rows

#: Bins of equal width (Guo et al. 2017, section 5).
BINS = 15
#: Where the best temperature is looked for.
_COLDEST, _HOTTEST = 1e-2, 1e2


@dataclass(frozen=True, eq=False)
class Calibration:
    """Confidence against accuracy, bin by bin; (B,) each, NaN in a bin without images."""

    edges: np.ndarray  #: (B + 1,) from 0 to 1
    images: np.ndarray  #: int64
    confidence: np.ndarray  #: the mean in the bin
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of the two, over the images."""
        return float(np.nansum(self._gaps * self.images) / self.images.sum())

    @property
    def largest_error(self) -> float:
        """The largest distance of a bin that has images (maximum calibration error)."""
        return float(np.nanmax(self._gaps))

    @property
    def _gaps(self) -> np.ndarray:
        return np.abs(self.accuracy - self.confidence)


def calibration_curve(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> Calibration:
    """The calibration curve of what was said.

    Args:
        confidence: (N,) in [0, 1]: the probability of the class that was said.
        right: (N,) bool: whether it was the true one.
        bins: How many, of equal width.

    Raises:
        InputError: No image; a confidence outside [0, 1]; less than one bin.
    """
    if bins < 1:
        raise InputError(f"bins is a whole number from 1 up; received {bins}.")
    _check_confidence(confidence, right)
    edges = np.linspace(0.0, 1.0, bins + 1)
    values = confidence.astype(np.float64)
    place = np.searchsorted(edges[1:-1], values)  # a value on an edge is in the bin below
    images = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, weights, minlength=bins) for weights in (values, right))
    with np.errstate(invalid="ignore"):
        mean, accuracy = (total / images for total in sums)
    return Calibration(edges, images, mean, accuracy)


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(N, K) float64 probabilities of logits (N, K), or of log probabilities, divided by T > 0."""
    scaled = logits.astype(np.float64) / temperature
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def negative_log_likelihood(
    truth: np.ndarray, logits: np.ndarray, temperature: float = 1.0
) -> float:
    """The mean over images of -log p(true class), in nats, of logits (N, K) divided by T > 0."""
    scaled = logits.astype(np.float64) / temperature
    peak = scaled.max(axis=1)
    total = peak + np.log(np.exp(scaled - peak[:, np.newaxis]).sum(axis=1))
    return float((total - scaled[np.arange(len(truth)), truth]).mean())


def best_temperature(truth: np.ndarray, logits: np.ndarray) -> float:
    """The temperature T by which logits are divided that explains the truth best.

    It changes no answer, and should be found on validation. Of 1 / T the negative log likelihood is
    convex: its slope, the mean of E[z] - z of the true class, is brought to 0 by bisection.

    Args:
        truth: (N,) integers in [0, K).
        logits: (N, K), K at least 2; log probabilities are such. Of one logit z: columns 0 and z.

    Raises:
        InputError: No such rows; the best lies outside [1/100, 100], where it means nothing: all
            images are right, the sharper the better; or the logits say nothing of the truth.
    """
    images, classes = check_rows(logits, "logits")
    check_numbers(truth, images, classes)
    values = logits.astype(np.float64)
    true = values[np.arange(images), truth].mean()

    def slope(sharpness: float) -> float:
        expected = (softmax(values, 1.0 / sharpness) * values).sum(axis=1)
        return float(expected.mean() - true)

    low, high = 1.0 / _HOTTEST, 1.0 / _COLDEST
    if slope(low) >= 0.0 or slope(high) <= 0.0:
        if slope(high) <= 0.0:
            why = "the sharper the better: the true class has the largest output nearly everywhere"
        else:
            why = "the flatter the better: the outputs say nothing of the truth"
        raise InputError(
            f"No temperature between {_COLDEST:g} and {_HOTTEST:g} is best for these {images} "
            f"images; {why}. Take more images, or other ones than those that were trained on."
        )
    while high > low * (1 + 1e-7):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0.0 else (low, middle)
    return (low * high) ** -0.5


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """What is answered, and how much of that is wrong, where only the surest are answered.

    (M,) each, one for each confidence that occurs, from the highest down (El-Yaniv & Wiener 2010).
    """

    coverage: np.ndarray  #: share of the images that are answered
    risk: np.ndarray  #: share of those that are wrong
    threshold: np.ndarray  #: the least confidence that is answered

    @property
    def area(self) -> float:
        """Under the steps: the mean risk over coverages (Geifman et al. 2019, AURC); 0 is best."""
        return float((self.risk * np.diff(self.coverage, prepend=0.0)).sum())

    def coverage_at(self, risk: float) -> float:
        """The largest share of the images that can be answered with at most that risk."""
        return float(self.coverage[self.risk <= risk].max(initial=0.0))


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> RiskCoverage:
    """Risk against coverage; images of one confidence are answered all, or none.

    Args:
        confidence: (N,) in [0, 1].
        right: (N,) bool.

    Raises:
        InputError: No image; a confidence outside [0, 1].
    """
    _check_confidence(confidence, right)
    order = np.argsort(-confidence, kind="stable")
    sure, wrong = confidence[order], np.cumsum(~right[order])
    last = np.flatnonzero(np.append(sure[1:] != sure[:-1], True))
    answered = last + 1
    return RiskCoverage(answered / len(sure), wrong[last] / answered, sure[last])


def _check_confidence(confidence: np.ndarray, right: np.ndarray) -> None:
    if confidence.ndim != 1 or not len(confidence) or right.shape != confidence.shape:
        raise InputError(
            f"Confidence and right are (N,) each, N at least 1; received {confidence.shape} and "
            f"{right.shape}."
        )
    if right.dtype != bool:
        raise InputError(f"right is bool, one an image; received {right.dtype}.")
    if not (confidence.min() >= 0.0 and confidence.max() <= 1.0 + 1e-6):  # also of NaN
        raise InputError(
            f"Confidences are from 0 to 1; received {confidence.min():.3g} to "
            f"{confidence.max():.3g}. Of logits, softmax makes such."
        )
