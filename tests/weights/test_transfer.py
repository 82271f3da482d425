"""Weights by the names of layers: out of a classifier, its file or its run, into a backbone."""

import os
import shutil

import keras
import numpy as np
import pytest

import kcnn
from kcnn.weights.transfer import Transferred, classifier, transfer

#: A second each, and there are many: what everybody runs is to be short.
pytestmark = pytest.mark.slow

SHAPE = {
    "input_shape": (64, 96, 3),
    "stem": "imagenet",
    "widths": (4, 8, 12, 16),
    "depths": (1, 1, 1, 1),
}
#: The last layer of each stage, by its name in the paper's table 1.
ENDS = {2: "conv1_relu", 4: "conv2_1_relu", 8: "conv3_1_relu", 16: "conv4_1_relu"}
ENDS |= {32: "conv5_1_relu"}


def randomized(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.05, 0.3, weight.shape).astype("float32"))
    return model


def images(seed=0):
    return np.random.default_rng(seed).normal(size=(2, 64, 96, 3)).astype("float32")


def values(model):
    return {
        f"{layer.name}/{w.name}": w.numpy().copy() for layer in model.layers for w in layer.weights
    }


@pytest.fixture(scope="module")
def source():
    return randomized(kcnn.build("resnet18", classes=5, **SHAPE))


@pytest.fixture
def file(source, tmp_path):
    source.save(tmp_path / "net.keras")
    return tmp_path / "net.keras"


def own_maps(source, x):
    outputs = [source.get_layer(name).output for name in ENDS.values()]
    return keras.Model(source.input, outputs)(x, training=False)


