"""Common corruptions of pictures (Hendrycks & Dietterich 2019), those that need no other library.

Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019, section 3
and appendix B; constants as published in hendrycks/robustness: `create_c/make_cifar_c.py` for small
pictures, `imagenet_c/corruptions.py` for photographs. What is drawn at random is a function of
(seed, severity, index of the picture). Values are rounded, where the published files cut them off.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image

from kcnn.errors import InputError

Scale = Literal["cifar", "imagenet"]
Noise = np.random.Generator
#: A picture (H, W, C) in [0, 1], a constant, and chance: another such picture, before clipping.
Corruption = Callable[[np.ndarray, Any, Noise], np.ndarray]

SEVERITIES = (1, 2, 3, 4, 5)
#: The longest side of small pictures, which are corrupted as CIFAR's.
_SMALL = 64

_DISKS = [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)]
_LARGE_DISKS = [(3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)]
#: A constant for each severity.
CONSTANTS: dict[Scale, dict[str, Sequence[Any]]] = {
    "cifar": {
        "gaussian_noise": [0.04, 0.06, 0.08, 0.09, 0.10],
        "shot_noise": [500, 250, 100, 75, 50],
        "impulse_noise": [0.01, 0.02, 0.03, 0.05, 0.07],
        "gaussian_blur": [0.4, 0.6, 0.7, 0.8, 1.0],
        "defocus_blur": _DISKS,
        "brightness": [0.05, 0.1, 0.15, 0.2, 0.3],
        "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],
        "pixelate": [0.95, 0.9, 0.85, 0.75, 0.65],
        "jpeg": [80, 65, 58, 50, 40],
    },
    "imagenet": {
        "gaussian_noise": [0.08, 0.12, 0.18, 0.26, 0.38],
        "shot_noise": [60, 25, 12, 5, 3],
        "impulse_noise": [0.03, 0.06, 0.09, 0.17, 0.27],
        "gaussian_blur": [1, 2, 3, 4, 6],
        "defocus_blur": _LARGE_DISKS,
        "brightness": [0.1, 0.2, 0.3, 0.4, 0.5],
        "contrast": [0.4, 0.3, 0.2, 0.1, 0.05],
        "pixelate": [0.6, 0.5, 0.4, 0.3, 0.25],
        "jpeg": [25, 18, 15, 10, 7],
    },
}


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    first: int = 0,
    scale: Scale | None = None,
    value_range: tuple[float, float] | None = None,
) -> np.ndarray:
    """Pictures with one corruption.

    Args:
        images: (N, H, W, C), C = 1 or 3; uint8, or floats with `value_range`.
        name: One of `CONSTANTS`.
        severity: 1 to 5.
        seed: Of what is random.
        first: Index of the first picture: batches of a set give what the whole set gives.
        scale: Whose constants; None: CIFAR's up to 64 pixels on the longest side.
        value_range: Of floats: what is black, and what is white. JPEG and pixelate make 256 steps.

    Returns:
        (N, H, W, C), of the same dtype and range.

    Raises:
        InputError: Another name, severity or shape; floats whose range is not said.
    """
    low, high = _range_of(images, value_range)
    constants = CONSTANTS[scale or scale_of(images.shape[1:3])]
    if name not in constants:
        raise InputError(f"A corruption is one of {', '.join(constants)}; received {name!r}.")
    if severity not in SEVERITIES:
        raise InputError(f"A severity is 1 to 5; received {severity!r}.")
    constant, apply = constants[name][severity - 1], _APPLY[name]
    found = np.empty_like(images)
    for index, image in enumerate(images):
        chance = np.random.default_rng((seed, severity, first + index))
        unit = (image.astype(np.float64) - low) / (high - low)
        values = low + (high - low) * np.clip(apply(unit, constant, chance), 0.0, 1.0)
        found[index] = np.rint(values) if images.dtype == np.uint8 else values
    return found


def scale_of(size: tuple[int, ...]) -> Scale:
    """Whose constants are for pictures of that size (H, W)."""
    return "cifar" if max(size) <= _SMALL else "imagenet"


def _range_of(images: np.ndarray, given: tuple[float, float] | None) -> tuple[float, float]:
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise InputError(f"Pictures are (N, H, W, 1) or (N, H, W, 3); received {images.shape}.")
    if images.dtype == np.uint8:
        return 0.0, 255.0
    if given is None or given[0] >= given[1]:
        raise InputError(
            f"Of {images.dtype} pictures say what is black and what is white: value_range=(0, 1), "
            f"say; received {given}."
        )
    return given


def _gaussian_noise(image: np.ndarray, deviation: float, chance: Noise) -> np.ndarray:
    return image + chance.normal(0.0, deviation, image.shape)


def _shot_noise(image: np.ndarray, photons: float, chance: Noise) -> np.ndarray:
    """Counting light: Poisson, of so many photons for white."""
    return chance.poisson(np.clip(image, 0.0, 1.0) * photons) / photons


def _impulse_noise(image: np.ndarray, share: float, chance: Noise) -> np.ndarray:
    """Salt and pepper in equal parts, on values rather than pixels."""
    struck, white = chance.random((2, *image.shape))
    return np.where(struck <= share, np.where(white <= 0.5, 1.0, 0.0), image)


def _gaussian_blur(image: np.ndarray, deviation: float, chance: Noise) -> np.ndarray:
    """Cut at four deviations; borders go on as they are."""
    row = gaussian(deviation, int(4.0 * deviation + 0.5))
    half = len(row) // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="edge")
    return _filtered(padded, row[:, np.newaxis] * row)


def _defocus_blur(image: np.ndarray, disk: tuple[float, float], chance: Noise) -> np.ndarray:
    """A disk for each point; borders are mirrored."""
    kernel = disk_kernel(*disk)
    half = len(kernel) // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="reflect")
    return _filtered(padded, kernel)


def _brightness(image: np.ndarray, more: float, chance: Noise) -> np.ndarray:
    """V of HSV raised, H and S as they are: R, G and B by one factor; black becomes grey."""
    value = image.max(axis=2, keepdims=True)
    raised = np.clip(value + more, 0.0, 1.0)
    return np.where(value > 0.0, image * raised / np.maximum(value, 1e-12), raised)


def _contrast(image: np.ndarray, share: float, chance: Noise) -> np.ndarray:
    mean = image.mean(axis=(0, 1), keepdims=True)
    return (image - mean) * share + mean


def _pixelate(image: np.ndarray, share: float, chance: Noise) -> np.ndarray:
    whole = _as_picture(image)
    small = whole.resize((int(whole.width * share) or 1, int(whole.height * share) or 1), _BOX)
    return _as_unit(small.resize(whole.size, _BOX))


def _jpeg(image: np.ndarray, quality: int, chance: Noise) -> np.ndarray:
    file = io.BytesIO()
    _as_picture(image).save(file, "JPEG", quality=quality)
    with Image.open(file) as again:
        return _as_unit(again)


_BOX = Image.Resampling.BOX
_APPLY: dict[str, Corruption] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "gaussian_blur": _gaussian_blur,
    "defocus_blur": _defocus_blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}


def gaussian(deviation: float, half: int) -> np.ndarray:
    """(2 half + 1,) weights that sum to 1."""
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) / deviation) ** 2)
    return weights / weights.sum()


def disk_kernel(radius: float, deviation: float) -> np.ndarray:
    """A disk that sums to 1, its edge softened by a Gaussian of 3×3 (beyond 8 pixels, 5×5)."""
    reach, half = (8, 1) if radius <= 8 else (int(radius), 2)
    x = np.arange(-reach, reach + 1)
    disk = (x[:, np.newaxis] ** 2 + x**2 <= radius**2).astype(np.float64)
    soft = gaussian(deviation, half)
    padded = np.pad(disk / disk.sum(), half, mode="reflect")[..., np.newaxis]
    kernel = _filtered(padded, soft[:, np.newaxis] * soft)[..., 0]
    used = reach - np.flatnonzero(kernel.any(axis=1))[0]
    middle = slice(reach - used, reach + used + 1)
    return kernel[middle, middle]


def _filtered(padded: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Each point of (H + 2r, W + 2r, C) as a sum over (2r + 1, 2r + 1) around it: (H, W, C)."""
    height, width = (a - b + 1 for a, b in zip(padded.shape[:2], kernel.shape, strict=True))
    found = np.zeros((height, width, padded.shape[2]))
    for row, column in np.argwhere(kernel > 0):
        found += kernel[row, column] * padded[row : row + height, column : column + width]
    return found


def _as_picture(image: np.ndarray) -> Image.Image:
    values = np.rint(255.0 * np.clip(image, 0.0, 1.0)).astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


def _as_unit(picture: Image.Image) -> np.ndarray:
    return np.atleast_3d(np.asarray(picture, np.float64)) / 255.0
