"""Weights of other libraries: networks of PyTorch and Keras with random weights, and real files.

Each trap has a test that fails where it is stepped into: other padding, flatten, epsilon, strides,
biases, shortcuts, channels, order of labels.
"""

import re

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import kcnn
from kcnn.weights.preprocessing import NAMED

torch = pytest.importorskip("torch", reason="needs PyTorch: make EXTRAS=dev,oracle setup")
from oracles import published  # noqa: E402

#: Seconds each, and there are many: what everybody runs is to be short.
pytestmark = pytest.mark.slow

MEAN = np.array([0.485, 0.456, 0.406], "float32")
DEVIATION = np.array([0.229, 0.224, 0.225], "float32")


def photographs(size, count=8, channels=3, seed=0):
    """Smooth, as photographs are: bytes (N, H, W, C)."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 6, 6, channels)).astype("float32")
    smooth = keras.ops.image.resize(coarse, (size, size), interpolation="bicubic")
    noisy = np.asarray(smooth) + rng.normal(0, 12, (count, size, size, channels))
    return np.clip(noisy, 0, 255).astype("uint8")


def normalised(images):
    return ((images.astype("float32") / 255.0) - MEAN) / DEVIATION


def relative(ours, theirs):
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def torch_net(kind, size):
    """What torchvision has, narrower: (net, kcnn's name, its options)."""
    if kind.startswith("resnet"):
        bottleneck = kind == "resnet50"
        depths = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
        widths = (8, 12, 16, 24)
        net = published.ResNet(depths[kind], widths, 7, bottleneck)
        return net, kind, {"widths": widths, "stem": "imagenet"}
    if kind.startswith("vgg16"):
        widths, batchnorm = (4, 6, 8, 10, 12), kind.endswith("bn")
        net = published.vgg((2, 2, 3, 3, 3), widths, size, (20, 18), 7, batchnorm)
        return net, "vgg16", {"widths": widths, "hidden": (20, 18), "batchnorm": batchnorm}
    return published.alexnet(size, 7), "alexnet_owt", {}


def saved(kind, path, size=96, images=None):
    net, name, options = torch_net(kind, size)
    images = photographs(size) if images is None else images
    batch = torch.from_numpy(normalised(images)).permute(0, 3, 1, 2)
    net = published.settled(published.randomized(net), batch)
    published.save(net, path / f"{kind}.safetensors")
    return net, name, {"input_shape": (size, size, 3), "classes": 7} | options


KINDS = ["resnet18", "resnet34", "resnet50", "vgg16", "vgg16_bn", "alexnet_owt"]


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_pytorchs(kind, tmp_path, capsys):
    net, name, options = saved(kind, tmp_path)
    model = kcnn.build(
        name, weights=tmp_path / f"{kind}.safetensors", preprocessing="torch",
        classifier_activation=None, **options,
    )  # fmt: skip
    images = photographs(96, seed=1)
    theirs = published.logits(net, normalised(images))
    assert relative(model.predict(images, verbose=0), theirs) < 1e-4
    assert np.ptp(theirs, axis=1).min() > 0.1  # there is something to get wrong
    said = capsys.readouterr().err
    assert ("biases of 13 convolutions" in said) == (kind == "vgg16_bn")


def test_kept_biases(tmp_path, capsys):
    net, name, options = saved("vgg16_bn", tmp_path)
    model = kcnn.build(name, weights=tmp_path / "vgg16_bn.safetensors", conv_bias=True,
                       classifier_activation=None, **options)  # fmt: skip
    images = normalised(photographs(96, seed=1))
    assert relative(model.predict(images, verbose=0), published.logits(net, images)) < 1e-4
    assert not capsys.readouterr().err


@pytest.mark.parametrize("depth", [20, 32])
def test_shortcuts_that_pad_both_sides(depth, tmp_path, capsys):
    blocks = (depth - 2) // 6
    net = published.ResNet((blocks,) * 3, (16, 32, 64), 10, cifar=True)
    batch = torch.from_numpy(normalised(photographs(32))).permute(0, 3, 1, 2)
    net = published.settled(published.randomized(net), batch)
    path = published.save(net, tmp_path / "net.safetensors", lambda name: f"module.{name}")
    model = kcnn.build(f"resnet{depth}", weights=path, classifier_activation=None)
    images = normalised(photographs(32, seed=1))
    assert relative(model.predict(images, verbose=0), published.logits(net, images)) < 1e-4
    assert "both sides" in capsys.readouterr().err


@pytest.mark.parametrize(("depth", "right"), [(20, 1822), (32, 1848)])
def test_real_cifar_networks(depth, right, real_data):
    """As many as PyTorch has right, of raw bytes."""
    path = real_data / "weights" / f"cifar10_resnet{depth}.safetensors"
    model = kcnn.build(f"resnet{depth}", weights=path, preprocessing="torch")
    with np.load(real_data / "cifar10_subset.npz") as data:
        images, labels = data["x_test"], data["y_test"].ravel()
    found = model.predict(images, batch_size=250, verbose=0).argmax(axis=1)
    assert (found == labels).sum() == right


def test_real_vgg19(real_data):
    path = real_data / "vgg19_imagenet_notop.npz"
    shape = (64, 96, 3)
    ours = kcnn.build("vgg19", include_top=False, weights=path, preprocessing="caffe",
                      input_shape=shape)  # fmt: skip
    theirs = keras.applications.VGG19(include_top=False, weights=None, input_shape=shape)
    arrays = []
    with np.load(path) as stored:
        for name in stored["order"].tolist():
            array = stored[name]
            if f"{name}__q" in stored:
                scale, offset = stored[f"{name}__q"]
                array = array * scale + offset
            arrays.append(array)
    theirs.set_weights(arrays)
    images = photographs(96)[:, :64].astype("float32")
    expected = theirs.predict(keras.applications.vgg19.preprocess_input(images.copy()), verbose=0)
    assert relative(ours.predict(images, verbose=0), expected) < 1e-5


def keras_file(name, path, shape, **options):
    """A network of `keras.applications` with random weights, and its file as Keras 2 had it."""
    model = getattr(keras.applications, name)(
        weights=None, input_shape=shape, classifier_activation=None, **options
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        kind, size = weight.path.rsplit("/", 1)[-1], weight.shape
        if kind == "kernel":
            value = rng.normal(0, np.sqrt(2 / np.prod(size[:-1])), size)
        elif kind in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, size)
        else:
            value = rng.normal(0, 0.3, size)
        weight.assign(value)
    for _ in range(4):
        model(rng.normal(0, 60, (8, *shape)).astype("float32"), training=True)
    return model, path


def write_h5(model, path, nested):
    """The layout of Keras 2's files of weights, with h5py alone."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as root:
        group = root.create_group("model_weights") if nested else root
        group.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            below = group.create_group(layer.name)
            names = [f"{layer.name}/{w.name}:0".encode() for w in layer.weights]
            below.attrs["weight_names"] = names
            for name, value in zip(names, layer.get_weights(), strict=True):
                below.create_dataset(name.decode(), data=value)
    return path


#: Whose blocks begin with BatchNorm, and stages end with a stride.
V2 = {"preact": True, "layout": "applications", "stem": "imagenet"}


@pytest.mark.parametrize(
    ("theirs", "ours", "options", "how", "top"),
    [
        # A top of VGG has 120 million weights, and layers of the same names here.
        ("VGG16", "vgg16", {}, "caffe", False),
        ("VGG19", "vgg19", {}, "caffe", False),
        ("ResNet50", "resnet50", {"stride_in": "1x1", "stem": "imagenet"}, "caffe", True),
        ("ResNet50V2", "resnet50", V2, "tf", False),
    ],
)
def test_keras_applications(theirs, ours, options, how, top, tmp_path):
    shape = (64, 96, 3)
    classes = {"classes": 7} if top else {}
    net, path = keras_file(theirs, tmp_path / "net.h5", shape, include_top=top, **classes)
    write_h5(net, path, nested=not top)
    model = kcnn.build(
        ours, weights=path, preprocessing=how, include_top=top, input_shape=shape,
        classifier_activation=None, **classes, **options,
    )  # fmt: skip
    images = photographs(96)[:, :64].astype("float32")
    module = getattr(keras.applications, {"V2": "resnet_v2", "16": "vgg16", "19": "vgg19"}.get(
        theirs[-2:], "resnet"))  # fmt: skip
    expected = net.predict(module.preprocess_input(images.copy()), verbose=0)
    assert relative(model.predict(images, verbose=0), expected) < 1e-4


def test_the_stride_of_bottlenecks(tmp_path):
    saved("resnet50", tmp_path)
    options = {"widths": (8, 12, 16, 24), "classes": 7, "input_shape": (96, 96, 3)}
    with pytest.raises(kcnn.InputError, match="stride_in='3x3'"):
        kcnn.build("resnet50", weights=tmp_path / "resnet50.safetensors", stride_in="1x1",
                   **options)  # fmt: skip
    shape = (64, 64, 3)
    net, path = keras_file("ResNet50", tmp_path / "net.h5", shape, include_top=False)
    write_h5(net, path, nested=False)
    with pytest.raises(kcnn.InputError, match="stride_in='1x1'"):
        kcnn.build("resnet50", weights=path, include_top=False, input_shape=shape,
                   stem="imagenet")  # fmt: skip


@pytest.mark.parametrize(
    ("names", "ours", "said"),
    [
        ([f"block{s}_conv{i}__kernel" for s, n in enumerate((2, 2, 4, 4, 4), 1)
          for i in range(1, n + 1)], "resnet50", "vgg19"),
        ([f"features.{i}.{end}" for i in (0, 1, 4, 5, 8, 9, 11, 12, 15, 16, 18, 19, 22, 23, 25, 26)
          for end in ("weight", "running_mean")], "resnet20", "vgg11"),
        (["features.0.weight", "classifier.1.weight"], "resnet18", "a VGG or AlexNet"),
        (["conv2_block1_1_conv__kernel"], "vgg16", "a ResNet"),
        (["conv1.weight", "layer1.0.conv1.weight"], "alexnet", "a ResNet"),
    ],
)  # fmt: skip
def test_names_of_another_network_are_told(names, ours, said, tmp_path):
    """Before what only a network of that kind could mend, such as a bottleneck's stride."""
    np.savez(tmp_path / "weights.npz", **{name: np.zeros(1, "float32") for name in names})
    options = {} if ours == "resnet20" else {"input_shape": (96, 96, 3)}
    with pytest.raises(kcnn.InputError, match=f"names of {said}"):
        kcnn.build(ours, weights=tmp_path / "weights.npz", preprocessing="caffe", **options)


@pytest.mark.parametrize("how", NAMED)
def test_preprocessing_is_keras(how):
    """Of one image, by Keras' own function; blue first is undone in the first kernel alone."""
    images = photographs(64).astype("float32")
    layer = kcnn.build("resnet18", preprocessing=how, input_shape=(64, 64, 3)).get_layer(
        "normalize"
    )
    expected = keras.applications.imagenet_utils.preprocess_input(images.copy(), mode=how)
    if how == "caffe":
        expected = expected[..., ::-1]
    np.testing.assert_allclose(layer(images), expected, atol=2e-4)


def test_another_number_of_classes(tmp_path, capsys):
    net, name, options = saved("resnet18", tmp_path)
    path, images = tmp_path / "resnet18.safetensors", normalised(photographs(96))
    model = kcnn.build(name, weights=path, **options | {"classes": 3})
    assert "predictions is new: 3 classes, in the file 7" in capsys.readouterr().err
    np.testing.assert_allclose(model.predict(images, verbose=0), 1 / 3, rtol=1e-6)
    net.fc = torch.nn.Identity()
    body = keras.Model(model.input, model.get_layer("avg_pool").output)
    assert relative(body.predict(images, verbose=0), published.logits(net, images)) < 1e-4
    with pytest.raises(kcnn.InputError, match=r"predictions/kernel \(24, 1000\) here, .*\(7, 24\)"):
        kcnn.build(name, weights=path, **{k: v for k, v in options.items() if k != "classes"})


def test_a_file_without_a_classifier(tmp_path, capsys):
    """All dense layers are new; the last of them begins at zero, as only that one says a class."""
    _, name, options = saved("vgg16", tmp_path)
    arrays = load_file(tmp_path / "vgg16.safetensors")
    bare = {k: v for k, v in arrays.items() if k.startswith("features")}
    save_file(bare, tmp_path / "bare.safetensors")
    model = kcnn.build(name, weights=tmp_path / "bare.safetensors", **options | {"classes": 3})
    said = " ".join(capsys.readouterr().err.split())
    assert "fc1, fc2, predictions new: the file ends with the last feature map" in said
    assert not np.any(model.get_layer("predictions").kernel)
    assert np.any(model.get_layer("fc1").kernel)


def test_grey_images(tmp_path, capsys):
    """A grey picture is what three equal channels are, to a network without normalisation."""
    net, name, options = saved("resnet18", tmp_path)
    model = kcnn.build(name, weights=tmp_path / "resnet18.safetensors", classifier_activation=None,
                       **options | {"input_shape": (96, 96, 1)})  # fmt: skip
    assert "summed" in capsys.readouterr().err
    grey = normalised(photographs(96))[..., :1]
    expected = published.logits(net, np.repeat(grey, 3, axis=-1))
    assert relative(model.predict(grey, verbose=0), expected) < 1e-4


def test_other_sizes(tmp_path):
    net, name, options = saved("resnet18", tmp_path)
    images = normalised(photographs(128))
    model = kcnn.build(name, weights=tmp_path / "resnet18.safetensors", classifier_activation=None,
                       **options | {"input_shape": (128, 128, 3)})  # fmt: skip
    assert relative(model.predict(images, verbose=0), published.logits(net, images)) < 1e-4
    saved("vgg16", tmp_path)
    with pytest.raises(kcnn.InputError, match="fc1/kernel") as refused:
        kcnn.build("vgg16", weights=tmp_path / "vgg16.safetensors", input_shape=(128, 128, 3),
                   classes=7, widths=(4, 6, 8, 10, 12), hidden=(20, 18))  # fmt: skip
    assert "classifier.0.weight (20, 108) there" in str(refused.value)


def test_a_backbone_leaves_the_top(tmp_path):
    net, name, options = saved("resnet18", tmp_path)
    model = kcnn.build(name, weights=tmp_path / "resnet18.safetensors", include_top=False,
                       features=(4, 16), input_shape=(96, 96, 3), widths=options["widths"],
                       stem="imagenet")  # fmt: skip
    images = normalised(photographs(96))
    found = model.predict(images, verbose=0)
    net.layer4, net.fc = torch.nn.Identity(), torch.nn.Identity()
    pooled = published.logits(net, images)
    assert relative(found[1].mean(axis=(1, 2)), pooled) < 1e-4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.pop("layer2.0.bn1.running_mean"), "no array for conv3_1_1_bn/moving_mean"),
        (lambda d: d.update(extra=torch.zeros(2)), "nothing here takes extra"),
        (lambda d: d.update({"conv1.weight": torch.zeros(8, 3, 5, 5)}), r"\(8, 3, 5, 5\) there"),
    ],
)
def test_nothing_is_loaded_where_something_does_not_fit(change, said, tmp_path):
    net, name, options = saved("resnet18", tmp_path)
    state = dict(net.state_dict())
    change(state)
    path = tmp_path / "changed.safetensors"
    published.save_file({k: v.contiguous() for k, v in state.items()}, path)
    keras.utils.set_random_seed(1)
    model = kcnn.build(name, **options)
    before = model.get_weights()
    from kcnn.weights.load import load_weights

    with pytest.raises(kcnn.InputError, match=said):
        load_weights(model, path, family="resnet")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_timm_names_of_vgg(tmp_path):
    """Its dense layers are convolutions over the whole map."""
    net, name, options = saved("vgg16", tmp_path)
    state = dict(net.state_dict())
    side = 3
    for old, new, shape in (
        ("classifier.0", "pre_logits.fc1", (20, 12, side, side)),
        ("classifier.3", "pre_logits.fc2", (18, 20, 1, 1)),
        ("classifier.6", "head.fc", (7, 18)),
    ):
        state[f"{new}.weight"] = state.pop(f"{old}.weight").reshape(shape)
        state[f"{new}.bias"] = state.pop(f"{old}.bias")
    path = tmp_path / "timm.safetensors"
    published.save_file({k: v.contiguous() for k, v in state.items()}, path)
    model = kcnn.build(name, weights=path, classifier_activation=None, **options)
    images = normalised(photographs(96))
    assert relative(model.predict(images, verbose=0), published.logits(net, images)) < 1e-4


