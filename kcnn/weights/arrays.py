"""The arrays of a file of weights that another library wrote, by name. No pickle is read."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np

from kcnn.devices.memory import free_memory
from kcnn.errors import InputError
from kcnn.storage.files import open_regular
from kcnn.storage.keras_file import check_weights
from kcnn.storage.refusals import PICKLE, brief

Arrays = dict[str, np.ndarray]

#: By suffix, what a message calls them.
KINDS = {
    ".safetensors": "PyTorch's weights as safetensors",
    ".npz": "arrays of NumPy",
    ".h5": "the weights of a network of keras.applications",
}
_PICKLED = (".pth", ".pt", ".bin", ".pkl", ".ckpt", ".tar")

#: What the readers raise on files that are damaged, made up, or something else.
_UNREADABLE = (
    OSError, ValueError, TypeError, LookupError, OverflowError, EOFError, MemoryError,
    NotImplementedError, RuntimeError, SyntaxError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip

#: Of an array that NumPy's archives hold as bytes q: value = scale x q + offset, both in KEY__q.
_QUANTISED, _ORDER = "__q", "order"


def is_foreign(path: Path) -> bool:
    """Whether a file's name is one of those that are read here."""
    return path.suffix in KINDS and not path.name.endswith(".weights.h5")


def refuse_pickle(path: Path) -> None:
    """Refuse PyTorch's own files.

    Raises:
        InputError: With how to write one that runs no code.
    """
    if path.suffix in _PICKLED:
        raise InputError(
            f"{str(path)!r} is a file of PyTorch with a pickle in it. {PICKLE} In PyTorch: "
            f"safetensors.torch.save_file(model.state_dict(), 'NAME.safetensors')."
        )


def read_arrays(path: Path) -> Arrays:
    """The arrays of a `.safetensors`, `.npz` or `.h5` file, in its order; 16 bits become float32.

    Names are the file's own. In an `.h5` file they are LAYER/0, LAYER/1 and so on; in an `.npz`
    that NumPy wrote of a list arr_0, arr_1. Of an `.npz` with the key `order` the arrays that it
    lists are taken, in that order; where there is KEY__q = (scale, offset), KEY are bytes that
    stand for scale x KEY + offset.

    Raises:
        InputError: The file is not there, damaged, holds objects, or more than the free memory.
    """
    reader = _READERS[path.suffix]
    try:
        with open_regular(path) as file:
            arrays = reader(file)
    except InputError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}") from error
    except _UNREADABLE as error:
        raise InputError(
            f"{str(path)!r} cannot be read as {KINDS[path.suffix]}: {brief(error)}. It may be "
            f"incomplete: get it again."
        ) from error
    if not arrays:
        raise InputError(f"{str(path)!r} holds no arrays.")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise InputError(f"{str(path)!r}: {brief(name)!r} is of {array.dtype}, no numbers.")
    return {
        name: array.astype(np.float32) if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }


def _safetensors(file: IO[bytes]) -> Arrays:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(file.read())
    except SafetensorError as error:
        raise ValueError(error) from error


def _npz(file: IO[bytes]) -> Arrays:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        needed, free = sum(member.file_size for member in members), free_memory()
        if needed > free:
            raise InputError(
                f"its arrays take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free."
            )
        stored = {m.filename.removesuffix(".npy"): _array(archive, m) for m in members}
    names = [name for name in stored if name != _ORDER and not name.endswith(_QUANTISED)]
    if _ORDER in stored:
        names = [str(name) for name in stored[_ORDER]]
    elif all(name.startswith("arr_") for name in names):
        names.sort(key=lambda name: int(name.removeprefix("arr_")))
    return {name: _unquantised(stored, name) for name in names}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _unquantised(stored: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    array = stored[name]
    if (said := stored.get(name + _QUANTISED)) is None:
        return array
    scale, offset = said.astype(np.float64)
    return (array * scale + offset).astype(np.float32)


def _h5(file: IO[bytes]) -> Arrays:
    import h5py

    check_weights(cast(BinaryIO, file))
    arrays: Arrays = {}
    with h5py.File(file, "r") as root:
        group = root.get("model_weights", root)  # a whole network in Keras 2's format has it
        for layer in _texts(group.attrs["layer_names"]):
            for index, name in enumerate(_texts(group[layer].attrs["weight_names"])):
                arrays[f"{layer}/{index}"] = np.asarray(group[layer][name])
    return arrays


def _texts(values: np.ndarray) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


_READERS: Mapping[str, Callable[[IO[bytes]], Arrays]] = {
    ".safetensors": _safetensors,
    ".npz": _npz,
    ".h5": _h5,
}
