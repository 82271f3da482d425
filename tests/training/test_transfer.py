"""Trainings that begin with weights, freeze layers, and let them learn more slowly."""

import dataclasses

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import kcnn

#: A narrow ResNet of the CIFAR kind, and a VGG without anything random.
RESNET = {"model": "resnet20", "options": {"widths": [4, 6, 8], "depths": [1, 1, 1]}}
VGG = {"model": "vgg11", "dropout": 0.0, "batchnorm": False,
       "options": {"depths": [1, 1], "widths": [4, 6], "hidden": [8]}}  # fmt: skip
COMMON = {"epochs": 2, "batch_size": 16, "learning_rate": 0.05, "augment": "none", "seed": 1,
          "optimizer": "momentum", "warmup": 0.0, "weight_decay": 0.01}  # fmt: skip


def images(classes=3, count=60, size=16):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    pixels = rng.integers(0, 150, (count, size, size, 3)) + 30 * labels[:, None, None, None]
    return pixels.astype("uint8"), labels


def data(classes=3, **more):
    x, y = images(classes, **more)
    return {"train": (x[:-24], y[:-24]), "validation": (x[-24:-12], y[-24:-12]),
            "test": (x[-12:], y[-12:])}  # fmt: skip


def train(tmp_path, network=RESNET, classes=3, callbacks=(), **fields):
    recipe = kcnn.Recipe(logs=str(tmp_path), **{**network, **COMMON, **fields})
    return kcnn.train(recipe, data=data(classes), callbacks=callbacks, verbose=False)


def arrays_of(widths, blocks=1):
    """Weights in the published names of a ResNet of seven classes, none of them trivial."""
    rng, arrays = np.random.default_rng(3), {}

    def convolution(name, out, into):
        values = rng.normal(0, np.sqrt(2 / (9 * into)), (out, into, 3, 3))
        arrays[f"{name}.weight"] = values

    def batchnorm(name, size):
        for end, low, high in (("weight", 0.5, 1.5), ("bias", -0.3, 0.3),
                               ("running_mean", -0.5, 0.5), ("running_var", 0.5, 2.0)):  # fmt: skip
            arrays[f"{name}.{end}"] = rng.uniform(low, high, size)

    before = widths[0]
    convolution("conv1", before, 3)
    batchnorm("bn1", before)
    for stage, width in enumerate(widths, 1):
        for block in range(blocks):
            for index in (1, 2):
                convolution(f"layer{stage}.{block}.conv{index}", width, before)
                batchnorm(f"layer{stage}.{block}.bn{index}", width)
                before = width
    arrays["linear.weight"], arrays["linear.bias"] = rng.normal(size=(7, before)), np.zeros(7)
    return {name: array.astype("float32") for name, array in arrays.items()}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """(path, arrays)."""
    arrays = arrays_of((4, 6, 8))
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file(arrays, path)
    return path, arrays


def kernel(model, name="conv1"):
    return model.get_layer(name).kernel.numpy().transpose(3, 2, 0, 1)


def statistics(model, name):
    layer = model.get_layer(name)
    return layer.moving_mean.numpy(), layer.moving_variance.numpy()


def test_a_frozen_backbone_is_the_files(file, tmp_path):
    path, arrays = file
    run = train(tmp_path, weights=str(path), preprocessing="torch", freeze="backbone")
    for ours, theirs in (("conv1", "conv1"), ("conv2_1_1", "layer1.0.conv1")):
        np.testing.assert_array_equal(kernel(run.network, ours), arrays[f"{theirs}.weight"])
    for ours, theirs in (("conv1_bn", "bn1"), ("conv2_1_2_bn", "layer1.0.bn2")):
        mean, variance = statistics(run.network, ours)
        np.testing.assert_array_equal(mean, arrays[f"{theirs}.running_mean"])
        np.testing.assert_array_equal(variance, arrays[f"{theirs}.running_var"])
    scale = np.array(run.network.get_layer("normalize").scale)
    np.testing.assert_allclose(scale, 1 / (255 * np.array([0.229, 0.224, 0.225])))
    assert run.network.get_layer("predictions").kernel.shape == (8, 3)
    assert all(layer.trainable for layer in run.network.layers)  # for whoever trains on


