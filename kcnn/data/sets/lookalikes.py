"""Pictures that look alike: by a perceptual hash, and then by their pixels.

A perceptual hash alone takes different shirts of Fashion-MNIST for one. So it only says which pairs
are looked at: those whose 64 bits (`imagehash.phash`, the signs of a small cosine transform) differ
in `RADIUS` at most. Of these, two are near where the edges of their thumbnails of 16×16 pixels
correlate by `ALIKE` at least, whatever brightness and contrast are; grey levels themselves would
correlate by 0.98 for two trousers.

What is found, of pictures stored anew: all of photographs as JPEG of quality 60, half as large, or
15 % brighter; of 32×32 pixels half of those as JPEG of quality 60. Not found: crops of 3 % at each
side, mirrored or turned ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from kcnn.data.sets.arrays import ends
from kcnn.data.sets.decoding import glimpse
from kcnn.data.sets.images import ImageFiles

Progress = Callable[[int], None] | None

RADIUS = 4  # of 64 bits; phash's distances are even
#: Of the pairs that data have of themselves, six of `pets` (from 0.978 on) and one of CIFAR-10 are
#: the same picture, two of `digits` (up to 0.975) are not.
ALIKE = 0.977
_SIDE = 16  # of a thumbnail
_GLIMPSE = 64  # pixels of a photograph's shorter side are enough for either
_FLAT, _LEVELS = 2.0, 4.0  # the deviation of a picture of one colour; how far two such are apart
_PAIRS = 1 << 22  # that are compared at once: bounds the memory


def near_pairs(hashes: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """Pairs of pictures that look alike.

    Args:
        hashes: (N,) uint64, as `fingerprints` gives them.
        thumbnails: (N, D) uint8.

    Returns:
        (P, 2) int64, i < j, in order.
    """
    pairs = close(hashes)
    alike = [_alike(thumbnails, pairs[at : at + 4096]) for at in range(0, len(pairs), 4096)]
    return pairs[np.concatenate(alike)] if alike else pairs


def fingerprints(
    images: np.ndarray | ImageFiles, progress: Progress = None
) -> tuple[np.ndarray, np.ndarray]:
    """A perceptual hash and a thumbnail of each picture.

    Args:
        images: (N, H, W, C) of any range, or N files that can be read.
        progress: Called with the number of pictures done so far.

    Returns:
        (N,) uint64; (N, 768) uint8, 16×16 pixels of three channels.
    """
    hashes = np.zeros(len(images), np.uint64)
    thumbnails = np.zeros((len(images), 3 * _SIDE**2), np.uint8)
    for index, (bits, pixels) in enumerate(_each(images)):
        hashes[index], thumbnails[index] = bits, pixels
        if progress is not None:
            progress(index + 1)
    return hashes, thumbnails


def close(hashes: np.ndarray, radius: int = RADIUS) -> np.ndarray:
    """Pairs of hashes that differ in `radius` bits at most: (P, 2) int64, i < j, in order.

    Of `radius` + 1 bands of the bits two such hashes have one in common (Norouzi et al. 2012), so
    that only those within a bucket are compared.
    """
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)  # (N, 64)
    found = [np.zeros((0, 2), np.int64)]
    for band in range(radius + 1):
        own = bits[:, band :: radius + 1]  # spread over the frequencies: bands as even as may be
        keys = own @ (1 << np.arange(own.shape[1], dtype=np.int64))
        order = np.argsort(keys, kind="stable")
        for places in _within(keys[order]):
            one, other = (order[side] for side in places)
            alike = np.bitwise_count(hashes[one] ^ hashes[other]) <= radius
            pair = np.stack([one[alike], other[alike]], axis=1)
            found.append(np.sort(pair, axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _within(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of all pairs of equal keys, which are sorted, some millions at a time."""
    last = np.searchsorted(keys, keys, side="right")  # behind the last of the same
    others = last - np.arange(len(keys)) - 1
    bound = np.concatenate([[0], np.cumsum(others)])  # pairs before each
    begin = 0
    while begin < len(keys):
        end = int(np.searchsorted(bound, bound[begin] + _PAIRS, side="right")) - 1
        end = min(max(end, begin + 1), len(keys))
        one = np.repeat(np.arange(begin, end), others[begin:end])
        yield one, one + 1 + np.arange(len(one)) - (bound[one] - bound[begin])
        begin = end


def _alike(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Whether each pair's edges correlate; of one colour each, whether it is the same."""
    one, other = (thumbnails[side].astype(np.float32) for side in pairs.T)
    apart = np.abs(one - other).mean(axis=1)
    spread = np.minimum(one.std(axis=1), other.std(axis=1))
    one, other = _edges(one), _edges(other)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    correlation = (one * other).sum(axis=1) / np.maximum(lengths, 1e-6)
    return np.where(spread < _FLAT, apart <= _LEVELS, correlation >= ALIKE)


def _edges(thumbnails: np.ndarray) -> np.ndarray:
    """(N, 1440): from each pixel to the next below and to the right, around their mean."""
    pixels = thumbnails.reshape(-1, _SIDE, _SIDE, 3)
    steps = [np.diff(pixels, axis=axis).reshape(len(pixels), -1) for axis in (1, 2)]
    found = np.concatenate(steps, axis=1)
    return found - found.mean(axis=1, keepdims=True)


def _each(images: np.ndarray | ImageFiles) -> Iterator[tuple[int, np.ndarray]]:
    if isinstance(images, ImageFiles):
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without Python's lock
            yield from pool.map(lambda path: _seen(glimpse(path, _GLIMPSE)), images)
        return
    whole = images.dtype == np.uint8 or not len(images)
    low, high = (0.0, 255.0) if whole else ends(images)
    for pixels in images:
        yield _seen(_as_picture(pixels, low, high))


def _as_picture(pixels: np.ndarray, low: float, high: float) -> Image.Image:
    """(H, W, C) of any range, shown as three channels or one."""
    if pixels.dtype != np.uint8:
        pixels = np.rint((pixels - low) * (255.0 / max(high - low, 1e-9))).astype(np.uint8)
    if pixels.shape[2] == 3:
        return Image.fromarray(pixels)
    return Image.fromarray(np.rint(pixels.mean(axis=2)).astype(np.uint8))


def _seen(image: Image.Image) -> tuple[int, np.ndarray]:
    import imagehash  # scipy comes with it: not before it is needed

    bits = np.packbits(imagehash.phash(image).hash.reshape(-1))
    small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return int(bits.view(">u8")[0]), np.asarray(small).reshape(-1)
