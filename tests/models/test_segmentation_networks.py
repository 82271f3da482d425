"""Networks with a class for each pixel: counts, geometry, and the same weights in PyTorch."""

import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.graph.cost import cost
from kcnn.models.fcn import _enlarge
from kcnn.models.registry import lookup

#: A second each, and there are many: what everybody runs is to be short.
pytestmark = pytest.mark.slow

#: id: (name, options): every way of building one, narrow and on small images.
#: ResNet-18 from 12 filters on: with 4 or 8, TensorFlow 2.21's gradient of a convolution of three
#: small pictures ends the process on some processors (in oneDNN; without it, it is computed).
CASES = {
    "unet": ("unet", {"input_shape": (32, 48, 2), "classes": 3, "width": 4}),
    "unet-valid": (
        "unet",
        {"input_shape": (44, 52, 1), "classes": 3, "width": 4, "depth": 2, "padding": "valid"},
    ),
    "unet-bn": (
        "unet",
        {"input_shape": (16, 24, 3), "width": 4, "depth": 2, "batchnorm": True, "dropout": 0.5},
    ),
    "unet-resnet18": (
        "unet",
        {"input_shape": (64, 96, 3), "classes": 4, "backbone": "resnet18", "width": 16},
    ),
    "unet-resnet20-cifar": (
        "unet",
        {"input_shape": (16, 12, 3), "backbone": "resnet20", "width": 4, "stem": "cifar"},
    ),
    "unet-vgg11": ("unet", {"input_shape": (64, 32, 3), "backbone": "vgg11", "width": 4}),
    "fcn8": (
        "fcn",
        {"input_shape": (64, 96, 3), "classes": 5, "backbone": "vgg11", "width": 8}
        | {"hidden": (16, 12)},
    ),
    "fcn16": (
        "fcn",
        {"input_shape": (64, 96, 3), "classes": 5, "backbone": "resnet18", "width": 12}
        | {"hidden": (), "stride": 16},
    ),
    "fcn32": (
        "fcn",
        {"input_shape": (64, 96, 3), "classes": 5, "backbone": "vgg11", "width": 8}
        | {"hidden": (16, 12), "stride": 32, "batchnorm": True},
    ),
}  # fmt: skip


#: They add little to the others.
_SLOW = ("unet-resnet20-cifar", "unet-vgg11", "fcn16")
ALL = [pytest.param(case, marks=pytest.mark.slow) if case in _SLOW else case for case in CASES]


def images(model, count=3, seed=0):
    shape = (count, *(side or 64 for side in model.input_shape[1:3]), model.input_shape[3])
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def small(case, **options):
    name, given = CASES[case]
    keras.utils.set_random_seed(0)
    return kcnn.build(name, **given | options)


@pytest.fixture(scope="module", params=ALL)
def network(request):
    return request.param, small(request.param)


# --------------------------------------------------------------------------- counts


def test_every_network_for_segmentation_is_here():
    names = {name for name in kcnn.list_models() if lookup(name).task_name == "segmentation"}
    assert names == {name for name, _ in CASES.values()}
    assert all(kcnn.card(name).task == "segmentation" for name in names)


