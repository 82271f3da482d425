"""Batch normalisation by the fused kernel against Keras', PyTorch's and the formula in float64."""

import copy
import json
import os
import pickle
import subprocess
import sys
import textwrap
import zipfile
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from kcnn.models.batchnorm import BatchNormalization

PLAIN = keras.layers.BatchNormalization
#: Distance between neighbouring numbers at 1, of what the layer computes in.
ROUNDING = {"float32": 2.0**-23, "mixed_bfloat16": 2.0**-7, "mixed_float16": 2.0**-10}
SHAPES = [(4, 5, 6, 3), (1, 3, 3, 2), (3, 1, 1, 4), (1, 1, 1, 3), (2, 1, 7, 1)]


class Result(NamedTuple):
    """What a training step takes from the layer, as float64."""

    outputs: np.ndarray
    inputs: np.ndarray  # gradients, from here
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray  # moving statistics
    variance: np.ndarray


def values(shape, seed=0):
    """Images with channels of different mean and scale; what comes down; gamma; beta."""
    rng, channels = np.random.default_rng(seed), shape[-1]
    images = rng.normal(size=shape) * np.linspace(0.5, 3, channels) + np.arange(channels)
    return (
        images.astype("float32"),
        rng.normal(size=shape).astype("float32"),
        rng.uniform(0.5, 2, channels).astype("float32"),
        rng.normal(size=channels).astype("float32"),
    )


def step(layer, images, upstream, gamma, beta, jit=False, **call):
    """One training step through the layer, with the loss sum(outputs * upstream)."""
    images = tf.cast(images, layer.compute_dtype)
    if not layer.built:
        layer.build(images.shape)
    for weight, value in ((layer.gamma, gamma), (layer.beta, beta)):
        if weight is not None:
            weight.assign(value)

    @tf.function(jit_compile=jit)
    def forward_and_back(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images, training=True, **call)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float64) * tf.cast(upstream, tf.float64))
        sources = [images, *(v.value for v in (layer.gamma, layer.beta) if v is not None)]
        return outputs, tape.gradient(loss, sources)

    outputs, (of_images, *others) = forward_and_back(images)
    assert outputs.dtype == layer.compute_dtype
    of_gamma = others.pop(0) if layer.scale else np.zeros(0)
    of_beta = others.pop(0) if layer.center else np.zeros(0)
    moving = layer.moving_mean.value, layer.moving_variance.value
    return Result(*(np.asarray(tf.cast(v, tf.float64)) for v in
                    (outputs, of_images, of_gamma, of_beta, *moving)))  # fmt: skip


def close(ours, theirs, rounding):
    """Equal but for `rounding` of the largest number of each array."""
    for name, a, b in zip(Result._fields, ours, theirs, strict=True):
        assert a.shape == b.shape, name
        np.testing.assert_allclose(
            a, b, rtol=0, atol=rounding * (1 + np.abs(b).max(initial=0)), err_msg=name
        )


def by_formula(images, upstream, gamma, beta, momentum, epsilon):
    """Ioffe & Szegedy 2015, algorithm 1 and the derivatives of section 3, in float64."""
    x, dy, gamma, beta = (a.astype("float64") for a in (images, upstream, gamma, beta))
    axes, n = (0, 1, 2), x[..., 0].size
    mean, variance = x.mean(axes), x.var(axes)
    sigma = np.sqrt(variance + epsilon)
    hat = (x - mean) / sigma
    dhat = dy * gamma
    dvariance = (dhat * (x - mean)).sum(axes) * -0.5 / sigma**3
    dmean = -dhat.sum(axes) / sigma
    dx = dhat / sigma + dvariance * 2 * (x - mean) / n + dmean / n
    return Result(
        gamma * hat + beta,
        dx,
        (dy * hat).sum(axes),
        dy.sum(axes),
        (1 - momentum) * mean,
        momentum + (1 - momentum) * variance,
    )