@pytest.mark.slow
def test_without_freezing_all_is_trained(file, tmp_path):
    path, arrays = file
    run = train(tmp_path, weights=str(path), preprocessing="torch")
    assert np.abs(kernel(run.network) - arrays["conv1.weight"]).max() > 1e-3
    assert (statistics(run.network, "conv1_bn")[0] != arrays["bn1.running_mean"]).all()


@pytest.mark.parametrize("stage", [
    "conv3", *(pytest.param(s, marks=pytest.mark.slow) for s in ("block3", "conv3_1_2_bn")),
])  # fmt: skip
def test_a_part_is_frozen(stage, file, tmp_path):
    path, arrays = file
    run = train(tmp_path, weights=str(path), preprocessing="torch", until=stage)
    np.testing.assert_array_equal(kernel(run.network), arrays["conv1.weight"])
    fresh = train(tmp_path, weights=str(path), preprocessing="torch", epochs=1, until="conv3",
                  learning_rate=1e-12)  # fmt: skip
    for name in ("conv3_1_1", "conv3_1_2"):
        same = np.array_equal(kernel(run.network, name), kernel(fresh.network, name))
        assert same, name
    assert (kernel(run.network, "conv4_1_1") != kernel(fresh.network, "conv4_1_1")).any()


@pytest.mark.parametrize("fields", [
    {"freeze": "backbone"},
    pytest.param({"until": "conv3"}, marks=pytest.mark.slow),
    pytest.param({"until": "conv3", "backbone_rate": 0.01}, marks=pytest.mark.slow),
])  # fmt: skip
def test_features_of_frozen_layers_are_computed_once(fields, file, tmp_path, capsys):
    """The figures are those of a training that computes them anew, for callbacks or its health."""
    common = {"weights": str(file[0]), "preprocessing": "torch", "epochs": 3, **fields}
    recipe = kcnn.Recipe(logs=str(tmp_path), **{**RESNET, **COMMON, **common})
    once = kcnn.train(recipe, data=data())
    said = "48 x 8×8×6" if fields.get("until") else "48 x 4×4×8"
    assert f"computed once: {said}" in " ".join(capsys.readouterr().out.split())
    health = "until" in fields
    callbacks = [] if health else [keras.callbacks.Callback()]
    anew = kcnn.train(dataclasses.replace(recipe, health=health), data=data(), callbacks=callbacks)
    assert ("health/gradient_norm" in anew.history) == health
    assert "computed once" not in capsys.readouterr().out
    for name in ("loss", "val_loss", "accuracy"):
        np.testing.assert_allclose(once.history[name], anew.history[name], rtol=1e-3)
    for layer in anew.network.layers:
        if layer.weights:
            ours = once.network.get_layer(layer.name).get_weights()
            for a, b in zip(ours, layer.get_weights(), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    loaded = kcnn.load_run(once.directory).network
    x = images()[0]
    np.testing.assert_allclose(loaded.predict(x, verbose=0), once.network.predict(x, verbose=0),
                               atol=1e-6)  # fmt: skip


class Seen(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.kernels, self.losses = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.kernels.append(kernel(self.model))
        self.losses.append(logs["loss"])


@pytest.mark.slow
def test_unfreezing(file, tmp_path):
    path, arrays = file
    seen = Seen()
    train(tmp_path, weights=str(path), preprocessing="torch", freeze="backbone", unfreeze_at=0.5,
          epochs=4, callbacks=[seen], select="last")  # fmt: skip
    same = [np.array_equal(found, arrays["conv1.weight"]) for found in seen.kernels]
    assert same == [True, True, False, False]


@pytest.mark.slow
def test_frozen_batchnorm_computes_with_its_statistics(file, tmp_path):
    """With a rate of next to nothing, the loss of a training is that of an evaluation."""
    begun = train(tmp_path, weights=str(file[0]), preprocessing="torch", epochs=1)  # has a head
    losses = {}
    for freeze in (None, "backbone"):
        seen = Seen()
        run = train(tmp_path, weights=str(begun.directory), freeze=freeze, epochs=1,
                    batch_size=36, learning_rate=1e-12, callbacks=[seen])  # fmt: skip
        x, y = data()["train"]
        said = run.network.predict(x, verbose=0)
        inference = -np.log(said[np.arange(len(y)), y]).mean()
        losses[freeze] = abs(seen.losses[0] - inference) / inference
    assert losses["backbone"] < 1e-5
    assert losses[None] > 1e-2


@pytest.mark.slow
def test_the_backbones_rate(tmp_path):
    """Of plain SGD, one step: a tenth of the rate is a tenth of the way."""
    ways = {}
    for factor in (None, 0.1):
        fields = {"optimizer": "sgd", "epochs": 1, "batch_size": 36, "weight_decay": 0.0,
                  "schedule": "constant", "momentum": None, "select": "last"}  # fmt: skip
        run = train(tmp_path, VGG, backbone_rate=factor, **fields)
        start = train(tmp_path, VGG, **{**fields, "learning_rate": 1e-12})
        ways[factor] = {
            layer.name: layer.kernel.numpy() - start.network.get_layer(layer.name).kernel.numpy()
            for layer in run.network.layers if hasattr(layer, "kernel")
        }  # fmt: skip
    for name, way in ways[0.1].items():
        factor = 0.1 if name.startswith("conv") else 1.0
        np.testing.assert_allclose(way, factor * ways[None][name], rtol=2e-3, atol=1e-7)
        assert np.abs(way).max() > 1e-5


@pytest.mark.slow
def test_a_run_begins_another(file, tmp_path):
    first = train(tmp_path, epochs=1)
    run = train(tmp_path, classes=4, weights=str(first.directory), freeze="backbone")
    for layer in first.network.layers:
        if layer.weights and layer.name != "predictions":
            for ours, theirs in zip(run.network.get_layer(layer.name).get_weights(),
                                    layer.get_weights(), strict=True):  # fmt: skip
                np.testing.assert_array_equal(ours, theirs)
    for name in ("scale", "offset"):  # other images have another mean
        ours, theirs = (getattr(r.network.get_layer("normalize"), name) for r in (run, first))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert run.network.output_shape[-1] == 4


def test_a_model_of_ones_own(tmp_path):
    own = keras.Sequential([
        keras.Input((16, 16, 3)), keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(4, 3, strides=2, name="first"), keras.layers.BatchNormalization(),
        keras.layers.ReLU(), keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, activation="softmax", name="head"),
    ])  # fmt: skip
    before = [w.numpy() for w in own.get_layer("first").weights]
    head = own.get_layer("head").kernel.numpy()
    recipe = kcnn.Recipe(logs=str(tmp_path), freeze="backbone", **COMMON)
    kcnn.train(recipe, model=own, data=data(), verbose=False)
    for old, new in zip(before, own.get_layer("first").weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert (own.get_layer("head").kernel.numpy() != head).any()
    assert own.get_layer("first").trainable


@pytest.mark.slow
def test_streams_begin_with_weights_too(file, tmp_path):
    """Their features are computed at each step: batches may be other ones each time."""
    import tensorflow as tf

    parts = {
        part: tf.data.Dataset.from_tensor_slices(data()[part]).batch(12)
        for part in ("train", "validation")
    }
    recipe = kcnn.Recipe(logs=str(tmp_path), weights=str(file[0]), preprocessing="torch",
                         freeze="backbone", epochs=1, **RESNET)  # fmt: skip
    run = kcnn.train(recipe, data=parts, verbose=False)
    np.testing.assert_array_equal(kernel(run.network), file[1]["conv1.weight"])
    assert np.abs(run.network.get_layer("predictions").bias.numpy()).max() > 0


@pytest.mark.slow
def test_the_backbone_of_a_unet(tmp_path):
    """Weights of another library go into a backbone by its names, with their normalisation."""
    arrays = arrays_of((4, 8, 16), blocks=3)
    save_file(arrays, tmp_path / "net.safetensors")
    x = images()[0]
    masks = (x[..., 0] > 90).astype("uint8")
    recipe = kcnn.Recipe(
        model="unet", backbone="resnet20", options={"width": 4}, stem="cifar",
        backbone_weights=str(tmp_path / "net.safetensors"), preprocessing="torch", epochs=1,
        freeze="backbone", logs=str(tmp_path), batch_size=4, augment="none", image_size=(32, 32),
    )  # fmt: skip
    run = kcnn.train(recipe, data={"train": (x, masks), "test": (x, masks)}, verbose=False)
    np.testing.assert_array_equal(kernel(run.network, "conv2_3_1"), arrays["layer1.2.conv1.weight"])
    mean, _ = statistics(run.network, "conv2_3_1_bn")
    np.testing.assert_array_equal(mean, arrays["layer1.2.bn1.running_mean"])
    scale = np.array(run.network.get_layer("normalize").scale)
    np.testing.assert_allclose(scale, 1 / (255 * np.array([0.229, 0.224, 0.225])))
    assert run.network.get_layer("dec1_1").trainable


@pytest.mark.parametrize(("fields", "said"), [
    ({"unfreeze_at": 0.5}, "unfreeze_at=0.5 ends what freeze or until begins"),
    ({"freeze": "backbone", "until": "conv3"}, "Leave one of the two out"),
    ({"freeze": "backbone", "ema": 0.9}, "Take swa_start"),
    ({"freeze": "backbone", "backbone_rate": 0.1}, "never trains"),
    ({"preprocessing": "torch"}, "is of weights that are given"),
    ({"weights": "a", "backbone_weights": "b"}, "Leave one out"),
    ({"freeze": "all"}, "freeze"),
    ({"until": "stage9"}, "no stage 'stage9'; it has .*conv1, conv2, conv3, conv4"),
    ({"until": "predictions"}, "Nothing of resnet20 is left to train"),
    ({"freeze": "backbone", "unfreeze_at": 0.1}, "of 2 epochs is epoch 0"),
    ({"weights": "imagenet"}, "none of resnet20"),
    ({"weights": "nowhere.safetensors", "preprocessing": "torch"}, "which is not there"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused_before_a_folder_is_made(fields, said, tmp_path):
    with pytest.raises(kcnn.InputError, match=said):
        train(tmp_path / "logs", **fields)
    assert not list((tmp_path / "logs").glob("*"))


def test_files_need_a_name_for_their_preprocessing(file, tmp_path):
    with pytest.raises(kcnn.InputError, match="preprocessing is torch"):
        train(tmp_path, weights=str(file[0]))
    x, y = images()
    recipe = kcnn.Recipe(logs=str(tmp_path), weights=str(file[0]), preprocessing="torch",
                         **RESNET, **COMMON)  # fmt: skip
    with pytest.raises(kcnn.InputError, match=r"0 to 255; the training images .* go from 0 to 0"):
        kcnn.train(recipe, data=(x / np.float32(255), y), verbose=False)


@pytest.mark.slow
def test_what_is_adapted_is_said(file, tmp_path, capsys):
    recipe = kcnn.Recipe(logs=str(tmp_path), weights=str(file[0]), preprocessing="torch",
                         **RESNET, **COMMON)  # fmt: skip
    kcnn.train(recipe, data=data())
    said = " ".join(capsys.readouterr().out.split())
    assert "predictions is new: 3 classes, in the file 7" in said
    assert said.count("predictions is new") == 1
    assert f"weights of {file[0]}" in said.replace(" ", "").replace("weightsof", "weights of ")


@pytest.mark.slow
def test_vgg19_reads_red_first(real_data, tmp_path):
    """The published kernels read blue first; photographs are decoded red first."""
    path = real_data / "vgg19_imagenet_notop.npz"
    recipe = kcnn.Recipe(
        model="vgg19", weights=str(path), preprocessing="caffe", freeze="backbone", epochs=1,
        options={"hidden": [], "pooling": "avg"}, logs=str(tmp_path), augment="none",
        dropout=0.0, batch_size=12,
    )  # fmt: skip
    run = kcnn.train(recipe, data=data(size=32), verbose=False)
    with np.load(path) as stored:
        np.testing.assert_array_equal(
            run.network.get_layer("conv1_1").kernel.numpy(),
            stored["block1_conv1__kernel"][:, :, ::-1],
        )
    normalize = run.network.get_layer("normalize")
    np.testing.assert_allclose(-np.array(normalize.offset), [123.68, 116.779, 103.939])


def test_a_search_of_the_backbones_rate(file):
    """Weights are of one network: its widths, depths and BatchNorm are not searched beside."""
    from kcnn.tuning.overrides import space_of

    weights = [f"weights={file[0]}", "preprocessing=torch", "freeze=backbone"]
    space = space_of("resnet20", [*weights, "backbone_rate=0.05:1:log"])
    assert "backbone_rate" in space.searched
    assert not {"widths", "depths", "batchnorm"} & set(space.searched)
    assert {"widths", "depths"} <= set(space_of("resnet20").searched)
