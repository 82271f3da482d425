"""Image files, decoded and resized once: an array in memory, or one `.npy` file on disk.

The bits are those of decoding each time. A file's name tells what is in it: the files' names and
a hash of their bytes, the size of the images, and the version of the decoder. It is written
beside and put in place when it is whole; what is there and does not have the length and the
header of such a file is written anew. Several processes may share a folder: one writes, the
others wait for it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from weakref import WeakKeyDictionary

import numpy as np
import PIL

from kcnn.data.sets.arrays import aligned
from kcnn.data.sets.images import ImageFiles
from kcnn.devices.memory import host_memory
from kcnn.errors import InputError
from kcnn.storage.files import beside, check_space, put_in_place, without_links

_CHUNK = 256  # images that are decoded before they are written

_in_memory: WeakKeyDictionary[ImageFiles, dict[tuple, np.ndarray]] = WeakKeyDictionary()

Read = Callable[[np.ndarray], np.ndarray]
Progress = Callable[[int], None] | None


def cached(
    files: ImageFiles,
    shape: tuple[int, int, int],
    read: Read,
    cache: str | os.PathLike,
    progress: Progress = None,
) -> np.ndarray:
    """All images of `files`, from the cache, or decoded now and kept there.

    Args:
        files: the image files of a split. What `cache="memory"` holds lives as long as they do.
        shape: (H, W, C) of each image.
        read: decodes: from (B,) indices to (B, H, W, C) uint8.
        cache: "memory", or a folder, which is made where it is missing.
        progress: called with the number of images decoded so far.

    Returns:
        (N, H, W, C) uint8: `aligned` in memory, a read-only `np.memmap` from a folder.

    Raises:
        InputError: not enough memory or disk space, or a folder that cannot be written.
    """
    if cache != "memory":
        return _from_disk(files, shape, read, Path(cache), progress)
    kept = _in_memory.setdefault(files, {})
    if shape not in kept:
        images = _room(len(files), shape)
        done = 0
        for chunk in _decoded(len(files), read, progress):
            images[done : done + len(chunk)] = chunk
            done += len(chunk)
        kept[shape] = images
    return kept[shape]


def _room(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    needed = count * int(np.prod(shape))
    memory = host_memory()
    if needed > memory:
        raise InputError(
            f"cache is 'memory', but {count} images of {shape[0]}×{shape[1]} take "
            f"{needed / 1e9:.1f} GB, and there are {memory / 1e9:.1f} GB. Name a folder to "
            "cache them on disk."
        )
    return aligned((count, *shape), np.uint8)


def _decoded(count: int, read: Read, progress: Progress) -> Iterator[np.ndarray]:
    for first in range(0, count, _CHUNK):
        end = min(first + _CHUNK, count)
        yield read(np.arange(first, end))
        if progress is not None:
            progress(end)


def _from_disk(
    files: ImageFiles,
    shape: tuple[int, int, int],
    read: Read,
    folder: Path,
    progress: Progress,
) -> np.memmap:
    whole = (len(files), *shape)
    key = hashlib.sha256(_state(files) + PIL.__version__.encode()).hexdigest()[:24]
    path = folder / f"{key}-{shape[0]}x{shape[1]}x{shape[2]}.npy"
    images = _opened(path, whole)
    if images is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with open(beside(path), "ab", opener=without_links) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if _opened(path, whole) is None:  # nobody wrote it while this process waited
                    _write(file, path, whole, _decoded(len(files), read, progress))
                else:
                    beside(path).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(_refused(error, folder)) from error
        images = _opened(path, whole)
        assert images is not None  # it was written above
    return images


def _state(files: ImageFiles) -> bytes:
    try:
        return files.state()
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}.") from error


def _write(
    file: BinaryIO, path: Path, shape: tuple[int, ...], chunks: Iterator[np.ndarray]
) -> None:
    file.truncate(0)  # what an interrupted process left
    check_space(path, int(np.prod(shape)))
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    try:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(chunk.data)
        file.flush()
        os.fsync(file.fileno())
    except BaseException:
        os.ftruncate(file.fileno(), 0)
        raise
    put_in_place(path)


def _opened(path: Path, shape: tuple[int, ...]) -> np.memmap | None:
    """The images in a cache file, or None unless it is whole."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        images = np.lib.format.open_memmap(path, mode="r")
        whole = path.stat().st_size == images.offset + images.nbytes
    except (OSError, ValueError):  # missing, or no array of plain values
        return None
    return images if whole and images.shape == shape and images.dtype == np.uint8 else None


def _refused(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "Free some space, name another folder, or train without a cache."
    else:
        remedy = "Name a folder that can be written, or train without a cache."
    return f"The image cache cannot be written in {folder}: {error.strerror}. {remedy}"
