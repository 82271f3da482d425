"""Picture files for a network: which ones, and their pixels, read ahead of it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from glob import glob
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from kcnn.data.sets.filetypes import SUFFIXES
from kcnn.data.sets.folders import images_below
from kcnn.errors import InputError

#: Is told the path of a picture that cannot be read, and why; it is left out then.
Skipped = Callable[[Path, str], None]

_Item = TypeVar("_Item")


def image_paths(given: Sequence[str | Path]) -> list[Path]:
    """Files as they are, those below folders, and those that a pattern such as `a/**/*.jpg` names.

    What is there is no pattern, whatever its name. Below folders, files with the endings of images
    count; of what a pattern names each is taken once, in the order of names.

    Raises:
        InputError: Nothing is there; a folder without image files; a pattern that names nothing.
    """
    return [path for one in given for path in _named(Path(one))]


def _named(path: Path) -> list[Path]:
    if path.is_dir():
        names = images_below(path, "")
        if not names:
            raise InputError(
                f"The folder {str(path)!r} has no image files ({', '.join(SUFFIXES)})."
            )
        return [path / name for name in names]
    if os.path.lexists(path):
        return [path]
    if not set("*?[") & set(str(path)):
        raise InputError(
            f"There is no file or folder {str(path)!r}. Name image files, folders of them, or a "
            f"pattern such as 'photos/**/*.jpg'."
        )
    matching = sorted(glob(str(path), recursive=True))
    if not matching:
        raise InputError(f"No file or folder is named by the pattern {str(path)!r}.")
    found = [file for one in matching for file in _matching(Path(one))]
    return list(dict.fromkeys(found))


def _matching(path: Path) -> list[Path]:
    """A file that a pattern names, or the pictures below a folder; it may have none."""
    return [path / name for name in images_below(path, "")] if path.is_dir() else [path]


def read_ahead(
    paths: Iterable[Path],
    read: Callable[[Path], np.ndarray],
    count: int,
    skipped: Skipped | None = None,
) -> Iterator[tuple[Path, np.ndarray]]:
    """Pictures in the order of their paths; threads read `count` of them at a time, and no more.

    Args:
        paths: Of files.
        read: A file's pixels.
        count: How many are being read, or wait to be taken.
        skipped: Is told of those that cannot be read; None: the first of them is an error.

    Raises:
        InputError: As `read` raises it.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            ahead, left = deque[tuple[Path, Future[np.ndarray]]](), iter(paths)
            while True:
                for path in islice(left, count - len(ahead)):
                    ahead.append((path, threads.submit(read, path)))
                if not ahead:
                    return
                path, image = ahead.popleft()
                try:
                    pixels = image.result()
                except InputError as error:
                    if skipped is None:
                        raise
                    skipped(path, str(error.__cause__ or error))
                else:
                    yield path, pixels
        finally:
            threads.shutdown(cancel_futures=True)  # after an error or Ctrl-C


def batched(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Lists of `size` items; the last may have fewer."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch
