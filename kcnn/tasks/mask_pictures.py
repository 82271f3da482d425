"""Masks to look at: pictures beside what is true, what a network says, and what of it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.data.batches.views import resized, viewed
from kcnn.data.sets.annotations import View
from kcnn.draw import pictures as draw
from kcnn.startup import keras
from kcnn.tasks import pixels
from kcnn.tasks.pictures import PictureProblem


@dataclass(frozen=True, eq=False)
class Looked:
    """A picture of a split, as it is."""

    image: np.ndarray  #: (H, W, C) uint8
    truth: np.ndarray  #: (H, W) uint8 class numbers, 255 where a pixel does not count
    said: np.ndarray  #: (H, W) uint8 class numbers


def looked_at(
    run: Callable[[Any], Any], logits: bool, problem: PictureProblem, part: str, index: int
) -> Looked:
    """A picture, and what a network says of it.

    Args:
        run: From pictures (B, H, W, C) to outputs (B, H, W, K).
        logits: Whether these are logits.
        problem: Whose split it is.
        part: "validation" or "test".
        index: Of the picture, from 0.
    """
    image, view = problem.picture(part, index)
    outputs = pixels.shares(run(viewed(image, view)[np.newaxis]), logits)
    said = mask_of(keras.ops.convert_to_numpy(outputs)[0], view)
    truth = getattr(problem.data, part).labels.numbers(index)
    return Looked(draw.as_bytes(image), truth, said)


def mask_of(probabilities: np.ndarray, view: View) -> np.ndarray:
    """(h, w) uint8 class numbers of the picture itself, of probabilities (H, W, K) of a view.

    Padding is cut away; where the picture was scaled down, probabilities are scaled up to it.
    """
    height, width = view.scaled
    part = probabilities[-view.top : height - view.top, -view.left : width - view.left]
    return resized(part, view.source).argmax(axis=-1).astype(np.uint8)


def rows(
    shown: Sequence[tuple[str, Looked]],
    part: str,
    class_names: Sequence[str],
    *,
    wrong: bool = False,
) -> bytes:
    """A PNG: for each title and picture itself, what is true, and what was said.

    Args:
        shown: From top to bottom.
        part: "validation" or "test".
        class_names: By number.
        wrong: In a fourth column, the wrong pixels in red.
    """
    colours, lines = draw.palette(len(class_names)), []
    for title, one in shown:
        below = one.image
        panels = [below if below.shape[2] == 3 else np.repeat(below[..., :1], 3, axis=2)]
        panels += [draw.overlay(below, numbers, colours) for numbers in (one.truth, one.said)]
        panels += [draw.wrong(below, one.truth, one.said)] if wrong else []
        lines.append(draw.Row(title, panels))
    headings = (part, "truth", "prediction", *(["wrong"] if wrong else []))
    return draw.rows(lines, headings, class_names, colours)
