"""Style transfer: Gatys, Ecker & Bethge, "Image Style Transfer Using Convolutional Neural
Networks", CVPR 2016. A picture is sought that has the content of one and the style of another:
maps of a deep layer as those of the first, Gram matrices of layers as those of the second.

The picture is the content and a change, and the change is sought, from coarse to fine: what is
found at half the size is enlarged and added to the content's own detail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np

from kcnn.data.sets.decoding import fit
from kcnn.devices.memory import spare
from kcnn.errors import InputError
from kcnn.interpret import style_checks, style_network, style_pictures
from kcnn.interpret.style_descent import lbfgs
from kcnn.interpret.style_losses import Losses
from kcnn.interpret.style_pictures import Picture
from kcnn.interpret.style_scale import Scale, Step, Watch
from kcnn.startup import keras, many_networks, need_tensorflow
from kcnn.terminal import memory_text

#: β / α of equation 7, and what smoothness counts beside: chosen by eye.
STYLE_WEIGHT, SMOOTHNESS = 50.0, 0.03
STARTS = ("content", "noise")


class Options(TypedDict, total=False):
    """What `Transfer` takes by name."""

    size: int | tuple[int, int] | None
    network: keras.Model | None
    weights: str | Path
    preprocessing: str | None
    pooling: Literal["max", "avg"]
    content_layers: Sequence[str]
    style_layers: Sequence[str]
    content_weight: float
    style_weight: float
    smoothness: float
    steps: int
    start: Literal["content", "noise"]
    seed: int


@dataclass(frozen=True)
class Stylised:
    """What a transfer found.

    Attributes:
        picture: (H, W, 3) uint8.
        losses: Of that picture before it was rounded.
        beginning: Of the content itself.
        seconds: That it took.
    """

    picture: np.ndarray = field(repr=False)
    losses: Losses
    beginning: Losses
    seconds: float


def style_transfer(
    content: Picture,
    style: Picture,
    *,
    progress: Callable[[Step], None] | None = None,
    **options: Unpack[Options],
) -> Stylised:
    """A picture with the content of one and the style of another.

    Args:
        content: The path of an image file, or an array (H, W, 3), (H, W, 1) or (H, W) uint8.
        style: Another.
        progress: Told of each step, `kcnn.interpret.style_scale.Step`.
        **options: Of `Transfer`, all of which have defaults.

    Raises:
        InputError: As `Transfer`.
    """
    return Transfer(content, style, **options).run(progress)


class Transfer:
    """A style transfer that is checked and ready to run: its size and memory are known.

    Args:
        content: As in `style_transfer`.
        style: As well; it is scaled to as many pixels as the result has.
        size: Pixels of the result's longer side; or (height, width), to which the content's middle
            is cut; None for the content's own, at most 384.
        network: A `keras.Model` of photographs (N, H, W, 3), 0..255, of any size; None for VGG-19.
        weights: Of VGG-19: "imagenet", another tag of `kcnn list vgg19 --weights`, or a file.
        preprocessing: How the weights of a file were trained: "caffe", "torch", "tf".
        pooling: "avg" averages where the network takes the largest: smoother (section 2).
        content_layers: Names of the network's layers whose maps are to be as the content's.
        style_layers: Names of those whose Gram matrices are to be as the style's.
        content_weight: α of equation 7.
        style_weight: β; 0 gives the content back.
        smoothness: Of the total variation of what is added to the content: more for less noise.
        steps: Of L-BFGS at each size, a gradient each.
        start: Begin with the content, or with noise, as the paper.
        seed: Of the noise.

    Attributes:
        height: Of the result, in pixels.
        width: As well.
        sizes: (H, W) from coarse to fine; the last is the result's.
        steps: At each size.
        memory: Bytes that it takes, about.

    Raises:
        InputError: No picture, no size, weights below 0 or none above, no such layer; weights that
            are not there; a picture too small for the layers; more memory than there is.
    """

    def __init__(
        self,
        content: Picture,
        style: Picture,
        *,
        size: int | tuple[int, int] | None = None,
        network: keras.Model | None = None,
        weights: str | Path = "imagenet",
        preprocessing: str | None = None,
        pooling: Literal["max", "avg"] = "max",
        content_layers: Sequence[str] = style_network.CONTENT_LAYERS,
        style_layers: Sequence[str] = style_network.STYLE_LAYERS,
        content_weight: float = 1.0,
        style_weight: float = STYLE_WEIGHT,
        smoothness: float = SMOOTHNESS,
        steps: int = 100,
        start: Literal["content", "noise"] = "content",
        seed: int = 0,
    ) -> None:
        need_tensorflow("kcnn.interpret.style_transfer")
        self._weights = style_checks.weights(content_weight, style_weight, smoothness)
        style_checks.choice("pooling", pooling, style_network.POOLINGS)
        style_checks.choice("start", start, STARTS)
        self.steps = style_checks.count("steps", steps)
        self._seed = seed if start == "noise" else None
        self._content = style_pictures.picture(content, "content")
        self._style = style_pictures.picture(style, "style")
        self.height, self.width = style_pictures.wanted_size(self._content, size)
        if isinstance(size, (tuple, list)):
            self._content = fit(self._content, self.height, self.width)
        self.sizes = style_pictures.coarse_to_fine(self.height, self.width)
        if network is None:
            network = style_network.vgg19(weights, preprocessing)
        of_content = style_checks.names("content_layers", content_layers)
        layers = [*of_content, *style_checks.names("style_layers", style_layers)]
        self._part = style_network.looked_at(network, layers, pooling)
        self._layers = len(of_content)
        self._check_sides()
        self.memory = style_network.memory_of_step(self._part, self.height, self.width)
        self._check_memory()

    def run(self, progress: Callable[[Step], None] | None = None) -> Stylised:
        """Seek the picture.

        Args:
            progress: Told of each step.
        """
        watch = Watch(self.sizes, self.steps, progress)
        change: np.ndarray | None = None
        with many_networks():
            for height, width in self.sizes:
                scale = self._scale(height, width, watch)
                change = scale.descend(lbfgs, scale.start(change, self._seed), self.steps)
            assert change is not None
            return Stylised(
                scale.picture(change), scale.losses(change), scale.beginning, watch.seconds
            )

    def _scale(self, height: int, width: int, watch: Watch) -> Scale:
        content = style_pictures.scaled(self._content, height, width)
        sides = style_pictures.as_large(self._style, height, width)
        style = style_pictures.scaled(self._style, *sides)
        return Scale(self._part, self._layers, self._weights, content, style, watch)

    def _check_sides(self) -> None:
        smallest = style_network.smallest_side(self._part)
        for what, sides in (
            ("content", self.sizes[0]),
            ("style", style_pictures.as_large(self._style, *self.sizes[0])),
        ):
            if min(sides) < smallest:
                raise InputError(
                    f"The {what} would have {sides[1]}×{sides[0]} pixels, and the layers of "
                    f"{self._part.name} need {smallest} a side for a value in each map. Take a "
                    f"larger size, a picture that is less narrow, or shallower layers."
                )

    def _check_memory(self) -> None:
        if self.memory > (free := spare()):
            longest = int(max(self.height, self.width) * (free / self.memory) ** 0.5)
            raise InputError(
                f"{self.width}×{self.height} pixels take about {memory_text(self.memory)} of "
                f"memory, and {memory_text(free)} are free. Take a size of {longest} at most."
            )