@pytest.mark.parametrize("kind", ["file", "run", "text"])
def test_a_backbone_has_the_classifiers_maps(kind, source, file, tmp_path):
    path = {"file": file, "text": str(file), "run": tmp_path / "run"}[kind]
    if kind == "run":
        path.mkdir()
        shutil.copy(file, path / "model.keras")
    model = kcnn.build("resnet18", include_top=False, features=tuple(ENDS), weights=path, **SHAPE)
    x = images()
    for ours, theirs in zip(model(x, training=False), own_maps(source, x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_into_a_unet(source, file):
    unet = kcnn.build("unet", backbone="resnet18", width=4, input_shape=(64, 96, 3))
    # Widths of resnet18 in proportion are 4, 8, 16, 32: the third stage has another one here.
    with pytest.raises(kcnn.InputError, match="'conv4_1_1'") as refused:
        transfer(source, unet)
    assert "(3, 3, 8, 12) there" in str(refused.value)
    assert "(3, 3, 8, 16) here" in str(refused.value)
    kcnn.register("narrow", input_shape=(64, 64, 3), block="basic", depths=(1, 1, 1, 1),
                  widths=SHAPE["widths"])(kcnn.models.resnet.resnet)  # fmt: skip
    unet = kcnn.build("unet", backbone="narrow", input_shape=(None, None, 3))
    moved = transfer(classifier(file), unet)
    assert isinstance(moved, Transferred)
    named = [layer.name for layer in unet.layers if layer.weights]
    # "predictions" is a dense layer there, a convolution here.
    decoder = [name for name in named if name.startswith(("up", "dec", "predictions"))]
    assert len(decoder) == 5 * 5 + 1  # an "up" and two convolutions with BatchNorm at each level
    assert moved.missing == tuple(decoder)
    assert moved.filled == tuple(name for name in named if name not in decoder)
    maps = [unet.get_layer(f"up{level}_concat").input[0] for level in (2, 3, 4, 5)]
    maps.append(unet.get_layer("up5").input)
    ours = keras.Model(unet.input, maps)(images(), training=False)
    for one, other in zip(ours, own_maps(source, images()), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["unet", "fcn"])
def test_a_network_for_segmentation_into_its_twin(name, tmp_path):
    options = {"input_shape": (32, 32, 3), "backbone": "vgg11", "width": 4}
    options |= {"hidden": (8,)} if name == "fcn" else {}
    model = randomized(kcnn.build(name, **options))
    model.save(tmp_path / "net.keras")
    twin = kcnn.build(name, weights=tmp_path / "net.keras", **options)
    assert values(twin).keys() == values(model).keys()
    for key, value in values(twin).items():
        np.testing.assert_array_equal(value, values(model)[key])
    many, few = (kcnn.build(name, **options, classes=classes) for classes in (21, 5))
    with pytest.raises(kcnn.InputError, match=r"'(predictions|score32)' has other weights.*21.*5"):
        transfer(many, few)


def test_another_number_of_classes_keeps_the_body(file, source, capsys):
    """What is asked for by its number; the default of 1000 is not."""
    model = kcnn.build("resnet18", classes=7, weights=file, **SHAPE)
    assert "predictions is new: 7 classes, in the file 5" in capsys.readouterr().err
    assert not np.any(model.get_layer("predictions").kernel)  # what is trained has no opinion yet
    ours, theirs = values(model), values(source)
    for name, value in theirs.items():
        if not name.startswith("predictions"):
            np.testing.assert_array_equal(ours[name], value)


class TestRefusals:
    def test_other_shapes_and_nothing_is_assigned(self):
        source = randomized(kcnn.build("lenet5", classes=3))
        target = kcnn.build("lenet5")
        before = values(target)
        with pytest.raises(kcnn.InputError) as refused:
            transfer(source, target)
        for word in ("'predictions'", "(84, 3), bias (3,) there", "(84, 10), bias (10,) here"):
            assert word in str(refused.value)
        for name, value in values(target).items():
            np.testing.assert_array_equal(value, before[name])

    def test_other_weights_of_the_same_shapes(self):
        """A bias is no scale."""
        image = keras.Input((4, 4, 2))
        layers = [keras.layers.BatchNormalization(name="a", center=c, scale=not c) for c in (0, 1)]
        with pytest.raises(kcnn.InputError, match=r"'a' has other weights.*gamma.*there, beta"):
            transfer(*(keras.Model(image, layer(image)) for layer in layers))

    def test_nothing_fits(self):
        with pytest.raises(kcnn.InputError, match=r"No layer of mlp.*fc1, predictions here"):
            transfer(kcnn.build("resnet20", include_top=False), kcnn.build("mlp"))

    def test_two_of_one_name(self):
        image = keras.Input((4,))
        parts = [keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a")])
                 for _ in range(2)]  # fmt: skip
        model = keras.Model(image, parts[1](parts[0](image)))
        with pytest.raises(kcnn.InputError, match=r"Two layers of .* are called 'a'"):
            transfer(model, model)
        shared = keras.Model(image, parts[0](parts[0](image)))  # one layer, used twice
        assert transfer(parts[1], shared) == Transferred(("a",), ())

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"classes": None}, r"'predictions'.*\(16, 5\).*\(16, 1000\).*include_top=False"),
            ({"stem": "cifar"}, r"'conv1'.*\(7, 7, 3, 4\).*there.*\(3, 3, 3, 4\).*here"),
            ({"depths": (1, 1, 1, 2)}, r"none for conv5_2_1, conv5_2_1_bn, conv5_2_2,"),
        ],
    )
    def test_not_all_of_a_network(self, file, options, said):
        with pytest.raises(kcnn.InputError, match=f"net.keras' .*{said}"):
            kcnn.build("resnet18", weights=file, **SHAPE | {"classes": 5} | options)

    def test_a_decoder_is_not_in_a_classifier(self, file):
        options = {"backbone": "vgg11", "width": 4, "input_shape": (32, 32, 3)}
        vgg = kcnn.build("vgg11", include_top=False, input_shape=(32, 32, 3),
                         widths=(4, 8, 16, 32, 32))  # fmt: skip
        vgg.save(file)
        with pytest.raises(kcnn.InputError, match=r"for 8 layers of this unet.*none for up5, dec5"):
            kcnn.build("unet", weights=file, **options)

    def test_what_is_no_network(self, tmp_path):
        (tmp_path / "a.weights.h5").write_bytes(b"x")
        (tmp_path / "bad.keras").write_bytes(b"PK")
        os.mkfifo(tmp_path / "pipe.keras")
        (tmp_path / "run").mkdir()
        cases = {
            "run": "without model.keras",
            "a.weights.h5": "bare weights",
            "bad.keras": "Cannot load",
            "pipe.keras": "not a regular file",
            "nowhere.keras": "Cannot load",
            "nul\0": "Cannot load",
        }
        for name, said in cases.items():
            with pytest.raises(kcnn.InputError, match=said):
                classifier(tmp_path / name)
        for nothing in (None, 5, keras.Sequential()):
            with pytest.raises(kcnn.InputError, match="a path is needed"):
                classifier(nothing)
        for name in ("run", "bad.keras", "pipe.keras", "nowhere.keras", "a.txt"):
            with pytest.raises(kcnn.InputError, match=name):
                kcnn.build("lenet5", weights=tmp_path / name)


