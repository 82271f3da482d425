"""What is known of each picture beside its class: a mask, boxes; and how a view of it moves them.

`Split.labels` is an array of class numbers, or an `Annotations`: an index, like `ImageFiles`, of
which the content is read when a batch needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from kcnn.data.sets.images import ImageFiles

Progress = Callable[[int], None] | None


@dataclass(frozen=True)
class View:
    """A part of a picture as a network sees it: scaled, a window cut out, mirrored.

    Args:
        source: (H, W) of the picture, upright.
        scaled: (H, W) to which it is scaled; equal to `source` where it is not.
        top: Row of the scaled picture at which the window begins; rows before 0 and behind the
            last are padding.
        left: Column at which it begins.
        size: (H, W) of the window.
        mirrored: Whether the window is turned left to right.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    top: int = 0
    left: int = 0
    size: tuple[int, int] = (0, 0)
    mirrored: bool = False

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (H,) and columns (W,) of the scaled picture that the window shows, in its order.

        Those before 0 and behind the last are padding.
        """
        columns = self.left + np.arange(self.size[1])
        return self.top + np.arange(self.size[0]), columns[::-1] if self.mirrored else columns


class Annotations(Protocol):
    """What is known of the pictures of a split, in their order."""

    def __len__(self) -> int:
        """Pictures."""

    def __getitem__(self, indices: np.ndarray) -> Self:
        """Those of the pictures at (M,) integers, or where (N,) booleans are true."""

    @property
    def remarks(self) -> Sequence[str]:
        """What was dropped, repaired or guessed, one short phrase each."""

    def checked(self, images: Any, class_names: Sequence[str], progress: Progress = None) -> Self:
        """Themselves, looked at beside their pictures; repaired where there is one way to.

        Args:
            images: `ImageFiles`, or an array (N, H, W, C), as many as there are annotations.
            class_names: Of the data.
            progress: Called with the number of pictures done so far.

        Raises:
            InputError: Something cannot be used; with file, value and place.
        """

    def files(self) -> ImageFiles | None:
        """Files that they are read from, for the fingerprint; None: `state` says it all."""

    def state(self) -> bytes:
        """A digest of what they say that is not in `files`."""

    def target(self, index: int, view: View) -> np.ndarray:
        """What is to be learned of the picture at `index` in that view; of `spec`'s form."""

    def spec(self, size: tuple[int, int]) -> tuple[tuple[int, ...], str]:
        """Shape and dtype of `target` for a view of that size."""
