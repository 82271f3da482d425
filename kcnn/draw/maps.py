"""Maps as colours: signed ones with white at 0, heat over the pictures that it belongs to."""

from __future__ import annotations

import numpy as np

from kcnn.draw.pictures import as_bytes

#: Of matplotlib; both can be told apart without seeing red and green.
_SIGNED, _HEAT = "RdBu_r", "inferno"
#: How much of a picture the strongest heat covers.
_COVER = 0.75


def signed(values: np.ndarray, limit: float | None = None) -> np.ndarray:
    """Values (H, W) as (H, W, 3) uint8: blue below 0, white at 0, red above.

    Args:
        values: Of any sign, finite.
        limit: What is full red, and its negative full blue; None is the largest |value|.
    """
    limit = float(np.abs(values).max()) if limit is None else limit
    return _coloured(_SIGNED, 0.5 + values / (2.0 * (limit or 1.0)))


def heat(values: np.ndarray, limit: float | None = None) -> np.ndarray:
    """Values (H, W) from 0 up as (H, W, 3) uint8: black at 0, by purple and orange to yellow.

    Args:
        values: At least 0; what is below counts as 0.
        limit: What is brightest; None is the largest value.
    """
    limit = float(values.max()) if limit is None else limit
    return _coloured(_HEAT, values / (limit if limit > 0 else 1.0))


def one_map(values: np.ndarray) -> np.ndarray:
    """Values (H, W) as (H, W, 3) uint8, as `signed` where some are below 0, as `heat` otherwise."""
    return signed(values) if values.min() < 0 else heat(values)


def over(picture: np.ndarray, values: np.ndarray, *, two_signs: bool = False) -> np.ndarray:
    """A map over its picture, which is shown in grey and light: the more, the more it covers.

    Args:
        picture: (H, W, C) of any range.
        values: (H, W), at least 0; heat.
        two_signs: They are of any sign: blue below 0, red above.

    Returns:
        (H, W, 3) uint8.
    """
    grey = as_picture(picture).astype("float32").mean(axis=2, keepdims=True)
    below = 0.75 * grey + 48.0
    largest = float(np.abs(values).max()) or 1.0
    strength = np.abs(values) / largest
    share = _COVER * strength[..., np.newaxis] ** 0.7
    # No white and no black over a picture: a weak value is weak by covering little.
    strong = np.sign(values) * (0.5 + 0.5 * strength)
    colours = signed(strong, 1.0) if two_signs else heat(0.3 + 0.7 * strength, 1.0)
    return np.rint((1 - share) * below + share * colours).astype(np.uint8)


def as_picture(image: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """An image (H, W, C) of any number of channels as (H, W, 3) uint8.

    Args:
        image: Of other than three channels, the first is shown in grey.
        limits: The values that are black and white; None: bytes are as they are, and others go
            from black, their smallest value, to white, their largest.
    """
    pixels = image if image.shape[2] == 3 else np.repeat(image[..., :1], 3, axis=2)
    if limits is None:
        return as_bytes(pixels)
    shares = (pixels.astype("float32") - limits[0]) / (limits[1] - limits[0])
    return np.rint(255.0 * np.clip(shares, 0.0, 1.0)).astype(np.uint8)


def _coloured(name: str, shares: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps

    return np.asarray(colormaps[name](np.clip(shares, 0.0, 1.0), bytes=True))[..., :3]
