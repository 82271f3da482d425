"""`kcnn.build` as users of `keras.applications` know it: names, images of any size, tensors."""

import numpy as np
import pytest

import kcnn
from kcnn.models.registry import lookup
from kcnn.startup import keras

ANY = (None, None, 3)


@pytest.mark.slow
def test_two_networks_of_one_kind_in_one_model():
    left, right = (kcnn.build("resnet20", name=name, classes=3) for name in ("left", "right"))
    inputs = [keras.Input((32, 32, 3)), keras.Input((32, 32, 3))]
    both = keras.Model(inputs, keras.layers.add([left(inputs[0]), right(inputs[1])]))
    assert {layer.name for layer in both.layers} >= {"left", "right"}
    with pytest.raises(kcnn.InputError, match=r"name has letters.*received 'a/b'"):
        kcnn.build("resnet20", name="a/b")


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("resnet20", {"include_top": False}),
        ("resnet18", {}),
        ("vgg11", {"include_top": False, "widths": (4, 4, 8, 8, 8)}),
        ("vgg11", {"pooling": "avg", "widths": (4, 4, 8, 8, 8), "hidden": (5,)}),
        ("alexnet", {"include_top": False, "widths": (4, 4, 8, 8, 8)}),
        ("lenet5", {"pooling": "max"}),
    ],
)
def test_images_of_any_size(model, options):
    """The same weights give what a network for that size gives."""
    whole = kcnn.build(model, input_shape=ANY, **options)
    images = np.random.default_rng(0).normal(size=(2, 96, 72, 3)).astype("float32")
    stem = {"stem": "imagenet"} if "stem" in lookup(model).options else {}
    fixed = kcnn.build(model, input_shape=(96, 72, 3), **options | stem)
    fixed.set_weights(whole.get_weights())
    np.testing.assert_allclose(whole(images), fixed(images), rtol=1e-5, atol=1e-6)
    assert whole(images[:, :80]).shape[0] == 2


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("vgg11", {}, "takes images of one size: give input_shape"),
        ("lenet5", {}, "takes images of one size: give input_shape"),
        ("mlp", {}, "An MLP takes images of one size"),
        ("lenet5_1998", {}, "32×32"),
        ("alexnet", {"include_top": False, "lrn": True}, "lrn=True takes images of one size"),
    ],
)
def test_networks_that_need_a_size_say_so(model, options, said):
    with pytest.raises(kcnn.InputError, match=said):
        kcnn.build(model, input_shape=ANY, **options)


@pytest.mark.parametrize("shape", [(None, None, None), (0, None, 3), (32, 32), "large", (3, 3, 0)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(kcnn.InputError, match=r"input_shape is .* or \(None, None, channels\)"):
        kcnn.build("resnet20", input_shape=shape)


def test_a_card_needs_a_size():
    with pytest.raises(kcnn.InputError, match="What a network costs depends on the size"):
        kcnn.card("resnet20", input_shape=ANY)


def test_what_users_of_keras_applications_look_for():
    tensor = keras.Input((32, 32, 3))
    with pytest.raises(kcnn.InputError, match=r"kcnn\.build\(\.\.\.\)\(tensor\)"):
        kcnn.build("resnet20", input_tensor=tensor)
    assert kcnn.build("resnet20")(tensor).shape == (None, 10)
    for name in ("preprocess_input", "decode_predictions"):
        with pytest.raises(AttributeError, match="raw images"):
            getattr(kcnn, name)


def test_channels_first_is_refused():
    """It gave a ResNet of 12.2 million parameters, without a word."""
    keras.config.set_image_data_format("channels_first")
    try:
        for make in (kcnn.build, kcnn.card):
            with pytest.raises(kcnn.InputError, match="Keras is set to channels_first"):
                make("resnet18")
    finally:
        keras.config.set_image_data_format("channels_last")
