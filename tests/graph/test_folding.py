"""BatchNorm folded: the same outputs, fewer layers, and the given model left as it was."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import kcnn
from kcnn import fold_batchnorm

L = keras.layers
TOLERANCE = 1e-4

#: case: (name, options, BatchNorm layers, those that stay). Small; two residual blocks and more.
FAMILIES = {
    "mlp": ("mlp", {"width": 16, "depth": 3, "batchnorm": True}, 2, 0),
    "mlp-residual": ("mlp", {"width": 16, "depth": 3, "batchnorm": True, "residual": True}, 2, 0),
    "lenet5": ("lenet5", {"batchnorm": True}, 2, 0),
    "alexnet": ("alexnet", {"input_shape": (67, 67, 3), "batchnorm": True, "groups": 2}
                | {"widths": (8, 8, 8, 8, 8), "hidden": (8, 8)}, 5, 0),
    "vgg": ("vgg11", {"input_shape": (32, 32, 3), "batchnorm": True, "conv_bias": True}
            | {"widths": (8, 8, 8, 8, 8), "hidden": (8,)}, 8, 0),
    "resnet20": ("resnet20", {"depths": (1, 2, 1), "input_shape": (17, 12, 2)}, 9, 0),
    "resnet50": ("resnet50", {"depths": (1, 1, 1, 1), "widths": (4, 8, 8, 8)}
                 | {"input_shape": (65, 65, 3)}, 17, 0),
    # Pre-activation: the first BatchNorm of blocks 2 to 4, and the last, follow an addition.
    "resnet-v2": ("resnet20", {"depths": (1, 2, 1), "preact": True}, 9, 4),
}  # fmt: skip


def randomize(model, seed=0):
    """Weights and statistics that a mistake in folding would show."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        name, shape = weight.path.rsplit("/", 1)[-1], weight.shape
        if name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, shape))
        elif name in ("beta", "bias", "moving_mean"):
            weight.assign(rng.normal(size=shape) * 0.3)
    return model


def norms(model):
    return [layer.name for layer in model.layers if isinstance(layer, L.BatchNormalization)]


def images_for(model, n=3):
    return np.random.default_rng(1).normal(size=(n, *model.input_shape[1:])).astype("float32")


def call(model, x):
    return keras.ops.convert_to_numpy(keras.ops.cast(model(x, training=False), "float32"))


def assert_same_outputs(model, folded, tolerance=TOLERANCE):
    x = images_for(model)
    expected = call(model, x)
    assert np.ptp(expected, axis=0).max() > 1e-3  # the images make a difference
    difference = np.linalg.norm(call(folded, x) - expected)
    assert difference < tolerance * np.linalg.norm(expected)


def sequential(*layers, shape=(9, 8, 4)):
    return randomize(keras.Sequential([keras.Input(shape), *layers]))


class TestFamilies:
    @pytest.mark.parametrize("case", FAMILIES)
    def test_same_outputs_with_fewer_layers(self, case):
        name, options, count, stay = FAMILIES[case]
        model = randomize(kcnn.build(name, classifier_activation=None, **options))
        folded = fold_batchnorm(model)
        assert (len(norms(model)), len(norms(folded))) == (count, stay)
        assert len(folded.layers) == len(model.layers) - count + stay
        assert_same_outputs(model, folded)
        assert folded.name == model.name


class TestOracles:
    def test_numpy_on_one_convolution(self):
        model = sequential(L.Conv2D(5, 1, use_bias=True), L.BatchNormalization(epsilon=1e-2))
        kernel, bias, gamma, beta, mean, variance = (w.numpy() for w in model.weights)
        x = images_for(model)
        convolved = x @ kernel[0, 0] + bias
        expected = gamma * (convolved - mean) / np.sqrt(variance + 1e-2) + beta
        folded = fold_batchnorm(model)
        np.testing.assert_allclose(call(folded, x), expected, rtol=1e-4, atol=1e-5)
        assert [type(layer).__name__ for layer in folded.layers] == ["InputLayer", "Conv2D"]

    def test_pytorch_fuses_to_the_same_weights(self):
        torch = pytest.importorskip("torch", reason="needs PyTorch: pip install kcnn[oracle]")
        model = sequential(L.Conv2D(6, 3, groups=2), L.BatchNormalization(epsilon=1e-3))
        kernel, bias, gamma, beta, mean, variance = (
            torch.from_numpy(w.numpy().copy()) for w in model.weights
        )
        conv = torch.nn.Conv2d(4, 6, 3, groups=2).requires_grad_(False)
        norm = torch.nn.BatchNorm2d(6, eps=1e-3).requires_grad_(False)
        conv.weight.copy_(kernel.permute(3, 2, 0, 1))
        for target, source in zip(
            (conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var),
            (bias, gamma, beta, mean, variance),
            strict=True,
        ):
            target.copy_(source)
        fused = torch.nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
        kernel, bias = fold_batchnorm(model).get_layer(index=1).get_weights()
        np.testing.assert_allclose(kernel.transpose(3, 2, 0, 1), fused.weight, rtol=1e-5)
        np.testing.assert_allclose(bias, fused.bias, rtol=1e-4, atol=1e-6)


