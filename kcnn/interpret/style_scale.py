"""Style transfer at one size, and what is told of each step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kcnn.interpret import style_pictures
from kcnn.interpret.style_gradient import with_gradient
from kcnn.interpret.style_losses import Losses, Objective, Weights
from kcnn.startup import keras


@dataclass(frozen=True)
class Step:
    """How far a transfer is.

    Attributes:
        height: Of the picture now, in pixels: from coarse to fine.
        width: As well.
        share: Of all the work that is done, 0..1.
        seconds: Since the beginning.
        losses: Of the picture now.
        beginning: Of the content itself, at this size.
        values: The picture now, (1, height, width, 3) floats.
    """

    height: int
    width: int
    share: float
    seconds: float
    losses: Losses
    beginning: Losses
    values: np.ndarray = field(repr=False)

    def picture(self) -> np.ndarray:
        """The picture now, (height, width, 3) uint8."""
        return style_pictures.as_bytes(self.values)


class Watch:
    """Tells somebody of each step, and how much of all the work that is.

    Args:
        sizes: (H, W) of all that will be done; the time of a step goes by the pixels.
        steps: At each size.
        told: Who.
    """

    def __init__(
        self, sizes: Sequence[tuple[int, int]], steps: int, told: Callable[[Step], None] | None
    ) -> None:
        self._told, self._begun = told, time.perf_counter()
        self._pixels, self._steps = {h * w: 0 for h, w in sizes}, steps

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._begun

    def tell(self, losses: Losses, beginning: Losses, values: np.ndarray) -> None:
        """A step at the size of `values`, (1, H, W, 3)."""
        height, width = values.shape[1:3]
        pixels, steps = height * width, self._steps
        self._pixels[pixels] = min(self._pixels[pixels] + 1, steps)  # the last search may be long
        if self._told is None:
            return
        done = sum(size if size < pixels else 0 for size in self._pixels) * steps
        share = (done + pixels * self._pixels[pixels]) / (sum(self._pixels) * steps)
        self._told(Step(height, width, share, self.seconds, losses, beginning, values))


class Scale:
    """One size of a transfer.

    Args:
        part: Pictures to the maps of the layers of content, then of style.
        layers: How many are of content.
        weights: Of the terms.
        content: (1, H, W, 3) float32, 0..255.
        style: (1, H', W', 3) float32, 0..255.
        watch: Is told of each step.
    """

    def __init__(
        self,
        part: keras.Model,
        layers: int,
        weights: Weights,
        content: np.ndarray,
        style: np.ndarray,
        watch: Watch,
    ) -> None:
        def maps(image: Any) -> Sequence[Any]:
            return keras.tree.flatten(part(image, training=False))

        self._content, self._watch = content, watch
        self._objective = Objective(maps, content, style, layers, weights)
        self._evaluate = with_gradient(self._objective.terms)
        self.beginning = self.losses(np.zeros_like(content))

    def start(self, coarser: np.ndarray | None, seed: int | None) -> np.ndarray:
        """The change (1, H, W, 3) to begin with.

        Args:
            coarser: What the size before found, (1, h, w, 3).
            seed: Without that, of uniform noise in place of the content; None for no change.
        """
        if coarser is not None:
            change = style_pictures.enlarged(coarser, *self._content.shape[1:3])
            return np.clip(change, -self._content, 255.0 - self._content)
        if seed is None:
            return np.zeros_like(self._content)
        noise = np.random.default_rng(seed).uniform(0.0, 255.0, self._content.shape)
        return noise - self._content

    def descend(
        self, method: Callable[..., np.ndarray], start: np.ndarray, steps: int
    ) -> np.ndarray:
        """The change (1, H, W, 3) that a method, as `style_descent.lbfgs`, finds from `start`."""
        return method(self._slope, start, -self._content, 255.0 - self._content, steps)

    def losses(self, change: np.ndarray) -> Losses:
        """Of the content and that change."""
        return self._objective.losses(self._evaluate(change)[1])

    def picture(self, change: np.ndarray) -> np.ndarray:
        """The content and that change, (H, W, 3) uint8."""
        return style_pictures.as_bytes(self._content + change)

    def _slope(self, change: np.ndarray) -> tuple[float, np.ndarray]:
        total, terms, gradient = self._evaluate(change)
        found = self._objective.losses(terms)
        self._watch.tell(found, self.beginning, self._content + change)
        return total, gradient
