"""Rotation, zoom and erasing against Keras' layers, SciPy, and loops in NumPy."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf

from kcnn.data.batches import bending

SEED = tf.constant([7, 11], tf.int64)


def drawn(images, rotation, zoom):
    """Angles in degrees and factors of images whose values are their columns, times 10, plus 500.

    Such a plane stays one, so that the slope in the middle tells both.
    """
    x = bending.turn(tf.constant(images), rotation, zoom, SEED).numpy()[..., 0]
    y, x_ = x.shape[1] // 2, x.shape[2] // 2
    across, down = x[:, y, x_ + 1] - x[:, y, x_], x[:, y + 1, x_] - x[:, y, x_]
    return np.degrees(np.arctan2(-down, across)), np.hypot(across, down) / 10


def planes(count, height=10, width=14):
    row = 10.0 * np.arange(width, dtype="float32") + 500
    return np.tile(row[:, None], (count, height, 1, 1))


def test_angles_and_factors_are_each_images_own_and_even():
    angles, factors = drawn(planes(2000), 20.0, 0.3)
    assert scipy.stats.kstest(angles, "uniform", (-20, 40)).pvalue > 0.01
    assert scipy.stats.kstest(factors, "uniform", (0.7, 0.6)).pvalue > 0.01
    assert abs(np.corrcoef(angles, factors)[0, 1]) < 0.1


@pytest.mark.parametrize(("rotation", "zoom"), [(170.0, 0.0), (0.0, 0.6), (40.0, 0.4)])
def test_as_keras_layers_and_scipy_do(rotation, zoom):
    count, rng = 12, np.random.default_rng(0)
    angles, factors = drawn(planes(count, 9, 13), rotation, zoom)  # the same draws
    images = rng.normal(size=(count, 9, 13, 3)).astype("float32")
    found = bending.turn(tf.constant(images), rotation, zoom, SEED).numpy()
    for image, angle, factor, ours in zip(images, angles, factors, found, strict=True):
        turn = np.deg2rad(angle)
        # Rows first, as SciPy has them.
        matrix = factor * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        middle = np.array([4.0, 6.0])
        offset = middle - matrix @ middle
        theirs = [
            scipy.ndimage.affine_transform(c, matrix, offset, order=1, mode="reflect")
            for c in np.moveaxis(image, -1, 0)
        ]
        np.testing.assert_allclose(ours, np.stack(theirs, -1), atol=2e-3)
        if not (rotation and zoom):
            part = (float(angle) / 360,) * 2 if rotation else (float(factor) - 1,) * 2
            kind = keras.layers.RandomRotation if rotation else keras.layers.RandomZoom
            np.testing.assert_allclose(ours, kind(part)(image, training=True), atol=2e-3)


def test_bytes_are_rounded():
    images = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 1), "uint8")
    exact = bending.turn(tf.constant(images, tf.float32), 30.0, 0.2, SEED)
    found = bending.turn(tf.constant(images), 30.0, 0.2, SEED)
    assert found.dtype == tf.uint8
    np.testing.assert_array_equal(found, np.round(exact))


def algorithm_1(rng, height, width):
    """Rows and columns of a rectangle, as Zhong et al. print it."""
    while True:
        area = height * width * rng.uniform(0.02, 0.4)
        ratio = rng.uniform(0.3, 1 / 0.3)
        rows, columns = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
        top, left = rng.integers(height), rng.integers(width)
        if top + rows <= height and left + columns <= width:
            return top, left, rows, columns


def test_rectangles_are_those_of_the_paper():
    count, (height, width) = 1500, (24, 32)
    images = np.zeros((count, height, width, 3), "uint8")
    found = bending.erase(tf.constant(images), 0.7, SEED).numpy()
    touched = found.any(axis=3)
    erased = touched.any(axis=(1, 2))
    assert 0.65 < erased.mean() < 0.75  # 0.7, with a deviation of 0.012
    boxes = []
    for one in touched[erased]:
        rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
        boxes.append((rows[0], columns[0], np.ptp(rows) + 1, np.ptp(columns) + 1))
        inside = one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert inside.mean() > 0.99  # noise is black once in 256^3
    rng = np.random.default_rng(0)
    expected = np.array([algorithm_1(rng, height, width) for _ in range(1500)])
    for ours, theirs in zip(np.array(boxes).T, expected.T, strict=True):
        assert scipy.stats.ks_2samp(ours, theirs).pvalue > 0.01
    counts = np.bincount(found[touched].ravel(), minlength=256)
    assert scipy.stats.chisquare(counts).pvalue > 0.001
    assert len({one.tobytes() for one in found[erased]}) == erased.sum()


def test_noise_of_floats_is_within_the_image():
    images = np.random.default_rng(2).normal(size=(40, 8, 8, 2)).astype("float32")
    images[5] += 100
    found = bending.erase(tf.constant(images), 1.0, SEED).numpy()
    changed = (found != images).any(axis=(1, 2, 3))
    assert changed.all()
    assert (found.max((1, 2, 3)) <= images.max((1, 2, 3))).all()
    assert (found.min((1, 2, 3)) >= images.min((1, 2, 3))).all()