def unet_by_hand(height, width, channels, classes, levels=5, filters=64):
    """Parameters and multiply-accumulates of figure 1, padded."""
    parameters = macs = 0
    for level in range(levels):
        k, positions = filters * 2**level, height * width // 4**level
        convolutions = [(9, channels if level == 0 else k // 2, k), (9, k, k)]
        if level < levels - 1:
            convolutions += [(9, 2 * k, k), (9, k, k)]
            parameters += 4 * 2 * k * k + k
            macs += positions // 4 * 4 * 2 * k * k  # each position of the coarser map once
        parameters += sum(area * n * m + m for area, n, m in convolutions)
        macs += positions * sum(area * n * m for area, n, m in convolutions)
    return parameters + filters * classes + classes, macs + height * width * filters * classes


def test_unet_has_the_published_count():
    card = kcnn.card("unet")
    assert (card.input_shape, card.classes) == ((512, 512, 1), 2)
    assert card.parameters == card.published_parameters == 31_030_658
    assert unet_by_hand(512, 512, 1, 2) == (31_030_658, card.macs)
    assert lookup("unet").macs == card.macs
    assert kcnn.card("unet", input_shape=(64, 32, 3), classes=5).parameters == (
        31_030_658 + 2 * 9 * 64 + 3 * 65
    )
    valid = kcnn.card("unet", input_shape=(572, 572, 1), padding="valid")
    assert valid.parameters == 31_030_658


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_unet_of_other_sizes_by_hand(depth):
    card = kcnn.card("unet", input_shape=(16, 24, 3), classes=4, depth=depth, width=8)
    assert (card.parameters, card.macs) == unet_by_hand(16, 24, 3, 4, depth + 1, 8)


VGG16 = 138_357_544 - (25_088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000)


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn_has_the_published_count(stride):
    """FCN-32s without its filters for enlarging, and a 1×1 score of pool4 and of pool3 more."""
    head = 7 * 7 * 512 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 21 + 21
    expected = VGG16 + head
    assert expected == 134_346_581
    expected += (stride <= 16) * (512 * 21 + 21) + (stride <= 8) * (256 * 21 + 21)
    card = kcnn.card("fcn", stride=stride)
    assert (card.parameters, card.classes) == (expected, 21)
    if stride == 8:
        assert card.published_parameters == expected
        assert lookup("fcn").macs == card.macs
        # VGG-16's convolutions at 224², 5.2 times the pixels; the head and the scores.
        vgg = (15_470_264_320 - 25_088 * 4096 - 4096 * 4096 - 4096 * 1000) * 512**2 // 224**2
        head = 16 * 16 * (49 * 512 * 4096 + 4096 * 4096 + 4096 * 21)
        assert card.macs == vgg + head + 32 * 32 * 512 * 21 + 64 * 64 * 256 * 21


def test_unet_on_resnet18_by_hand():
    card = kcnn.card("unet", backbone="resnet18", input_shape=(64, 64, 3), classes=7)
    parameters, before = 11_689_512 - 513_000, 512  # without the top
    for filters, skip in ((256, 256), (128, 128), (64, 64), (64, 64), (32, 0)):
        parameters += 4 * before * filters + filters  # the up-convolution
        parameters += 9 * (filters + skip) * filters + 9 * filters**2  # BatchNorm, no biases
        parameters += 2 * 2 * filters
        before = filters
    assert card.parameters == parameters + 32 * 7 + 7


def test_built_as_counted(network):
    case, model = network
    name, options = CASES[case]
    counted = kcnn.card(name, **options).cost
    assert counted.parameters + counted.fixed_parameters == model.count_params()
    assert cost(model) == counted
    last = counted.layers[-1]
    assert (last.name, last.stride) == ("predictions", 1)


def test_the_stem_on_the_card():
    shape = {"input_shape": (64, 64, 3)}
    assert kcnn.card("unet", **shape).choices == {}
    assert kcnn.card("unet", backbone="vgg11", **shape).choices == {}
    assert kcnn.card("unet", backbone="resnet18", **shape).choices == {"stem": "imagenet"}
    assert kcnn.card("unet", backbone="resnet18", stem="cifar", **shape).choices == {
        "stem": "cifar"
    }


# --------------------------------------------------------------------------- geometry


@pytest.mark.parametrize(("side", "left"), [(572, 388), (188, 4), (204, 20)])
def test_valid_is_the_papers_geometry(side, left):
    cost = kcnn.card("unet", input_shape=(side, side, 1), padding="valid").cost
    assert cost.layers[-1].output_shape == (left, left, 2)


def test_valid_at_any_size():
    model = small("unet-valid", input_shape=(None, None, 1))
    assert model(np.zeros((1, 44, 52, 1), "float32")).shape == (1, 4, 12, 3)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_smallest_valid_image(depth):
    smallest = {1: 18, 2: 44, 3: 92}[depth]
    options = {"padding": "valid", "depth": depth, "width": 2}
    card = kcnn.card("unet", input_shape=(smallest, smallest, 1), **options)
    assert min(card.cost.layers[-1].output_shape[:2]) > 0
    too_small = smallest - 2**depth
    with pytest.raises(kcnn.InputError, match=f"are {smallest} and multiples of {2**depth} more"):
        kcnn.card("unet", input_shape=(too_small, too_small, 1), **options)


@pytest.mark.parametrize("case", ["unet", "unet-vgg11", "fcn8"])
def test_images_of_any_size(case):
    """The same weights on another size, and what a network of that size gives."""
    fixed, free = (
        small(case),
        small(case, input_shape=(None, None, CASES[case][1]["input_shape"][2])),
    )
    free.set_weights(fixed.get_weights())
    x = images(fixed)
    np.testing.assert_allclose(free(x), fixed(x), rtol=1e-5, atol=1e-6)
    assert free(x[:, :32, :32]).shape == (3, 32, 32, fixed.output_shape[-1])


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("unet", {"input_shape": (100, 64, 1)}, ["multiples of 16", "100×64", "96×64 and 112×64"]),
        ("unet", {"input_shape": (10, 16, 1)}, ["multiples of 16", "nearest are 16×16."]),
        ("unet", {"input_shape": (None, 100, 1)}, ["multiples of 16", "None×100", "16×96 and"]),
        ("unet", {"input_shape": (60, 64, 1), "depth": 3}, ["multiples of 8", "56×64 and 64×64"]),
        (
            "unet",
            {"input_shape": (570, 572, 1), "padding": "valid"},
            ["188 and multiples of 16 more", "556×572 and 572×572"],
        ),
        (
            "unet",
            {"input_shape": (48, 64, 3), "backbone": "resnet18"},
            ["unet on resnet18", "multiples of 32", "48×64", "32×64 and 64×64"],
        ),
        ("fcn", {"input_shape": (224, 225, 3)}, ["fcn on vgg16", "224×224 and 224×256"]),
    ],
)
def test_sizes_that_do_not_fit(name, options, words):
    with pytest.raises(kcnn.errors.GeometryError) as refused:
        kcnn.build(name, **options)
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize("size", [(512, 512), (33, 20), None])
def test_preprocessing_goes_to_the_backbone(size):
    """Sizes are those that it leaves; the network stays one graph."""
    model = kcnn.build(
        "unet", backbone="resnet18", width=4, input_shape=(*(size or (None, None)), 3),
        preprocessing=[keras.layers.Resizing(32, 64, name="resize"), keras.layers.Rescaling(0.1)],
    )  # fmt: skip
    assert model.layers[1].name == "resize"
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    assert model(images(model)).shape == (3, 32, 64, 2)
    with pytest.raises(kcnn.InputError, match=r"multiples of 32.*received 32×50"):
        kcnn.build("unet", backbone="resnet18", preprocessing=[keras.layers.Resizing(32, 50)])
    with pytest.raises(kcnn.InputError, match=r"multiples of 16.*received 32×50"):
        kcnn.build("unet", preprocessing=[keras.layers.Resizing(32, 50)])


