"""Where images come from: an array in memory, a cache on disk, or files that are decoded."""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.data.batches.cache import cached
from kcnn.data.sets.arrays import aligned
from kcnn.data.sets.images import ImageFiles, load_image
from kcnn.errors import InputError
from kcnn.graph.photographs import oversize
from kcnn.startup import tf

_SHARE = 4  # images that a thread decodes in one go


@dataclass(frozen=True)
class Source:
    """The images of a split in the one size in which batches take them."""

    shape: tuple[int, int, int]  #: (H, W, C)
    dtype: str  #: uint8 or float32
    array: np.ndarray | None  #: (N, H, W, C) where all are in memory
    read: Callable[[np.ndarray], np.ndarray]  #: from (B,) indices to (B, H, W, C)
    own: bool = False  #: `array` is the cache's, and nobody writes to it

    def tensor(self) -> tf.Tensor:
        """`array` for TensorFlow, in the host's memory: the cache's itself, of others one copy.

        (`tf.constant` makes two: the first is rarely aligned.)
        """
        array = self.array
        assert array is not None  # of files, a graph asks `fetch`
        if not self.own:
            array, given = aligned(array.shape, array.dtype), array
            array[...] = given
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())

    def fetch(self, indices: tf.Tensor) -> tf.Tensor:
        """As `read`, within a graph; not for an array in memory, which a graph gathers itself."""
        batch = tf.numpy_function(self.read, [indices], self.dtype, stateful=False)
        return tf.ensure_shape(batch, (None, *self.shape))


def source(
    images: np.ndarray | ImageFiles,
    image_size: tuple[int, int] | None,
    margin: float = 1.0,
    cache: str | os.PathLike | None = None,
    progress: Callable[[int], None] | None = None,
) -> Source:
    """The source of `images`; files are fit to `margin` times `image_size`, and cached at once.

    Args:
        images: of a split.
        image_size: (H, W) for files, None for arrays.
        margin: at least 1.
        cache: as `training_feed`.
        progress: called with the number of files that are in the cache so far.

    Raises:
        InputError: a size or a cache for arrays, no size for files, or no room for the cache.
    """
    if isinstance(images, ImageFiles):
        return _source_of_files(images, image_size, margin, cache, progress)
    if image_size is not None and tuple(image_size) != images.shape[1:3]:
        raise InputError(
            f"image_size {tuple(image_size)} applies to image files; these arrays are "
            f"{images.shape[1]}×{images.shape[2]} and keep their size. Leave it out: resizing "
            "belongs to the model."
        )
    if cache is not None:
        raise InputError(
            f"cache is {str(cache)!r}, which applies to image files; these images are in memory "
            "already. Leave it out."
        )
    height, width, channels = images.shape[1:]
    return Source((height, width, channels), str(images.dtype), images, images.__getitem__)


def _source_of_files(
    files: ImageFiles,
    image_size: tuple[int, int] | None,
    margin: float,
    cache: str | os.PathLike | None,
    progress: Callable[[int], None] | None,
) -> Source:
    if image_size is None:
        raise InputError(
            "Image files differ in size: pass image_size=(height, width), the input of the "
            "network, to which each is fit."
        )
    shape = (*oversize(*image_size, margin), 3)
    read = in_python(_decoder(files, shape))
    if cache is None:
        return Source(shape, "uint8", None, read)
    array = cached(files, shape, read, cache, progress)
    if not isinstance(array, np.memmap):
        return Source(shape, "uint8", array, array.__getitem__, own=True)
    return Source(shape, "uint8", None, in_python(np.asarray(array).__getitem__))


def in_python(read: Callable[..., Any]) -> Callable[..., Any]:
    """`read`, called by threads of TensorFlow: see `_Calls`."""

    def called(*arguments: np.ndarray) -> Any:
        with _calls:
            return read(*arguments)

    return called


def _decoder(files: ImageFiles, shape: tuple[int, int, int]) -> Callable[[np.ndarray], np.ndarray]:
    threads = pool()

    def read(indices: np.ndarray) -> np.ndarray:
        batch = np.empty((len(indices), *shape), np.uint8)

        def share(first: int) -> None:
            for place in range(first, min(first + _SHARE, len(indices))):
                batch[place] = load_image(files[indices[place]], shape)

        list(threads.map(share, range(0, len(indices), _SHARE)))  # raises what was raised there
        return batch

    return read


@functools.cache
def pool() -> ThreadPoolExecutor:
    """Threads that decode: Pillow lets go of Python's lock while it does."""
    atexit.register(_calls.settle)
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="kcnn-decode")


class _Calls:
    """Knows when tf.data's threads are in Python, so that the process can end without them.

    An iterator that is still alive at exit waits in its destructor for the batches that it has
    begun to prefetch. Their threads never return once Python is shutting down, and the process
    hangs (4 exits of 10, TensorFlow 2.21, Python 3.11). What is prefetched is bounded, so a
    short wait before the shutdown is enough; from there on the pool refuses work, at once.
    """

    QUIET, PATIENCE = 0.1, 10.0  # seconds

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._left = 0.0  # when the last call ended

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            self._left = time.monotonic()

    def settle(self) -> None:
        """Return when no call has been inside for a moment."""
        end = time.monotonic() + self.PATIENCE
        while (now := time.monotonic()) < end and (self._inside or now - self._left < self.QUIET):
            time.sleep(0.01)


_calls = _Calls()
