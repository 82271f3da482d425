"""From indices to images and targets: gathered from memory, or read from files."""

from __future__ import annotations

import atexit
import functools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kcnn.data.images import ImageFiles, load_image
from kcnn.errors import InputError
from kcnn.startup import tf


def fetcher(
    images: np.ndarray | ImageFiles, image_size: tuple[int, int] | None, margin: float
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph function from (B,) indices to (B, H, W, C) images."""
    read = reader(images, image_size, margin)
    if not isinstance(images, ImageFiles):
        return functools.partial(tf.gather, _on_cpu(images))
    height, width = (round(margin * side) for side in image_size)

    def fetch(indices: tf.Tensor) -> tf.Tensor:
        batch = tf.numpy_function(read, [indices], tf.uint8, stateful=False)
        return tf.ensure_shape(batch, (None, height, width, 3))

    return fetch


def reader(
    images: np.ndarray | ImageFiles, image_size: tuple[int, int] | None, margin: float
) -> Callable[[np.ndarray], np.ndarray]:
    """A NumPy function from (B,) indices to (B, H, W, C) images."""
    if not isinstance(images, ImageFiles):
        if image_size is not None and tuple(image_size) != images.shape[1:3]:
            raise InputError(
                f"image_size {tuple(image_size)} applies to image files; these arrays are "
                f"{images.shape[1]}×{images.shape[2]} and keep their size. Leave it out: resizing "
                "belongs to the model."
            )
        return images.__getitem__
    if image_size is None:
        raise InputError(
            "Image files differ in size: pass image_size=(height, width), the input of the "
            "network, to which each is fit."
        )
    shape, pool = (*(round(margin * side) for side in image_size), 3), _pool()

    def read(indices: np.ndarray) -> np.ndarray:
        with _calls:
            return np.stack(list(pool.map(lambda i: load_image(images[i], shape), indices)))

    return read


@functools.cache
def _pool() -> ThreadPoolExecutor:
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


def label_fetcher(
    labels: np.ndarray, classes: int, binary: bool
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph function from (B,) indices to labels (B, K) one-hot, or (B, 1) where `binary`."""
    held = _on_cpu(labels)
    if binary:
        return lambda indices: tf.cast(tf.gather(held, indices), tf.float32)[:, tf.newaxis]
    return lambda indices: tf.one_hot(tf.gather(held, indices), classes)


def _on_cpu(array: np.ndarray) -> tf.Tensor:
    """One copy in memory, where tf.data runs: on a GPU every batch would be copied back."""
    with tf.device("CPU:0"):
        return tf.constant(array)
