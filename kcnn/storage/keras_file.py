"""What is in a `.keras` file, checked without taking memory for what it only declares."""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO

from kcnn.errors import InputError
from kcnn.storage.config import check_config
from kcnn.storage.refusals import AGAIN, ALLOWED, BARE, MADE_UP, PICKLE, brief, refusing

if TYPE_CHECKING:
    import h5py

_CONFIG, _WEIGHTS, _METADATA = "config.json", "model.weights.h5", "metadata.json"

#: `config.json` of a network with hundreds of layers has less than 1 MiB; vocabularies more.
_LARGEST_CONFIG = 64 * 2**20
#: Parts of an archive: three, and a vocabulary for each layer that has one.
_MOST_PARTS = 10_000
#: Groups and weights in an HDF5 file: a few for each layer, and its optimiser's.
_MOST_GROUPS = 200_000


def check_archive(file: BinaryIO) -> int:
    """Refuse an archive that Keras does not write; else the bytes of weights in it."""
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > _MOST_PARTS:
            raise InputError(f"it has {len(members):,} parts. {MADE_UP}")
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
        config = archive.getinfo(_CONFIG)
        if config.file_size > _LARGEST_CONFIG:
            raise InputError(f"its {_CONFIG} has {config.file_size:,} bytes. {MADE_UP}")
        with refusing(f"its {_CONFIG} is damaged. {AGAIN}"):
            check_config(archive.read(_CONFIG), stored)
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


def check_weights(file: BinaryIO) -> None:
    """Refuse a file of bare weights, `.weights.h5`, that Keras does not write.

    Raises:
        InputError: It is damaged, has links, or declares what it does not hold.
    """
    _stored_bytes(file, "the file")


def _stored_bytes(member: Any, name: str = f"its {_WEIGHTS}") -> int:
    """Bytes of all weights in an HDF5 file; refused unless every one is there, and once."""
    import h5py

    size, total, seen = member.seek(0, os.SEEK_END), 0, set()
    with refusing(f"{name} is damaged. {AGAIN}"), h5py.File(member, "r") as root:
        groups = [root]
        while groups:
            group = groups.pop()
            for key in group:
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    raise InputError(f"{name} has links. {ALLOWED}")
                item = group[key]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:  # a second way makes more of it than there is
                    raise InputError(f"{name} has links. {ALLOWED}")
                seen.add(address)
                if len(seen) > _MOST_GROUPS:
                    raise InputError(f"{name} has more than {_MOST_GROUPS:,} parts. {MADE_UP}")
                if isinstance(item, h5py.Group):
                    groups.append(item)
                else:
                    total += _dataset_bytes(item)
    if total > size:
        raise InputError(f"its weights declare {total:,} bytes, but {name} has {size:,}. {MADE_UP}")
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
