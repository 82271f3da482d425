"""The lecture's convolution, slide by slide, on the Keras layers that the library is made of.

The oracle is NumPy in float64: loops over windows, written here and nowhere else. The other
slides are in `tests/lecture/`.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

IMAGE = np.array(
    [
        [3, 0, 1, 2, 7, 4],
        [1, 5, 8, 9, 3, 1],
        [2, 7, 2, 5, 1, 3],
        [0, 1, 3, 1, 7, 8],
        [4, 2, 1, 6, 2, 8],
        [2, 4, 5, 2, 3, 9],
    ],
    dtype=np.float64,
)
VERTICAL = np.array([[1, 0, -1]] * 3, dtype=np.float64)
HORIZONTAL = np.array([[-1] * 3, [0] * 3, [1] * 3], dtype=np.float64)

#: "Convolution Operation". The slide prints 10 in the second row's first place; it lost its
#: sign: the left column of that window holds 1 + 2 + 0 = 3, the right one 8 + 2 + 3 = 13.
FEATURE_MAP = np.array([[-5, -4, 0, 8], [-10, -2, 2, 3], [0, -2, -4, -7], [-3, -2, -3, -16]])
#: "Stride".
STRIDE_2_MAP = np.array([[-5, 0], [0, -4]])


def slide_filter(image, kernel, bias=0.0, stride=1, padding=0):
    """The lecture's operation by loops: (H, W, C) and (f, f, C, K) -> (H', W', K)."""
    image = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    f, _, _, filters = kernel.shape
    rows = range(0, image.shape[0] - f + 1, stride)
    columns = range(0, image.shape[1] - f + 1, stride)
    out = np.empty((len(rows), len(columns), filters))
    for (i, top), (j, left) in itertools.product(enumerate(rows), enumerate(columns)):
        window = image[top : top + f, left : left + f]
        for k in range(filters):
            out[i, j, k] = (window * kernel[..., k]).sum()
    return out + bias


def convolve(image, kernel, bias=None, padding="valid", **options):
    """`keras.layers.Conv2D` with these weights: (H, W, C) and (f, f, C, K) -> (H', W', K)."""
    layer = keras.layers.Conv2D(
        kernel.shape[-1],
        kernel.shape[0],
        padding=padding,
        use_bias=bias is not None,
        dtype="float64",
        **options,
    )
    layer.build((None, *image.shape))
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return keras.ops.convert_to_numpy(layer(image[None]))[0]


def zero_pad(image, pixels):
    """`keras.layers.ZeroPadding2D`: (H, W, C) -> (H + 2p, W + 2p, C)."""
    layer = keras.layers.ZeroPadding2D(pixels, dtype="float64")
    return keras.ops.convert_to_numpy(layer(image[None]))[0]


def convolve_plane(image, kernel, **options):
    """One channel, one filter: (n, n) and (f, f) -> (n', n')."""
    return convolve(image[..., None], kernel[..., None, None], **options)[..., 0]


def test_worked_example_without_padding():
    """Slide "Convolution Operation": 6×6 * 3×3 gives the printed 4×4 map, one sign aside."""
    np.testing.assert_array_equal(convolve_plane(IMAGE, VERTICAL), FEATURE_MAP)
    printed = FEATURE_MAP.copy()
    printed[1, 0] = 10
    by_hand = slide_filter(IMAGE[..., None], VERTICAL[..., None, None])[..., 0]
    assert np.argwhere(by_hand != printed).tolist() == [[1, 0]]


def test_worked_example_padded_keeps_its_size():
    """Slide "Padding": with p = 1 the map is 6×6, and its inside is the 4×4 map.

    The padded image is 8×8, as the arithmetic has it; on the next slide one text rendering
    shows a ninth column of zeros.
    """
    padded = zero_pad(IMAGE[..., None], 1)
    assert padded.shape == (8, 8, 1)
    assert padded.sum() == IMAGE.sum()
    expected = slide_filter(IMAGE[..., None], VERTICAL[..., None, None], padding=1)
    actual = convolve(padded, VERTICAL[..., None, None])
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(actual[1:-1, 1:-1, 0], FEATURE_MAP)
    # Two border entries by hand: the window's left column lies outside the image, or its right.
    assert actual[0, 0, 0] == -(0 + 5)
    assert actual[5, 5, 0] == 2 + 3


