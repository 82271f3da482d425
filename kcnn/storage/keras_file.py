"""What is in a `.keras` file, checked without taking memory for what it only declares."""

from __future__ import annotations

import io
import json
import math
import os
import re
import struct
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO

from kcnn.errors import InputError
from kcnn.storage.refusals import AGAIN, ALLOWED, BARE, CODE, MADE_UP, PICKLE, brief, refusing

if TYPE_CHECKING:
    import h5py

_CONFIG, _WEIGHTS, _METADATA = "config.json", "model.weights.h5", "metadata.json"

#: `config.json` of a network with hundreds of layers has less than 1 MiB; vocabularies more.
_LARGEST_CONFIG = 64 * 2**20
#: Numbers up to here are harmless in a network, as sizes and in loops.
_HARMLESS = 2**24
#: Numbers of any size are harmless under these names.
_ANY_SIZE = re.compile(r"seed|salt|value|scale|steps?$|iterations|max_tokens|(^|_)id$")
#: NumPy would also take <U1000000000, a letter in 4 GB.
_DTYPE = re.compile(r"bool|string|b?float\d+\w*|u?int\d+|complex\d+")


def check_archive(file: BinaryIO) -> int:
    """Refuse an archive that Keras does not write; else the bytes of weights in it."""
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _check_names([member.filename for member in members])
        packed = [m for m in members if m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1]
        if packed:
            raise InputError(
                f"parts of it are compressed or encrypted, as Keras never saves them: "
                f"{sum(member.file_size for member in packed):,} bytes when unpacked. If you "
                f"trust it, unpack it and pack it again with `zip -0`."
            )
        declared = sum(max(member.file_size, member.compress_size) for member in members)
        if declared > size:
            raise InputError(
                f"its parts declare {declared:,} bytes, but the file has {size:,}. {MADE_UP}"
            )
        damaged = archive.testzip()  # reads all of it, a piece at a time
        if damaged is not None:
            raise InputError(f"the checksum of {brief(damaged)!r} in it is wrong. {AGAIN}")
        stored = _stored_bytes(_Member(file, archive.getinfo(_WEIGHTS)))
        _check_config(archive, stored)
    return stored


def _check_names(members: list[str]) -> None:
    """Refuse archives without a network or weights, or with what no model has."""
    present = set(members)
    if any(member.endswith("data.pkl") for member in members):
        raise InputError(f"it is a file of PyTorch, with a pickle in it. {ALLOWED} {PICKLE}")
    if _CONFIG not in present:
        what = BARE if _WEIGHTS in present else "It is some other zip archive."
        raise InputError(f"it has no {_CONFIG}. {what} {ALLOWED}")
    if _WEIGHTS not in present:
        raise InputError(f"it has no {_WEIGHTS}: a network without its weights. {ALLOWED}")
    for member in members:
        asset = member.startswith("assets/") and ".." not in member and "\\" not in member
        if not asset and member not in (_CONFIG, _WEIGHTS, _METADATA):
            raise InputError(f"{brief(member)!r} in it is no part of a model. {ALLOWED}")
    if len(present) < len(members):
        raise InputError(f"two parts of it have one name. {AGAIN}")


class _Member(io.RawIOBase):
    """A stored member of a zip archive as a file; zipfile's own seeks by reading."""

    def __init__(self, file: BinaryIO, member: zipfile.ZipInfo) -> None:
        file.seek(member.header_offset + 26)  # in the local header: lengths of name and extra
        self._start = member.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
        self._file, self._size, self._position = file, member.file_size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._position)
        data = self._file.read(max(0, min(len(view), self._size - self._position)))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def _stored_bytes(member: _Member) -> int:
    """Bytes of all weights in an HDF5 file; refused unless every one is there, and once."""
    import h5py

    size, total, seen = member.seek(0, os.SEEK_END), 0, set()
    with refusing(f"its {_WEIGHTS} is damaged. {AGAIN}"), h5py.File(member, "r") as root:
        groups = [root]
        while groups:
            group = groups.pop()
            for key in group:
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    raise InputError(f"its {_WEIGHTS} has links. {ALLOWED}")
                item = group[key]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:  # a second way makes more of it than there is
                    raise InputError(f"its {_WEIGHTS} has links. {ALLOWED}")
                seen.add(address)
                if isinstance(item, h5py.Group):
                    groups.append(item)
                else:
                    total += _dataset_bytes(item)
    if total > size:
        raise InputError(
            f"its weights declare {total:,} bytes, but {_WEIGHTS} has {size:,}. {MADE_UP}"
        )
    return total


def _dataset_bytes(dataset: h5py.Dataset) -> int:
    import h5py

    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    layout = dataset.id.get_create_plist().get_layout()
    plain = layout in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) and not dataset.external
    if not plain or dataset.dtype.hasobject or dataset.id.get_storage_size() < declared:
        raise InputError(
            f"its weight {brief(dataset.name, 80)!r} declares {declared:,} bytes that are not in "
            f"the file, or not as they are. Keras saves every weight in full. {MADE_UP}"
        )
    return declared


def _check_config(archive: zipfile.ZipFile, stored: int) -> None:
    """Refuse a network with code in it, or with numbers that its weights do not bear out."""
    size = archive.getinfo(_CONFIG).file_size
    if size > _LARGEST_CONFIG:
        raise InputError(f"its {_CONFIG} has {size:,} bytes. {MADE_UP}")
    with refusing(f"its {_CONFIG} is damaged. {AGAIN}"):
        nodes = [json.loads(archive.read(_CONFIG))]
        if not isinstance(nodes[0], dict):
            raise TypeError(f"a {type(nodes[0]).__name__} instead of a network")
        while nodes:
            node = nodes.pop()
            if isinstance(node, dict):
                _check_node(node, stored)
                nodes += node.values()
            elif isinstance(node, list):
                nodes += node


def _check_node(node: dict[str, Any], stored: int) -> None:
    if "class_name" not in node:
        return  # no object, but arguments of one
    kind, config = node["class_name"], node.get("config")
    described = config if isinstance(config, dict) else {}
    if kind == "__lambda__":
        raise InputError(CODE)
    if kind in ("__numpy__", "__tensor__") and not _DTYPE.fullmatch(str(described.get("dtype"))):
        raise InputError(f"it has an array of {brief(described.get('dtype'), 80)!r}. {MADE_UP}")
    if isinstance(config, dict) and str(node.get("module", "keras")).split(".")[0] == "keras":
        for key, value in config.items():
            large = isinstance(value, int) and value > max(stored, _HARMLESS)
            if large and not _ANY_SIZE.search(key):
                raise InputError(
                    f"its {brief(kind, 80)} declares {brief(key, 80)}={value:,}, but the file "
                    f"holds {stored:,} bytes of weights. {MADE_UP}"
                )
    for call in node.get("inbound_nodes") or []:
        # Keras records calls on symbolic tensors only; others would compute here and now.
        if not call or (isinstance(call, dict) and not _symbolic(call)):
            raise InputError(f"its {brief(kind, 80)} is called on no input. {AGAIN}")


def _symbolic(call: Any) -> bool:
    """Whether a symbolic tensor is among the arguments of a call."""
    if isinstance(call, dict):
        if "class_name" in call:
            return call["class_name"] == "__keras_tensor__"
        call = list(call.values())
    return isinstance(call, list) and any(map(_symbolic, call))
