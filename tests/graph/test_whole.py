"""Pictures of any size in a network of multiples of its stride: padded and cut inside the model."""

import keras
import numpy as np
import pytest

from kcnn.graph.cost import largest_stride, sized
from kcnn.graph.whole import with_padding, without_padding

L = keras.layers


def network(stride=8, channels=3):
    inputs = keras.Input((None, None, channels))
    a = L.Conv2D(4, 3, padding="same", name="a")(inputs)
    p = L.UpSampling2D(stride, name="u")(L.MaxPooling2D(stride, name="p")(a))
    x = L.Concatenate(name="c")([p, a])
    return keras.Model(inputs, L.Conv2D(2, 1, activation="softmax", name="o")(x), name="n")


@pytest.mark.parametrize("size", [(13, 21), (16, 24), (1, 1), (8, 9), (17, 7)])
def test_it_is_numpys_padding_and_a_slice(size):
    model, rng = network(), np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, *size, 3)).astype("float32")
    behind = [(-side) % 8 for side in size]
    padded = np.pad(images, ((0, 0), (0, behind[0]), (0, behind[1]), (0, 0)), mode="edge")
    expected = np.asarray(model(padded))[:, : size[0], : size[1]]
    whole = with_padding(model, 8)
    np.testing.assert_array_equal(whole(images), expected)
    np.testing.assert_allclose(whole.predict(images, verbose=0), expected, atol=1e-6)


def test_saved_and_taken_off_again(tmp_path):
    model = network()
    with_padding(model, 8).save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    images = np.random.default_rng(0).uniform(0, 255, (1, 16, 8, 3)).astype("float32")
    inner = without_padding(loaded)
    assert inner.input_shape == (None, None, None, 3)
    assert len(inner.layers) == len(model.layers)
    np.testing.assert_array_equal(inner(images), model(images))
    assert without_padding(model) is model


def test_outputs_without_places_are_not_cut():
    inputs = keras.Input((None, None, 1))
    x = L.GlobalAveragePooling2D()(L.Conv2D(3, 3, strides=2, padding="same")(inputs))
    model = keras.Model(inputs, x)
    assert with_padding(model, 2).output_shape == (None, 3)


def test_strides_and_sizes():
    model = network()
    assert largest_stride(model) == 8
    counted = sized(model, (16, 24, 3))
    assert counted.input_shape == (None, 16, 24, 3)
    assert sized(counted, (16, 24, 3)) is counted
    assert model.input_shape == (None, None, None, 3)