def test_worked_example_with_stride_2():
    """Slide "Stride": every second window of the 4×4 map."""
    actual = convolve_plane(IMAGE, VERTICAL, strides=2)
    np.testing.assert_array_equal(actual, STRIDE_2_MAP)
    np.testing.assert_array_equal(actual, FEATURE_MAP[::2, ::2])


def test_layer_adds_one_bias_and_rectifies():
    """Slide "Simplified Convolutional Layer": A = ReLU(X * F + b) with a single b."""
    actual = convolve_plane(IMAGE, VERTICAL, bias=np.array([3.0]), activation="relu")
    np.testing.assert_array_equal(actual, np.maximum(FEATURE_MAP + 3, 0))


@pytest.mark.parametrize("kind", ["conv", "max", "average"])
@pytest.mark.parametrize("f", [1, 2, 3, 5, 7])
def test_output_size_formula(kind, f):
    """Slides "Stride" and "Pooling": floor((n + 2p - f)/s + 1), for windows that fit."""
    checked = 0
    for p, s in itertools.product((0, 1, 2), (1, 2, 3, 4)):
        layer = {
            "conv": lambda s=s: keras.layers.Conv2D(1, f, strides=s),
            "max": lambda s=s: keras.layers.MaxPooling2D(f, strides=s),
            "average": lambda s=s: keras.layers.AveragePooling2D(f, strides=s),
        }[kind]()
        pad = keras.layers.ZeroPadding2D(p)
        for n in (n for n in range(1, 14) if n + 2 * p >= f):
            out = layer(pad(np.zeros((1, n, n + 1, 1), "float32")))
            side = [int(np.floor((size + 2 * p - f) / s + 1)) for size in (n, n + 1)]
            assert out.shape == (1, *side, 1), (n, f, p, s)
            assert side[0] == len([t for t in range(0, n + 2 * p, s) if t + f <= n + 2 * p])
            checked += 1
    assert checked > 80


