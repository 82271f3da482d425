"""Trees of plain values and arrays in one file that is whole, or is known not to be.

A file is a line that names the format, the length of a JSON text, that text, the arrays' bytes,
and the SHA-256 of all before. Nothing in it is code: reading runs none, unlike a pickle. Nothing
is believed, and no memory taken for it, before length and checksum are right.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from kcnn.errors import InputError
from kcnn.storage import files

VERSION = 1
_NAME = b"kcnn archive "
_LENGTH = struct.Struct("<Q")
_SUM = hashlib.sha256().digest_size
_CHUNK = 1 << 24  # bytes that are read or written at once


class DamagedError(InputError):
    """The file is no archive, or not the whole of one."""


def is_plain(value: Any) -> bool:
    """Whether an archive can hold `value`: numbers, text, arrays, and lists and dicts of them."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and is_plain(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return not value.dtype.hasobject and value.dtype.names is None
    return value is None or type(value) in (bool, int, float, str)


def write(path: Path, content: Any) -> None:
    """Replace the file `path` by an archive of `content`.

    Raises:
        OSError: It cannot be written; the file before stays.
        TypeError: `content` holds something that is not plain.
    """
    arrays: list[np.ndarray] = []
    tree = json.dumps(_flattened(content, arrays)).encode()
    rows = [{"dtype": _dtype_name(a.dtype), "shape": a.shape} for a in arrays]
    head = json.dumps({"arrays": rows}).encode() + b"\n" + tree
    size = len(head) + sum(a.nbytes for a in arrays)
    files.check_space(path, size)

    def all_of_it(file: IO[bytes]) -> None:
        checksum = hashlib.sha256()
        start = _NAME + str(VERSION).encode() + b"\n" + _LENGTH.pack(len(head))
        parts: Iterator[bytes | memoryview[int]] = itertools.chain((start, head), _chunks(arrays))
        for part in parts:
            checksum.update(part)
            file.write(part)
        file.write(checksum.digest())

    files.replace(path, all_of_it)


def read(path: Path) -> Any:
    """What `write` wrote.

    Raises:
        DamagedError: It is not that any more: truncated, empty, changed.
        InputError: An archive of another version of the format.
        OSError: The file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        name = file.readline(64)
        if not name.startswith(_NAME) or not name.endswith(b"\n"):
            raise DamagedError(f"{str(path)!r} is damaged: it does not begin as an archive does.")
        _check_version(path, name)
        _check_sum(path, file, size)
        file.seek(len(name))
        head = file.read(_LENGTH.unpack(file.read(_LENGTH.size))[0])
        rows, _, tree = head.partition(b"\n")
        arrays = [_array(file, row) for row in json.loads(rows)["arrays"]]
    return _restored(json.loads(tree), arrays)


def _check_version(path: Path, name: bytes) -> None:
    version = name[len(_NAME) :].strip().decode(errors="replace")
    if version != str(VERSION):
        raise InputError(
            f"{str(path)!r} is an archive of format {version}; this version of kcnn reads format "
            f"{VERSION}. Use the version of kcnn that wrote it."
        )


def _check_sum(path: Path, file: IO[bytes], size: int) -> None:
    file.seek(0)
    checksum, left = hashlib.sha256(), size - _SUM
    while left > 0:
        part = file.read(min(left, _CHUNK))
        if not part:
            break
        checksum.update(part)
        left -= len(part)
    if left != 0 or file.read() != checksum.digest():
        raise DamagedError(f"{str(path)!r} is damaged: its checksum does not agree.")


def _chunks(arrays: list[np.ndarray]) -> Iterator[memoryview[int]]:
    for array in arrays:
        # Types that NumPy does not know, such as bfloat16, have no buffer of their own.
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for first in range(0, len(data), _CHUNK):
            yield data[first : first + _CHUNK]


def _array(file: IO[bytes], row: dict[str, Any]) -> np.ndarray:
    dtype, shape = _dtype(row["dtype"]), tuple(row["shape"])
    values = np.empty(math.prod(shape), dtype)
    assert isinstance(file, io.BufferedIOBase)  # a file that was opened in binary mode
    file.readinto(values.view(np.uint8).data)
    return values.reshape(shape)


def _dtype_name(dtype: np.dtype) -> str:
    return dtype.name if dtype.kind == "V" else dtype.str


def _dtype(name: str) -> np.dtype:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # comes with Keras: bfloat16 and the 8-bit floats

        return np.dtype(getattr(ml_dtypes, name))


def _flattened(value: Any, arrays: list[np.ndarray]) -> Any:
    """`value` as JSON has it; arrays go to the list, and their number stays."""
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.hasobject:
            raise TypeError("An array of Python objects is not plain data.")
        arrays.append(np.asarray(value))
        return {"array": len(arrays) - 1, "scalar": isinstance(value, np.generic)}
    if isinstance(value, dict):
        return {"dict": [[_key(k), _flattened(v, arrays)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_flattened(v, arrays) for v in value]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"An archive holds plain values and arrays; received {type(value).__name__}.")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"Keys in an archive are text; received {key!r}.")
    return key


def _restored(value: Any, arrays: list[np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        array = arrays[value["array"]]
        return array[()] if value["scalar"] else array
    if "dict" in value:
        return {key: _restored(part, arrays) for key, part in value["dict"]}
    ((kind, parts),) = value.items()
    return {"list": list, "tuple": tuple}[kind](_restored(part, arrays) for part in parts)
