"""Files that are replaced in one step, or not at all; and directories with one writer.

Directories come from others, too: nothing is written through a link in them, and nothing is read
from a pipe, on which a program waits for ever.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from kcnn.errors import InputError
from kcnn.terminal import printable

#: What file systems say that have no locks: there, nothing keeps a second writer away.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
#: What they say when there is no more room: on the disk, for the user, in one file.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: `recipe.json` with the names of 100,000 classes has a tenth of that.
_LARGEST_TEXT = 64 * 2**20
_MOST_VALUES = 2**21


def open_regular(path: Path) -> IO[bytes]:
    """A file, opened to be read; what is not one is not waited for.

    Raises:
        InputError: A folder, a pipe, a socket or a device.
        OSError: It is not there, or may not be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            raise InputError(f"{str(path)!r} is no regular file but {kind}.")
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def create(path: Path) -> IO[bytes]:
    """A new file, opened to be written, in the place of whatever had its name.

    A link of that name goes; what it leads to stays as it is.
    """
    path.unlink(missing_ok=True)
    return path.open("xb")


def without_links(path: str, flags: int) -> int:
    """An opener for `open`: of the file of that name itself, and never waited for."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def refuse_links(directory: Path) -> None:
    """Refuse a directory in which links would lead what is written, or removed, elsewhere.

    Raises:
        InputError: With the first link.
        OSError: A folder in it cannot be read.
    """
    folders = [directory]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise InputError(
                        f"{entry.path!r} is a link to {os.readlink(entry.path)!r}: kcnn writes "
                        f"into {str(directory)!r}, and follows no links there. Remove it, or put "
                        f"what it leads to in its place."
                    )
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))


def check_space(path: Path, size: int) -> None:
    """Raise before a file of about `size` bytes is begun at `path` that would not fit.

    HDF5, in which Keras keeps weights, crashes the process when the disk fills up under it.

    Raises:
        OSError: ENOSPC, with the space that is needed and the space there is; EDQUOT.
    """
    free = shutil.disk_usage(path.parent).free
    needed = size + 256 * 1024  # headers and names
    text = f"to write {needed / 1e6:.1f} MB"
    if free < needed:
        text = f"No space left {text} ({free / 1e6:.1f} MB are free)"
        raise OSError(errno.ENOSPC, text, str(path))
    probe = path.with_name(f".space-{path.name}")
    try:
        with create(probe) as file:  # a quota shows when space is taken only
            os.posix_fallocate(file.fileno(), 0, needed)
    except OSError as error:
        if error.errno not in _FULL:
            return  # what else is wrong, writing says better
        raise OSError(error.errno, f"{error.strerror}, {text}", str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


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
        with create(beside(path)) as file:
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
        InputError: Another process holds it; with its number and machine. A link is in it.
        OSError: The file cannot be written.
    """

    NAME = ".lock"

    def __init__(self, directory: Path) -> None:
        self._owner = directory / self.NAME
        descriptor = os.open(directory, os.O_RDONLY)
        self._descriptor: int | None = descriptor
        try:
            self._take(directory, descriptor)
            refuse_links(directory)
            with create(self._owner) as file:
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
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
        return owner(self._owner) or "another process"

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


def check_values(text: bytes, most: int) -> None:
    """Refuse a JSON text of more values than `most`: a short one can make a lot of objects.

    Commas and brackets in strings count, too.

    Raises:
        ValueError: With how many there are, at most.
    """
    if (count := sum(map(text.count, (b",", b"[", b"{")))) > most:
        raise ValueError(f"it declares {count:,} values, and {most:,} are allowed")


def owner(path: Path) -> str | None:
    """Who holds a lock, by its file: `process 7 on host`."""
    try:
        with open_regular(path) as file:
            return printable(file.read(300).decode(errors="replace").strip()) or None
    except (OSError, InputError):
        return None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write plain data as a JSON file, in one step: a reader sees all of it, or what was there.

    Bytes of a file's name that are no UTF-8 are escapes there (`\\udcff`), and come back so.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    data = text.encode(errors="backslashreplace")  # as JSON writes a lone surrogate
    replace(path, lambda file: file.write(data))


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file: an object.

    Raises:
        InputError: It is damaged, or no file.
        OSError: It is not there, or may not be read.
    """
    with open_regular(path) as file:
        text = file.read(_LARGEST_TEXT + 1)
    try:
        if len(text) > _LARGEST_TEXT:
            raise ValueError(f"it has more than {_LARGEST_TEXT:,} bytes")
        check_values(text, _MOST_VALUES)
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, not an object")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is damaged: {error}") from error
    return content
