"""A network that kcnn hands out gives the same however it is called, and is not moved by it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.graph.modes import settle, unsettled

L = keras.layers
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1)).astype("uint8")


def trembling(*first):
    """BatchNorm and dropout behind `first`: they show in which mode they run."""
    keras.utils.set_random_seed(1)
    inputs = x = keras.Input((8, 8, 1))
    for layer in first:
        x = layer(x)
    x = L.Dropout(0.5)(L.BatchNormalization()(L.Conv2D(4, 3)(x)))
    return keras.Model(inputs, L.Dense(3, "softmax")(L.GlobalAveragePooling2D()(x)))


def same_however_called(model, images=IMAGES, tolerance=1e-5):
    before = [w.numpy() for w in model.weights]
    expected = model(images, training=False).numpy()
    pairs = {
        "model(x)": model(images).numpy(),
        "predict": model.predict(images, verbose=0),
        "one by one": np.concatenate([model(image[None]).numpy() for image in images]),
        "in a graph": tf.function(model)(images).numpy(),
    }
    tolerance *= max(1.0, float(np.abs(expected).max()))  # sums of values as large cancel out
    for how, found in pairs.items():
        np.testing.assert_allclose(found, expected, atol=tolerance, err_msg=how)
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old, err_msg=weight.path)


LEAKS = [L.Resizing(16, 16), L.CenterCrop(6, 6), L.RandomFlip(), L.RandomTranslation(0.1, 0.1)]


@pytest.mark.parametrize("layer", LEAKS, ids=lambda layer: type(layer).__name__)
class TestLayersOfKeras:
    def test_the_fault_is_there(self, layer):
        """When this fails, Keras has mended it, and `kcnn.graph.modes` can go."""
        model = trembling(type(layer).from_config(layer.get_config()))
        expected = model(IMAGES, training=False).numpy()
        assert np.abs(model(IMAGES).numpy() - expected).max() > 0.01

    @pytest.mark.parametrize("form", ["functional", "nested", "sequential"])
    def test_settled(self, layer, form):
        first = type(layer).from_config(layer.get_config())
        model = trembling(first)
        if form == "nested":
            inputs = keras.Input((8, 8, 1))
            model = keras.Model(inputs, model(inputs))
        if form == "sequential":
            layers = [first, L.BatchNormalization(), L.Dropout(0.5), L.Flatten(), L.Dense(3)]
            model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        assert unsettled(model) == [first.name]
        settled = settle(model)
        assert unsettled(settled) == []
        assert settle(settled) is settled
        assert [w.path for w in settled.weights] == [w.path for w in model.weights]
        assert all(a is b for a, b in zip(settled.weights, model.weights, strict=True))
        same_however_called(settled)
        trained = settled(IMAGES, training=True).numpy()  # the mode of the model is heeded
        assert np.abs(trained - settled(IMAGES).numpy()).max() > 0.01


def test_a_model_without_such_layers_is_left_alone():
    model = trembling(L.Rescaling(1 / 255))
    assert unsettled(model) == []
    assert settle(model) is model


@pytest.mark.parametrize("options", [{"batchnorm": True}, {"dropout": 0.5}], ids=str)
def test_build_with_a_resize_in_front(options):
    options |= {"widths": (8, 8, 16, 16, 16), "hidden": (8,), "classes": 3}
    resize = [L.Resizing(32, 32)]
    model = kcnn.build("vgg11", input_shape=(8, 8, 1), preprocessing=resize, **options)
    same_however_called(model)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Digits into a network that takes larger images: a resize in front, BatchNorm behind."""
    labels = np.arange(60) % 3
    images = np.random.default_rng(1).integers(0, 100, (60, 8, 8, 1))
    images += 60 * labels[:, None, None, None]
    recipe = kcnn.Recipe(
        model="resnet18", options={"widths": (16, 16, 16, 16)}, batchnorm=True, dropout=0.2,
        image_size=(32, 32), epochs=1, batch_size=20, logs=str(tmp_path_factory.mktemp("logs")),
    )  # fmt: skip
    return kcnn.train(recipe, data=(images.astype("uint8"), labels), verbose=False)


def test_a_trained_network(run):
    same_however_called(run.model)


@pytest.mark.slow
def test_its_file_in_plain_keras(run):
    loaded = keras.models.load_model(run.directory / "model.keras")
    expected = run.model.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(loaded.predict(IMAGES, verbose=0), expected, atol=1e-6)
    same_however_called(loaded)


@pytest.mark.slow
def test_its_saved_model(run, tmp_path):
    """It holds the inference graph: batches do not matter, and nothing moves."""
    run.model.export(tmp_path / "saved", verbose=False)
    saved = tf.saved_model.load(tmp_path / "saved")  # what it holds lives as long as it
    expected = run.model.predict(IMAGES, verbose=0)
    for _ in range(2):
        found = saved.serve(IMAGES.astype("float32")).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)
    one = saved.serve(IMAGES[:1].astype("float32")).numpy()
    np.testing.assert_allclose(one, expected[:1], atol=1e-5)


@pytest.mark.slow
def test_a_run_of_before_is_mended_when_it_is_loaded(run, tmp_path):
    """As kcnn wrote them: the resize called without a mode."""
    model = run.model
    resize = next(layer for layer in model.layers if isinstance(layer, L.Resizing))
    inputs = keras.Input(model.input_shape[1:])
    behind = model.layers[model.layers.index(resize) + 1]
    x = behind(resize(inputs))
    rest = keras.Model(behind.output, model.output)
    old = keras.Model(inputs, rest(x))
    assert unsettled(old)
    file = run.directory / "model.keras"
    kept = file.read_bytes()
    try:
        old.save(file)
        again = kcnn.load_run(run.directory)
        same_however_called(again.model)
        expected = model.predict(IMAGES, verbose=0)
        np.testing.assert_allclose(again.model(IMAGES).numpy(), expected, atol=1e-6)
    finally:
        file.write_bytes(kept)