def test_arrays_without_names_go_in_order(tmp_path):
    source = kcnn.build("resnet20")
    for weight in source.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    path = tmp_path / "net.npz"
    np.savez(path, *source.get_weights())
    model = kcnn.build("resnet20", weights=path, preprocessing="torch")
    for ours, theirs in zip(model.get_weights()[: len(source.weights)], source.get_weights(),
                            strict=True):  # fmt: skip
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(kcnn.InputError, match=r"number \d+ is conv\w+/kernel .* here"):
        kcnn.build("resnet32", weights=path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".h5"])
@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"nothing of the sort" * 99])
def test_damaged_files(suffix, content, tmp_path):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(kcnn.InputError, match=re.escape(str(path))):
        kcnn.build("resnet20", weights=path)


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "net.bin"])
def test_pickles_are_not_read(name, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(kcnn.InputError, match="save_file"):
        kcnn.build("resnet20", weights=tmp_path / name)
    np.savez(tmp_path / "net.npz", a=np.array([print], dtype=object))
    with pytest.raises(kcnn.InputError, match="cannot be read"):
        kcnn.build("resnet20", weights=tmp_path / "net.npz")


def test_networks_without_a_counterpart(tmp_path):
    saved("resnet18", tmp_path)
    path = tmp_path / "resnet18.safetensors"
    with pytest.raises(kcnn.InputError, match="alexnet, resnet, vgg"):
        kcnn.build("lenet5", weights=path)
    with pytest.raises(kcnn.InputError, match="no network with the layers"):
        kcnn.build("resnet18", weights=path, preact=True)
    plain = published.ResNet((3, 3, 3), (16, 32, 64), 10, cifar=True)
    published.save(plain, tmp_path / "cifar.safetensors")  # of the same shapes
    with pytest.raises(kcnn.InputError, match="has no shortcuts"):
        kcnn.build("resnet20", weights=tmp_path / "cifar.safetensors", residual=False)
    with pytest.raises(kcnn.InputError, match="'torch', 'caffe', 'tf'"):
        kcnn.build("resnet18", preprocessing="pytorch")


def test_the_epsilon_of_keras_files(tmp_path):
    """Where a variance is next to nothing, 1.001e-5 for 1e-5 is one part in two thousand."""
    shape = (64, 64, 3)
    net, path = keras_file("ResNet50", tmp_path / "net.h5", shape, include_top=False)
    theirs = net.get_layer("conv1_bn")
    theirs.moving_variance.assign(np.linspace(0, 1e-7, 64))
    write_h5(net, path, nested=False)
    model = kcnn.build("resnet50", weights=path, include_top=False, input_shape=shape,
                       stride_in="1x1", stem="imagenet")  # fmt: skip
    ours = model.get_layer("conv1_bn")
    x = np.random.default_rng(0).normal(0, 0.01, (2, 4, 4, 64)).astype("float32")
    # The convolution's bias, which is in the mean here.
    shifted = x + net.get_layer("conv1_conv").bias.numpy()
    np.testing.assert_allclose(
        ours(x, training=False), theirs(shifted, training=False), rtol=1e-4, atol=2e-4
    )
    ways = ours.moving_variance.numpy() + ours.epsilon, theirs.moving_variance.numpy() + 1.001e-5
    np.testing.assert_allclose(*ways, rtol=1e-6)
