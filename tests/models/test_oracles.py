"""kcnn's networks against others' implementations of the same papers, with the same weights.

PyTorch nets are written for these tests (`tests/oracles/torch_nets.py`; extra `oracle`);
`keras.applications` has VGG and ResNet-50. Images are small and not square, so that an exchange
of height and width shows.
"""

import re

import keras
import numpy as np
import pytest

import kcnn

CLASSES = 7
TOLERANCE = 1e-4
HIDDEN = (256, 192)  # narrower than the papers' 4096, for speed; the counts are of 4096

IMAGENET = {"stem": "imagenet"}
#: id: (name and options for kcnn.build, name and options in torch_nets, image's height and width)
NETS = {
    "alexnet_owt": ("alexnet_owt", {}, "alexnet_owt", {}, (96, 128)),
    "alexnet": ("alexnet", {}, "alexnet", {"groups": 1}, (99, 131)),
    "alexnet-groups": ("alexnet", {"groups": 2}, "alexnet", {"groups": 2}, (99, 131)),
    "alexnet-groups-lrn": (
        *("alexnet", {"groups": 2, "lrn": True}),
        *("alexnet", {"groups": 2, "lrn": True}),
        (99, 131),
    ),
    "vgg16": ("vgg16", {}, "vgg16", {}, (64, 96)),
    "vgg16-bn": (
        *("vgg16", {"batchnorm": True}),
        *("vgg16", {"batchnorm": True, "bias": False}),
        (64, 96),
    ),
    "vgg16-bn-bias": (
        *("vgg16", {"batchnorm": True, "conv_bias": True}),
        *("vgg16", {"batchnorm": True}),
        (64, 96),
    ),
    "resnet18": ("resnet18", IMAGENET, "resnet18", {}, (64, 96)),
    "resnet34": ("resnet34", IMAGENET, "resnet34", {}, (64, 96)),
    "resnet50": ("resnet50", IMAGENET, "resnet50", {}, (64, 96)),
    "resnet50-v1": (
        *("resnet50", {**IMAGENET, "stride_in": "1x1"}),
        *("resnet50", {"stride_in_1x1": True}),
        (64, 96),
    ),
    "resnet18-v2": ("resnet18", {**IMAGENET, "preact": True}, "resnet18_v2", {}, (64, 96)),
    "vgg13-residual": (
        *("vgg13", {"batchnorm": True, "residual": True}),
        *("vgg13_residual", {}),
        (64, 96),
    ),
    # Odd sizes: symmetric padding in front of strides, and maps that a stride does not divide.
    "resnet18-odd": ("resnet18", IMAGENET, "resnet18", {}, (75, 97)),
    "resnet20": ("resnet20", {}, "resnet20", {}, (32, 48)),
    "resnet20-odd": ("resnet20", {}, "resnet20", {}, (33, 29)),
}  # fmt: skip

#: Trainable parameters at the default input and 1000 classes (10 for CIFAR): published or
#: computed from the layers, see the papers and torchvision.
COUNTS = {
    "alexnet_owt": 61_100_840,
    "alexnet": 62_378_344,
    "alexnet-groups": 60_965_224,
    "vgg16": 138_357_544,
    "vgg16-bn": 138_361_768,  # 4,224 biases fewer than torchvision
    "vgg16-bn-bias": 138_365_992,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet50-v1": 25_557_032,
    "resnet20": 269_722,
}


