"""Files that are replaced in one step, or not at all; and directories with one writer."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from kcnn.errors import InputError

#: What file systems say that have no locks: there, nothing keeps a second writer away.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)


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


def replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a new version of `path` that is there whole, or not at all, after any death.

    Written beside, brought to the disk, put in place; then the directory's entry is, too.

    Raises:
        OSError: It cannot be written; what was there before stays.
    """
    try:
        with beside(path).open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside(path).unlink(missing_ok=True)  # half a file shall not fill a full disk
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Lock:
    """One writer for a directory; a file in it says which process that is.

    What is locked is the directory itself: the operating system lets go of it when the owner
    dies, however it dies, and what a dead owner left in the file is nobody's lock.

    Args:
        directory: It must exist.

    Raises:
        InputError: Another process holds it; with its number and machine.
        OSError: The file cannot be written.
    """

    NAME = ".lock"

    def __init__(self, directory: Path) -> None:
        self._owner = directory / self.NAME
        descriptor = os.open(directory, os.O_RDONLY)
        self._descriptor: int | None = descriptor
        try:
            self._take(directory, descriptor)
            self._owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        except BaseException:
            os.close(descriptor)
            raise

    def _take(self, directory: Path, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{str(directory)!r} is being written by {self._holder()}. Wait for it, stop it, "
                f"or choose another name."
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def _holder(self) -> str:
        with contextlib.suppress(OSError):
            return self._owner.read_text().strip() or "another process"
        return "another process"

    def release(self) -> None:
        """Let go of it, and take the file away."""
        if self._descriptor is not None:
            self._owner.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write plain data as a JSON file, in one step: a reader sees all of it, or what was there."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    replace(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file of a run.

    Raises:
        InputError: It is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{str(path)!r} is damaged: {error}") from error
