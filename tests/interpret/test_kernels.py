"""Filters as they are in the layers; the lecture's edge filters on the lecture's own numbers."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.interpret import edges, filter_layers, filters
from kcnn.interpret.kernels import VERTICAL, correlate

L = keras.layers
#: The lecture's input image and feature map; where it prints 10, a sign is lost.
IMAGE = [[3, 0, 1, 2, 7, 4], [1, 5, 8, 9, 3, 1], [2, 7, 2, 5, 1, 3], [0, 1, 3, 1, 7, 8],
         [4, 2, 1, 6, 2, 8], [2, 4, 5, 2, 3, 9]]  # fmt: skip
MAP = [[-5, -4, 0, 8], [-10, -2, 2, 3], [0, -2, -4, -7], [-3, -2, -3, -16]]


def test_the_lectures_feature_map():
    np.testing.assert_array_equal(correlate(np.array(IMAGE, "float32"), VERTICAL), MAP)


def test_signs_of_edges():
    left, above = np.zeros((2, 5, 6), "uint8")
    left[:, :3], above[:2] = 255, 255
    found = edges(left)
    np.testing.assert_allclose(found["vertical"], [[0, 3, 3, 0]] * 3)  # bright on the left
    assert not found["horizontal"].any()
    found = edges(above[..., np.newaxis])
    np.testing.assert_allclose(found["horizontal"][:, 0], [-3, -3, 0])  # bright above
    assert not found["vertical"].any()


def test_edges_of_colours_are_those_of_the_luminance():
    picture = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype("uint8")
    grey = (picture / 255.0) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(
        edges(picture)["vertical"], correlate(grey.astype("float32"), VERTICAL), atol=1e-5
    )


@pytest.mark.parametrize(
    ("image", "message"),
    [(np.zeros((2, 5)), "at least 3×3"), (np.zeros((5, 5, 2)), r"\(5, 5, 2\)"),
     (np.full((5, 5), 7.0), "lie in 0..1")],
)  # fmt: skip
def test_pictures_that_are_none(image, message):
    with pytest.raises(kcnn.InputError, match=message):
        edges(image)


@pytest.fixture(scope="module")
def model():
    inner = keras.Sequential([keras.Input((8, 8, 4)), L.Conv2D(5, (3, 2), name="inside")])
    image = keras.Input((8, 8, 3))
    x = inner(L.Conv2D(4, 3, padding="same", name="first")(image))
    x = L.DepthwiseConv2D(3, depth_multiplier=2, name="depth")(x)
    x = L.Conv2DTranspose(7, 3, name="up")(x)
    return keras.Model(image, L.Dense(2)(L.Flatten()(x)))


def test_kernels_are_the_layers_in_the_order_of_the_network(model):
    assert filter_layers(model) == ["first", "inside", "depth", "up"]
    assert filters(model).layer == "first"
    inside = filters(model, "inside").kernels
    assert inside.shape == (3, 2, 4, 5)
    layer = next(x for x in model.layers if isinstance(x, keras.Sequential)).get_layer("inside")
    np.testing.assert_array_equal(inside, layer.kernel)
    up = filters(model, "up").kernels
    np.testing.assert_array_equal(up[..., 3, 6], model.get_layer("up").kernel[:, :, 6, 3])
    assert up.shape == (3, 3, 10, 7)
    depth = filters(model, "depth").kernels
    assert depth.shape == (3, 3, 1, 10)
    np.testing.assert_array_equal(depth[..., 0, 5], model.get_layer("depth").kernel[:, :, 2, 1])


def test_a_filter_of_one_output_is_its_kernel(model):
    """The kernel applied by hand gives what the layer gives."""
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
    layer, kernel = model.get_layer("first"), filters(model).kernels
    expected = sum(correlate(image[0, :, :, c], kernel[:, :, c, 2]) for c in range(3))
    np.testing.assert_allclose(layer(image)[0, 1:-1, 1:-1, 2], expected, atol=1e-5)


def test_colour_pictures_are_grey_at_nothing_and_full_at_the_largest(model):
    found = filters(model)
    pictures = found.pictures()
    assert pictures.shape == (4, 3, 3, 3)
    for unit, picture in enumerate(pictures):
        kernel = found.kernels[..., unit]
        assert abs(picture - 0.5).max() == pytest.approx(0.5)
        np.testing.assert_allclose((picture - 0.5) * 2 * abs(kernel).max(), kernel, atol=1e-6)
    assert filters(model, "depth").pictures().shape == (10, 3, 3, 3)
    with pytest.raises(kcnn.InputError, match="look at 4"):
        filters(model, "inside").pictures()


def test_a_filter_of_zeros_is_grey():
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(1, 3, kernel_initializer="zeros")])
    assert (filters(model).pictures() == 0.5).all()


def test_layers_that_have_none(model):
    with pytest.raises(kcnn.InputError, match=r"no layer 'dens' with filters; layers.*first, ins"):
        filters(model, "dens")
    with pytest.raises(kcnn.InputError, match="none at all"):
        filters(keras.Sequential([keras.Input((3,)), L.Dense(2)]))
