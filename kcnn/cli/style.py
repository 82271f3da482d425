"""The command that paints one picture in the style of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from kcnn.cli.command import Command


@dataclass(frozen=True)
class Style(Command):
    """Paint a picture in the style of another (Gatys et al. 2016), with VGG-19."""

    content: Positional[Path]
    """What it shows: an image file (JPEG, PNG, BMP, GIF, WebP)."""
    style: Positional[Path]
    """How it is painted: an image file."""
    output: Path | None = None
    """The picture, .png or .jpg; the default is CONTENT-STYLE.png here."""
    weight: float = 50.0
    """Of style against content: 0 gives the content back, 1000 leaves little of it."""
    size: int | None = None
    """Pixels of the longer side; the default is the content's, at most 384."""
    steps: int = 100
    """Steps at each size, from coarse to fine."""
    smoothness: float = 0.03
    """What neighbouring pixels cost that are changed differently: more for less noise."""
    pooling: Literal["max", "avg"] = "max"
    """VGG-19's own pooling, or averages in its place."""
    weights: str = "imagenet"
    """Of VGG-19: published ones, downloaded once, or a file."""
    preprocessing: Literal["caffe", "torch", "tf"] | None = None
    """How the weights of a file were trained: caffe (keras.applications), torch or tf."""

    def run(self) -> None:
        """Paint, and write the picture."""
        from kcnn.runs.style import stylise
        from kcnn.terminal import console

        stylise(
            self.content, self.style, output=self.output, console=console(), size=self.size,
            style_weight=self.weight, steps=self.steps, smoothness=self.smoothness,
            pooling=self.pooling, weights=self.weights, preprocessing=self.preprocessing,
        )  # fmt: skip
