"""Archives of arrays, .npz: their headers are compared before anything is unpacked."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kcnn.data.sets.forms import keys_of
from kcnn.devices.memory import free_memory
from kcnn.errors import InputError
from kcnn.storage.files import open_regular
from kcnn.storage.refusals import brief

KEYS = "x_train, y_train, x_test, y_test"

#: What zipfile and NumPy raise on files that are damaged, encrypted, pickled or no archives.
_UNREADABLE = (
    OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError, EOFError,
    MemoryError, NotImplementedError, RuntimeError, SyntaxError, struct.error, zlib.error,
    zipfile.BadZipFile, tokenize.TokenError,
)  # fmt: skip
_CLASS_NAMES = "class_names"
_SHOWN = 20  # names that a message lists


@dataclass(frozen=True)
class _Header:
    """What an array says that it is."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_npz(
    path: Path,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], np.ndarray | None, list[str]]:
    """Images and labels by part, names of classes, and keys that were not read; never a pickle.

    Raises:
        InputError: No archive of arrays, a damaged one, one with Python objects; images and labels
            of different numbers; more than the memory that is free.
    """
    if path.suffix.lower() != ".npz":
        raise InputError(
            f"{path} is a file, but no .npz. Data files are .npz archives with {KEYS}; images "
            "belong in a folder of class folders."
        )
    try:
        with open_regular(path) as file:
            if file.read(6) == b"\x93NUMPY":
                raise InputError(
                    f"{path} holds one bare array (.npy), not an archive. Write it with "
                    f"np.savez_compressed and the keys {KEYS}."
                )
            with zipfile.ZipFile(file) as archive:
                members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
                keys, unused = _keys(path, list(members))
                read = [name for pair in keys.values() for name in pair]
                read += [_CLASS_NAMES] if _CLASS_NAMES in members else []
                headers = {name: _header(path, archive, members[name]) for name in read}
                _compare(path, keys, headers)
                arrays = {name: _array(archive, members[name]) for name in read}
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read as an .npz: {brief(error)}. It may be incomplete. Write it "
            "again with np.savez_compressed, from arrays of numbers."
        ) from error
    parts = {part: (arrays[x], arrays[y]) for part, (x, y) in keys.items()}
    return parts, arrays.get(_CLASS_NAMES), unused


def _header(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Header:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    header = _Header(shape, dtype)
    if dtype.hasobject:
        raise InputError(
            f"{path}: {brief(member.filename)!r} holds pickled Python objects, which "
            f"are refused because they can run code. Write it again from an array of numbers, or "
            f"of texts."
        )
    if header.size > member.file_size:
        raise ValueError(
            f"{member.filename!r} declares {header.size:,} bytes and has {member.file_size:,}"
        )
    return header


def _compare(
    path: Path, keys: Mapping[str, tuple[str, str]], headers: Mapping[str, _Header]
) -> None:
    """Refuse what cannot be used, or does not fit into memory, before it is unpacked."""
    for x, y in keys.values():
        images, labels = (headers[name].shape[:1] for name in (x, y))
        if images != labels:
            raise InputError(
                f"{path}: {x} has shape {headers[x].shape}, {y} {headers[y].shape}. Each image has "
                f"one label."
            )
    needed, free = sum(header.size for header in headers.values()), free_memory()
    if needed > free:
        raise InputError(
            f"{path}: its arrays take {needed / 1e9:.1f} GB in memory, and {free / 1e9:.1f} GB are "
            f"free. A folder of image files is read batch by batch."
        )


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _keys(path: Path, names: list[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    try:
        return keys_of(names)
    except InputError as error:
        raise InputError(
            f"{path} {error}. It holds: {_listed(names)}. Expected: {KEYS} "
            f"(x_test and y_test, x_val and y_val, and class_names, may be left out), or "
            f"train_images, train_labels, and so on."
        ) from error


def _listed(names: list[str]) -> str:
    shown = [brief(name, 60) for name in sorted(names)[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(shown) or 'nothing'}{more}"


def names_in(names: np.ndarray, path: Path) -> list[str]:
    """The class names of an archive.

    Raises:
        InputError: They are no list of texts.
    """
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise InputError(
            f"{path}: class_names has shape {names.shape} and dtype {names.dtype}. It must be a "
            "list of texts, one for each class."
        )
    return [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names]
