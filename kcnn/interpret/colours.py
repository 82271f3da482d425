"""The colours that pictures of a data set have: what is black and white, how channels go together.

As Olah et al. 2017 have it, what is free is not correlated; pixels follow by the data's covariance,
and stay within their limits by a logistic curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.interpret.pixels import as_images
from kcnn.startup import keras
from kcnn.weights.preprocessing import of_model

_SAMPLE = 1000  # images of which colours are taken


@dataclass(frozen=True)
class Colours:
    """Between free numbers z, of mean 0 and not correlated, and pixels within limits."""

    low: float
    high: float
    mean: np.ndarray  #: (C,) of the logits of pixels
    mix: np.ndarray  #: (C, C), a root of their covariance

    def pixels(self, z: np.ndarray) -> np.ndarray:
        """Of free numbers (..., C)."""
        return self.low + (self.high - self.low) / (1.0 + np.exp(-(z @ self.mix.T + self.mean)))

    def back(self, pixels: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """The gradient with respect to z, of that with respect to the pixels."""
        inside = (pixels - self.low) * (self.high - pixels) / (self.high - self.low)
        return (slope * inside) @ self.mix


def sample_of(images: Any) -> np.ndarray:
    """Some of the images (N, H, W, C), float32.

    Raises:
        InputError: There is only one.
    """
    sample = as_images(images[:_SAMPLE])
    if len(sample) < 2:
        raise InputError("Two training images at least say how colours go together; received 1.")
    return sample


def limits_of(
    model: keras.Model, images: Any, sample: np.ndarray | None, said: tuple[float, float] | None
) -> tuple[float, float]:
    """Smallest and largest pixel value: as they are said, of the images, of the model.

    Raises:
        InputError: They cannot be known.
    """
    if said is None and sample is not None:
        of_bytes = str(getattr(images, "dtype", "")).endswith("uint8")
        said = (0.0, 255.0) if of_bytes else (float(sample.min()), float(sample.max()))
    if said is not None:
        low, high = map(float, said)
        if not low < high:
            raise InputError(f"limits are a smaller and a larger pixel value; received {said!r}.")
        return low, high
    norm = of_model(model)
    if norm is None or min(norm.deviation) < 5.0 or not 0.0 <= min(norm.mean) <= 255.0:
        raise InputError(
            f"Which pixel values {model.name} was trained on cannot be seen: it does not begin by "
            f"normalising bytes. Give training images (images=), or limits=(0, 1), say."
        )
    return 0.0, 255.0


def colours_of(sample: np.ndarray | None, limits: tuple[float, float], channels: int) -> Colours:
    """How the channels of pixels go together; without images as those of natural ones do."""
    low, high = limits
    if sample is None:
        # Ones and a share of what is common: near what photographs have, in every limits.
        mix = np.linalg.cholesky(np.full((channels, channels), 0.9) + 0.1 * np.eye(channels))
        return Colours(low, high, np.zeros(channels), mix)
    if sample.min() < low - 1e-6 or sample.max() > high + 1e-6:
        raise InputError(
            f"The images' values lie between {sample.min():.4g} and {sample.max():.4g}, outside "
            f"of limits={limits}."
        )
    shares = np.clip((sample.astype("float64") - low) / (high - low), 0.02, 0.98)
    logits = np.log(shares / (1.0 - shares)).reshape(-1, channels)
    covariance = np.atleast_2d(np.cov(logits.T)) + 1e-6 * np.eye(channels)
    values, axes = np.linalg.eigh(covariance)
    return Colours(low, high, logits.mean(axis=0), axes * np.sqrt(values))