class TestNumbers:
    @pytest.mark.parametrize("jit", [False, True])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_of_the_formula(self, shape, jit):
        arrays = values(shape)
        ours = step(BatchNormalization(momentum=0.7, epsilon=0.01), *arrays, jit=jit)
        close(ours, by_formula(*arrays, 0.7, 0.01), 16 * ROUNDING["float32"])

    def test_far_from_zero(self):
        """The variance is not the difference of two large numbers."""
        images, *others = values((16, 8, 8, 2))
        images += 1000
        ours = step(BatchNormalization(), images, *others)
        theirs = by_formula(images, *others, 0.99, 1e-3)
        close(ours, theirs, 16 * 1000 * ROUNDING["float32"])

    @pytest.mark.parametrize("shape", SHAPES[:3])
    def test_of_pytorch(self, shape):
        """PyTorch divides by the biased variance, and keeps the one that Bessel corrected."""
        torch = pytest.importorskip("torch")
        images, upstream, gamma, beta = values(shape)
        ours = step(BatchNormalization(momentum=0.9, epsilon=1e-5), images, upstream, gamma, beta)
        layer = torch.nn.BatchNorm2d(shape[-1], momentum=0.1, eps=1e-5).double()
        with torch.no_grad():
            layer.weight[:], layer.bias[:] = torch.tensor(gamma), torch.tensor(beta)
        inputs = torch.tensor(images.transpose(0, 3, 1, 2)).double().requires_grad_()
        outputs = layer(inputs)
        outputs.backward(torch.tensor(upstream.transpose(0, 3, 1, 2)).double())
        n = images[..., 0].size
        variance = 0.9 + (layer.running_var.numpy() - 0.9) * (n - 1) / n
        theirs = Result(
            outputs.detach().numpy().transpose(0, 2, 3, 1),
            inputs.grad.numpy().transpose(0, 2, 3, 1),
            layer.weight.grad.numpy(),
            layer.bias.grad.numpy(),
            layer.running_mean.numpy(),
            variance,
        )
        close(ours, theirs, 16 * ROUNDING["float32"])

    @pytest.mark.parametrize("jit", [False, True])
    @pytest.mark.parametrize("dtype", ROUNDING)
    @pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[2]])
    def test_of_keras(self, shape, dtype, jit):
        arrays = values(shape)
        ours = step(BatchNormalization(dtype=dtype), *arrays, jit=jit)
        close(ours, step(PLAIN(dtype=dtype), *arrays), 16 * ROUNDING[dtype])

    @pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
    def test_half_precision_keeps_statistics_in_float32(self, dtype):
        """Values and sums that float16 cannot hold, differences that bfloat16 would lose."""
        images, *others = values((64, 8, 8, 2))
        images = np.asarray(tf.cast(tf.cast(images * 100, BatchNormalization(dtype=dtype)
                                            .compute_dtype), tf.float32))  # fmt: skip
        ours = step(BatchNormalization(dtype=dtype, momentum=0.0), images, *others)
        exact = images.astype("float64")
        np.testing.assert_allclose(ours.mean, exact.mean((0, 1, 2)), atol=1e-4)
        np.testing.assert_allclose(ours.variance, exact.var((0, 1, 2)), rtol=1e-5)

    @pytest.mark.parametrize(
        "options",
        [
            {"scale": False},
            {"center": False},
            {"scale": False, "center": False},
            {"momentum": 0.0},
            {"momentum": 1.0, "epsilon": 0.5},
            {"axis": 3},
            {"gamma_regularizer": "l2", "beta_constraint": "non_neg"},
        ],
        ids=str,
    )
    def test_options_are_those_of_keras(self, options):
        arrays = values((4, 3, 3, 3))
        ours, theirs = BatchNormalization(**options), PLAIN(**options)
        close(step(ours, *arrays), step(theirs, *arrays), 16 * ROUNDING["float32"])
        np.testing.assert_allclose(sum(ours.losses), sum(theirs.losses), rtol=1e-6)

    def test_whole_numbers_come_in(self):
        images = np.random.default_rng(0).integers(0, 255, (4, 3, 3, 2), dtype="uint8")
        ours, theirs = (layer(images, training=True) for layer in (BatchNormalization(), PLAIN()))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)

    def test_moving_statistics_over_several_steps(self):
        ours, theirs = BatchNormalization(momentum=0.8), PLAIN(momentum=0.8)
        for seed, images in enumerate((5, 5, 2)):
            arrays = values((images, 4, 4, 3), seed)
            close(step(ours, *arrays), step(theirs, *arrays), 16 * ROUNDING["float32"])

    def test_a_gradient_of_gradients(self):
        """A penalty on the gradient, as adversarial training has it."""
        images = tf.constant(values((4, 3, 3, 2))[0])
        found = []
        for layer in (BatchNormalization(), PLAIN()):
            with tf.GradientTape() as outer:
                outer.watch(images)
                with tf.GradientTape() as inner:
                    inner.watch(images)
                    loss = tf.reduce_sum(tf.sin(layer(images, training=True)))
                penalty = tf.reduce_sum(inner.gradient(loss, images) ** 2)
            found.append(outer.gradient(penalty, images))
        np.testing.assert_allclose(*found, atol=1e-4)

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_of_keras_in_pure_half_precision(self, dtype):
        arrays = values(SHAPES[0])
        ours, theirs = (step(make(dtype=dtype), *arrays) for make in (BatchNormalization, PLAIN))
        close(ours, theirs, 16 * ROUNDING[f"mixed_{dtype}"])

    def test_float64_layer_of_float32_inputs(self):
        images = values(SHAPES[0])[0]
        made = [make(dtype="float64", autocast=False) for make in (BatchNormalization, PLAIN)]
        np.testing.assert_array_equal(*(layer(images, training=True) for layer in made))


