"""What the options do, family by family, measured on the outputs of small networks."""

import re

import keras
import numpy as np
import pytest
from keras import ops

import kcnn
from kcnn import InputError
from kcnn.models.rbf_codes import digit_codes

#: One small network of each family.
NARROW = {"widths": (8, 8, 8, 8, 8), "hidden": (16,), "classes": 4}
FAMILIES = {
    "mlp": {"width": 16, "input_shape": (8, 8, 3), "classes": 4},
    "lenet5": {"input_shape": (16, 16, 3), "classes": 4},
    "alexnet": {"input_shape": (67, 67, 3), **NARROW},
    "vgg11": {"input_shape": (32, 32, 3), **NARROW},
    "resnet18": {"input_shape": (16, 16, 3), "widths": (8, 8, 8, 8), "classes": 4},
    "resnet20": {"input_shape": (12, 12, 3), "widths": (8, 8, 8), "classes": 4},
}
CONVOLUTIONAL = [name for name in FAMILIES if name != "mlp"]
LENET_1998 = {"lenet5_1998": {}}


def build(name, **options):
    keras.utils.set_random_seed(0)
    return kcnn.build(name, **((FAMILIES | LENET_1998)[name] | options))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def run(model, x=None, training=False):
    x = normal(4, *model.input_shape[1:]) if x is None else x
    return np.asarray(model(x, training=training))


def part(model, first, last):
    """The layers behind `first` up to `last`, as a model."""
    return keras.Model(model.get_layer(first).output, model.get_layer(last).output)


def shuffle(model, seed=0):
    """Random values for all weights, BatchNorm's statistics too; variances stay positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        noise = rng.uniform(0.2, 1.0, weight.shape)
        weight.assign(weight + 0.2 * noise if weight.ndim > 1 else noise)
    return model


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


# ------------------------------------------------------------- options that families share


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels(name, channels):
    model = build(name, input_shape=(*FAMILIES[name]["input_shape"][:2], channels))
    assert run(model).shape == (4, 4)


@pytest.mark.parametrize("name", FAMILIES)
def test_images_need_not_be_square(name):
    height, width, _ = FAMILIES[name]["input_shape"]
    assert run(build(name, input_shape=(height, width + 13, 3))).shape == (4, 4)
    assert run(build(name, input_shape=(height + 7, width, 3))).shape == (4, 4)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_class_is_a_sigmoid(name):
    model, logits = build(name, classes=1), build(name, classes=1, classifier_activation=None)
    logits.set_weights(model.get_weights())
    assert model.output_shape == (None, 1)
    expected = 1 / (1 + np.exp(-run(logits).astype("float64")))
    np.testing.assert_allclose(run(model), expected, rtol=1e-4)


@pytest.mark.parametrize("name", [*FAMILIES, "lenet5_1998"])
def test_without_classifier_activation_come_logits(name):
    model, logits = build(name), build(name, classifier_activation=None)
    logits.set_weights(model.get_weights())
    powers = np.exp(run(logits).astype("float64"))
    expected = powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(run(model), expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("lenet5", (1, 1, 16)),
        ("alexnet", (1, 1, 8)),
        ("vgg11", (1, 1, 8)),
        ("resnet18", (2, 2, 8)),
        ("resnet20", (3, 3, 8)),
    ],
)
def test_without_the_top_come_features(name, shape):
    features = build(name, include_top=False)
    assert features.output_shape == (None, *shape)
    maps = run(features)
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        pooled = build(name, include_top=False, pooling=pooling)
        pooled.set_weights(features.get_weights())
        np.testing.assert_allclose(run(pooled), reduce(maps, axis=(1, 2)), rtol=1e-5)


def test_without_the_top_networks_without_maps_end_in_a_vector():
    assert build("mlp", include_top=False).output_shape == (None, 16)
    assert build("lenet5_1998", include_top=False).output_shape == (None, 84)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooling_in_front_of_the_classifier(pooling):
    """It makes the dense layers independent of the image's size."""
    sizes = [build("vgg11", pooling=pooling, input_shape=(s, s, 3)).count_params()
             for s in (32, 64)]  # fmt: skip
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_dropout_acts_in_training_alone_and_at_the_asked_rate(name):
    plain, model = build(name, dropout=0.0), build(name, dropout=0.3)
    model.set_weights(plain.get_weights())
    np.testing.assert_array_equal(run(model), run(plain))
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert set(rates) == {0.3}
    assert "Dropout" not in kinds(plain)
    dropout = next(x for x in model.layers if isinstance(x, keras.layers.Dropout))
    ones = np.ones((500, dropout.input.shape[-1]), "float32")
    dropped = np.mean(dropout(ones, training=True) == 0)
    assert dropped == pytest.approx(0.3, abs=0.03)
    assert np.abs(run(model, training=True) - run(model, training=True)).max() > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_batchnorm_follows_every_convolution_and_replaces_its_bias(name):
    with_it, without = build(name, batchnorm=True), build(name, batchnorm=False)
    assert "BatchNormalization" not in kinds(without)
    layers = [x for x in with_it.layers if isinstance(x, keras.layers.BatchNormalization)]
    weighted = [x for x in with_it.layers if type(x).__name__ == "Conv2D" or
                (name == "mlp" and x.name.startswith("fc") and hasattr(x, "kernel"))]  # fmt: skip
    assert len(layers) == len(weighted) > 0
    assert not any(layer.use_bias for layer in weighted)
    assert all(layer.use_bias for layer in without.layers if hasattr(layer, "kernel"))
    # Each of them standardises: a training batch leaves with mean 0 and variance 1.
    ends = keras.Model(with_it.input, [layer.output for layer in layers])
    outputs = ends(normal(8, *with_it.input_shape[1:]), training=True)
    for output in keras.tree.flatten(outputs):
        axes = tuple(range(len(output.shape) - 1))
        np.testing.assert_allclose(np.mean(output, axis=axes), 0.0, atol=1e-3)
        assert np.var(output, axis=axes).max() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("name", "blocks"), [("vgg11", 5), ("resnet18", 8), ("resnet20", 9)])
