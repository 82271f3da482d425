"""Figures of what is inside a network, of arrays: filters, maps, exciting pictures, evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kcnn.draw.maps import as_picture, one_map, over, signed
from kcnn.draw.strips import Strip, strips, width_of

#: Pixels up to which small pictures are enlarged for their edges, in whole steps.
_SIDE = 352


def filters(pictures: np.ndarray, title: str, *, columns: int = 8) -> bytes:
    """A PNG of first filters in their colours.

    Args:
        pictures: (K, kh, kw, 3) in 0..1, grey where a weight is 0.
        title: Above them.
        columns: Filters in a row.
    """
    tiles = [np.rint(255 * picture).astype(np.uint8) for picture in pictures]
    return strips([Strip(title, tiles)], columns=columns)


def kernels(weights: np.ndarray, title: str, *, units: int = 8, channels: int = 8) -> bytes:
    """A PNG of filters of any layer: a row for each unit, a column for each channel it looks at.

    Args:
        weights: (kh, kw, C, K), signed; red is above 0, blue below, each unit on its own scale.
        title: Above them; what is left out is said behind it.
        units: How many at most.
        channels: How many at most.
    """
    depth, count = weights.shape[2:]
    left_out = f"; {min(units, count)} of {count} units, {min(channels, depth)} of {depth} channels"
    rows = []
    for unit in range(min(units, count)):
        one = weights[..., unit]
        limit = float(np.abs(one).max())
        tiles = [signed(one[..., channel], limit) for channel in range(min(channels, depth))]
        rows.append(Strip(title + left_out if unit == 0 else "", tiles))
    return strips(rows, columns=channels)


def feature_maps(
    picture: np.ndarray,
    layers: Sequence[tuple[str, np.ndarray]],
    *,
    columns: int = 8,
    limits: tuple[float, float] | None = None,
) -> bytes:
    """A PNG: a picture, and below it for each layer the maps of its first units.

    Args:
        picture: (H, W, C) of any range.
        layers: A title and maps (h, w, K) each, of that picture. Each map is on its own scale:
            black to yellow where all values are at least 0, blue and red where some are below.
        columns: Units of a layer that are shown, at most.
        limits: What is black and white in pictures; None: see `as_picture`.
    """
    rows = [Strip("The picture", [as_picture(picture, limits)])]
    for title, maps in layers:
        shown = range(min(columns, maps.shape[-1]))
        rows.append(
            Strip(title, [one_map(maps[..., unit]) for unit in shown], [f"{u}" for u in shown])
        )
    return strips(rows, columns=columns)


def exciting(
    units: Sequence[tuple[str, Sequence[np.ndarray]]],
    *,
    columns: int = 9,
    limits: tuple[float, float] | None = None,
) -> bytes:
    """A PNG: for each unit a row of what excites it most.

    Args:
        units: A title and pictures (h, w, C) of any range each.
        columns: Pictures in a row.
        limits: What is black and white in pictures; None: see `as_picture`.
    """
    rows = [Strip(title, [as_picture(crop, limits) for crop in crops]) for title, crops in units]
    return strips(rows, columns=columns)


def preferred(
    layers: Sequence[tuple[str, np.ndarray, Sequence[str]]],
    *,
    columns: int = 5,
    limits: tuple[float, float] | None = None,
) -> bytes:
    """A PNG: early, middle, late layers, for each the pictures that its units prefer.

    Args:
        layers: A title, pictures (U, H, W, C) of any range, and a caption for each, or none.
        columns: Pictures in a row.
        limits: What is black and white in pictures; None: see `as_picture`.
    """
    rows = [
        Strip(title, [as_picture(image, limits) for image in images], captions)
        for title, images, captions in layers
    ]
    return strips(rows, columns=columns)


def evidence(
    pictures: np.ndarray,
    maps: Mapping[str, np.ndarray],
    titles: Sequence[str],
    *,
    limits: tuple[float, float] | None = None,
) -> bytes:
    """A PNG: for each picture a row, itself and each map over it.

    Args:
        pictures: (N, H, W, C) of any range.
        maps: By name (Grad-CAM, saliency, occlusion), (N, H, W) each; blue is below 0.
        titles: One for each picture, such as what is true and what was predicted.
        limits: What is black and white in pictures; None: see `as_picture`.
    """
    signs = {name: bool((values < 0).any()) for name, values in maps.items()}
    rows = []
    for index, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        plain = as_picture(picture, limits)
        heats = [over(plain, of[index], two_signs=signs[name]) for name, of in maps.items()]
        rows.append(Strip(title, [plain, *heats], ["picture", *maps]))
    return strips(rows, columns=1 + len(maps))


def evidence_across(
    pictures: np.ndarray,
    maps: Mapping[str, np.ndarray],
    captions: Sequence[str],
    *,
    limits: tuple[float, float] | None = None,
) -> bytes:
    """A PNG as `evidence`, for many pictures: they stand side by side, each map in a row below.

    Args:
        pictures: (N, H, W, C) of any range.
        maps: By name, (N, H, W) each, at least 0.
        captions: One for each picture.
        limits: What is black and white in pictures; None: see `as_picture`.
    """
    tiles = [as_picture(picture, limits) for picture in pictures]
    rows = [Strip("Pictures", tiles, captions)]
    for name, of in maps.items():
        rows.append(Strip(name, [over(tile, one) for tile, one in zip(tiles, of, strict=True)]))
    return strips(rows, columns=len(tiles), width=1000)


def edges(picture: np.ndarray, maps: Mapping[str, np.ndarray]) -> bytes:
    """A PNG: a picture and the signed maps of edge filters, on one scale.

    Args:
        picture: (H, W, C) of any range.
        maps: By a title, (h, w) each.
    """
    limit = max(float(np.abs(values).max()) for values in maps.values())
    # Their border is that of the picture, so that a line lies where the edge is.
    tiles = [as_picture(picture)]
    for values in maps.values():
        rows, columns = ((a - b) // 2 for a, b in zip(picture.shape, values.shape, strict=False))
        whole = np.zeros(picture.shape[:2], "float32")
        whole[rows : rows + values.shape[0], columns : columns + values.shape[1]] = values
        tiles.append(signed(whole, limit))
    title = "What two filters find: red is above 0, blue below"
    side = max(picture.shape[:2])
    return strips(
        [Strip(title, tiles, ["picture", *maps])],
        columns=len(tiles),
        width=width_of(len(tiles), side * max(1, _SIDE // side)),
    )