class TestStateThatStays:
    @pytest.mark.parametrize(("trainable", "training"), [(True, False), (False, True)])
    def test_frozen_or_not_training(self, trainable, training):
        """The moving statistics serve, and nothing changes: Keras' numbers, bit for bit."""
        images, _, gamma, beta = values((4, 3, 3, 2))
        found = []
        for layer in (BatchNormalization(trainable=trainable), PLAIN(trainable=trainable)):
            layer.build(images.shape)
            layer.set_weights([gamma, beta, beta + 1, gamma + 1])
            found.append(layer(images, training=training))
            np.testing.assert_array_equal(layer.moving_mean, beta + 1)
            np.testing.assert_array_equal(layer.moving_variance, gamma + 1)
        np.testing.assert_array_equal(*found)
        expected = gamma * (images - beta - 1) / np.sqrt(gamma + 1 + 1e-3) + beta
        np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)

    def test_frozen_and_thawed_again(self):
        images = values((4, 3, 3, 2))[0]
        layer = BatchNormalization(momentum=0.0)
        layer.trainable = False
        layer(images, training=True)
        np.testing.assert_array_equal(layer.moving_mean, [0, 0])
        layer.trainable = True
        layer(images, training=True)
        np.testing.assert_allclose(layer.moving_mean, images.mean((0, 1, 2)), atol=1e-6)


class TestTheKernelHasNoSuchCase:
    @pytest.mark.parametrize(
        ("shape", "options"),
        [
            ((4, 3, 5, 6), {"axis": 1}),
            ((4, 3, 5, 6), {"axis": 2}),
            ((6, 3), {}),
            ((6, 5, 3), {}),
            ((6, 5, 3), {"axis": 1}),
            ((2, 3, 3, 3, 2), {}),
            ((4, 3, 3, 2), {"renorm": True}),
            ((4, 3, 3, 2), {"renorm": True, "renorm_clipping": {"rmax": 1.1, "dmax": 0.1}}),
            ((4, 3, 3, 2), {"synchronized": True}),
            ((4, 3, 3, 2), {"dtype": "float64"}),
        ],
        ids=str,
    )
    def test_keras_numbers(self, shape, options):
        images, upstream, *_ = values(shape)
        channels = shape[options.get("axis", -1)]
        weights = np.linspace(0.5, 2, channels), np.linspace(-1, 1, channels)
        ours, theirs = BatchNormalization(**options), PLAIN(**options)
        for _ in range(2):
            found = [step(layer, images, upstream, *weights) for layer in (ours, theirs)]
            close(*found, 1e-15 if "dtype" in options else 1e-7)
        for a, b in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)

    def test_a_mask(self):
        """Masked pixels are no part of the statistics."""
        images, *others = values((4, 3, 3, 2))
        mask = np.random.default_rng(1).random((4, 3, 3)) < 0.6
        made = BatchNormalization(momentum=0.0), PLAIN(momentum=0.0)
        ours, theirs = (step(layer, images, *others, mask=tf.constant(mask)) for layer in made)
        close(ours, theirs, 1e-7)
        np.testing.assert_allclose(ours.mean, images[mask].mean(0), rtol=1e-5)
        np.testing.assert_allclose(ours.variance, images[mask].var(0), rtol=1e-5)

    def test_no_images(self):
        layer = BatchNormalization()
        assert layer(np.zeros((0, 3, 3, 2), "float32"), training=True).shape == (0, 3, 3, 2)


