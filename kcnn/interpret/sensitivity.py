"""Saliency: the pixels on which a class' score depends most, smoothed by noise.

Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 3; Smilkov et al. 2017,
"SmoothGrad: removing noise by adding noise".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.outputs import Meaning
from kcnn.interpret.gradient import gradient
from kcnn.interpret.pixels import as_images, at_once
from kcnn.interpret.scores import refuse_not_finite, scores
from kcnn.startup import keras


def saliency(
    model: keras.Model,
    images: Any,
    classes: int | Sequence[int] | np.ndarray | None = None,
    *,
    samples: int = 16,
    noise: float = 0.2,
    seed: int = 0,
    outputs: Meaning | None = None,
) -> np.ndarray:
    """How strongly the class' score depends on each pixel: |mean gradient|, the largest channel's.

    The gradient is averaged over copies of the image with Gaussian noise.

    Args:
        model: Any classifier, also of a class of its own; with softmax, sigmoid or logits. The
            score is the logit; where the graph cannot be seen, the logarithm of a probability.
        images: (N, H, W, C) with the values it was trained on.
        classes: One for all, or one each; None is what the model predicts.
        samples: Copies with noise; 1 with `noise=0` is the plain gradient.
        noise: Standard deviation, as a share of each image's range of values; the paper's 0.1 to
            0.2.
        seed: Of the noise.
        outputs: What the outputs are, where neither graph nor values tell.

    Returns:
        (N, H, W) float32, at least 0, in logits by unit of pixel value.

    Raises:
        InputError: Outputs that are no rows, no such class; samples below 1 or noise below 0.
    """
    if samples < 1 or noise < 0:
        raise InputError(
            f"samples is at least 1 and noise at least 0; received {samples} and {noise}."
        )
    images = as_images(images)
    asked, random = scores(model, images, classes, outputs), np.random.default_rng(seed)

    def score(batch: Any, classes: Any) -> Any:
        return asked.of(asked.network(batch, training=False), classes)

    run, found = gradient(score), []
    size = at_once(images)
    for begin in range(0, len(images), size):
        part = slice(begin, begin + size)
        batch, total = images[part], np.zeros_like(images[part])
        width = noise * np.ptp(batch, axis=(1, 2, 3), keepdims=True)
        together = max(size // len(batch), 1)  # copies that fill a batch
        for first in range(0, samples, together):
            shape = (min(together, samples - first), *batch.shape)
            noisy = batch + width * random.standard_normal(shape, "float32")
            labels = np.tile(asked.classes[part], len(noisy))
            values, _, slope = run(noisy.reshape(-1, *batch.shape[1:]), labels)
            refuse_not_finite(values)
            total += slope.reshape(shape).sum(axis=0)
        found.append(np.abs(total / samples).max(axis=-1))
    return np.concatenate(found)