def test_more_layers_there_than_here_are_left(source):
    target = kcnn.build("resnet18", include_top=False, **SHAPE)
    moved = transfer(source, target)
    assert (moved.missing, len(moved.filled)) == ((), 2 * (1 + 4 * 2 + 3))
    assert set(values(source)) - set(values(target)) == {"predictions/kernel", "predictions/bias"}
    for name, value in values(target).items():
        np.testing.assert_array_equal(value, values(source)[name])


def test_layers_of_nested_models_count_as_their_own(source):
    image = keras.Input((64, 96, 3))
    inner = kcnn.build("resnet18", include_top=False, **SHAPE)
    model = keras.Model(image, inner(keras.layers.Rescaling(0.1)(image)))
    assert transfer(source, model).missing == ()
    np.testing.assert_array_equal(
        inner.get_weights()[0], source.get_layer("conv1").get_weights()[0]
    )
    back = kcnn.build("resnet18", include_top=False, **SHAPE)
    assert transfer(model, back).missing == ()
    np.testing.assert_array_equal(inner.get_weights()[0], back.get_weights()[0])


def normalize(mean, name="normalize"):
    layer = keras.layers.Normalization(name=name)
    layer.adapt(np.full((2, 4, 4, 3), mean, "float32") + np.eye(4)[:, :, None])
    return layer


def test_preprocessing_stays_as_it_is(file):
    """Statistics of these images, not of those that the classifier was trained on."""
    options = SHAPE | {"include_top": False, "features": (4,)}
    saved = kcnn.build("resnet18", preprocessing=[normalize(5.0)], **options)
    saved.save(file)
    kernel = saved.get_layer("conv1").kernel
    for layer in (normalize(1.0), normalize(1.0, "other"), keras.layers.Rescaling(2.0)):
        before = layer.get_weights()
        model = kcnn.build("resnet18", preprocessing=[layer], weights=file, **options)
        np.testing.assert_array_equal(model.get_layer("conv1").kernel, kernel)
        for one, other in zip(layer.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, other)


def test_statistics_that_are_taken_over_are_computed_with():
    source, target = (
        keras.Sequential([keras.Input((4, 4, 3)), normalize(mean)]) for mean in (5.0, 1.0)
    )
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype("float32")
    assert not np.allclose(source(x), target(x))
    assert transfer(source, target).filled == ("normalize",)
    np.testing.assert_array_equal(source(x), target(x))


@pytest.mark.slow
def test_out_of_a_real_run(digits_run):
    folder = digits_run.directory
    whole = classifier(folder)
    model = kcnn.build("lenet5", include_top=False, features=(2, 4), input_shape=(32, 32, 1),
                       weights=folder)  # fmt: skip
    for name in ("conv1", "conv2"):
        for ours, theirs in zip(model.get_layer(name).get_weights(),
                                whole.get_layer(name).get_weights(), strict=True):  # fmt: skip
            np.testing.assert_array_equal(ours, theirs)
