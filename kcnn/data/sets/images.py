"""Photographs in files: the index of a folder, and one image to pixels."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from kcnn.data.sets.decoding import (
    decode,
    fit,
    fitted,
    read,
)
from kcnn.errors import InputError

__all__ = ["ImageFiles", "decode", "fit", "load_image"]


class ImageFiles:
    """Image files below one folder, in order; an immutable sequence that holds paths only.

    Paths are kept relative to `root`, as one NumPy array of file-system bytes: a million files
    cost some tens of megabytes, and names in any encoding survive.
    """

    def __init__(self, root: str | os.PathLike, names: Iterable[str] | np.ndarray) -> None:
        """Args: `root`, the folder; `names`, paths relative to it."""
        self.root = Path(root)
        if not isinstance(names, np.ndarray):
            names = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
        self._names = names  # (N,) bytes

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray) -> "ImageFiles": ...
    def __getitem__(self, index):
        """The path at an integer index; for a slice or an array, those files."""
        if isinstance(index, int | np.integer):
            return self.root / os.fsdecode(self._names[index])
        return ImageFiles(self.root, self._names[index])

    def __iter__(self) -> Iterator[Path]:
        return (self[index] for index in range(len(self)))

    def state(self) -> bytes:
        """SHA-256 of names, sizes and times of change: of what the files hold, unread."""
        digest = hashlib.sha256()
        for path in self:
            stat = path.stat()
            digest.update(b"%b\0%d %d\n" % (os.fsencode(path), stat.st_size, stat.st_mtime_ns))
        return digest.digest()

    def __repr__(self) -> str:
        return f"ImageFiles({str(self.root)!r}, {len(self)} files)"


def load_image(path: str | os.PathLike | bytes, shape: Sequence[int]) -> np.ndarray:
    """One image file as the network takes it: decoded, then fit (`decode`, `fit`).

    Args:
        path: a path, or the bytes of a file.
        shape: (H, W, C) of the network's input, C = 1 or 3.

    Returns:
        uint8, (H, W, C).

    Raises:
        InputError: the file cannot be read as an image, or `shape` is not three sizes.
    """
    sizes = tuple(shape)
    if len(sizes) != 3 or not all(isinstance(n, int | np.integer) and n > 0 for n in sizes):
        raise InputError(f"An image is loaded to a shape (H, W, C). Received: {sizes}.")
    height, width, channels = sizes
    return np.atleast_3d(np.asarray(fitted(read(path, channels), height, width)))
