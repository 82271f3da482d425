"""Files that are replaced in one step, or not at all."""

import errno
import os
import shutil
from pathlib import Path


def check_space(path: Path, size: int) -> None:
    """Raise before a file of about `size` bytes is begun at `path` that would not fit.

    HDF5, in which Keras keeps weights, crashes the process when the disk fills up under it.

    Raises:
        OSError: ENOSPC, with the space that is needed and the space there is.
    """
    free = shutil.disk_usage(path.parent).free
    needed = size + 256 * 1024  # headers and names
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"No space left to write {needed / 1e6:.1f} MB ({free / 1e6:.1f} MB are free)",
            str(path),
        )


def beside(path: Path) -> Path:
    """A name for the new version of `path` while it is written; the ending stays."""
    return path.with_name(f".{path.name}")


def put_in_place(path: Path) -> None:
    """Let the version `beside` become `path`, in one step."""
    os.replace(beside(path), path)
