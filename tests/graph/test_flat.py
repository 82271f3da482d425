"""Models as lists of calls: nested ones looked into, softmax off, the model as it was."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.graph.flat import flat

L = keras.layers


def nested(softmax):
    """Two levels of nesting, any size of image, batch statistics switched off on the outer call."""
    deepest = keras.Sequential([keras.Input((None, None, 5)), L.Conv2D(6, 3, name="deep")])
    inner = keras.Sequential(
        [keras.Input((None, None, 4)), L.Conv2D(5, 3), L.BatchNormalization(), L.ReLU(), deepest]
    )
    image = keras.Input((None, None, 1))
    x = inner(L.Conv2D(4, 3, padding="same", name="outer")(image / 255.0), training=False)
    return keras.Model(image, softmax(L.GlobalAveragePooling2D()(x)), name="nested")


ENDS = {
    "activation": L.Dense(3, activation="softmax"),
    "layer": lambda x: L.Softmax()(L.Dense(3)(x)),
    "operation": lambda x: keras.ops.softmax(L.Dense(3)(x)),
    "reshaped": lambda x: L.Reshape((3,))(L.Dense(3, activation="softmax", use_bias=False)(x)),
    "convolution": lambda x: L.Flatten()(
        L.Conv2D(3, 1, activation="softmax")(L.Reshape((1, 1, 6))(x))
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_logits_give_the_same_probabilities(end):
    model = nested(ENDS[end])
    images = np.random.default_rng(0).uniform(0, 255, (2, 12, 14, 1)).astype("float32")
    found = flat(model, (12, 14, 1), logits=True)
    assert found.ending == "softmax"
    logits = found.model(found.output)(images).numpy()
    assert np.ptp(logits.sum(axis=1)) > 1e-4  # no probabilities
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(expected, model(images), atol=1e-6)
    plain = flat(model, (12, 14, 1))
    np.testing.assert_array_equal(plain.model(plain.output)(images), model(images))


def test_the_maps_are_those_of_the_layers():
    model = kcnn.build("resnet20", depths=(1, 1, 1), classifier_activation=None)
    found = flat(model, logits=True)
    assert found.ending == "linear"
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    call = found.find("conv3_1_relu")
    expected = keras.Model(model.input, model.get_layer("conv3_1_relu").output)(images)
    np.testing.assert_array_equal(found.model(call.output)(images), expected)
    assert [c.name for c in found.narrow()][-2:] == ["conv4_1_add", "conv4_1_relu"]
    assert "conv3_1_1_relu" not in [c.name for c in found.narrow()]  # beside it runs the shortcut


def test_inner_layers_are_found_with_their_size():
    found = flat(nested(ENDS["activation"]), (12, 14, 1))
    assert found.find("deep").output.shape == (None, 8, 10, 6)
    assert found.find(found.find("deep").operation).output is found.find("deep").output


def test_a_change_of_weights_is_seen_and_the_model_stays(tmp_path):
    model = nested(ENDS["activation"])
    images = np.ones((1, 12, 12, 1), "float32")
    run = flat(model, (12, 12, 1), logits=True)
    network, before = run.model(run.output), model(images).numpy()
    model.save(tmp_path / "m.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "m.keras")(images), before)
    model.set_weights([w + 0.1 * (i % 3) for i, w in enumerate(model.get_weights())])
    logits = network(images).numpy()
    np.testing.assert_allclose(tf.nn.softmax(logits), model(images), atol=1e-6)
    assert abs(before - model(images).numpy()).max() > 1e-3
    assert flat(model, (12, 12, 1), logits=True) is run  # no more calls are put onto the layers


def test_a_layer_added_later_is_seen():
    model = keras.Sequential([keras.Input((4, 4, 1)), L.Conv2D(2, 3)])
    assert len(flat(model).calls) == 1
    model.add(L.Flatten())
    assert len(flat(model).calls) == 2


class Own(keras.Model):
    def call(self, x):
        return x


def test_refusals():
    image = keras.Input((8, 8, 1))
    twice = [keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(1, 1, name="c")]) for _ in "ab"]
    cases = [
        (lambda: flat(Own()), "class of your own"),
        (lambda: flat(keras.Sequential([L.Dense(3)])), "that is built"),
        (lambda: flat(keras.Model([image, keras.Input((8, 8, 1))], image)), "one input"),
        (lambda: flat(nested(L.Dense(3)), (12, 12, 3)), r"takes images \(N, any, any, 1\)"),
        (lambda: flat(nested(L.Dense(3)), (4, 4, 1)), r"does not take images \(N, 4, 4, 1\)"),
        (lambda: flat(nested(L.Dense(3)), (12, 12, 1)).find("depe"), "no layer 'depe'; it has"),
        (lambda: flat(keras.Model(image, twice[1](twice[0](image)))), "several layers named 'c'"),
        (lambda: flat(lora(), logits=True), "cannot be taken off"),
    ]
    for call, message in cases:
        with pytest.raises(kcnn.InputError, match=message):
            call()


def lora():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, activation="softmax")])
    model.layers[0].enable_lora(1)
    return model
