"""Trees of plain values and arrays in one file that is whole, or is known not to be.

A file is a line that names the format, the length of a JSON text, that text, the arrays' bytes,
and the SHA-256 of all before. Nothing in it is code: reading runs none, unlike a pickle. Nothing
is believed, and no memory taken for it, before length and checksum are right, and the arrays that
are declared are exactly the bytes that are there: anybody can write a checksum.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from kcnn.errors import InputError
from kcnn.storage import files
from kcnn.storage.refusals import brief

VERSION = 1
_NAME = b"kcnn archive "
_LENGTH = struct.Struct("<Q")
_SUM = hashlib.sha256().digest_size
_CHUNK = 1 << 24  # bytes that are read or written at once

#: What `write` gives arrays; the second kind is that of types which NumPy does not know.
_DTYPES = re.compile(r"[<>|=]([biufcSU][1-9]\d*|[mM]8(\[\w+\])?)|b?float\d+\w*|u?int[24]")
#: Values in a tree: a training of 10,000 epochs with 20 figures has a tenth.
_MOST_VALUES = 2**21


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
        DamagedError: It is not that any more, or never was: truncated, empty, changed, made up;
            no file.
        InputError: An archive of another version of the format.
        OSError: The file cannot be read.
    """
    try:
        with files.open_regular(path) as file:
            return _read(path, file)
    except DamagedError:
        raise
    except _Other as error:
        raise InputError(str(error)) from error
    except (InputError, ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise DamagedError(f"{str(path)!r} is damaged: {brief(error)}") from error


class _Other(Exception):
    """The file is of another version."""


def _read(path: Path, file: IO[bytes]) -> Any:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    name = file.readline(64)
    if not name.startswith(_NAME) or not name.endswith(b"\n"):
        raise DamagedError(f"{str(path)!r} is damaged: it does not begin as an archive does.")
    _check_sum(path, file, size)
    _check_version(path, name)  # behind it: a bit that is wrong is no newer version
    file.seek(len(name))
    body = size - _SUM - len(name) - _LENGTH.size
    length = _LENGTH.unpack(file.read(_LENGTH.size))[0]
    if length > body:
        raise ValueError(f"its head declares {length:,} bytes, and {body:,} are there")
    rows, _, tree = file.read(length).partition(b"\n")
    files.check_values(rows + tree, _MOST_VALUES)
    kinds = [_kind(row) for row in json.loads(rows)["arrays"]]
    declared = sum(math.prod(shape) * dtype.itemsize for dtype, shape in kinds)
    if declared != body - length:
        raise ValueError(f"its arrays declare {declared:,} bytes, and {body - length:,} are there")
    arrays = [_array(file, dtype, shape) for dtype, shape in kinds]
    return _restored(json.loads(tree), arrays)


def _check_version(path: Path, name: bytes) -> None:
    version = name[len(_NAME) :].strip().decode(errors="replace")
    if version != str(VERSION):
        raise _Other(
            f"{str(path)!r} is an archive of format {brief(version, 20)}; this version of kcnn "
            f"reads format {VERSION}. Use the version of kcnn that wrote it."
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


def _kind(row: dict[str, Any]) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape of an array, as its row declares them."""
    name, shape = row["dtype"], tuple(row["shape"])
    if not isinstance(name, str) or not _DTYPES.fullmatch(name):
        raise ValueError(f"it declares an array of {name!r}")
    if len(shape) > 32 or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"it declares an array of the shape {shape}")
    return _dtype(name), shape


def _array(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    values = np.empty(math.prod(shape), dtype)
    if values.nbytes:
        assert isinstance(file, io.BufferedIOBase)  # a file that was opened in binary mode
        file.readinto(values.view(np.uint8).data)
    return values.astype(dtype.newbyteorder("="), copy=False).reshape(shape)


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
        if type(value["array"]) is not int or value["array"] < 0:
            raise ValueError(f"it declares the array number {value['array']!r}")
        array = arrays[value["array"]]
        return array[()] if value["scalar"] else array
    if "dict" in value:
        return {_key(key): _restored(part, arrays) for key, part in value["dict"]}
    ((kind, parts),) = value.items()
    return {"list": list, "tuple": tuple}[kind](_restored(part, arrays) for part in parts)
