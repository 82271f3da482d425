"""Windows of a batch against NumPy's slices, by each of the methods."""

import numpy as np
import pytest
import tensorflow as tf

from kcnn.data.batches import windows


@pytest.mark.parametrize("method", [windows.cut, windows.by_slices, windows.by_projection])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("shape", "size"), [((9, 7, 3), (6, 5)), ((8, 8, 1), (8, 8))])
def test_windows_are_slices(method, dtype, shape, size):
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (50, *shape)).astype(dtype)
    top, left = (
        rng.integers(0, side - cut + 1, 50) for side, cut in zip(shape, size, strict=False)
    )
    mirrored = rng.integers(0, 2, 50)
    places = (tf.constant(v, tf.int32) for v in (top, left, mirrored))
    result = method(tf.constant(images), *places, size).numpy()
    assert (result.dtype, result.shape) == (dtype, (50, *size, shape[2]))
    for image, window, y, x, turned in zip(images, result, top, left, mirrored, strict=True):
        expected = image[y : y + size[0], x : x + size[1]]
        np.testing.assert_array_equal(window, expected[:, ::-1] if turned else expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_padding_is_zeros_on_each_side(noise, dtype):
    images = noise.astype(dtype) + 1
    padded = windows.padded(tf.constant(images), 2).numpy()
    np.testing.assert_array_equal(padded, np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)]))
    assert padded.dtype == dtype
