"""What every network for classification keeps: counts, gradients, saving, precision, names.

Those for segmentation: `test_segmentation_networks.py`.
"""

import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.models.registry import lookup

CLASSIFIERS = [name for name in kcnn.list_models() if lookup(name).task_name == "classification"]

#: name: (input, classes, trainable parameters, Keras' count_params(), GMACs as published)
PUBLISHED = {
    "mlp": ((28, 28, 1), 10, 795_010, 795_010, "0.000794"),
    "lenet5": ((32, 32, 1), 10, 61_706, 61_706, "0.000417"),
    "lenet5_1998": ((32, 32, 1), 10, 60_000, 60_840, "0.000328"),
    "alexnet": ((227, 227, 3), 1000, 62_378_344, 62_378_344, "1.135"),
    "alexnet_owt": ((224, 224, 3), 1000, 61_100_840, 61_100_840, "0.714"),
    "vgg11": ((224, 224, 3), 1000, 132_863_336, 132_863_336, "7.61"),
    "vgg13": ((224, 224, 3), 1000, 133_047_848, 133_047_848, "11.31"),
    "vgg16": ((224, 224, 3), 1000, 138_357_544, 138_357_544, "15.47"),
    "vgg19": ((224, 224, 3), 1000, 143_667_240, 143_667_240, "19.63"),
    "resnet18": ((224, 224, 3), 1000, 11_689_512, 11_699_112, "1.814"),
    "resnet34": ((224, 224, 3), 1000, 21_797_672, 21_814_696, "3.664"),
    "resnet50": ((224, 224, 3), 1000, 25_557_032, 25_610_152, "4.09"),
    "resnet101": ((224, 224, 3), 1000, 44_549_160, 44_654_504, "7.80"),
    "resnet152": ((224, 224, 3), 1000, 60_192_808, 60_344_232, "11.51"),
    # Of these count_params() adds two moving statistics for each of 16 + 2n (16 + 32 + 64)
    # channels; a block for each stage costs 3 · 2 · 32² · 16² · 9 = 0.0141558 GMACs.
    "resnet20": ((32, 32, 3), 10, 269_722, 269_722 + 2 * 688, "0.0406"),
    "resnet32": ((32, 32, 3), 10, 464_154, 464_154 + 2 * 1136, "0.0689"),
    "resnet44": ((32, 32, 3), 10, 658_586, 658_586 + 2 * 1584, "0.0972"),
    "resnet56": ((32, 32, 3), 10, 853_018, 853_018 + 2 * 2032, "0.1255"),
    "resnet110": ((32, 32, 3), 10, 1_727_962, 1_727_962 + 2 * 4048, "0.2529"),
}

#: The same networks, narrow and on small images, so that each test takes a second.
_SMALL_RESNET = {"input_shape": (16, 16, 3), "classes": 5, "widths": (4, 8, 8, 16)}
_SMALL_VGG = {"input_shape": (32, 32, 3), "classes": 5, "widths": (8, 8, 16, 16, 16)}
_SMALL_ALEXNET = {"input_shape": (67, 67, 3), "classes": 5, "widths": (8, 16, 16, 16, 16)}
SMALL = {
    "mlp": {"width": 32, "depth": 3},
    "lenet5": {},
    "lenet5_1998": {},
    **dict.fromkeys(("alexnet", "alexnet_owt"), _SMALL_ALEXNET | {"hidden": (32, 32)}),
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), _SMALL_VGG | {"hidden": (32, 32)}),
    **{f"resnet{depth}": _SMALL_RESNET for depth in (18, 34, 50, 101, 152)},
    **{f"resnet{depth}": {"input_shape": (12, 12, 3)} for depth in (20, 32, 44, 56, 110)},
}
#: One of each builder and block: the others are longer rows of the same table, and are counted.
KINDS = [
    "mlp", "lenet5", "lenet5_1998", "alexnet", "alexnet_owt", "vgg11", "vgg16",
    "resnet18", "resnet50", "resnet20", "resnet32",
]  # fmt: skip
BATCH = 6


