"""Exciting pictures: those with the pattern, where it is, in one pass; boxes that are enough."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.interpret import exciting
from kcnn.interpret.excitation import exciting_each

L = keras.layers


@pytest.fixture(scope="module")
def images():
    """Faint noise; in pictures 5, 17 and 150 a bright 3×3 square, at its brightest in 17."""
    images = np.random.default_rng(0).uniform(0, 40, (160, 14, 14, 1)).astype("float32")
    for index, level, row, column in [(5, 200, 3, 4), (17, 255, 11, 0), (150, 230, 6, 6)]:
        images[index, row : row + 3, column : column + 3] = level
    return images


def detector(*more):
    """A unit for bright squares of 3×3, and one for dark ones."""
    layer = L.Conv2D(2, 3, name="square")
    model = keras.Sequential([keras.Input((14, 14, 1)), *more, layer, L.Flatten(), L.Dense(2)])
    layer.set_weights([np.stack([np.ones((3, 3, 1)), -np.ones((3, 3, 1))], axis=-1), np.zeros(2)])
    return model


def test_the_pictures_with_the_pattern_cut_to_it(images):
    found = exciting(detector(), "square", 0, images, top=3)
    np.testing.assert_array_equal(found.indices, [17, 150, 5])
    np.testing.assert_allclose(found.values, [255 * 9, 230 * 9, 200 * 9])
    np.testing.assert_array_equal(found.boxes, [[11, 0, 14, 3], [6, 6, 9, 9], [3, 4, 6, 7]])
    assert [crop.min() for crop in found.crops] == [255, 230, 200]
    np.testing.assert_array_equal(found.images, images[[17, 150, 5]])


def test_against_all_at_once_and_in_any_batches(images):
    model = detector(L.AveragePooling2D(2, padding="same"))
    whole = keras.Model(model.inputs[0], model.get_layer("square").output)(images).numpy()
    order = np.argsort(-whole.max(axis=(1, 2))[:, 1], kind="stable")[:9]
    parts = [images[:7], images[7:100], images[100:]]
    for given in (images, parts, ((part, None) for part in parts)):
        dark = exciting_each(model, "square", [0, 1], given)[1]
        np.testing.assert_array_equal(dark.indices, order)
        assert dark.unit == 1
        for index, value, box in zip(dark.indices, dark.values, dark.boxes, strict=True):
            row, column = np.unravel_index(whole[index, ..., 1].argmax(), whole.shape[1:3])
            assert value == pytest.approx(whole[index, row, column, 1], rel=1e-5)
            assert tuple(box) == (2 * row, 2 * column, 2 * row + 6, 2 * column + 6)


def test_fewer_pictures_than_asked_for_and_equal_ones(images):
    same = np.repeat(images[:1], 3, axis=0)
    found = exciting(detector(), "square", 0, same, top=9)
    np.testing.assert_array_equal(found.indices, [0, 1, 2])


def test_of_an_output_it_is_the_whole_picture(images):
    model = detector()
    found = exciting(model, model.layers[-1], 1, images, top=4)
    order = np.argsort(-model(images).numpy()[:, 1], kind="stable")[:4]
    np.testing.assert_array_equal(found.indices, order)
    assert found.boxes.tolist() == [[0, 0, 14, 14]] * 4


class Convolution(L.Conv2D):
    """Another class of Keras' name, which looks at the whole image."""

    def call(self, x):
        return super().call(x) - 9 * keras.ops.mean(x, axis=(1, 2), keepdims=True)


def test_a_layer_that_sees_more_than_it_says_is_found_out(images, monkeypatch):
    Convolution.__module__ = "keras.layers"  # so that its kind is believed
    Convolution.__name__ = "Conv2D"
    layer = Convolution(1, 3, name="square")
    model = keras.Sequential([keras.Input((14, 14, 1)), layer])
    found = exciting(model, "square", 0, images, top=3)
    assert found.boxes.tolist() == [[0, 0, 14, 14]] * 3


def test_refusals(images):
    model = detector()
    for call, message in [
        (lambda: exciting(model, "square", 2, images), "units 0 to 1; received 2"),
        (lambda: exciting(model, "square", -1, images), "received -1"),
        (lambda: exciting(model, "sqare", 0, images), "no layer"),
        (lambda: exciting(model, "square", 0, images, top=0), "top is"),
        (lambda: exciting(model, "square", 0, []), "no images"),
    ]:
        with pytest.raises(kcnn.InputError, match=message):
            call()
