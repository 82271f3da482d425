"""What users hand over as arrays, checked and brought to one form.

Images leave as uint8 or float32 of shape (N, H, W, C), labels as int64 of shape (N,). The
messages name what was received, so that nobody learns of a NaN from a loss curve.
"""

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from kcnn.errors import InputError

ALIGNMENT = 64  # bytes: TensorFlow shares arrays that begin at a multiple, and copies others
_CHUNK = 1 << 24  # elements looked at in one go: bounds the memory that a check takes


def as_images(value: Any, what: str) -> np.ndarray:
    """`value` as images, checked.

    Args:
        value: anything NumPy reads as an array of shape (N, H, W) or (N, H, W, C). uint8 stays
            uint8. bool becomes uint8 with 0 and 255, as one-bit image files do. Other integers
            become uint8 where all lie in 0..255, else float32. Floats become float32.
        what: how messages name it, for instance `x_train`.

    Returns:
        uint8 or float32, (N, H, W, C); C = 1 where the channel axis was missing.

    Raises:
        InputError: ragged or not numeric, another rank, an empty side, NaN or infinity.
    """
    images = _as_array(value, what)
    if images.ndim not in (3, 4):
        raise InputError(
            f"{what} has shape {images.shape}. Images have shape (N, H, W, C), or (N, H, W) for "
            "one channel: reshape it first."
        )
    if 0 in images.shape[1:]:
        raise InputError(f"{what} has shape {images.shape}: every side must be at least 1.")
    images = _as_stored(images, what)
    if images.dtype == np.float32:
        _refuse_not_finite(images, what)
    return images if images.ndim == 4 else images[..., np.newaxis]  # (N, H, W, C)


def as_labels(value: Any, what: str) -> np.ndarray:
    """`value` as class numbers: integers or booleans of shape (N,) or (N, 1), from 0.

    Returns:
        int64, (N,).

    Raises:
        InputError: another rank or dtype, one-hot labels, or a negative label.
    """
    labels = _as_array(value, what)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        hint = " They look one-hot: pass y.argmax(axis=1)." if labels.ndim == 2 else ""
        raise InputError(
            f"{what} has shape {labels.shape}. Labels have shape (N,) or (N, 1), one class number "
            f"per image.{hint}"
        )
    if labels.dtype.kind not in "bui":
        raise InputError(
            f"{what} has dtype {labels.dtype}. Labels are integers 0, 1, 2, ...: convert them, "
            "for instance with np.unique(y, return_inverse=True)[1] for names or "
            "y.astype(np.int64) for whole numbers."
        )
    if labels.size and labels.min() < 0:
        first = int(np.argmax(labels < 0))
        raise InputError(
            f"{what}[{first}] is {labels[first]}. Labels are class numbers that begin at 0: "
            "shift them, or drop the images without a label."
        )
    if labels.size and labels.max() > np.iinfo(np.int32).max:
        raise InputError(f"{what} holds the label {labels.max()}: that is no class number.")
    return labels.astype(np.int64)


def check_pair(images: np.ndarray, labels: np.ndarray, what: str) -> None:
    """Raise InputError unless there are as many labels as images."""
    if len(images) != len(labels):
        raise InputError(
            f"{what}: {len(images)} images and {len(labels)} labels. There must be one label for "
            "each image."
        )


def check_labels_below(labels: np.ndarray, classes: int, what: str, reason: str) -> None:
    """Raise InputError where a label is not in [0, classes); `reason` says whence `classes`."""
    outside = labels >= classes
    if outside.any():
        first = int(np.argmax(outside))
        raise InputError(
            f"{what}: {int(outside.sum())} of {len(labels)} labels lie outside the {classes} "
            f"classes 0..{classes - 1} ({reason}); the first is {labels[first]} at index {first}. "
            "Correct the labels, or name every class with class_names."
        )


def aligned(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array without values that TensorFlow can share, since it begins at `ALIGNMENT` bytes."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    first = -room.ctypes.data % ALIGNMENT
    return room[first : first + size].view(dtype).reshape(shape)


def fingerprint(parts: Iterable[np.ndarray]) -> str:
    """`sha256:<hex>` over dtype, shape and bytes of each array, in order.

    Bytes are taken in C order and little-endian, so that machines agree.
    """
    digest = hashlib.sha256()
    for part in parts:
        plain = part.astype(part.dtype.newbyteorder("<"), order="C", copy=False)
        digest.update(f"{plain.dtype.str}{plain.shape};".encode())
        digest.update(plain.reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


def _as_array(value: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{what} is not an array: {error}. Pass one NumPy array; images of different sizes "
            "belong in a folder of class folders."
        ) from error


def _as_stored(images: np.ndarray, what: str) -> np.ndarray:
    kind = images.dtype.kind
    if kind == "b":
        return images.astype(np.uint8) * np.uint8(255)
    if kind in "ui":
        fits = images.size == 0 or (images.min() >= 0 and images.max() <= 255)
        return images.astype(np.uint8 if fits else np.float32, copy=False)
    if kind == "f":
        with np.errstate(over="ignore"):  # too large for float32: reported as infinity below
            return images.astype(np.float32, copy=False)
    raise InputError(
        f"{what} has dtype {images.dtype}. Images are numbers: uint8 in 0..255, or floats."
    )


def _refuse_not_finite(images: np.ndarray, what: str) -> None:
    flat, bad, first = images.reshape(-1), 0, -1
    for start in range(0, flat.size, _CHUNK):
        wrong = ~np.isfinite(flat[start : start + _CHUNK])
        if first < 0 and wrong.any():
            first = start + int(np.argmax(wrong))
        bad += int(wrong.sum())
    if bad:
        index = tuple(int(i) for i in np.unravel_index(first, images.shape))
        raise InputError(
            f"{what}: {bad} of {flat.size} values are NaN or infinite in float32; the first is at "
            f"index {index}. Repair or drop those images, for instance "
            "x = x[np.isfinite(x).reshape(len(x), -1).all(axis=1)], and their labels alike."
        )
