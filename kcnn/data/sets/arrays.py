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
_LARGEST = 1e9  # of a pixel; beyond, its square is none in float32
_APART = 50.0  # of two splits' largest values: more are two scales, not two samples
_BEYOND = 10.0  # times train's largest value: nothing that training has seen
_BLACK, _SHARES = 1e-6, 2.0  # the largest value of black images; of images whose values are 0..1
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
    images = as_array(value, what)
    if images.ndim not in (3, 4):
        raise InputError(
            f"{what} has shape {images.shape}. Images have shape (N, H, W, C), or (N, H, W) for "
            "one channel: reshape it first."
        )
    if looks_channels_first(images.shape):
        raise InputError(
            f"{what} has shape {images.shape}, which looks like (N, C, H, W). Images have shape "
            f"(N, H, W, C): pass np.moveaxis(x, 1, -1)."
        )
    if 0 in images.shape[1:]:
        raise InputError(f"{what} has shape {images.shape}: every side must be at least 1.")
    images = _as_stored(images, what)
    if images.dtype == np.float32:
        _refuse_not_finite(images, what)
    return images if images.ndim == 4 else images[..., np.newaxis]  # (N, H, W, C)


def looks_channels_first(shape: tuple[int, ...]) -> bool:
    """(N, 3, 32, 32): one, three or four rows, and as many channels as a side has pixels."""
    return len(shape) == 4 and shape[1] in (1, 3, 4) and shape[2] == shape[3] > 4


def check_reach(here: float, there: float, what: str) -> None:
    """Refuse a split whose largest value is of another scale than train's: 255 beside 1.

    Raises:
        InputError: With both.
    """
    if here > _BEYOND * there > _BEYOND * _BLACK:
        raise InputError(
            f"Values of {what} reach {here:.4g}, those of train {there:.4g}. All must be in the "
            f"same range: bring them to the scale of the training."
        )
    small, large = sorted((here, there))
    # Not a few dark pictures beside bright ones, nor black ones: shares beside bytes.
    if _BLACK < small <= _SHARES and large > _APART * small:
        raise InputError(
            f"Values of {what} reach {here:.4g}, those of train {there:.4g}. All must be in the "
            f"same range: divide both by 255, or neither."
        )


def reach(images: np.ndarray) -> float:
    """The largest value, whatever its sign; a small number at least."""
    low, high = ends(images)
    return max(-low, high, 1e-9)


def ends(images: np.ndarray) -> list[float]:
    """The smallest and the largest value."""
    flat = images.reshape(-1)
    chunks = [flat[start : start + _CHUNK] for start in range(0, flat.size, _CHUNK)]
    return [float(min(c.min() for c in chunks)), float(max(c.max() for c in chunks))]


def check_largest(value: float, what: str) -> None:
    """Refuse what is no pixel.

    Raises:
        InputError: With the value.
    """
    if value > _LARGEST:
        raise InputError(
            f"{what} holds a value of {value:.3g}: no pixel is beyond {_LARGEST:g}. Repair or drop "
            f"those images."
        )


def check_varied(images: np.ndarray, what: str) -> None:
    """Refuse images that are all of one value.

    Raises:
        InputError: With the value.
    """
    flat = images.reshape(-1)
    first = flat[0]
    if all((flat[start : start + _CHUNK] == first).all() for start in range(0, flat.size, _CHUNK)):
        raise InputError(f"All pixels of {what} are {first}: there is nothing to learn from.")


def check_pair(images: np.ndarray, labels: np.ndarray, what: str) -> None:
    """Raise InputError unless there are as many labels as images."""
    if len(images) != len(labels):
        raise InputError(
            f"{what}: {len(images)} images and {len(labels)} labels. There must be one label for "
            "each image."
        )


def as_weights(value: Any, count: int, what: str) -> np.ndarray:
    """Weights of images in a loss, checked: (N,) or (N, 1) to (N,) float32.

    Raises:
        InputError: Another shape, no numbers, one below 0 or not finite, or none above 0.
    """
    weights = as_array(value, f"weights of {what}")
    if weights.ndim == 2 and weights.shape[1] == 1:
        weights = weights[:, 0]
    if weights.shape != (count,) or weights.dtype.kind not in "buif":
        raise InputError(
            f"Weights of {what} are {weights.dtype} of shape {weights.shape}; there are {count} "
            f"images. Weights have shape (N,), a number from 0 up for each image."
        )
    found = weights.astype(np.float32)
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(
            f"Weights of {what}: index {first} is {weights[first]}. A weight is a number from 0 up."
        )
    if not found.any():
        raise InputError(f"All weights of {what} are 0: there is nothing to learn from.")
    return found


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


def as_array(value: Any, what: str) -> np.ndarray:
    """`value` as an array, or a sentence that names it."""
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
        chunk = flat[start : start + _CHUNK]
        wrong = ~np.isfinite(chunk)
        if not wrong.any():
            check_largest(reach(chunk), what)
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