class TestLayers:
    @pytest.mark.parametrize(
        "layer",
        [
            lambda: L.Conv2D(6, 3, strides=2, padding="same"),
            lambda: L.Conv2D(6, 3, dilation_rate=2, use_bias=False),
            lambda: L.Conv2D(6, 3, groups=2, kernel_regularizer="l2", kernel_constraint="max_norm"),
            lambda: L.DepthwiseConv2D(3),
            lambda: L.DepthwiseConv2D(3, depth_multiplier=3, use_bias=False),
            lambda: L.Dense(7),
        ],
        ids=["strides", "dilation", "groups", "depthwise", "multiplier", "dense"],
    )
    @pytest.mark.parametrize("norm", [{}, {"center": False}, {"scale": False}, {"axis": 3}])
    def test_kinds_and_options(self, layer, norm):
        model = sequential(layer(), L.BatchNormalization(**norm), L.ReLU())
        folded = fold_batchnorm(model)
        assert norms(folded) == []
        assert folded.losses == []  # regularisation is training's
        assert_same_outputs(model, folded)

    @pytest.mark.parametrize(
        "policy", ["mixed_float16", "mixed_bfloat16", "float64", "float32", "bfloat16"]
    )
    def test_precision_stays(self, policy):
        model = sequential(
            L.Conv2D(8, 3, dtype=policy), L.BatchNormalization(dtype=policy), L.Dense(4)
        )
        folded = fold_batchnorm(model)
        assert norms(folded) == []
        conv = folded.layers[1]
        assert conv.dtype_policy.name == policy
        assert conv.kernel.dtype == model.layers[0].kernel.dtype
        assert_same_outputs(model, folded, 0.01 if "16" in policy else TOLERANCE)

    def test_two_layers_of_different_precision_stay(self):
        model = sequential(L.Conv2D(8, 3, dtype="mixed_bfloat16"), L.BatchNormalization())
        assert len(norms(fold_batchnorm(model))) == 1

    @pytest.mark.parametrize(
        "layers",
        [
            lambda: (L.Conv2D(6, 3, activation="relu"), L.BatchNormalization()),
            lambda: (L.Conv2D(6, 3), L.ReLU(), L.BatchNormalization()),
            lambda: (L.Conv2D(6, 3), L.BatchNormalization(axis=1)),
            lambda: (L.Conv2DTranspose(6, 3), L.BatchNormalization()),
            lambda: (L.BatchNormalization(), L.Conv2D(6, 3)),
        ],
        ids=["activation", "relu between", "axis of rows", "transposed", "in front"],
    )
    def test_what_is_not_the_same_stays(self, layers):
        model = sequential(*layers())
        folded = fold_batchnorm(model)
        assert len(norms(folded)) == 1
        assert_same_outputs(model, folded)

    def test_adapted_normalisation_is_carried_over(self):
        normalize = L.Normalization()
        normalize.adapt(np.random.default_rng(0).normal(3, 2, (20, 9, 8, 4)))
        model = sequential(normalize, L.Conv2D(6, 3), L.BatchNormalization())
        assert_same_outputs(model, fold_batchnorm(model))