def test_residual_adds_a_shortcut_around_each_block(name, blocks):
    plain, residual = build(name, residual=False), build(name, residual=True)
    assert kinds(plain).count("Add") == 0
    assert kinds(residual).count("Add") == blocks


def test_residual_sums():
    """Each Add is the branch plus the block's input, read off the outputs."""
    model = build("mlp", depth=4, residual=True)
    ends = ["fc1_relu", "fc2_relu", "fc2_add", "fc3_relu", "fc3_add"]
    outputs = keras.Model(model.input, [model.get_layer(end).output for end in ends])
    h1, h2, sum2, h3, sum3 = outputs(normal(4, 8, 8, 3))
    np.testing.assert_allclose(sum2, h1 + h2)
    np.testing.assert_allclose(sum3, sum2 + h3)


@pytest.mark.parametrize(
    ("shape", "stem", "stride"),
    [
        ((64, 64, 3), "auto", 8),
        ((65, 65, 3), "auto", 32),
        ((65, 64, 3), "auto", 8),
        ((64, 64, 3), "imagenet", 32),
        ((65, 65, 3), "cifar", 8),
    ],
)
def test_stem(shape, stem, stride):
    card = kcnn.card("resnet18", input_shape=shape, stem=stem)
    assert card.choices == {"stem": "imagenet" if stride == 32 else "cifar"}
    assert max(layer.stride or 0 for layer in card.cost.layers) == stride


@pytest.mark.parametrize("name", FAMILIES)
def test_values_that_ask_for_nothing_are_taken_by_all(name):
    neutral = {"dropout": 0.0, "residual": False, "stem": "auto", "pooling": None}
    model = build(name, **neutral, batchnorm=False, include_top=True)
    assert not {"Dropout", "BatchNormalization", "Add"} & set(kinds(model))


