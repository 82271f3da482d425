"""Augmentation against loops in NumPy: every image must be one that the definition allows."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from kcnn.data.batches import augmentation, bending
from kcnn.data.batches.randaugment import rand_augment

SEED = tf.constant([7, 11], tf.int64)


@pytest.fixture
def batch():
    """(64, 9, 7, 3): no two pixels of an image are alike, so a window tells its place."""
    count = 9 * 7 * 3
    return np.stack([np.random.default_rng(i).permutation(count) for i in range(64)]).reshape(
        64, 9, 7, 3
    )


def windows(image, height, width):
    """{bytes of a window: (row, column)} of every window of an image, by a plain loop."""
    rows, columns = image.shape[:2]
    return {
        np.ascontiguousarray(image[y : y + height, x : x + width]).tobytes(): (y, x)
        for y in range(rows - height + 1)
        for x in range(columns - width + 1)
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crop_takes_a_window_of_each_image(batch, dtype):
    images = batch.astype(dtype)
    cropped = augmentation.crop(tf.constant(images), 6, 5, SEED)
    assert (cropped.shape, cropped.dtype) == ((64, 6, 5, 3), dtype)
    places = [
        windows(image, 6, 5)[crop.tobytes()]
        for image, crop in zip(images, cropped.numpy(), strict=True)
    ]
    assert {y for y, _ in places} == {0, 1, 2, 3}
    assert {x for _, x in places} == {0, 1, 2}
    assert len(set(places)) == 12  # row and column are drawn apart


def test_pad_crop_takes_a_window_of_the_padded_image(batch):
    images = batch.astype(np.uint8)
    cropped = augmentation.pad_crop(tf.constant(images), 2, SEED).numpy()
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)])
    places = [
        windows(image, 9, 7)[crop.tobytes()] for image, crop in zip(padded, cropped, strict=True)
    ]
    assert {y for y, _ in places} == {x for _, x in places} == {0, 1, 2, 3, 4}


def test_flip_mirrors_half_of_the_images(batch):
    images = np.concatenate([batch] * 8).astype(np.uint8)
    flipped = augmentation.flip(tf.constant(images), SEED).numpy()
    mirrored = 0
    for image, result in zip(images, flipped, strict=True):
        if np.array_equal(result, image[:, ::-1]):
            mirrored += 1
        else:
            np.testing.assert_array_equal(result, image)
    assert 200 < mirrored < 312  # Binomial(512, 1/2): mean 256, standard deviation 11


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crop_and_flip_takes_every_place_and_both_ways_equally_often(batch, dtype):
    image = batch[:1].astype(dtype)
    places = windows(image[0], 7, 5) | {
        window: (*place, "mirrored") for window, place in mirror_images(image[0], 7, 5).items()
    }
    cropped = augmentation.crop(tf.repeat(image, 3600, axis=0), 7, 5, SEED, flip=True)
    counts = Counter(places[window.tobytes()] for window in cropped.numpy())
    assert len(counts) == 18
    # 200 expected of each; chi² over 17 degrees of freedom stays below 41 (p = 0.001).
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 41


def mirror_images(image, height, width):
    return {
        np.frombuffer(window, image.dtype).reshape(height, width, 3)[:, ::-1].tobytes(): place
        for window, place in windows(image, height, width).items()
    }


@pytest.mark.slow
def test_same_seed_same_bits_other_seed_other_bits(batch):
    images = tf.constant(batch.astype(np.uint8))
    labels = tf.one_hot(np.arange(64) % 5, 5)
    functions = [
        lambda seed: augmentation.pad_crop(images, 4, seed),
        lambda seed: augmentation.crop(images, 6, 5, seed),
        lambda seed: augmentation.flip(images, seed),
        lambda seed: augmentation.mixup(images, labels, 0.4, seed)[0],
        lambda seed: augmentation.cutmix(images, labels, 1.0, seed)[0],
        lambda seed: augmentation.mixup_or_cutmix(images, labels, (0.4, 1.0), seed)[0],
        lambda seed: bending.turn(images, 20.0, 0.2, seed),
        lambda seed: bending.erase(images, 0.5, seed),
        lambda seed: rand_augment(images, 1, 9.0, seed),
    ]
    for function in functions:
        traced = tf.function(function, autograph=False)
        first, again = function(SEED).numpy(), traced(SEED).numpy()
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, function(tf.constant([7, 12], tf.int64)).numpy())


def beta_moments(alpha):
    """Mean and variance of Beta(alpha, alpha)."""
    return 0.5, 1 / (4 * (2 * alpha + 1))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_blends_pairs_with_beta_weights(alpha):
    # Image i is the constant i, its label the unit vector i: a blend tells the pair and weight.
    count = 512
    images = np.broadcast_to(
        np.arange(count, dtype=np.float32)[:, None, None, None], (512, 2, 2, 1)
    )
    mixed, soft = augmentation.mixup(tf.constant(images), tf.eye(count), alpha, SEED)
    assert (mixed.dtype, soft.dtype) == (tf.float32, tf.float32)
    mixed, soft = mixed.numpy(), soft.numpy()
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
    weights, partners = [], []
    for i, row in enumerate(soft):
        others = [j for j in np.flatnonzero(row) if j != i]
        partners.append(others[0] if others else i)
        weights.append(row[i])
        np.testing.assert_allclose(mixed[i], (row * np.arange(count)).sum(), rtol=1e-4, atol=1e-3)
    assert len(set(partners)) > 0.95 * count
    mean, variance = beta_moments(alpha)
    assert abs(np.mean(weights) - mean) < 5 * np.sqrt(variance / count)
    assert abs(np.var(weights) - variance) < 0.25 * variance


def test_mixup_of_bytes_equals_mixup_of_floats(batch):
    labels = tf.one_hot(np.arange(64) % 5, 5)
    first, second = (
        augmentation.mixup(tf.constant(batch.astype(dtype)), labels, 0.4, SEED)[0]
        for dtype in (np.uint8, np.float32)
    )
    assert first.dtype == second.dtype == tf.float32
    np.testing.assert_array_equal(first, second)


def test_a_tiny_alpha_gives_whole_images_and_no_nan(batch):
    labels = tf.one_hot(np.arange(64) % 5, 5)
    for mix in (augmentation.mixup, augmentation.cutmix):
        for alpha in (1e-3, 1e-2):
            images, soft = mix(tf.constant(batch.astype(np.float32)), labels, alpha, SEED)
            assert np.isfinite(images.numpy()).all()
            np.testing.assert_allclose(soft.numpy().sum(axis=1), 1, rtol=1e-6)


def test_cutmix_pastes_one_rectangle_and_labels_by_its_area():
    height, width, count = 10, 14, 256
    images = np.broadcast_to(np.arange(count)[:, None, None, None], (count, height, width, 3))
    mixed, soft = augmentation.cutmix(
        tf.constant(images.astype(np.float32)), tf.eye(count), 1.0, SEED
    )
    areas = []
    for i, (image, row) in enumerate(zip(mixed.numpy(), soft.numpy(), strict=True)):
        foreign = image[..., 0] != i
        areas.append(foreign.mean())
        assert row[i] == pytest.approx(1 - foreign.mean(), abs=1e-6)
        if not foreign.any():
            continue
        rows, columns = np.flatnonzero(foreign.any(axis=1)), np.flatnonzero(foreign.any(axis=0))
        box = foreign[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all()
        assert foreign.sum() == box.size
        (other,) = np.unique(image[foreign])
        assert row[int(other)] == pytest.approx(foreign.mean(), abs=1e-6)
    # Beta(1, 1) is uniform; what leaves the image makes the pasted share smaller than 1/2.
    assert 0.2 < np.mean(areas) < 0.5
    assert max(areas) > 0.8


def test_cutmix_keeps_bytes(batch):
    images, _ = augmentation.cutmix(
        tf.constant(batch.astype(np.uint8)), tf.one_hot(np.arange(64) % 5, 5), 1.0, SEED
    )
    assert images.dtype == tf.uint8


def test_both_take_turns(batch):
    images, labels = batch.astype(np.float32), np.eye(64, dtype=np.float32)
    pasted = 0
    for i in range(60):
        mixed, _ = augmentation.mixup_or_cutmix(
            tf.constant(images), tf.constant(labels), (1.0, 1.0), tf.constant([0, i], tf.int64)
        )
        pasted += bool((mixed.numpy() == np.rint(mixed.numpy())).all())
    assert 15 < pasted < 45  # Binomial(60, 1/2): standard deviation 3.9


def test_cutmix_pastes_the_share_that_was_drawn():
    """Yun et al. 2019, equation 2: sides are sqrt(1 - weight) of the image's, so that areas are.

    By NumPy: weights of Beta(1, 1), any pixel as the centre, what leaves the image cut off.
    """
    count, size, rng = 2048, 16, np.random.default_rng(0)
    images = tf.zeros((count, size, size, 1))
    _, labels = augmentation.cutmix(images, tf.eye(count), 1.0, SEED)
    pasted = 1 - np.diagonal(labels.numpy())  # an image that is its own partner counts as none

    side = np.round(np.sqrt(1 - rng.uniform(size=(200_000, 1))) * size).astype(int)
    first = rng.integers(0, size, (200_000, 2)) - side // 2
    lengths = np.minimum(first + side, size) - np.maximum(first, 0)
    expected = lengths.prod(axis=1) / size**2
    error = expected.std() / np.sqrt(count)
    assert abs(pasted.mean() - expected.mean()) < 4 * error
    assert abs(pasted.std() - expected.std()) < 0.02