def small_model(make=BatchNormalization):
    inputs = keras.Input((5, 5, 2))
    x = keras.layers.Conv2D(3, 3, name="conv")(inputs)
    x = make(momentum=0.6, name="bn")(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="top")(keras.layers.Flatten()(x)))


def fitted(model, epochs=2):
    rng = np.random.default_rng(0)
    images, targets = rng.normal(size=(12, 5, 5, 2)), rng.normal(size=(12, 2))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    model.fit(images, targets, batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return model


def weights_close(ours, theirs):
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=a.path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A fitted model, its file, and what it gives for `images`."""
    folder = tmp_path_factory.mktemp("saved")
    keras.utils.set_random_seed(0)
    model = fitted(small_model())
    images = np.random.default_rng(1).normal(size=(3, 5, 5, 2)).astype("float32")
    model.save(folder / "model.keras")
    (folder / "model.pickle").write_bytes(pickle.dumps(model))
    np.savez(folder / "expected.npz", images=images, outputs=model.predict(images, verbose=0))
    return model, folder


class TestItIsKerasLayer:
    def test_by_class_name_and_configuration(self):
        ours, theirs = BatchNormalization(name="bn"), PLAIN(name="bn")
        assert isinstance(ours, PLAIN)
        assert type(ours).__name__ == type(ours).__qualname__ == "BatchNormalization"
        assert ours.get_config() == theirs.get_config()
        found, expected = map(keras.saving.serialize_keras_object, (ours, theirs))
        # A name that Keras does not look at where the module is its own.
        assert found.pop("registered_name") == "BatchNormalization"
        assert expected.pop("registered_name") is None
        assert found == expected
        assert BatchNormalization().name.startswith("batch_normalization")
        assert len({type(BatchNormalization()), type(BatchNormalization(axis=1))}) == 1

    def test_weights(self):
        ours, theirs = small_model(), small_model(PLAIN)
        paths = [[w.path for w in model.get_layer("bn").weights] for model in (ours, theirs)]
        assert paths[0] == paths[1]
        trainable = [[w.path for w in m.get_layer("bn").trainable_weights] for m in (ours, theirs)]
        assert trainable[0] == trainable[1]

    def test_the_summary_names_it(self):
        lines = []
        small_model().summary(print_fn=lines.append, line_length=100)
        assert "bn (BatchNormalization)" in "\n".join(lines)

    def test_trains_like_keras(self):
        ours, theirs = small_model(), small_model(PLAIN)
        theirs.set_weights(ours.get_weights())
        weights_close(fitted(ours), fitted(theirs))

    def test_the_saved_file_names_keras_layer(self, saved):
        with zipfile.ZipFile(saved[1] / "model.keras") as archive:
            config = json.loads(archive.read("config.json"))
        layer = next(c for c in config["config"]["layers"] if c["name"] == "bn")
        assert (layer["module"], layer["class_name"]) == ("keras.layers", "BatchNormalization")
        assert "kcnn" not in json.dumps(config)

    @pytest.mark.slow
    def test_loaded_it_goes_on_training(self, saved, tmp_path):
        """Optimiser, weights and statistics are there: more epochs give what they would have."""
        loaded = keras.saving.load_model(saved[1] / "model.keras")
        assert type(loaded.get_layer("bn")) is PLAIN
        keras.utils.set_random_seed(0)
        weights_close(fitted(loaded), fitted(fitted(small_model())))

    def test_clones_and_configurations_make_it_again(self):
        model = small_model()
        clone = keras.models.clone_model(model)
        assert type(clone.get_layer("bn")) is type(model.get_layer("bn"))
        again = type(model).from_config(model.get_config())
        for other in (clone, again):
            other.set_weights(model.get_weights())
        expected = fitted(model).get_weights()
        for other in (clone, again):
            for a, b in zip(fitted(other).get_weights(), expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        "duplicate",
        [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
        ids=["deep", "pickle"],
    )
    def test_copies_of_a_model(self, saved, duplicate):
        model = saved[0]
        again = duplicate(model)
        images = np.random.default_rng(2).normal(size=(3, 5, 5, 2)).astype("float32")
        np.testing.assert_array_equal(model(images), again(images))
        again.get_layer("bn").gamma.assign([9, 9, 9])
        assert not (model.get_layer("bn").gamma.numpy() == 9).any()

    def test_a_deep_copy_of_the_layer(self):
        images, *others = values((4, 3, 3, 2))
        layer = BatchNormalization()
        step(layer, images, *others)
        again = copy.deepcopy(layer)
        found = [step(one, images, *others) for one in (layer, again)]
        close(*found, 16 * ROUNDING["float32"])

    def test_a_pickle_of_the_layer_alone(self):
        layer = BatchNormalization()
        layer.build((None, 3, 3, 2))
        layer.gamma.assign([2.0, 3.0])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(layer)).gamma, [2.0, 3.0])


def process(code, *arguments, **environment):
    """Run Python code in a process of its own, and give what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


LOAD_WITHOUT_KCNN = """
    import sys
    sys.modules["kcnn"] = None  # whoever imports it gets an ImportError
    import json, pathlib, pickle, keras, numpy as np
    folder = pathlib.Path(sys.argv[1])
    with np.load(folder / "expected.npz") as arrays:
        images, outputs = arrays["images"], arrays["outputs"]
    model = keras.saving.load_model(folder / "model.keras")
    found = {"plain": type(model.get_layer("bn")) is keras.layers.BatchNormalization}
    found["error"] = float(abs(model.predict(images, verbose=0) - outputs).max())
"""


@pytest.fixture(scope="module")
def replicas(saved):
    """One process: the file without kcnn; then two replicas on two logical processors."""
    code = (
        LOAD_WITHOUT_KCNN
        + """
    again = pickle.loads((folder / "model.pickle").read_bytes())
    found["pickled error"] = float(abs(again.predict(images, verbose=0) - outputs).max())
    del sys.modules["kcnn"]

    import tensorflow as tf
    from kcnn.models.batchnorm import BatchNormalization
    cpu = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in cpu])
    found["replicas"] = strategy.num_replicas_in_sync
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(8, 4, 4, 3)) * 2 + 1).astype("float32")
    y = rng.normal(size=(8, 4, 4, 3)).astype("float32")
    halves = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)

    def trained(make, **options):
        with strategy.scope():
            inputs = keras.Input((4, 4, 3))
            model = keras.Model(inputs, make(momentum=0.5, **options)(inputs))
            model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(halves, epochs=3, verbose=0)
        return [w.numpy().tolist() for w in model.weights]

    plain = keras.layers.BatchNormalization
    found["own"] = trained(BatchNormalization), trained(plain)
    found["synchronized"] = (trained(BatchNormalization, synchronized=True),
                             trained(plain, synchronized=True))
    print(json.dumps(found))
"""
    )
    split = """
    import sys
    sys.modules["kcnn"] = None
    import tensorflow as tf
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
"""
    return process(split + code, saved[1])


@pytest.mark.slow
class TestOtherProcesses:
    def test_the_file_loads_without_kcnn(self, replicas):
        assert replicas["plain"]
        assert replicas["error"] < 1e-5
        assert replicas["pickled error"] < 1e-5

    @pytest.mark.parametrize("statistics", ["own", "synchronized"])
    def test_two_replicas(self, replicas, statistics):
        assert replicas["replicas"] == 2
        for ours, theirs in zip(*replicas[statistics], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
        # Two halves' own variances are not that of the whole.
        assert replicas["own"][0] != replicas["synchronized"][0]

    def test_on_jax_it_is_the_plain_class_and_gives_the_same_numbers(self, saved):
        pytest.importorskip("jax")
        code = (
            LOAD_WITHOUT_KCNN
            + """
    del sys.modules["kcnn"]
    from kcnn.models.batchnorm import BatchNormalization
    found["class"] = type(BatchNormalization()) is keras.layers.BatchNormalization
    found["tensorflow"] = "tensorflow" in sys.modules
    print(json.dumps(found))
"""
        )
        found = process(code, saved[1], KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
        assert found["class"]
        assert found["plain"]
        assert not found["tensorflow"]
        assert found["error"] < 1e-5