@pytest.fixture(scope="module")
def oracles():
    """The modules `torch`, `torch_nets` and `convert`; without PyTorch the test skips."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install kcnn[oracle]")
    from oracles import convert, torch_nets

    return torch, torch_nets, convert


def pair(oracles, net, seed=0):
    """The Keras model and the PyTorch net of a row of NETS, with the same random weights."""
    _, torch_nets, convert = oracles
    name, options, torch_name, torch_options, size = NETS[net]
    if not name.startswith("resnet"):
        options = {**options, "hidden": HIDDEN}
        torch_options = {**torch_options, "size": size, "hidden": HIDDEN}
    model = kcnn.build(
        name, input_shape=(*size, 3), classes=CLASSES, classifier_activation=None, **options
    )
    convert.randomize(model, images(size, count=4), seed)
    reference = getattr(torch_nets, torch_name)(classes=CLASSES, **torch_options)
    return model, convert.copy_weights(model, reference)


def images(size, count=2):
    """Noise of a brightness and contrast that differ from image to image, (N, H, W, 3)."""
    rng = np.random.default_rng(1)
    contrast, brightness = rng.uniform(0.3, 2, (count, 1, 1, 1)), rng.normal(size=(count, 1, 1, 3))
    return (rng.normal(size=(count, *size, 3)) * contrast + brightness).astype("float32")


def forward(oracles, net, x):
    """Logits of a PyTorch net for images (N, H, W, C)."""
    torch = oracles[0]
    with torch.no_grad():
        return net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()


def difference(actual, expected):
    """‖actual - expected‖ / ‖expected‖."""
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def logits(model, x, **options):
    return keras.ops.convert_to_numpy(model(x, **options))


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_same_logits_as_pytorch(oracles, net):
    model, reference = pair(oracles, net)
    x = images(NETS[net][-1])
    expected = forward(oracles, reference, x)
    assert expected.shape == (2, CLASSES)
    # The two images get different logits: the comparison is not one of biases alone.
    assert difference(expected[:1], expected[1:]) > 0.01
    assert difference(logits(model, x), expected) < TOLERANCE


@pytest.mark.parametrize("net", COUNTS)
def test_same_parameter_count_as_pytorch(oracles, net):
    torch, torch_nets, _ = oracles
    name, options, torch_name, torch_options, _ = NETS[net]
    with torch.device("meta"):  # shapes without memory
        reference = getattr(torch_nets, torch_name)(**torch_options)
    assert sum(parameter.numel() for parameter in reference.parameters()) == COUNTS[net]
    assert kcnn.card(name, **options).parameters == COUNTS[net]


@pytest.mark.parametrize("net", ["vgg16-bn", "resnet18", "resnet20"])
def test_same_training_step_statistics_as_pytorch(oracles, net):
    """BatchNorm with the batch's statistics, and its running mean and variance afterwards.

    PyTorch stores the unbiased variance n/(n - 1); Keras, like the lecture, the biased one.
    """
    torch = oracles[0]
    model, reference = pair(oracles, net)
    if net == "vgg16-bn":
        for layer in model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
    x = images(NETS[net][-1], count=4)
    first = next(layer for layer in model.layers if layer.name.endswith("_bn"))
    before = first.moving_variance.numpy()
    expected = forward(oracles, reference.train(), x)
    assert difference(logits(model, x, training=True), expected) < TOLERANCE
    module = next(m for m in reference.modules() if isinstance(m, torch.nn.BatchNorm2d))
    _, height, width, _ = first.output.shape
    n = 4 * height * width
    batch_variance = (module.running_var.numpy() - 0.9 * before) / 0.1 * (n - 1) / n
    moving_variance = 0.9 * before + 0.1 * batch_variance
    np.testing.assert_allclose(first.moving_mean.numpy(), module.running_mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(first.moving_variance.numpy(), moving_variance, rtol=1e-4)
    assert not np.allclose(moving_variance, before, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("net", ["alexnet-groups", "resnet18", "resnet20"])
def test_comparison_notices_every_tensor(oracles, net):
    """A change of any one weight of the Keras model moves the logits beyond the tolerance."""
    model, reference = pair(oracles, net)
    x = images(NETS[net][-1])
    expected = forward(oracles, reference, x)
    unnoticed = []
    for weight in model.weights:
        value = weight.numpy()
        weight.assign(np.roll(value, 1) if value.ndim == 1 else value[..., ::-1])
        if difference(model.predict_on_batch(x), expected) < 10 * TOLERANCE:
            unnoticed.append(weight.path)
        weight.assign(value)
    assert unnoticed == []
    assert difference(model.predict_on_batch(x), expected) < TOLERANCE


@pytest.mark.slow
def test_comparison_tells_where_bottlenecks_stride(oracles):
    """v1 and v1.5 have the same weights and shapes; only the logits differ."""
    _, torch_nets, convert = oracles
    model, reference = pair(oracles, "resnet50")
    x = images((64, 96))
    assert difference(logits(model, x), forward(oracles, reference, x)) < TOLERANCE
    other = convert.copy_weights(model, torch_nets.resnet50(CLASSES, stride_in_1x1=True))
    assert difference(logits(model, x), forward(oracles, other, x)) > 0.01


# keras.applications


def main_path(model, shortcut):
    """Kind and output shape of each convolution, pooling and addition that is not in a shortcut.

    This path is a chain, so its order is the network's own.
    """
    kinds = (keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.Add)
    return [
        (type(layer).__name__, tuple(layer.output.shape))
        for layer in model.layers
        if isinstance(layer, kinds) and not re.search(shortcut, layer.name)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "convolutions"), [("vgg16", 13), ("vgg19", 16)])
def test_vgg_is_that_of_keras_applications(name, convolutions):
    application = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[name]
    options = {"input_shape": (64, 96, 3), "classes": CLASSES, "classifier_activation": None}
    reference = application(weights=None, **options)
    model = kcnn.build(name, **options)
    path = main_path(model, "shortcut")
    assert path == main_path(reference, "shortcut")
    assert [kind for kind, _ in path].count("Conv2D") == convolutions
    assert model.count_params() == reference.count_params()
    reference.set_weights(model.get_weights())
    x = images((64, 96))
    expected = logits(reference, x)
    assert difference(expected[:1], expected[1:]) > 0.01
    assert difference(logits(model, x), expected) < TOLERANCE


@pytest.mark.slow
def test_resnet50_is_that_of_keras_applications():
    """Shape by shape in the paper's form; there the convolutions have biases, ours have none."""
    options = {"input_shape": (64, 96, 3), "classes": CLASSES}
    reference = keras.applications.ResNet50(weights=None, **options)
    model = kcnn.build("resnet50", stem="imagenet", stride_in="1x1", **options)
    path = main_path(model, "_shortcut")
    assert path == main_path(reference, "_0_conv")
    assert len(path) == 1 + 1 + 16 * (3 + 1)
    biases = sum(
        layer.bias.shape[0] for layer in reference.layers if isinstance(layer, keras.layers.Conv2D)
    )
    assert biases == 26_560
    assert model.count_params() == reference.count_params() - biases

    def shortcuts(model, pattern):
        convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
        return [tuple(x.output.shape) for x in convolutions if re.search(pattern, x.name)]

    assert shortcuts(model, "_shortcut") == shortcuts(reference, "_0_conv")
    assert len(shortcuts(model, "_shortcut")) == 4