@pytest.mark.parametrize("name", ["lenet5", "mlp"])
def test_preprocessing_layers_come_first(name):
    shape = (20, 24, 3)
    layers = [keras.layers.Resizing(32, 32), keras.layers.Rescaling(1 / 255)]
    model = build(name, input_shape=shape, preprocessing=layers)
    plain = build(name, input_shape=(32, 32, 3))
    plain.set_weights(model.get_weights())
    x = 100 * normal(2, *shape)
    expected = run(plain, layers[1](layers[0](x)))
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("lenet5", {"residual": True}, ["lenet5", "residual=True", "batchnorm, classes"]),
        ("alexnet", {"stem": "cifar"}, ["alexnet", "stem='cifar'", "groups"]),
        ("lenet5_1998", {"batchnorm": True}, ["batchnorm=True", "head"]),
        ("lenet5_1998", {"pooling": "avg"}, ["pooling='avg'", "head"]),
        ("lenet5_1998", {"classes": 3}, ["classes=3", "head='dense'"]),
        ("lenet5_1998", {"classifier_activation": "sigmoid"}, ["'sigmoid'", "head='dense'"]),
        ("lenet5_1998", {"head": "svm"}, ["head", "rbf, dense", "'svm'"]),
        ("lenet5", {"batchnrm": True}, ["batchnrm=True", "Did you mean 'batchnorm'?"]),
        ("lenet5", {"dropout": 1.0}, ["dropout", "from 0", "1.0"]),
        ("lenet5", {"dropout": -0.1}, ["dropout", "-0.1"]),
        ("lenet5", {"dropout": float("nan")}, ["dropout", "nan"]),
        ("lenet5", {"dropout": "0.5"}, ["dropout", "'0.5'"]),
        ("mlp", {"dropout": None}, ["dropout", "None"]),
        ("resnet18", {"classes": 0}, ["classes", "from 1", "0"]),
        ("vgg11", {"classes": 2.5}, ["classes", "2.5"]),
        ("vgg11", {"pooling": "sum"}, ["pooling", "avg, max", "'sum'"]),
        ("mlp", {"pooling": "avg"}, ["no feature map", "pooling='avg'"]),
        ("mlp", {"residual": True}, ["residual=True", "depth=2", "depth=3"]),
        ("mlp", {"depth": 0}, ["depth", "from 1", "0"]),
        ("mlp", {"width": 1.5}, ["width", "1.5"]),
        ("mlp", {"activation": "rulu"}, ["activation", "'relu'", "'rulu'"]),
        ("vgg11", {"classifier_activation": "sofmax"}, ["classifier_activation", "'softmax'"]),
        ("alexnet", {"groups": 3}, ["groups", "3"]),
        ("alexnet", {"widths": (8, 8)}, ["widths has 2", "5"]),
        ("vgg11", {"depths": (1, 1)}, ["depths has 2", "widths has 5"]),
        ("resnet18", {"stem": "tiny"}, ["stem", "auto, imagenet, cifar", "'tiny'"]),
        ("resnet18", {"shortcut": "D"}, ["shortcut", "A, B, C", "'D'"]),
        ("resnet18", {"shortcut": "A", "widths": (8, 4, 4, 4)}, ["shortcut='A'", "shortcut='B'"]),
        ("resnet18", {"stride_in": "1x1"}, ["stride_in='1x1'", "resnet50"]),
        ("resnet50", {"stride_in": "2x2"}, ["stride_in", "3x3, 1x1", "'2x2'"]),
        ("resnet18", {"zero_init_residual": True, "preact": True}, ["zero_init", "preact=False"]),
        ("resnet18", {"zero_init_residual": True, "batchnorm": False}, ["batchnorm=True"]),
        ("resnet18", {"zero_init_residual": True, "residual": False}, ["residual=True"]),
        ("resnet18", {"output_stride": 4}, ["output_stride", "8, 16, 32", "4"]),
        ("resnet20", {"output_stride": 8}, ["output_stride=8", "4", "imagenet stem"]),
        ("lenet5", {"input_shape": (32, 32)}, ["(height, width, channels)", "(32, 32)"]),
        ("lenet5", {"input_shape": (32, 32, 0)}, ["input_shape", "(32, 32, 0)"]),
        ("lenet5", {"input_shape": (32.5, 32, 1)}, ["whole numbers", "32.5"]),
        ("lenet5", {"input_shape": "321"}, ["input_shape", "'321'"]),
        ("lenet5", {"weights": "imagenet"}, ["weights", "'imagenet'", "none of lenet5"]),
        ("lenet5", {"weights": "nowhere"}, ["weights", "'nowhere'", "not there"]),
    ],
)
def test_what_cannot_be_honoured_is_refused(name, options, words):
    with pytest.raises(InputError) as refused:
        kcnn.build(name, **options)
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize("content", [b"nothing of HDF5", None])
def test_weights_of_another_network_are_refused(content, tmp_path):
    path = tmp_path / "some.weights.h5"
    if content:
        path.write_bytes(content)
    else:
        build("lenet5", classes=3).save_weights(path)
    with pytest.raises(InputError, match=r"some.weights.h5.*weights of this lenet5"):
        build("lenet5", weights=path)


# ---------------------------------------------------------------------- geometry


@pytest.mark.parametrize(
    ("name", "channels", "layer", "smallest"),
    [("lenet5", 1, "pool2", 16), ("alexnet", 3, "pool5", 67), ("alexnet_owt", 3, "pool5", 63)]
    + [(f"vgg{depth}", 3, "pool5", 32) for depth in (11, 13, 16, 19)],
)
@pytest.mark.slow
def test_the_smallest_image_builds_and_a_pixel_less_is_refused(name, channels, layer, smallest):
    for height, width in ((smallest, smallest), (smallest, 2 * smallest)):
        assert kcnn.card(name, input_shape=(height, width, channels)).parameters
    for height, width in ((smallest - 1, smallest - 1), (2 * smallest, smallest - 1)):
        with pytest.raises(InputError) as refused:
            kcnn.build(name, input_shape=(height, width, channels))
        message = str(refused.value)
        assert f"layer {layer!r}" in message
        assert f"from {smallest}×{smallest} pixels" in message
        assert f"received {height}×{width}" in message
        assert "Enlarge the images" in message


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20", "mlp"])
def test_some_networks_take_a_single_pixel(name):
    assert kcnn.card(name, input_shape=(1, 1, 1)).parameters


def test_lenet5_1998_keeps_its_size():
    for side in (28, 32):
        assert kcnn.card("lenet5_1998", input_shape=(side, side, 1)).parameters == 60_000
    with pytest.raises(InputError, match=r"32×32.*received 33×33.*lenet5"):
        kcnn.build("lenet5_1998", input_shape=(33, 33, 1))


# --------------------------------------------------------------------------- mlp


def test_the_lectures_figures_without_building():
    small = kcnn.card("mlp", width=1000)
    assert small.parameters == 795_010
    assert f"{small.weight_memory / 1e6:.1f} MB" == "3.2 MB"
    photograph = kcnn.card("mlp", width=1000, input_shape=(1099, 733, 3))
    assert photograph.parameters == 1099 * 733 * 3 * 1000 + 1000 + 1000 * 10 + 10
    assert f"{photograph.parameters / 1e9:.2f} billion" == "2.42 billion"
    assert f"{photograph.weight_memory / 1e9:.1f} GB" == "9.7 GB"


def test_a_card_takes_no_memory_for_the_weights():
    def peak():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

    kcnn.card("mlp")
    before = peak()
    kcnn.card("mlp", input_shape=(10_000, 10_000, 3))  # 1.2 TB
    assert peak() - before < 50_000  # kB


def test_mlp_of_depth_one_is_softmax_regression():
    model = build("mlp", depth=1)
    kernel, bias = model.get_weights()
    x = normal(4, 8, 8, 3)
    logits = x.reshape(4, -1) @ kernel + bias
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------- lenet


#: LeCun et al. 1998, table I: a row for each S2 map, a column for each C3 map.
TABLE_I = """
X . . . X X X . . X X X X . X X
X X . . . X X X . . X X X X . X
X X X . . . X X X . . X . X X X
. X X X . . X X X X . . X . X X
. . X X X . . X X X X . X X . X
. . . X X X . . X X X X . X X X
"""


@pytest.fixture(scope="module")
def lenet_1998():
    return shuffle(build("lenet5_1998", classifier_activation=None))


def test_c3_sees_the_maps_of_table_i(lenet_1998):
    table = np.array([row.split() for row in TABLE_I.strip().splitlines()]) == "X"
    assert table.sum() == 60
    c3 = part(lenet_1998, "s2_amplitude", "c3")
    x = normal(1, 14, 14, 6)
    for seen in range(6):
        changed = x.copy()
        changed[..., seen] += 1
        reached = np.abs(run(c3, changed) - run(c3, x)).max(axis=(0, 1, 2)) > 0
        np.testing.assert_array_equal(reached, table[seen])


def test_layers_of_1998_have_the_papers_counts():
    counts = {"c1": 0, "s2": 0, "c3": 0, "s4": 0, "c5": 0, "f6": 0, "rbf": 0}
    for layer in kcnn.card("lenet5_1998").cost.layers:
        if layer.parameters:
            counts[layer.name.split("_")[0]] += layer.parameters
    assert counts == {
        "c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164, "rbf": 0,
    }  # fmt: skip


def test_scaled_tanh_keeps_plus_and_minus_one(lenet_1998):
    squash = part(lenet_1998, "f6", "f6_amplitude")
    x = np.linspace(-3, 3, 84, dtype="float32")[None]
    np.testing.assert_allclose(run(squash, x), 1.7159 * np.tanh(2 / 3 * x), rtol=1e-5)
    ones = np.ones((1, 84), "float32")
    np.testing.assert_allclose(run(squash, ones), 1.0, atol=1e-4)
    np.testing.assert_allclose(run(squash, -ones), -1.0, atol=1e-4)


def test_subsampling_is_a_trainable_mean(lenet_1998):
    x = normal(1, 28, 28, 6)
    mean = x.reshape(1, 14, 2, 14, 2, 6).mean(axis=(2, 4))
    coefficient, bias = lenet_1998.get_layer("s2").get_weights()
    subsample = part(lenet_1998, "c1_amplitude", "s2")
    np.testing.assert_allclose(run(subsample, x), mean * coefficient.ravel() + bias, atol=1e-5)