def small(name, **options):
    """The small network, its BatchNorm statistics those of a batch: without that the signal of
    an untrained deep network doubles in every block, and softmax shows nothing of it."""
    keras.utils.set_random_seed(0)
    model = kcnn.build(name, **(SMALL[name] | options))
    layers = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for layer in layers:
        layer.momentum = 0.0
    model(images(model), training=True)
    for layer in layers:
        layer.momentum = 0.9
    return model


def images(model, seed=0):
    shape = (BATCH, *model.input_shape[1:])
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.fixture(scope="module", params=KINDS)
def network(request):
    return request.param, small(request.param)


@pytest.fixture
def bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


def test_every_network_is_in_the_table():
    assert sorted(PUBLISHED) == sorted(SMALL) == CLASSIFIERS


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name):
    input_shape, classes, trainable, keras_count, gmacs = PUBLISHED[name]
    card = kcnn.card(name)
    assert (card.input_shape, card.classes) == (input_shape, classes)
    assert card.parameters == card.published_parameters == trainable
    assert card.cost.parameters + card.cost.fixed_parameters == keras_count
    assert card.weight_memory == 4 * keras_count
    digits = len(gmacs.partition(".")[2])
    assert f"{card.macs / 1e9:.{digits}f}" == gmacs
    assert card.paper


@pytest.mark.parametrize(
    ("name", "options", "trainable", "keras_count", "gmacs"),
    [
        ("alexnet", {"groups": 2}, 60_965_224, 60_965_224, "0.724"),
        ("vgg16", {"batchnorm": True, "conv_bias": True}, 138_365_992, 138_374_440, "15.5"),
        # The biases that BatchNorm cancels, one for each of 4224 channels, are left out.
        ("vgg16", {"batchnorm": True}, 138_365_992 - 4224, 138_374_440 - 4224, "15.5"),
        ("lenet5", {"input_shape": (28, 28, 1)}, 61_706, 61_706, "0.000417"),
        ("lenet5_1998", {"head": "dense"}, 60_850, 60_850, "0.000328"),
        # Without the three projections of 28² · 64 · 128 multiply-accumulates each.
        ("resnet34", {"shortcut": "A"}, 21_623_848, 21_623_848 + 2 * 7616, "3.644"),
        ("resnet34", {"residual": False}, 21_623_848, 21_623_848 + 2 * 7616, "3.644"),
    ],
)
def test_counts_of_variants(name, options, trainable, keras_count, gmacs):
    cost = kcnn.card(name, **options).cost
    assert cost.parameters == trainable
    assert cost.parameters + cost.fixed_parameters == keras_count
    assert f"{cost.macs / 1e9:.{len(gmacs.partition('.')[2])}f}" == gmacs


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "resnet20"])
def test_the_default_network_is_built_as_counted(name):
    input_shape, classes, trainable, keras_count, _ = PUBLISHED[name]
    model = kcnn.build(name)
    assert type(model).__module__.startswith("keras.")  # no class of kcnn's own
    assert model.name == name
    assert model.input_shape == (None, *input_shape)
    assert model.output_shape == (None, classes)
    assert sum(w.shape.num_elements() for w in model.trainable_weights) == trainable
    assert model.count_params() == keras_count


def test_built_as_counted(network):
    name, model = network
    cost = kcnn.card(name, **SMALL[name]).cost
    assert cost.parameters + cost.fixed_parameters == model.count_params()
    assert cost.parameters == sum(np.prod(w.shape) for w in model.trainable_weights)


def test_output_is_a_probability_for_each_class(network):
    name, model = network
    output = model(images(model), training=False)
    assert output.shape == (BATCH, SMALL[name].get("classes", 10))
    assert output.dtype == "float32"
    np.testing.assert_allclose(np.sum(output, axis=-1), 1.0, rtol=1e-5)
    assert np.ptp(np.asarray(output), axis=0).max() > 1e-4  # depends on the image


def test_gradient_reaches_every_weight(network):
    _, model = network
    keras.utils.set_random_seed(1)
    classes = model.output_shape[-1]
    with tf.GradientTape() as tape:
        output = model(images(model), training=True)
        labels = np.arange(BATCH) % classes
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


