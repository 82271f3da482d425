"""A classification problem, ready to be read by a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.data import Feed
from kcnn.recipes.recipe import Recipe
from kcnn.startup import tf

#: The three splits and their jobs: fit, choose, report.
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Problem:
    """A classification problem, ready to be read."""

    name: str
    image_shape: tuple[int | None, int | None, int]  #: (H, W, C); None: photographs
    class_names: tuple[str, ...]
    sizes: Mapping[str, int]  #: images in train, validation, test
    provenance: str
    fingerprint: str
    batch_size: int | None  #: of a stream that is batched already
    #: (H, W) the network sees -> mean (C,), variance (C,) of the training split
    statistics: Callable[[tuple[int, int]], tuple[np.ndarray, np.ndarray]]
    #: recipe -> steps of an epoch
    steps: Callable[[Recipe], int]
    #: (recipe, (H, W), outputs, start) -> the feed of the steps from `start` on, without end
    training: Callable[[Recipe, tuple[int, int], int, int], Feed]
    #: (split, batch size, (H, W), outputs) -> batches in stored order
    evaluation: Callable[[str, int, tuple[int, int], int], tf.data.Dataset]

    #: (recipe, (H, W), progress): decode image files into `recipe.cache`; None: there are no files
    fill_cache: Callable[[Recipe, tuple[int, int], Callable[[int], None]], None] | None = None
    source: str | None = None  #: what `load_data` takes to give it again

    def description(self) -> dict[str, Any]:
        """What a run directory keeps of it."""
        return {
            "name": self.name,
            "source": self.source,
            "provenance": self.provenance,
            "fingerprint": self.fingerprint,
            "images": dict(self.sizes),
            "image_shape": self.image_shape,
            "class_names": self.class_names,
        }

    @property
    def classes(self) -> int:
        """Number of classes, from 2 up."""
        return len(self.class_names)

    @property
    def outputs(self) -> int:
        """Outputs of a network for it: two classes need one."""
        return 1 if self.classes == 2 else self.classes
