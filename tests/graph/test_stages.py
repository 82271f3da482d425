"""Stages that are frozen, classifiers that are replaced, as users of timm know them."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.graph.stages import up_to


def small(**options):
    return kcnn.build("resnet20", widths=(4, 6, 8), depths=(1, 1, 1), **options)


def fitted(model):
    """One step on noise; the weights before, by layer."""
    before = {layer.name: layer.get_weights() for layer in model.layers}
    rng = np.random.default_rng(0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(rng.normal(size=(8, 32, 32, 3)), rng.integers(0, 3, 8), verbose=0)
    return before


@pytest.mark.parametrize("until", [None, "conv3", "block3"])
def test_frozen_layers_stay_in_keras_own_fit(until):
    model = small(classes=3)
    frozen = kcnn.freeze(model, until)
    before = fitted(model)
    assert ("conv4_1_1" in frozen) == (until is None)
    for layer in model.layers:
        same = all(map(np.array_equal, before[layer.name], layer.get_weights()))
        assert same == (layer.name in frozen or not layer.weights), layer.name


def test_a_strangers_stages():
    model = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3))
    assert "block4_conv3" in kcnn.freeze(model, "block4")
    assert model.get_layer("block5_conv1").trainable
    assert "block3_pool" in up_to(model, "block3")
    with pytest.raises(kcnn.InputError, match=r"has no stage 'block9'; it has .*block1, block2"):
        kcnn.freeze(model, "block9")


def test_stages_stand_on_the_card():
    assert kcnn.card("resnet34").stages == ("conv1", "conv2", "conv3", "conv4", "conv5",
                                            "predictions")  # fmt: skip
    assert kcnn.card("vgg11").stages[-3:] == ("fc1", "fc2", "predictions")


@pytest.mark.parametrize(("classes", "activation"), [(4, "softmax"), (1, "softmax"), (4, None)])
def test_another_classifier(classes, activation):
    model = small(classes=3)
    other = kcnn.replace_classifier(model, classes, activation=activation)
    assert other.output_shape == (None, classes)
    assert other.get_layer("conv1") is model.get_layer("conv1")
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    features = keras.Model(model.input, model.get_layer("avg_pool").output)(images)
    head = other.get_layer("predictions")
    assert not np.any(head.kernel)
    head.kernel.assign(np.random.default_rng(1).normal(size=head.kernel.shape))
    logits = features.numpy() @ head.kernel.numpy() + head.bias.numpy()
    said = other(images).numpy()
    if classes == 1:
        np.testing.assert_allclose(said, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    elif activation is None:
        np.testing.assert_allclose(said, logits, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_allclose(said.sum(axis=1), 1.0, rtol=1e-5)


def test_what_has_no_classifier():
    with pytest.raises(kcnn.InputError, match="ends with BatchNormalization"):
        kcnn.replace_classifier(small(include_top=False), 3)
    with pytest.raises(kcnn.InputError, match="from 1 up; received 0"):
        kcnn.replace_classifier(small(), 0)


def test_the_normalisation_of_a_trained_model(digits_run):
    found = kcnn.weights.normalisation(digits_run.network)
    train = kcnn.load_data("digits").train.array
    assert found.mean[0] == pytest.approx(train.mean(), rel=0.05)
    assert found.deviation[0] == pytest.approx(train.std(), rel=0.2)
    assert kcnn.weights.normalisation(small()) is None
    stranger = keras.Sequential([
        keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 127.5, -1), keras.layers.Conv2D(2, 3),
    ])  # fmt: skip
    assert kcnn.weights.normalisation(stranger).mean == pytest.approx((127.5,) * 3)
    both = keras.Sequential([
        keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255),
        keras.layers.Normalization(mean=[0.5] * 3, variance=[0.25] * 3), keras.layers.Conv2D(2, 3),
    ])  # fmt: skip
    found = kcnn.weights.normalisation(both)
    assert (found.mean, found.deviation) == (pytest.approx((127.5,) * 3),) * 2