class TestGraphs:
    def model(self, build):
        inputs = keras.Input((9, 8, 4))
        return randomize(keras.Model(inputs, build(inputs)))

    def test_an_output_that_is_used_twice_stays(self):
        def build(x):
            x = L.Conv2D(4, 3)(x)
            return L.Add()([x, L.BatchNormalization()(x)])

        model = self.model(build)
        assert len(norms(fold_batchnorm(model))) == 1
        assert_same_outputs(model, fold_batchnorm(model))

    def test_an_output_of_the_model_stays(self):
        inputs = keras.Input((9, 8, 4))
        x = L.Conv2D(4, 3)(inputs)
        model = randomize(keras.Model(inputs, {"map": x, "norm": L.BatchNormalization()(x)}))
        folded = fold_batchnorm(model)
        assert len(norms(folded)) == 1
        x = images_for(model)
        for name, expected in model(x).items():
            np.testing.assert_allclose(folded(x)[name], expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("shared", ["conv", "norm"])
    def test_a_shared_layer_is_left_alone(self, shared):
        def build(x):
            conv, norm = L.Conv2D(4, 3, padding="same"), L.BatchNormalization()
            x = norm(conv(x))
            return norm(L.ReLU()(x)) if shared == "norm" else L.BatchNormalization()(conv(x))

        model = self.model(build)
        folded = fold_batchnorm(model)
        assert len(norms(folded)) == len(norms(model))
        assert len(folded.weights) == len(model.weights)
        assert_same_outputs(model, folded)

    def test_batch_statistics_on_demand_stay(self):
        model = self.model(lambda x: L.BatchNormalization()(L.Conv2D(4, 3)(x), training=True))
        assert len(norms(fold_batchnorm(model))) == 1

    def test_operations_and_layers_that_were_called_before_elsewhere(self):
        def build(x):
            conv, norm = L.Conv2D(4, 3, padding="same"), L.BatchNormalization()
            norm(conv(keras.Input((5, 5, 4))))  # the first call is not this model's
            return keras.ops.relu(norm(conv(x)) + 0.5) * 2.0

        model = self.model(build)
        folded = fold_batchnorm(model)
        assert norms(folded) == []
        assert_same_outputs(model, folded)

    def test_nested_models_are_folded_inside(self):
        inner = keras.Sequential([L.Conv2D(4, 3, padding="same"), L.BatchNormalization()])
        inputs = keras.Input((9, 8, 4))
        branch = keras.Model(inputs, L.BatchNormalization()(L.Dense(4)(inputs)))

        def build(x):
            x = branch(inner(inner(x)))
            return L.BatchNormalization()(x)  # its convolution is across the border: stays

        model = self.model(build)
        randomize(model)
        folded = fold_batchnorm(model)
        assert len(folded.weights) == 2 + 2 + 4
        assert_same_outputs(model, folded)

    def test_every_layer_of_the_copy_can_be_looked_into(self):
        model = randomize(kcnn.build("resnet20", depths=(1, 1, 1), input_shape=(8, 8, 3)))
        folded = fold_batchnorm(model)
        inside = keras.Model(folded.input, folded.get_layer("conv2_1_1").output)
        before = keras.Model(model.input, model.get_layer("conv2_1_1_bn").output)
        assert_same_outputs(before, inside)


class TestTheGivenModel:
    def test_is_untouched_and_shares_nothing(self):
        model = randomize(kcnn.build("resnet20", depths=(1, 1, 1), input_shape=(8, 8, 3)))
        model.compile("sgd", "mse")
        x = images_for(model)
        config, weights, before = model.get_config(), model.get_weights(), call(model, x)
        folded = fold_batchnorm(model)
        folded.set_weights([np.zeros_like(w) for w in folded.get_weights()])
        assert model.get_config() == config
        assert model.compiled
        assert not folded.compiled
        np.testing.assert_array_equal(call(model, x), before)
        for weight, old in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(weight, old)

    def test_folding_twice_changes_nothing(self):
        model = randomize(kcnn.build("lenet5", batchnorm=True))
        once = fold_batchnorm(model)
        for a, b in zip(once.get_weights(), fold_batchnorm(once).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_one_without_graph_is_refused(self):
        class Own(keras.Model):
            def call(self, x):
                return x

        for model in (Own(), keras.Sequential([L.Conv2D(3, 3)])):
            with pytest.raises(kcnn.InputError, match=r"keras\.Input"):
                fold_batchnorm(model)

    def test_a_layer_that_cannot_be_copied_is_named(self):
        model = sequential(L.Lambda(lambda x: 2 * x, name="double"), L.Dense(3))
        with pytest.raises(kcnn.InputError, match="double"):
            fold_batchnorm(model)


class TestSaving:
    @pytest.fixture
    def folded(self):
        normalize = L.Normalization(mean=[1.0, 2.0], variance=[3.0, 4.0])
        shape = {"depths": (1, 1, 1), "input_shape": (9, 8, 2)}
        return fold_batchnorm(
            randomize(kcnn.build("resnet20", preprocessing=[normalize], dropout=0.3, **shape))
        )

    def test_the_saved_copy_gives_the_same_bits(self, folded, tmp_path):
        folded.save(tmp_path / "folded.keras")
        again = keras.saving.load_model(tmp_path / "folded.keras")
        x = images_for(folded)
        np.testing.assert_array_equal(call(again, x), call(folded, x))

    @pytest.mark.slow
    def test_jax_loads_it_without_kcnn(self, folded, tmp_path):
        if importlib.util.find_spec("jax") is None:
            pytest.skip("needs jax: pip install kcnn[oracle]")
        folded.save(tmp_path / "folded.keras")
        x = images_for(folded)
        np.save(tmp_path / "x.npy", x)
        code = (
            "import sys, keras, numpy as np; from pathlib import Path; folder = Path(sys.argv[1])\n"
            "model = keras.saving.load_model(folder / 'folded.keras')\n"
            "np.save(folder / 'y.npy', np.asarray(model(np.load(folder / 'x.npy'))))\n"
            "assert keras.backend.backend() == 'jax' and 'kcnn' not in sys.modules\n"
        )
        flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        subprocess.run(
            [sys.executable, "-c", code, tmp_path],
            env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
            check=True,
        )
        expected = call(folded, x)
        difference = np.linalg.norm(np.load(tmp_path / "y.npy") - expected)
        assert difference < TOLERANCE * np.linalg.norm(expected)