# --------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("unet", {"backbone": "mlp"}, ["mlp is no backbone", "no feature maps", "resnet18"]),
        ("unet", {"backbone": "lenet5"}, ["lenet5 is no backbone", "stride 1 is 252×252"]),
        ("fcn", {"backbone": "lenet5_1998"}, ["lenet5_1998 is no backbone", "32×32"]),
        ("fcn", {"backbone": "alexnet"}, ["alexnet is no backbone", "62×62, not 64×64"]),
        ("unet", {"backbone": "fcn"}, ["backbone='fcn'", "which is for segmentation"]),
        ("unet", {"backbone": "resnet1"}, ["resnet1", "Did you mean"]),
        ("unet", {"backbone": "vgg11", "padding": "valid"}, ["padding='valid'", "vgg11"]),
        ("unet", {"backbone": "vgg11", "depth": 3}, ["depth=3", "vgg11"]),
        ("unet", {"backbone": "vgg11", "stem": "cifar"}, ["stem='cifar'", "vgg11 has none"]),
        ("unet", {"stem": "imagenet"}, ["stem='imagenet'", "own encoder has none"]),
        ("unet", {"depth": 0}, ["depth", "from 1 to 8", "0"]),
        ("unet", {"depth": 9}, ["depth", "from 1 to 8", "9"]),
        ("unet", {"width": 0}, ["width", "from 1", "0"]),
        ("unet", {"padding": "full"}, ["padding", "same, valid", "'full'"]),
        ("unet", {"residual": True}, ["residual=True"]),
        ("unet", {"pooling": "avg"}, ["pooling='avg'"]),
        ("fcn", {"stride": 4}, ["stride", "8, 16, 32", "4"]),
        ("fcn", {"hidden": 4096}, ["hidden", "4096,4096"]),
        ("fcn", {"backbone": None}, ["backbone", "None"]),
        ("fcn", {"backbone": "resnet20"}, ["resnet20", "none of stride 32"]),
    ],
)
def test_what_cannot_be_honoured_is_refused(name, options, words):
    with pytest.raises(kcnn.InputError) as refused:
        kcnn.build(name, **options)
    assert [word for word in words if word not in str(refused.value)] == []


def test_a_backbone_in_a_file_does_not_run(tmp_path):
    (tmp_path / "net.py").write_text("raise AssertionError('it ran')")
    with pytest.raises(kcnn.InputError, match="which a network's option does not run"):
        kcnn.build("unet", backbone=f"{tmp_path}/net.py:net")


def _own(input_shape, classes):
    """A classifier of ones own: no width, no top to leave out, no preprocessing."""
    image = keras.Input(input_shape)
    x = keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="a")(image)
    x = keras.layers.Conv2D(6, 4, strides=4, activation="relu", name="b")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes, name="top")(x))


def test_a_backbone_of_ones_own():
    kcnn.register("own", input_shape=(8, 8, 3), classes=7)(_own)
    model = kcnn.build("unet", backbone="own", input_shape=(8, 12, 3))
    names = [layer.name for layer in model.layers if layer.weights]
    # No map of stride 2: half the filters of the one of stride 4, and nothing to concatenate.
    assert names == ["a", "b", "up2", "dec2_1", "dec2_2", "up1", "dec1_1", "dec1_2", "predictions"]
    assert model.get_layer("dec2_2").filters == 3
    assert model.get_layer("dec1_1").input.shape == (None, 8, 12, 5 + 5)
    with pytest.raises(kcnn.InputError, match=r"width=4 scales.*own has not"):
        kcnn.build("unet", backbone="own", width=4)
    with pytest.raises(kcnn.InputError, match="'batchnorm'"):
        kcnn.build("unet", backbone="own", batchnorm=True)
    with pytest.raises(kcnn.InputError, match="a parameter `preprocessing`"):
        kcnn.build("unet", backbone="own", preprocessing=[keras.layers.Rescaling(2.0)])


@pytest.mark.parametrize(
    ("backbone", "width", "widths"),
    [("resnet18", 6, [6, 12, 24, 48]), ("vgg11", 8, [8, 16, 32, 64, 64])],
)
def test_width_scales_a_backbone(backbone, width, widths):
    model = kcnn.build("unet", backbone=backbone, width=width, input_shape=(32, 32, 3))
    plain = kcnn.build(backbone, include_top=False, widths=widths, input_shape=(32, 32, 3),
                       **({"stem": "imagenet"} if backbone == "resnet18" else {}))  # fmt: skip
    ours = {layer.name: [w.shape for w in layer.weights] for layer in model.layers}
    for layer in plain.layers:
        assert ours[layer.name] == [w.shape for w in layer.weights]


@pytest.mark.parametrize(("given", "backbone", "expected"), [
    (None, None, False), (True, None, True), (None, "resnet18", True), (False, "resnet18", False),
    (None, "vgg11", False), (True, "vgg11", True),
])  # fmt: skip
def test_batchnorm_is_the_backbones_own(given, backbone, expected):
    model = kcnn.build("unet", backbone=backbone, batchnorm=given, width=2, input_shape=(32, 32, 3))
    names = {layer.name for layer in model.layers if layer.name.endswith("_bn")}
    convolutions = {x.name for x in model.layers if type(x) is keras.layers.Conv2D}
    assert names == (
        {f"{name}_bn" for name in convolutions - {"predictions"}} if expected else set()
    )


@pytest.mark.parametrize("factor", [2, 8, 32])
def test_enlarging_by_numpy(factor):
    """Linear along one axis, then along the other, from centre to centre; of any size as of one."""
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 2)).astype("float32")

    def along(x, axis):
        size = x.shape[axis]
        places = (np.arange(size * factor) + 0.5) / factor - 0.5
        return np.apply_along_axis(lambda row: np.interp(places, np.arange(size), row), axis, x)

    wanted = along(along(x, 1), 2)
    for sides in ((3, 5), (None, None), (None, 5)):
        inputs = keras.Input((*sides, 2))
        model = keras.Model(inputs, _enlarge(inputs, factor, "up"))
        unknown = tf.TensorSpec((None, *sides, 2), "float32")
        found = tf.function(model, input_signature=[unknown])(x)
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_dropout_is_at_the_end_of_the_contracting_path():
    for options in ({"depth": 2}, {"backbone": "vgg11"}):
        model = kcnn.build("unet", dropout=0.3, width=2, input_shape=(32, 32, 3), **options)
        (dropout,) = [x for x in model.layers if isinstance(x, keras.layers.Dropout)]
        assert dropout.rate == 0.3
        assert dropout.output is model.get_layer("up2" if "depth" in options else "up5").input


def test_skips_are_the_last_maps_and_scores_the_first():
    """U-Net concatenates what a stage ends with; FCN scores pool3 and pool4 (figure 3)."""
    shape = {"input_shape": (64, 64, 3), "backbone": "vgg16", "width": 2}
    unet = kcnn.build("unet", **shape)
    skips = [unet.get_layer(f"up{level}_concat").input[0] for level in range(1, 6)]
    ends = ["conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"]
    assert all(
        x is unet.get_layer(f"{end}_relu").output for x, end in zip(skips, ends, strict=True)
    )
    assert unet.get_layer("up5").input is unet.get_layer("pool5").output
    fcn = kcnn.build("fcn", hidden=(2,), **shape)
    for stride, pool in ((8, "pool3"), (16, "pool4")):
        assert fcn.get_layer(f"score{stride}").input is fcn.get_layer(pool).output
        assert not np.any(fcn.get_layer(f"score{stride}").kernel)
    assert np.any(fcn.get_layer("score32").kernel)


# --------------------------------------------------------------------------- contract


def test_a_distribution_for_each_pixel(network):
    case, model = network
    x = images(model)
    output = np.asarray(model(x, training=False))
    size = (4, 12) if case == "unet-valid" else model.input_shape[1:3]
    assert output.shape == (3, *size, CASES[case][1].get("classes", 2))
    assert output.dtype == "float32"
    np.testing.assert_allclose(output.sum(axis=-1), 1.0, rtol=1e-5)
    assert np.ptp(output, axis=0).max() > 1e-4  # depends on the image
    assert np.ptp(output, axis=(1, 2)).max() > 1e-4  # and on the place


@pytest.mark.parametrize("case", ["unet", "fcn8"])
def test_one_class_is_a_sigmoid_and_none_gives_logits(case):
    model, logits = small(case, classes=1), small(case, classes=1, classifier_activation=None)
    logits.set_weights(model.get_weights())
    x = images(model)
    expected = 1 / (1 + np.exp(-np.asarray(logits(x), "float64")))
    np.testing.assert_allclose(model(x), expected, rtol=1e-4)


def test_gradient_reaches_every_weight(network):
    _, model = network
    x = images(model)
    with tf.GradientTape() as tape:
        output = model(x, training=True)
        labels = np.random.default_rng(0).integers(0, output.shape[-1], output.shape[:-1])
        loss = keras.losses.sparse_categorical_crossentropy(labels, output)
    weights = model.trainable_weights
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    assert all(gradient is not None for gradient in gradients)
    sizes = {w.path: np.abs(g).max() for w, g in zip(weights, gradients, strict=True)}
    assert np.isfinite(list(sizes.values())).all()
    assert [path for path, size in sizes.items() if size == 0] == []


def test_saved_and_loaded_it_gives_identical_outputs(network, tmp_path):
    _, model = network
    x = images(model)
    expected = model(x, training=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(x, training=False), expected)


def test_it_is_one_flat_graph_of_keras_own_layers(network):
    case, model = network
    assert type(model) is keras.Model or type(model).__module__.startswith("keras.")
    assert model.name == CASES[case][0]
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    own = r"image|dropout|predictions|(enc|up|dec|sum|score|fc|conv|pool)\d+(_\w+)?"
    assert [name for name in names if not re.fullmatch(own, name)] == []


def test_initialisers_keep_the_signal(network):
    """He before ReLU; an up-convolution's outputs read one position each, and have no ReLU."""
    _, model = network
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None or kernel.shape.num_elements() < 400 or layer.name.startswith("score"):
            continue
        transposed = isinstance(layer, keras.layers.Conv2DTranspose)
        variance = 1 / kernel.shape[-1] if transposed else 2 / np.prod(kernel.shape[:-1])
        tolerance = 5 / np.sqrt(2 * kernel.shape.num_elements())
        assert np.std(kernel) == pytest.approx(np.sqrt(variance), rel=tolerance), layer.name


