"""Feature maps: the layer's own values, dead units that are, and which layers show a network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.interpret import feature_maps, map_layers

L = keras.layers


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (10, 12, 12, 1)).astype("uint8")


@pytest.fixture(scope="module")
def model():
    """Of its five units 1 never opens, 3 opens for the brightest picture alone."""
    keras.utils.set_random_seed(0)
    first = L.Conv2D(5, 3, strides=2, padding="same", name="conv")
    model = keras.Sequential([
        keras.Input((12, 12, 1)), L.Rescaling(1 / 255), first, L.ReLU(name="relu"),
        L.Conv2D(3, 3, activation="tanh", name="late"), L.GlobalAveragePooling2D(), L.Dense(2),
    ])  # fmt: skip
    kernel, bias = first.get_weights()
    kernel[..., 1], bias[1] = -np.abs(kernel[..., 1]), -0.01
    kernel[..., 3], bias[3] = 0.0, 0.0
    kernel[1, 1, 0, 3], bias[3] = 1.0, -0.999
    first.set_weights([kernel, bias])
    return model


def test_values_shapes_and_dead_units(model, images):
    images = np.minimum(images, 250)
    images[9, 2:5, 2:5] = 255
    found = {f.layer: f for f in feature_maps(model, images, ["conv", "relu", "late"], keep=4)}
    relu = found["relu"]
    expected = keras.Model(model.inputs[0], model.get_layer("relu").output)(
        images.astype("float32")
    )
    np.testing.assert_allclose(relu.maps, expected[:4], atol=1e-6)
    assert (relu.shape, relu.stride, relu.receptive_field) == ((6, 6, 5), (2, 2), (3, 3))
    assert (found["late"].shape, found["late"].receptive_field) == ((4, 4, 3), (7, 7))
    # Unit 3 opens in a picture that is not kept.
    np.testing.assert_array_equal(relu.dead, [False, True, False, False, False])
    assert relu.dead_share == pytest.approx(0.2)
    assert relu.images == 10
    assert not found["conv"].dead.any()
    few = feature_maps(model, images[:4], ["relu"])[0]
    assert (few.dead_share, few.images) == (pytest.approx(0.4), 4)
    assert "1 of 5 units dead" in relu.title
    assert "6×6×5" in relu.title


@pytest.mark.parametrize("kind", ["dataset", "pairs", "generator"])
def test_streams_are_arrays(model, images, kind):
    expected = feature_maps(model, images, ["relu"])[0]
    stream = {
        "dataset": tf.data.Dataset.from_tensor_slices((images, np.zeros(10))).batch(4),
        "pairs": [(images[:3], 0), (images[3:], 0)],
        "generator": (images[i : i + 1] for i in range(10)),
    }[kind]
    found = feature_maps(model, stream, ["relu"])[0]
    np.testing.assert_allclose(found.maps, expected.maps, atol=1e-6)
    assert (found.images, found.dead.tolist()) == (10, expected.dead.tolist())


@pytest.mark.slow
def test_layers_early_to_late():
    assert map_layers(kcnn.build("resnet20")) == [
        "conv1_relu", "conv2_3_relu", "conv3_3_relu", "conv4_3_relu"
    ]  # fmt: skip
    assert map_layers(kcnn.build("lenet5"))[0] == "conv1_tanh"
    body = kcnn.build("resnet20", include_top=False, input_shape=(None, None, 3))
    nested = keras.Sequential([keras.Input((64, 64, 3)), body, L.GlobalAveragePooling2D()])
    assert map_layers(nested)[-1] == "conv4_3_relu"
    assert map_layers(body, (64, 64, 3)) == map_layers(nested)


def test_refusals(model, images):
    cases = [
        (lambda: feature_maps(model, images, ["rely"]), "no layer 'rely'; it has"),
        (lambda: feature_maps(model, images, [model.layers[-1]]), "is no feature map"),
        (lambda: feature_maps(model, images, keep=0), "keep is"),
        (lambda: feature_maps(model, images[0]), r"array \(N, H, W, C\)"),
        (lambda: feature_maps(model, images[:0]), "no images"),
        (lambda: feature_maps(model, images[:, :8]), r"takes images \(N, 12, 12, 1\)"),
        (lambda: feature_maps(model, [images, images[:, :8]]), "one size"),
        (lambda: feature_maps(model, "photo.png"), "received str"),
        (lambda: feature_maps(model, images / np.where(images, 0.0, 1.0)), "NaN"),
        (lambda: feature_maps(kcnn.build("mlp"), np.zeros((1, 28, 28, 1))), "as a vector"),
    ]
    for call, message in cases:
        with np.errstate(all="ignore"), pytest.raises(kcnn.InputError, match=message):
            call()
