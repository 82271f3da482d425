"""Near copies: found among many, and by their pixels told from what merely hashes alike."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from kcnn.data.sets.lookalikes import close, fingerprints, near_pairs


def photographs(count, side=48, seed=0):
    """Smooth colours in a scene of a few patches: (N, side, side, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 210, (count, 6, 6, 3)).astype("uint8")
    large = [Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC) for c in coarse]
    return np.stack([np.asarray(image) for image in large])


def found(images):
    return near_pairs(*fingerprints(images)).tolist()


@pytest.mark.parametrize("radius", [0, 2, 4])
def test_close_hashes_are_those_of_a_comparison_of_all(radius):
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, 300, dtype=np.uint64)
    for number in range(100):  # as many bits apart as number % 7, and some alike in most bands
        flips = rng.choice(64, number % 7, replace=False)
        hashes[200 + number] = hashes[number] ^ np.bitwise_or.reduce(
            np.uint64(1) << flips.astype(np.uint64), initial=np.uint64(0)
        )
    expected = [
        [i, j]
        for i in range(300)
        for j in range(i + 1, 300)
        if bin(int(hashes[i]) ^ int(hashes[j])).count("1") <= radius
    ]
    assert len(expected) >= 14 * (radius + 1)
    assert close(hashes, radius).tolist() == expected


def test_many_in_a_bucket_are_compared_in_parts(monkeypatch):
    monkeypatch.setattr("kcnn.data.sets.lookalikes._PAIRS", 7)
    pairs = close(np.array([5] * 9 + [2**63] * 3, np.uint64), 0)
    assert len(pairs) == 9 * 8 // 2 + 3
    assert len(close(np.zeros(0, np.uint64))) == len(close(np.zeros(1, np.uint64))) == 0


def jpeg(image):
    held = io.BytesIO()
    image.save(held, "JPEG", quality=60)
    return Image.open(held)


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        lambda image: image.resize((24, 24)).resize((48, 48)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    ],
    ids=["stored anew", "smaller", "brighter"],
)
def test_a_copy_is_found_among_others(change):
    images = photographs(20)
    images[17] = np.asarray(change(Image.fromarray(images[3])))
    assert found(images) == [[3, 17]]
    assert found(images.astype("float32") / 127.5 - 1) == [[3, 17]]  # of any range


def test_equal_hashes_of_other_pixels_are_no_copies():
    """Fashion-MNIST has shirts of one outline; its hash says no more than that."""
    images = photographs(2, seed=5)
    hashes, thumbnails = fingerprints(images)
    assert len(near_pairs(hashes[[0, 0]], thumbnails)) == 0
    assert len(near_pairs(hashes[[0, 0]], thumbnails[[1, 1]])) == 1


def test_pictures_of_one_colour_are_the_same_where_the_colour_is():
    plain = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (10, 12, 200)])
    assert found(plain) == [[0, 1]]