def test_no_bias_before_batchnorm(network):
    _, model = network
    normalised = [x.input for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    before = {id(tensor) for tensor in normalised}
    assert [x.name for x in model.layers if id(x.output) in before and x.use_bias] == []


@pytest.mark.parametrize("case", ALL)
def test_mixed_precision_computes_in_bfloat16_and_ends_in_float32(case):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small(case)
    finally:
        keras.config.set_dtype_policy("float32")
    kernels = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert kernels[0].compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    output = model(images(model), training=False)
    assert output.dtype == "float32"
    np.testing.assert_allclose(np.sum(output, axis=-1), 1.0, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["unet-bn", "fcn8"])
def test_jit_compiled_it_predicts_the_same(case):
    model = small(case)
    x = images(model)
    expected = model(x, training=False)
    model.compile(jit_compile=True)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


FOREIGN = """
import sys
import keras, numpy as np

folder = sys.argv[1]
for name in sys.argv[2:]:
    model = keras.saving.load_model(f"{folder}/{name}.keras", safe_mode=True)
    with np.load(f"{folder}/{name}.npz") as file:
        np.testing.assert_array_equal(model(file["images"], training=False), file["outputs"])
assert not [module for module in sys.modules if module.startswith("kcnn")]
"""


@pytest.mark.slow
def test_a_saved_network_needs_no_kcnn(tmp_path):
    cases = ("unet-valid", "unet-resnet18", "fcn8")
    for case in cases:
        model = small(case)
        model.save(tmp_path / f"{case}.keras")
        x = images(model)
        np.savez(tmp_path / f"{case}.npz", images=x, outputs=model(x, training=False))
    subprocess.run(
        [sys.executable, "-c", FOREIGN, tmp_path, *cases],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=tmp_path,
        check=True,
    )


# --------------------------------------------------------------------------- PyTorch


@pytest.fixture(scope="module")
def oracles():
    pytest.importorskip("torch", reason="needs PyTorch: pip install kcnn[oracle]")
    from oracles import convert, torch_segmentation

    return convert, torch_segmentation


VGG11 = {"depths": (1, 1, 2, 2, 2), "widths": (8, 16, 32, 64, 64)}
FCN = {"backbone": "vgg11", "width": 8, "hidden": (24, 20), "input_shape": (64, 96, 3)}
#: id: (name and options for kcnn.build, net and options in torch_segmentation)
NETS = {
    "unet-same": (
        *("unet", {"input_shape": (48, 32, 3), "width": 4}),
        *("UNet", {"channels": 3, "width": 4, "padding": 1}),
    ),
    "unet-valid": (
        *("unet", {"input_shape": (204, 188, 1), "width": 4, "padding": "valid"}),
        *("UNet", {"channels": 1, "width": 4}),
    ),
    "unet-bn": (
        *("unet", {"input_shape": (16, 24, 3), "width": 6, "depth": 2, "batchnorm": True}),
        *("UNet", {"channels": 3, "width": 6, "depth": 2, "padding": 1, "batchnorm": True}),
    ),
    "fcn8": ("fcn", FCN, "FCN", {**VGG11, "hidden": (24, 20), "stride": 8}),
    "fcn16": (
        *("fcn", {**FCN, "stride": 16}),
        *("FCN", {**VGG11, "hidden": (24, 20), "stride": 16}),
    ),
    "fcn32": (
        *("fcn", {**FCN, "stride": 32}),
        *("FCN", {**VGG11, "hidden": (24, 20), "stride": 32}),
    ),
}  # fmt: skip


def pair(oracles, net):
    """The Keras model and the PyTorch net of a row, with the same random weights; and images."""
    convert, torch_segmentation = oracles
    name, options, kind, torch_options = NETS[net]
    model = kcnn.build(name, classes=3, classifier_activation=None, **options)
    x = images(model, seed=1)
    convert.randomize(model, x)
    reference = getattr(torch_segmentation, kind)(classes=3, **torch_options)
    return model, torch_segmentation.copy_by_name(model, reference), x


def forward(net, x):
    import torch

    with torch.no_grad():
        return net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize("net", NETS)
def test_same_logits_as_pytorch(oracles, net):
    model, reference, x = pair(oracles, net)
    expected = forward(reference, x)
    assert np.linalg.norm(expected[0] - expected[1]) > 0.01 * np.linalg.norm(expected[0])
    actual = np.asarray(model(x, training=False))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("net", ["unet-bn", "fcn8"])
def test_the_comparison_notices_every_tensor(oracles, net):
    model, reference, x = pair(oracles, net)
    expected = forward(reference, x)
    unnoticed = []
    for weight in model.weights:
        value = weight.numpy()
        weight.assign(np.roll(value, 1) if value.ndim == 1 else value[..., ::-1])
        difference = np.abs(np.asarray(model(x, training=False)) - expected).max()
        if difference < 1e-3 * np.abs(expected).max():
            unnoticed.append(weight.path)
        weight.assign(value)
    assert unnoticed == []