def test_config_makes_the_same_network(network):
    _, model = network
    twin = type(model).from_config(model.get_config())
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    assert [w.shape for w in twin.weights] == [w.shape for w in model.weights]
    twin.set_weights(model.get_weights())
    x = images(model)
    np.testing.assert_array_equal(twin(x, training=False), model(x, training=False))


def test_layer_names_are_unique_and_tell_stage_and_position(network):
    _, model = network
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    ends = r"image|pad|flatten|avg_pool|dropout|predictions|rbf"
    places = r"(conv\d(_\d+)*|pool\d|fc\d|[cs]\d(_\d+)?|f6)(_[a-z]+)*"
    assert [name for name in names if not re.fullmatch(rf"{ends}|{places}", name)] == []
    # Keras numbers a layer that nobody named: `conv2d_3`, `re_lu`.
    automatic = {keras.src.utils.naming.to_snake_case(type(x).__name__) for x in model.layers}
    assert [n for n in names if re.sub(r"_\d+$", "", n) in automatic - {"flatten", "dropout"}] == []


def test_initialisers_suit_the_activation(network):
    """Empirical deviations of all large kernels: He before ReLU, Glorot before tanh."""
    name, model = network
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is None or kernel.shape.num_elements() < 400 or layer.name == "rbf":
            continue
        *window, fan_in, fan_out = kernel.shape
        receptive = int(np.prod(window))
        glorot = layer.name == "predictions" or name.startswith("lenet5")
        variance = 2 / (receptive * (fan_in + fan_out)) if glorot else 2 / (receptive * fan_in)
        tolerance = 5 / np.sqrt(2 * kernel.shape.num_elements())  # five standard errors
        assert np.std(kernel) == pytest.approx(np.sqrt(variance), rel=tolerance), layer.name


def test_no_bias_before_batchnorm(network):
    _, model = network
    normalised = [x.input for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    before = {id(tensor) for tensor in normalised}
    biased = [layer.name for layer in model.layers
              if id(layer.output) in before and layer.use_bias]  # fmt: skip
    assert biased == []


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", KINDS)
def test_mixed_precision_computes_in_bfloat16_and_ends_in_float32(name):
    model = kcnn.build(name, **SMALL[name])
    kernels = [layer for layer in model.layers if hasattr(layer, "kernel")]
    assert kernels[0].compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    output = model(images(model), training=False)
    assert output.dtype == "float32"
    np.testing.assert_allclose(np.sum(output, axis=-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["mlp", "lenet5", "lenet5_1998", "alexnet", "vgg11", "resnet18", "resnet50", "resnet20"]
)
def test_jit_compiled_it_predicts_the_same(name):
    # Fewer blocks of each kind: compiling takes most of the time.
    depths = {"resnet18": (1, 2), "resnet50": (1, 2), "resnet20": (1, 2), "vgg11": (1, 1, 1, 1, 1)}
    widths = {"widths": (4, 8)} if name.startswith("resnet") else {}
    model = small(name, **({"depths": depths[name]} | widths if name in depths else {}))
    x = images(model)
    model.compile(jit_compile=True)
    predicted = model.predict(x, verbose=0)
    np.testing.assert_allclose(predicted, model(x, training=False), rtol=1e-4, atol=1e-5)


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
    cases = {
        "lenet5_1998": {},
        "alexnet": SMALL["alexnet"] | {"lrn": True, "groups": 2},
        "vgg11": SMALL["vgg11"] | {"batchnorm": True, "residual": True},
        "resnet20": SMALL["resnet20"] | {"depths": (1, 1, 1)},  # shortcut A
        "resnet50": SMALL["resnet50"] | {"preact": True, "depths": (1, 1, 1, 1)},
    }
    for name, options in cases.items():
        model = kcnn.build(name, **options)
        model.save(tmp_path / f"{name}.keras")
        x = images(model)
        outputs = np.asarray(model(x, training=False))
        np.savez(tmp_path / f"{name}.npz", images=x, outputs=outputs)
    subprocess.run(
        [sys.executable, "-c", FOREIGN, tmp_path, *cases],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=tmp_path,
        check=True,
    )
