"""Photographs in files: the index of a folder, and one image to pixels."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from kcnn.data.sets.decoding import (
    decode,
    fit,
    fitted,
    read,
)
from kcnn.data.sets.seen import Seen
from kcnn.errors import InputError
from kcnn.graph.photographs import middle, oversize

__all__ = ["ImageFiles", "decode", "fit", "load_image"]


class ImageFiles:
    """Image files below one folder, in order; an immutable sequence that holds paths only.

    Paths are kept relative to `root`, as one NumPy array of file-system bytes: a million files
    cost some tens of megabytes, and names in any encoding survive.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        names: Iterable[str] | np.ndarray,
        seen: Seen | None = None,
    ) -> None:
        """Args: `root`, the folder; `names`, paths relative to it; `seen` of files there."""
        self.root = Path(root)
        self._seen = seen or Seen(self.root)  # shared with all parts
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
        return ImageFiles(self.root, self._names[index], self._seen)

    def __iter__(self) -> Iterator[Path]:
        return (self[index] for index in range(len(self)))

    def faults(self, progress: Callable[[int], None] | None = None) -> list[tuple[Path, str]]:
        """(path, reason) of the files that cannot be used, in order."""
        _, found = self._seen.look(self._names, progress)
        return [(self[index], reason) for index, reason in found.items()]

    def several(self) -> int:
        """How many hold several frames or pages, of which the first is used; past `faults`."""
        return self._seen.several(self._names)

    def digests(self) -> np.ndarray:
        """(N, 32) uint8, SHA-256 of what each file holds."""
        return self._seen.look(self._names)[0]

    def state(self) -> bytes:
        """SHA-256 of names and of what the files hold, in order; see `Seen` for what is read."""
        digests, _ = self._seen.look(self._names)
        return _hashed(self._names, digests)

    def sizes(self) -> Iterator[tuple[bytes, int]]:
        """(path relative to the root, bytes) of each file."""
        return (
            (bytes(name), path.stat().st_size) for name, path in zip(self._names, self, strict=True)
        )

    def __repr__(self) -> str:
        return f"ImageFiles({str(self.root)!r}, {len(self)} files)"


def files_fingerprint(parts: Sequence[ImageFiles]) -> str:
    """Of all files of a folder: their names and what they hold, in whatever order they come."""
    names = np.concatenate([part._names for part in parts])
    digests = np.concatenate([part._seen.look(part._names)[0] for part in parts])
    order = np.argsort(names)
    return f"sha256-files:{_hashed(names[order], digests[order]).hex()}"


def files_fingerprint_of_before(parts: Sequence[ImageFiles]) -> str:
    """What runs of kcnn 0.1 knew of a folder: names and sizes of its files."""
    digest = hashlib.sha256()
    for name, size in sorted(pair for part in parts for pair in part.sizes()):
        digest.update(name + b"\0%d\n" % size)
    return f"sha256:{digest.hexdigest()}"


def _hashed(names: np.ndarray, digests: np.ndarray) -> bytes:
    digest = hashlib.sha256()
    for name, content in zip(names.tolist(), digests, strict=True):
        digest.update(name + b"\0" + content.tobytes())
    return digest.digest()


def load_image(
    path: str | os.PathLike | bytes, shape: Sequence[int], scale: float = 1.0
) -> np.ndarray:
    """One image file as the network takes it: decoded, then fit (`decode`, `fit`).

    Args:
        path: a path, or the bytes of a file.
        shape: (H, W, C) of the network's input, C = 1 or 3.
        scale: The image is fit to this times (H, W), of which the middle is cut out; at least 1.

    Returns:
        uint8, (H, W, C).

    Raises:
        InputError: the file cannot be read as an image, or `shape` is not three sizes.
    """
    sizes = tuple(shape)
    if len(sizes) != 3 or not all(isinstance(n, int | np.integer) and n > 0 for n in sizes):
        raise InputError(f"An image is loaded to a shape (H, W, C). Received: {sizes}.")
    height, width, channels = sizes
    target = oversize(height, width, scale)
    top, left = middle(target, height, width)
    image = fitted(read(path, channels), *target)
    return np.atleast_3d(np.asarray(image)[top : top + height, left : left + width])