def test_rbf_output_is_minus_the_squared_distance_to_the_codes():
    model = build("lenet5_1998", classifier_activation=None)
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert set(np.unique(codes)) == {-1.0, 1.0}
    distances = ((codes[:, None] - codes[None]) ** 2).sum(axis=-1)
    assert distances[~np.eye(10, dtype=bool)].min() >= 4 * 6  # apart in six pixels or more
    f6 = normal(5, 84)
    outputs = run(part(model, "f6_amplitude", "predictions"), f6)
    expected = -((f6[:, None] - codes[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998"])
def test_images_of_28_pixels_are_padded_to_32(name):
    small = kcnn.build(name, input_shape=(28, 28, 1))
    large = kcnn.build(name, input_shape=(32, 32, 1))
    large.set_weights(small.get_weights())
    x = normal(3, 28, 28, 1)
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_allclose(run(small, x), run(large, padded), rtol=1e-5)


@pytest.mark.parametrize(
    ("activation", "function"),
    [("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("tanh", np.tanh)],
)
def test_lenet5_activations(activation, function):
    model = build("lenet5", activation=activation)
    for before, after in (("conv1", f"conv1_{activation}"), ("fc2", f"fc2_{activation}")):
        x = normal(2, *model.get_layer(before).output.shape[1:])
        np.testing.assert_allclose(run(part(model, before, after), x), function(x), atol=1e-6)


# ----------------------------------------------------------------- alexnet and vgg


def test_alexnets_two_groups_do_not_see_each_other():
    model = build("alexnet", groups=2, hidden=(8,))
    for first, last, apart in (
        ("pool1", "conv2", True),
        ("pool2", "conv3", False),
        ("conv3_relu", "conv4", True),
        ("conv4_relu", "conv5", True),
    ):
        layers = part(model, first, last)
        x = normal(1, *layers.input_shape[1:])
        changed = x.copy()
        changed[..., :4] += 1  # the first tower's channels
        reached = np.abs(run(layers, changed) - run(layers, x)).max(axis=(0, 1, 2)) > 0
        assert reached[:4].all()
        assert reached[4:].any() != apart


def test_local_response_normalisation_is_section_3_3():
    model = build("alexnet", lrn=True)
    after = keras.Model(model.get_layer("conv1_relu").output, model.get_layer("pool1").input)
    a = 30 * np.abs(normal(2, *after.input_shape[1:]))
    b = np.empty_like(a)
    for i in range(8):
        neighbours = a[..., max(0, i - 2) : min(8, i + 3)]
        b[..., i] = a[..., i] / (2 + 1e-4 * (neighbours**2).sum(axis=-1)) ** 0.75
    np.testing.assert_allclose(run(after, a), b, rtol=1e-5)
    assert not any("norm" in layer.name for layer in build("alexnet").layers)


def test_local_response_normalisation_is_exact_in_16_bits():
    """Squares above 65,504 are infinite in float16: 256² is."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build("alexnet", lrn=True)
    finally:
        keras.config.set_dtype_policy("float32")
    below = model.get_layer("conv1_relu").output
    after = keras.Model(below, model.get_layer("pool1").output)
    a = 3000 * np.abs(normal(2, *below.shape[1:])).astype("float16").astype("float32")
    b = np.empty_like(a)
    for i in range(8):
        neighbours = a[..., max(0, i - 2) : min(8, i + 3)]
        b[..., i] = a[..., i] / (2 + 1e-4 * (neighbours**2).sum(axis=-1)) ** 0.75
    windows = np.lib.stride_tricks.sliding_window_view(b, (3, 3), axis=(1, 2))[:, ::2, ::2]
    found = keras.ops.convert_to_numpy(after(a.astype("float16")))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, windows.max(axis=(-1, -2)), rtol=2e-3)


def test_vgg_keeps_biases_before_batchnorm_when_asked():
    model = build("vgg11", batchnorm=True, conv_bias=True)
    assert model.get_layer("conv1_1").use_bias
    without = build("vgg11", batchnorm=True)
    assert model.count_params() - without.count_params() == 8 * 8  # 8 convolutions of 8


# ------------------------------------------------------------------------ resnet


@pytest.mark.parametrize(("name", "blocks"), [("resnet34", 16), ("resnet50", 16)])
def test_shortcuts(name, blocks):
    """A costs nothing; B projects where a stage begins; C everywhere (He et al. 2015, 4.1)."""
    plain = kcnn.card(name, residual=False)
    costs = {kind: kcnn.card(name, shortcut=kind) for kind in "ABC"}
    assert costs["A"].parameters == plain.parameters
    projections = {
        kind: sum(layer.name.endswith("_shortcut") and layer.parameters > 0
                  for layer in card.cost.layers)
        for kind, card in costs.items()
    }  # fmt: skip
    begins = 3 if name == "resnet34" else 4  # a bottleneck's first stage widens too
    assert projections == {"A": 0, "B": begins, "C": blocks}


def test_shortcut_a_subsamples_and_adds_zero_channels():
    model = build("resnet20", widths=(4, 8, 8))
    shortcut = part(model, "conv2_3_relu", "conv3_1_shortcut_pad")
    x = normal(2, 12, 12, 4)
    expected = np.concatenate([x[:, ::2, ::2], np.zeros((2, 6, 6, 4), "float32")], axis=-1)
    np.testing.assert_array_equal(run(shortcut, x), expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_zero_init_residual_makes_each_block_the_identity(name):
    """Behind the first block of a stage, which projects, all outputs are the same."""
    options = {"input_shape": (16, 16, 3), "widths": (8,) * (3 if name == "resnet20" else 4)}
    x = normal(2, 16, 16, 3)
    for zero in (True, False):
        model = kcnn.build(name, classes=4, zero_init_residual=zero, **options)
        ends = [layer.output for layer in model.layers
                if layer.name.startswith("conv3_") and layer.name.endswith("_add")]  # fmt: skip
        first, *others = keras.Model(model.input, ends)(x, training=True)
        same = [bool(ops.all(ops.relu(first) == other)) for other in others]
        assert same == [zero] * len(others)


@pytest.mark.parametrize(
    ("name", "last"), [("resnet18", "2"), ("resnet50", "3"), ("resnet20", "2")]
)
def test_zero_init_residual_is_of_the_last_batchnorm_of_a_block(name, last):
    """Goyal et al. 2017, section 5.1: the others begin with 1, and learn from the first step."""
    options = {"input_shape": (16, 16, 3), "widths": (8,) * (3 if name == "resnet20" else 4)}
    model = kcnn.build(name, classes=4, zero_init_residual=True, **options)
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    zeros = {x.name for x in norms if not x.gamma.numpy().any()}
    assert zeros == {x.name for x in norms if re.fullmatch(rf"conv\d_\d_{last}_bn", x.name)}
    assert len(zeros) > 5
    assert all((x.gamma.numpy() == 1).all() for x in norms if x.name not in zeros)


def test_constants_of_the_papers():
    """BatchNorm as He et al.'s networks and torchvision have it; gains of He and Glorot."""
    model = kcnn.build("resnet18", input_shape=(32, 32, 3), classes=10)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
    kernel = model.get_layer("conv5_2_2").kernel.numpy()  # (3, 3, 512, 512)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.01)
    assert abs(kernel.mean()) < 1e-4
    dense = kcnn.build("mlp", width=512, activation="tanh").get_layer("fc1").kernel.numpy()
    assert dense.std() == pytest.approx(np.sqrt(2 / sum(dense.shape)), rel=0.01)


def test_preactivation_order():
    """v2 ends a block with the bare sum, and the network with one more BatchNorm and ReLU."""
    model = build("resnet18", preact=True, widths=(8, 8, 8, 8))
    block = [layer.name for layer in model.layers if layer.name.startswith("conv2_2")]
    assert [type(model.get_layer(name)).__name__ for name in block] == [
        "BatchNormalization", "ReLU", "Conv2D", "BatchNormalization", "ReLU", "Conv2D", "Add",
    ]  # fmt: skip
    assert [layer.name for layer in model.layers[-4:-2]] == ["post_bn", "post_relu"]
    # The sum passes to the next block as it is: the identity is clean from stage to stage.
    block = part(model, "conv2_1_add", "conv2_2_add")
    model.get_layer("conv2_2_2").set_weights([np.zeros((3, 3, 8, 8))])
    x = normal(2, 16, 16, 8)
    np.testing.assert_array_equal(run(block, x), x)


def test_plain_network_is_the_residual_one_without_its_sums():
    assert kcnn.card("resnet34", residual=False).parameters == 21_623_848
    plain = build("resnet20", residual=False)
    assert not any("shortcut" in layer.name for layer in plain.layers)


def test_stride_in_moves_the_bottlenecks_stride():
    def strides(where):
        model = kcnn.build("resnet50", depths=(1, 1), widths=(4, 4), stride_in=where)
        return [model.get_layer(f"conv3_1_{index}").strides[0] for index in (1, 2, 3)]

    assert strides("1x1") == [2, 1, 1]
    assert strides("3x3") == strides(None) == [1, 2, 1]
    # The paper's form computes the first 3×3 of a stage at half the resolution.
    assert kcnn.card("resnet50", stride_in="1x1").macs < kcnn.card("resnet50").macs


@pytest.mark.parametrize("preact", [False, True])
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize(
    ("name", "stride_in"), [("resnet18", None), ("resnet50", "3x3"), ("resnet50", "1x1")]
)
@pytest.mark.slow
def test_dilated_network_samples_the_strided_one_more_densely(
    name, stride_in, output_stride, preact
):
    """At every second (fourth) pixel its feature map is that of the strided network."""
    options = {"input_shape": (70, 81, 3), "depths": (1, 2, 2, 2), "widths": (4, 6, 8, 10)}
    options |= {"include_top": False, "preact": preact, "stride_in": stride_in}
    strided = shuffle(kcnn.build(name, **options))
    dilated = kcnn.build(name, output_stride=output_stride, **options)
    dilated.set_weights(strided.get_weights())
    x = normal(2, 70, 81, 3)
    coarse, fine = run(strided, x), run(dilated, x)
    height, width = -(-70 // output_stride), -(-81 // output_stride)
    assert fine.shape[1:3] == (height, width)
    step = 32 // output_stride
    assert np.ptp(coarse) > 0
    np.testing.assert_allclose(fine[:, ::step, ::step], coarse, rtol=1e-4, atol=1e-5)


def test_output_stride_of_the_whole_network_changes_nothing():
    names = [[layer.name for layer in kcnn.card("resnet18", output_stride=s).cost.layers]
             for s in (None, 32)]  # fmt: skip
    assert names[0] == names[1]


@pytest.mark.parametrize("half", ["mixed_bfloat16", "mixed_float16"])
def test_probabilities_are_of_single_precision(half):
    """In 16 bits they would sum to 1 within 0.004 only, and lose what the loss needs."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(half)
    try:
        model = kcnn.build("lenet5", input_shape=(32, 32, 1), classes=100)
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.get_layer("conv1").compute_dtype == half.removeprefix("mixed_")
    outputs = model(normal(8, 32, 32, 1))
    assert outputs.dtype == "float32"
    np.testing.assert_allclose(np.sum(outputs, axis=1), 1.0, atol=1e-5)
