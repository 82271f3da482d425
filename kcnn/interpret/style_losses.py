"""What style transfer makes small: Gatys, Ecker & Bethge, "Image Style Transfer Using
Convolutional Neural Networks", CVPR 2016, section 2.

| Term | Here | In the paper |
|---|---|---|
| content | 1/(2 N M) Σ (F - P)² | equation 1, which is N M times that |
| Gram matrix | G_ij = 1/M Σ_k F_ik F_jk | equation 3, which is M times that |
| style of a layer | 1/(4 N²) Σ (G - A)² | equation 4, the same: its M² is in G and A |
| style | mean over the layers | equation 5, w_l = 1 / layers |

F are the picture's maps, P the content's, A is the Gram matrix of the style's; N is the number of
filters, M the number of positions. Means over positions, in place of sums, let a weight mean the
same at every size, and the style's picture have a size of its own.

In the paper the filters' mean activations are one, by weights that were scaled so. Here the maps
of a layer are divided by one number, their mean over the two pictures: without, conv4_1 of VGG-19
would be nearly all of the style (2.6e10 against 3e5 of conv1_1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.startup import keras

#: Pixel values below which a difference of neighbours is noise as much as an edge.
_SOFT = 1.0

#: (1, H, W, C) float32, 0..255, to the maps of the layers, (1, H', W', C') each.
Maps = Callable[[Any], Sequence[Any]]


def gram(maps: Any) -> Any:
    """The products of filters, means over the positions: (1, H, W, C) -> (C, C)."""
    flat = keras.ops.reshape(maps, (-1, maps.shape[-1]))  # (M, C)
    positions = keras.ops.cast(keras.ops.shape(flat)[0], flat.dtype)
    return keras.ops.matmul(keras.ops.transpose(flat), flat) / positions


def content_loss(maps: Any, wanted: Any) -> Any:
    """Half the mean squared difference of maps (1, H, W, C): equation 1."""
    return 0.5 * keras.ops.mean(keras.ops.square(maps - wanted))


def style_loss(grams: Any, wanted: Any) -> Any:
    """A quarter of the mean squared difference of Gram matrices (C, C): equation 4."""
    return 0.25 * keras.ops.mean(keras.ops.square(grams - wanted))


def variation(change: Any) -> Any:
    """Total variation (Rudin, Osher & Fatemi 1992), a mean over pixels and channels.

    √(d_x² + d_y² + 1) - 1 with the differences d of neighbours, in pixel values: edges cost as much
    as they are high, and what is below one value next to nothing.

    Args:
        change: (1, H, W, C), H and W from 2 up.
    """
    across = change[:, :-1, 1:] - change[:, :-1, :-1]
    down = change[:, 1:, :-1] - change[:, :-1, :-1]
    squares = keras.ops.square(across) + keras.ops.square(down)
    return keras.ops.mean(keras.ops.sqrt(squares + _SOFT**2)) - _SOFT


@dataclass(frozen=True)
class Losses:
    """The terms at one picture; those of layers in the order in which they were named."""

    content: tuple[float, ...]  #: by layer
    style: tuple[float, ...]  #: by layer
    variation: float  #: in pixel values

    @property
    def mean_content(self) -> float:
        """Over the layers."""
        return float(np.mean(self.content)) if self.content else 0.0

    @property
    def mean_style(self) -> float:
        """Over the layers: equation 5 with equal weights."""
        return float(np.mean(self.style)) if self.style else 0.0


@dataclass(frozen=True)
class Weights:
    """What a term counts: equation 7, with α, β, and a third for the variation.

    Args:
        content: α.
        style: β.
        smoothness: Of the variation of what is added to the content.
    """

    content: float
    style: float
    smoothness: float


class Objective:
    """The terms, as a function of what is added to the content.

    Smooth is to be what is added, not the picture: so the content's own detail costs nothing, and
    a content without change is the minimum where style or its weight are none.

    Args:
        maps: Of the layers of content, then of those of style.
        content: (1, H, W, 3) float32, 0..255.
        style: (1, H', W', 3) float32, 0..255.
        layers: How many layers are of content.
        weights: Of the terms.
    """

    def __init__(
        self, maps: Maps, content: np.ndarray, style: np.ndarray, layers: int, weights: Weights
    ) -> None:
        self._maps, self._layers, self._weights = maps, layers, weights
        self._content = keras.ops.convert_to_tensor(content)
        ours, theirs = maps(self._content), maps(keras.ops.convert_to_tensor(style))
        self._scales = [_scale(*pair) for pair in zip(ours, theirs, strict=True)]
        self._wanted_maps = self._scaled(ours)[:layers]
        self._wanted_grams = [gram(one) for one in self._scaled(theirs)[layers:]]

    def terms(self, change: Any) -> tuple[Any, Any]:
        """The sum (), and the terms (layers of content + layers of style + 1,) of it.

        Args:
            change: (1, H, W, 3) float32, in pixel values.
        """
        found = self._scaled(self._maps(self._content + change))
        maps, grams = found[: self._layers], [gram(one) for one in found[self._layers :]]
        content = [content_loss(*p) for p in zip(maps, self._wanted_maps, strict=True)]
        style = [style_loss(*p) for p in zip(grams, self._wanted_grams, strict=True)]
        smooth, counts = variation(change), self._weights
        total = counts.smoothness * smooth
        for parts, weight in ((content, counts.content), (style, counts.style)):
            if parts:
                total = total + weight / len(parts) * sum(parts[1:], parts[0])
        return total, keras.ops.stack([*content, *style, smooth])

    def losses(self, terms: np.ndarray) -> Losses:
        """What `terms` gave, by name."""
        values = [float(value) for value in terms]
        return Losses(tuple(values[: self._layers]), tuple(values[self._layers : -1]), values[-1])

    def _scaled(self, maps: Sequence[Any]) -> list[Any]:
        return [
            keras.ops.cast(one, "float32") * scale
            for one, scale in zip(maps, self._scales, strict=True)
        ]


def _scale(ours: Any, theirs: Any) -> float:
    """One over the mean of a layer's values in both pictures; of a dead layer, one."""
    means = [float(keras.ops.mean(keras.ops.abs(one))) for one in (ours, theirs)]
    return 2.0 / sum(means) if sum(means) > 0.0 else 1.0
