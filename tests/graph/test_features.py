"""Feature maps by stride, against PyTorch's own and by hand."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.graph.features import feature_maps, maps

STRIDES = (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("name", "options", "channels"),
    [
        ("resnet18", {"stem": "imagenet"}, [64, 128, 256, 512]),
        ("resnet34", {"stem": "imagenet"}, [64, 128, 256, 512]),
        ("resnet50", {"stem": "imagenet"}, [256, 512, 1024, 2048]),
        ("resnet18", {"preact": True, "stem": "imagenet"}, [64, 128, 256, 512]),
        ("vgg16", {"batchnorm": True}, [256, 512, 512, 512]),
        ("vgg11", {}, [256, 512, 512, 512]),
    ],
)
def test_channels_and_sizes(name, options, channels):
    model = kcnn.build(
        name, include_top=False, features=STRIDES, input_shape=(64, 96, 3), **options
    )
    shapes = [tuple(x.shape) for x in model.outputs]
    assert shapes == [(None, 64 // s, 96 // s, c) for s, c in zip(STRIDES, channels, strict=True)]


def test_images_of_any_size():
    model = kcnn.build("resnet18", include_top=False, features=(8, 4), input_shape=(None, None, 3))
    eighth, quarter = model(np.zeros((1, 40, 56, 3), "float32"))
    assert eighth.shape == (1, 5, 7, 128)
    assert quarter.shape == (1, 10, 14, 64)


def test_the_last_map_is_the_headless_networks_output():
    keras.utils.set_random_seed(0)
    shape = {"input_shape": (64, 64, 3), "stem": "imagenet"}
    whole = kcnn.build("resnet18", include_top=False, **shape)
    keras.utils.set_random_seed(0)
    maps = kcnn.build("resnet18", include_top=False, features=STRIDES, **shape)
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    np.testing.assert_array_equal(maps(images)[-1], whole(images))


@pytest.mark.slow
def test_of_a_stage_it_is_what_the_next_one_begins_with():
    """A block's shortcut and its first convolution read the same map: no map within a block."""
    shape = {"input_shape": (64, 64, 3), "stem": "imagenet"}
    model = kcnn.build("resnet50", include_top=False, features=(4,), **shape)
    quarter = model.outputs[0]
    whole = kcnn.build("resnet50", include_top=False, **shape)
    readers = [
        layer for layer in whole.layers
        if not isinstance(layer, keras.layers.InputLayer)
        and any(x.shape == quarter.shape for x in keras.tree.flatten(layer.input))
        and layer.output.shape[1] == 8
    ]  # fmt: skip
    assert readers  # of stride 2: the shortcut among them
    assert quarter.shape == (None, 16, 16, 256)


@pytest.mark.parametrize(
    ("name", "strides"),
    [("lenet5", {1, 2, 4}), ("alexnet", {4, 8, 16, 32}), ("resnet20", {2, 4, 8, 16})],
)
def test_other_families_have_theirs(name, strides):
    shape = (128, 128, 3)
    with pytest.raises(kcnn.InputError, match="no feature map of stride 64") as caught:
        kcnn.build(name, include_top=False, features=(64,), input_shape=shape)
    known = str(caught.value).partition("those of ")[2].rstrip(".")
    assert strides == {int(number) for number in known.split(", ")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": (4, 4), "include_top": False}, "each once"),
        ({"features": (), "include_top": False}, "strides in pixels"),
        ({"features": 4, "include_top": False}, "strides in pixels"),
        ({"features": (4,)}, "include_top=False"),
        ({"features": (4,), "include_top": False, "pooling": "avg"}, "no pooling"),
    ],
)
def test_refused(options, message):
    with pytest.raises(kcnn.InputError, match=message):
        kcnn.build("resnet18", input_shape=(64, 64, 3), **options)


def test_a_network_without_maps():
    with pytest.raises(kcnn.InputError, match="mlp has no feature map"):
        kcnn.build("mlp", include_top=False, features=(4,), input_shape=(28, 28, 1))


def test_a_border_is_no_map():
    """Of strides 1 and 2 the ImageNet stem's paddings were taken, larger by 6 and 2 pixels."""
    shape = {"input_shape": (64, 96, 3), "stem": "imagenet"}
    half, quarter = kcnn.build("resnet18", include_top=False, features=(2, 4), **shape).outputs
    assert half.shape == (None, 32, 48, 64)
    assert quarter.shape == (None, 16, 24, 64)
    plain = kcnn.build("resnet18", include_top=False, features=STRIDES, residual=False, **shape)
    assert [x.shape[1:3] for x in plain.outputs] == [(64 // s, 96 // s) for s in STRIDES]


@pytest.mark.parametrize("preprocessing", [[], ["Rescaling"], ["Normalization"]])
def test_an_image_is_no_feature_whatever_is_done_to_it(preprocessing):
    made = {"Rescaling": lambda: keras.layers.Rescaling(2.0),
            "Normalization": lambda: keras.layers.Normalization()}  # fmt: skip
    with pytest.raises(kcnn.InputError, match=r"stride 1: it has those of 2, 4, 8, 16, 32\."):
        kcnn.build(
            "resnet18", include_top=False, features=(1,), input_shape=(64, 64, 3),
            stem="imagenet", preprocessing=[made[name]() for name in preprocessing],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "names"),
    [
        (True, ["conv1_1", "pool1", "pool2", "pool3", "pool4", "pool5"]),
        (
            False,
            [
                "conv1_2_relu",
                "conv2_2_relu",
                "conv3_3_relu",
                "conv4_3_relu",
                "conv5_3_relu",
                "pool5",
            ],
        ),
    ],
)
def test_the_first_map_of_a_stride_and_the_last(first, names):
    """VGG-16's stages begin with a pooling, as FCN takes them, and end with a convolution."""
    model = kcnn.build("vgg16", include_top=False, input_shape=(32, 32, 3), widths=(4, 4, 4, 4, 4))
    found = feature_maps(model, (1, *(2, 4, 8, 16, 32)), first=first)
    assert [x is model.get_layer(name).output for x, name in zip(found, names, strict=True)] == (
        [True] * 6
    )
    assert list(maps(model, first=first).values()) == found


def test_the_first_map_behind_two_ways():
    """A block's convolution has the stride first, but its shortcut has it beside it."""
    model = kcnn.build("resnet18", include_top=False, input_shape=(64, 64, 3), stem="imagenet",
                       widths=(4, 4, 4, 4))  # fmt: skip
    (found,) = feature_maps(model, (8,), first=True)
    assert found is model.get_layer("conv3_1_add").output


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "lenet5"])
def test_behind_preprocessing(name):
    options = {"stem": "imagenet"} if name == "resnet18" else {}
    model = kcnn.build(
        name, include_top=False, features=(4,), input_shape=(64, 64, 3),
        preprocessing=[keras.layers.Rescaling(1 / 255)], **options,
    )  # fmt: skip
    (quarter,) = keras.tree.flatten(model(np.zeros((1, 64, 64, 3), "float32")))
    assert quarter.shape[0] == 1
    assert 12 <= quarter.shape[1] <= 16
    assert model.name == name