@pytest.mark.parametrize("f", [1, 3, 5, 7])
def test_same_padding_of_odd_filters(f):
    """Slide "Valid and Same": p = (f - 1)/2 on each side is Keras' "same" at stride 1."""
    kernel = np.random.default_rng(f).normal(size=(f, f, 1, 1))
    image = IMAGE[..., None]
    same = convolve(image, kernel, padding="same")
    assert same.shape == image.shape
    expected = slide_filter(image, kernel, padding=(f - 1) // 2)
    np.testing.assert_allclose(same, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(convolve(zero_pad(image, (f - 1) // 2), kernel), same, rtol=1e-12)


@pytest.mark.parametrize("f", [2, 4])
def test_even_filters_need_unequal_sides(f):
    """Slide "Valid and Same": no whole p keeps the size for even f, so one side gets more."""
    kernel = np.random.default_rng(f).normal(size=(f, f, 1, 1))
    image = IMAGE[..., None]
    assert all(slide_filter(image, kernel, padding=p).shape != image.shape for p in range(f + 1))
    before, after = (f - 1) // 2, f // 2
    padded = np.pad(image, ((before, after), (before, after), (0, 0)))
    same = convolve(image, kernel, padding="same")
    np.testing.assert_allclose(same, slide_filter(padded, kernel), rtol=1e-12, atol=1e-12)


def test_same_with_stride_2_is_not_the_lectures_padding():
    """Slide "Stride" with p = 1: pad first; Keras' "same" would shift the windows by a pixel."""
    symmetric = convolve(zero_pad(IMAGE[..., None], 1), VERTICAL[..., None, None], strides=2)
    expected = slide_filter(IMAGE[..., None], VERTICAL[..., None, None], stride=2, padding=1)
    np.testing.assert_array_equal(symmetric, expected)
    keras_same = convolve_plane(IMAGE, VERTICAL, padding="same", strides=2)
    every = slide_filter(IMAGE[..., None], VERTICAL[..., None, None], padding=1)[..., 0]
    np.testing.assert_array_equal(symmetric[..., 0], every[::2, ::2])
    np.testing.assert_array_equal(keras_same, every[1::2, 1::2])
    assert not np.array_equal(keras_same, symmetric[..., 0])


def projections(n, f):
    """Π_i for every window, (m², f², n²) with m = n - f + 1; columns stacked as on the slide."""
    m = n - f + 1
    matrices = np.zeros((m * m, f * f, n * n))
    for left, top in itertools.product(range(m), repeat=2):
        for column, row in itertools.product(range(f), repeat=2):
            pixel = (left + column) * n + top + row
            matrices[left * m + top, column * f + row, pixel] = 1
    return matrices


def test_convolution_is_projection_and_inner_product():
    """Slide "Neurons in CNNs": z_i = wᵀ Π_i x + b, a_i = ReLU(z_i), one w and b for all i."""
    kernel = np.random.default_rng(0).normal(size=(3, 3))
    pi = projections(6, 3)
    assert pi.shape == (16, 9, 36)
    assert (pi.sum(axis=2) == 1).all()  # each row of Π_i picks one pixel
    x, w, b = IMAGE.ravel(order="F"), kernel.ravel(order="F"), -7.0
    z = np.array([w @ (pi_i @ x) + b for pi_i in pi])
    assert (z < 0).any()
    assert (z > 0).any()
    options = {"bias": np.array([b])}
    pre = convolve_plane(IMAGE, kernel, **options)
    np.testing.assert_allclose(pre.ravel(order="F"), z, rtol=1e-12, atol=1e-12)
    post = convolve_plane(IMAGE, kernel, activation="relu", **options)
    np.testing.assert_allclose(post.ravel(order="F"), np.maximum(z, 0), rtol=1e-12, atol=1e-12)


def test_weights_are_shared_and_sparse():
    """Slide "Neurons in CNNs": as a dense matrix, 9 of 36 entries per row, the same 9 values."""
    kernel = np.random.default_rng(1).normal(size=(3, 3))
    layer = keras.layers.Conv2D(1, 3, dtype="float64", use_bias=False)
    layer.build((None, 6, 6, 1))
    layer.set_weights([kernel[..., None, None]])
    basis = np.eye(36).reshape(36, 6, 6, 1)  # one lit pixel per image
    matrix = keras.ops.convert_to_numpy(layer(basis)).reshape(36, 16).T
    assert (np.count_nonzero(matrix, axis=1) == 9).all()
    for row in matrix:
        np.testing.assert_allclose(row[row != 0], kernel.ravel(), rtol=1e-14)
    dense = keras.layers.Dense(16, use_bias=False)
    dense.build((None, 36))
    assert (layer.count_params(), dense.count_params()) == (9, 576)


def test_shared_weights_sum_their_gradients():
    """Slide "Neurons in CNNs": each position contributes dz_i Π_i x to the gradient of w."""
    layer = keras.layers.Conv2D(1, 3, dtype="float64")
    layer.build((None, 6, 6, 1))
    dz = np.random.default_rng(2).normal(size=(4, 4))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(IMAGE[None, ..., None])[0, ..., 0] * dz)
    dw, db = tape.gradient(loss, [layer.kernel.value, layer.bias.value])
    windows = projections(6, 3) @ IMAGE.ravel(order="F")
    expected = (dz.ravel(order="F")[:, None] * windows).sum(axis=0).reshape(3, 3, order="F")
    np.testing.assert_allclose(dw[..., 0, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(db, [dz.sum()], rtol=1e-12)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), (3, 2)])
def test_convolution_over_volumes_with_several_filters(stride, padding):
    """Slides "Convolution Over Volumes", "... with Multiple Filters": one map per filter."""
    rng = np.random.default_rng(3)
    image, bias = rng.normal(size=(7, 9, 3)), rng.normal(size=5)
    kernel = rng.normal(size=(3, 3, 3, 5))
    actual = convolve(zero_pad(image, padding), kernel, bias, strides=stride)
    expected = slide_filter(image, kernel, bias, stride, padding)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    # A volume's map is the sum of its channels' maps; filters do not see each other.
    planes = [
        convolve(zero_pad(image[..., c, None], padding), kernel[:, :, c, None, 2:3], strides=stride)
        for c in range(3)
    ]
    np.testing.assert_allclose(actual[..., 2:3], sum(planes) + bias[2], rtol=1e-12, atol=1e-12)


def test_filter_must_have_the_images_channels():
    """Slide "Convolution Over Volumes": the filter has the channels of its input, no others."""
    layer = keras.layers.Conv2D(5, 3)
    layer.build((None, 7, 9, 3))
    assert layer.kernel.shape == (3, 3, 3, 5)
    with pytest.raises(ValueError, match="axis -1 of input shape to have value 3"):
        layer(np.zeros((1, 7, 9, 4), "float32"))


@pytest.mark.parametrize(("matching", "other"), [(VERTICAL, HORIZONTAL), (HORIZONTAL, VERTICAL)])
def test_edge_filters_indicate_their_edge(matching, other):
    """Slides "Filters and Edge Detection", "Feature Map as an Indicator": light beside dark."""
    image = np.zeros((8, 8))
    image[:, :4] = 1  # a vertical edge between columns 3 and 4, light on its left
    if matching is HORIZONTAL:
        image = 1 - image.T  # dark above light
    response = convolve_plane(image, matching)
    indicator = np.zeros((6, 6))
    indicator[:, 2:4] = 3  # the windows that touch both sides
    np.testing.assert_array_equal(response, indicator if matching is VERTICAL else indicator.T)
    np.testing.assert_array_equal(convolve_plane(image, other), 0)
    np.testing.assert_array_equal(convolve_plane(1 - image, matching), -response)


def test_feature_map_is_highest_where_the_pattern_lies():
    """Slide "Hierarchical Feature Detection": the response peaks at the matching patch."""
    rng = np.random.default_rng(4)
    pattern = rng.normal(size=(3, 3))
    image = np.zeros((12, 12))
    image[6:9, 2:5] = pattern
    response = convolve_plane(image, pattern)
    assert np.unravel_index(response.argmax(), response.shape) == (6, 2)
    np.testing.assert_allclose(response.max(), (pattern**2).sum(), rtol=1e-12)


def shifted(image, rows, columns):
    """`image` moved down and to the right, with zeros moving in."""
    out = np.zeros_like(image)
    out[rows:, columns:] = image[: len(image) - rows, : image.shape[1] - columns]
    return out


@pytest.mark.parametrize("stride", [1, 2])
def test_translation_of_the_image_translates_the_map(stride):
    """Slide "Translation Invariance in Images": what a filter finds moves with the object."""
    rng = np.random.default_rng(5)
    image, kernel = rng.normal(size=(13, 13, 1)), rng.normal(size=(3, 3, 1, 1))

    def response(image):
        return convolve(zero_pad(image, 1), kernel, strides=stride)

    before, after = response(image), response(shifted(image, 2 * stride, stride))
    inside = (slice(3, -1), slice(2, -1))  # at the borders, padding has replaced pixels
    np.testing.assert_allclose(after[inside], shifted(before, 2, 1)[inside], rtol=1e-12)
    assert not np.allclose(after, shifted(before, 2, 1))
    # Where the filter skips pixels, a shift by fewer than the stride is no shift of the map.
    by_one = np.allclose(response(shifted(image, 1, 1))[inside], shifted(before, 1, 1)[inside])
    assert by_one == (stride == 1)


def test_stacked_convolutions_are_flattened_into_a_dense_layer():
    """Slide "Simple CNN Example": maps shrink, channels grow, the last one is flattened."""
    image = np.random.default_rng(6).normal(size=(1, 12, 10, 3))
    first = keras.layers.Conv2D(4, 3, activation="relu", dtype="float64")(image)
    second = keras.layers.Conv2D(8, 3, strides=2, activation="relu", dtype="float64")(first)
    assert first.shape == (1, 10, 8, 4)
    assert second.shape == (1, 4, 3, 8)
    dense = keras.layers.Dense(2, dtype="float64")
    actual = dense(keras.layers.Flatten(dtype="float64")(second))
    vector = keras.ops.convert_to_numpy(second).reshape(1, 96)  # rows, columns, channels
    np.testing.assert_allclose(actual, vector @ dense.kernel.numpy(), rtol=1e-12)
