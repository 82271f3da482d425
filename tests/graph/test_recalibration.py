"""Exact BatchNorm statistics against NumPy's of all the data at once, and PyTorch's update."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.errors import InputError
from kcnn.graph.recalibration import (
    Recalibration,
    batchnorm_layers,
    merge,
    moments,
    recalibrate_batchnorm,
)

L = keras.layers


def images(n=22, shape=(5, 4, 3), mean=1.0):
    return np.random.default_rng(0).normal(mean, 2.0, size=(n, *shape)).astype("float32")


def statistics(layer):
    return layer.moving_mean.numpy(), layer.moving_variance.numpy()


def assert_statistics(layer, values, tolerance=1e-5):
    """`values`: (N, ..., C), all that the layer sees."""
    values = np.asarray(values, "float64")
    axes = tuple(range(values.ndim - 1))
    mean, variance = statistics(layer)
    np.testing.assert_allclose(mean, values.mean(axes), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(variance, values.var(axes), rtol=tolerance, atol=tolerance)


def batches(x, size, labels=False):
    import tensorflow as tf

    parts = (x, np.zeros(len(x))) if labels else x
    return tf.data.Dataset.from_tensor_slices(parts).batch(size)


def sequential(*layers, shape=(5, 4, 3)):
    return keras.Sequential([keras.Input(shape), *layers])


class TestMaths:
    def test_merging_parts_gives_the_whole(self):
        rng = np.random.default_rng(1)
        parts = [rng.normal(m, 3.0, size=(n, 2)).astype("float32") for n, m in ((3, 9), (70, -5))]
        parts.append(rng.normal(100, 0.1, size=(1, 2)).astype("float32"))
        total = (0.0, np.zeros(2, "float32"), np.zeros(2, "float32"))
        for part in parts:
            total = merge(total, moments(keras.ops.convert_to_tensor(part), -1))
        count, mean, variance = (keras.ops.convert_to_numpy(value) for value in total)
        whole = np.concatenate(parts).astype("float64")
        assert count == 74
        np.testing.assert_allclose(mean, whole.mean(0), rtol=1e-6)
        np.testing.assert_allclose(variance, whole.var(0), rtol=1e-6)

    @pytest.mark.parametrize("axis", [0, 1, 2, -1])
    def test_moments_along_any_axis(self, axis):
        x = images(4)[0]
        count, mean, variance = moments(keras.ops.convert_to_tensor(x), axis)
        rest = tuple(i for i in range(3) if i != axis % 3)
        assert float(count) == x.size / x.shape[axis]
        np.testing.assert_allclose(mean, x.mean(rest), rtol=1e-5)
        np.testing.assert_allclose(variance, x.var(rest), rtol=1e-5)


class TestFirstLayer:
    """The first BatchNorm's statistics are those of all the data at once."""

    @pytest.mark.parametrize(
        "options", [{"axis": 1}, {"axis": 2}, {"center": False, "scale": False}]
    )
    def test_axes_and_options(self, options):
        x = images()
        norm = L.BatchNormalization(**options)
        recalibrate_batchnorm(sequential(norm), x, batch_size=8)  # 22 = 8 + 8 + 6
        assert_statistics(norm, np.moveaxis(x, options.get("axis", 3), -1))

    def test_values_far_from_zero_do_not_cancel(self):
        x = images(40, (6,), mean=30_000.0)
        norm = L.BatchNormalization()
        recalibrate_batchnorm(sequential(norm, shape=(6,)), x, batch_size=7)
        assert_statistics(norm, x, 2e-3)  # of a mean that is rounded to a multiple of 0.002

    @pytest.mark.parametrize("labels", [False, True])
    def test_data_sets(self, labels):
        x = images()
        norm = L.BatchNormalization()
        recalibrate_batchnorm(sequential(norm), batches(x, 5, labels))
        assert_statistics(norm, x)

    def test_arrays_are_mixed_alike_each_time(self):
        """Sorted by class, each batch would be of one class."""
        x = np.sort(images(), axis=0)
        first, second = L.BatchNormalization(), L.BatchNormalization()
        model = sequential(first, L.ReLU(), L.Conv2D(2, 2), second)
        recalibrate_batchnorm(model, x, batch_size=8)
        mixed = statistics(second)
        recalibrate_batchnorm(model, x, batch_size=8)
        np.testing.assert_array_equal(statistics(second), mixed)
        recalibrate_batchnorm(model, batches(x, 8))
        assert abs(mixed[1] / statistics(second)[1] - 1).max() > 0.01
        assert_statistics(first, x)

    def test_several_inputs_by_name(self):
        x = {"a": images(shape=(3,)), "b": images(shape=(3,), mean=4.0)}
        a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
        norms = L.BatchNormalization(), L.BatchNormalization()
        model = keras.Model({"a": a, "b": b}, L.Add()([norms[0](a), norms[1](b)]))
        recalibrate_batchnorm(model, x, batch_size=8)
        assert_statistics(norms[0], x["a"])
        assert_statistics(norms[1], x["b"])

    def test_a_sample(self):
        x = images()
        norm = L.BatchNormalization()
        recalibrate_batchnorm(sequential(norm), batches(x, 5), steps=2)
        assert_statistics(norm, x[:10])

    @pytest.mark.parametrize(
        "policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"]
    )
    def test_precision(self, policy):
        x = images()
        norm = L.BatchNormalization(dtype=policy)
        recalibrate_batchnorm(sequential(norm), x, batch_size=8)
        if policy == "float64":
            assert_statistics(norm, x, 1e-12)
        elif policy.startswith("mixed"):
            seen = keras.ops.convert_to_numpy(keras.ops.cast(x, norm.compute_dtype))
            assert_statistics(norm, seen, 1e-5)
        else:
            assert_statistics(norm, x, 0.02)

    def test_masked_values_do_not_count(self):
        x = images(9, (5, 3))
        x[:, 3:] = 0.0
        x[4, 1] = 0.0
        norm = L.BatchNormalization()
        model = sequential(L.Masking(), norm, shape=(5, 3))
        recalibrate_batchnorm(model, x, batch_size=4)
        assert_statistics(norm, x[(x != 0).any(-1)])

    def test_batch_renormalisation(self):
        x = images()
        norm = L.BatchNormalization(renorm=True)
        recalibrate_batchnorm(sequential(norm), x, batch_size=8)
        assert_statistics(norm, x)
        deviation = np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
        np.testing.assert_array_equal(norm.renorm_mean, norm.moving_mean)
        np.testing.assert_allclose(norm.renorm_stddev, deviation, rtol=1e-6)
        np.testing.assert_allclose(norm.moving_stddev, deviation, rtol=1e-6)


class TestLaterLayers:
    def test_inputs_are_normalised_by_each_batchs_statistics(self):
        x = images(shape=(6,))
        first, second = L.BatchNormalization(), L.BatchNormalization()
        model = sequential(first, L.ReLU(), L.Dropout(0.9), L.Dense(4), second, shape=(6,))
        first.gamma.assign([1.0, 2.0, 0.5, 1.0, -1.0, 3.0])
        first.beta.assign([0.0, 0.5, -0.5, 1.0, 2.0, 0.0])
        recalibrate_batchnorm(model, batches(x, 8))
        seen = []
        for start in (0, 8, 16):
            y = x[start : start + 8].astype("float64")
            y = (y - y.mean(0)) / np.sqrt(y.var(0) + first.epsilon)
            y = np.maximum(y * first.gamma.numpy() + first.beta.numpy(), 0.0)
            kernel, bias = model.layers[3].get_weights()
            seen.append(y @ kernel + bias)
        assert_statistics(second, np.concatenate(seen))

    def test_pytorchs_update_and_the_variance_between_batches(self):
        torch = pytest.importorskip("torch", reason="needs PyTorch: pip install kcnn[oracle]")
        x = images(24, (6,))
        norms = L.BatchNormalization(epsilon=1e-5), L.BatchNormalization(epsilon=1e-5)
        model = sequential(norms[0], L.ReLU(), L.Dense(4), norms[1], shape=(6,))
        theirs = torch.nn.Sequential(
            torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4)
        )
        kernel, bias = model.layers[2].get_weights()
        with torch.no_grad():
            theirs[2].weight.copy_(torch.from_numpy(kernel.T.copy()))
            theirs[2].bias.copy_(torch.from_numpy(bias.copy()))
        seen = []
        theirs[3].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()))
        loader = [torch.from_numpy(x[i : i + 8].copy()) for i in (0, 8, 16)]
        torch.optim.swa_utils.update_bn(loader, theirs)
        recalibrate_batchnorm(model, batches(x, 8))
        for ours, other, inputs in (
            (norms[0], theirs[0], [batch.numpy() for batch in loader]),
            (norms[1], theirs[3], seen),
        ):
            between = np.var([batch.mean(0) for batch in inputs], axis=0)
            mean, variance = statistics(ours)
            np.testing.assert_allclose(mean, other.running_mean, rtol=1e-4, atol=1e-5)
            # PyTorch keeps the unbiased variance, n / (n - 1) times that of a batch of n.
            within = other.running_var.numpy() * 7 / 8
            np.testing.assert_allclose(variance, within + between, rtol=1e-4)

    def test_a_shared_layer_pools_what_it_sees(self):
        inputs, norm = keras.Input((6,)), L.BatchNormalization()
        shifted = norm(L.Rescaling(3.0, 5.0)(inputs))
        model = keras.Model(inputs, L.Add()([norm(inputs), shifted]))
        x = images(shape=(6,))
        recalibrate_batchnorm(model, x, batch_size=8)
        assert_statistics(norm, np.concatenate([x, 3.0 * x + 5.0]))


class TestModels:
    def test_frozen_layers_keep_and_use_their_statistics(self):
        frozen, free = L.BatchNormalization(trainable=False), L.BatchNormalization()
        model = sequential(frozen, free, shape=(6,))
        frozen.moving_mean.assign([1.0] * 6)
        x = images(shape=(6,))
        recalibrate_batchnorm(model, x, batch_size=8)
        np.testing.assert_array_equal(frozen.moving_mean, [1.0] * 6)
        assert_statistics(free, (x - 1.0) / np.sqrt(1.0 + frozen.epsilon))

    def test_some_layers_only(self):
        norms = L.BatchNormalization(), L.BatchNormalization()
        model = sequential(*norms, shape=(6,))
        x = images(shape=(6,))
        recalibrate_batchnorm(model, x, layers=norms[1:])
        np.testing.assert_array_equal(norms[0].moving_mean, np.zeros(6))
        assert_statistics(norms[1], x / np.sqrt(1.0 + norms[0].epsilon))

    def test_nested_and_subclassed(self):
        class Block(L.Layer):
            def __init__(self):
                super().__init__()
                self.norm = L.BatchNormalization()

            def call(self, x, training=None):
                return keras.ops.relu(self.norm(x, training=training))

        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.norm, self.block = L.BatchNormalization(), Block()
                self.inner = keras.Sequential([keras.Sequential([L.BatchNormalization()])])

            def call(self, x):
                return self.inner(self.block(self.norm(x)))

        model, x = Own(), images(shape=(6,))
        model(x)
        assert len(batchnorm_layers(model)) == 3
        recalibrate_batchnorm(model, x, batch_size=len(x))
        assert_statistics(model.norm, x)
        normalised = (x - x.mean(0)) / np.sqrt(x.var(0) + model.norm.epsilon)
        assert_statistics(model.block.norm, normalised)
        positive = normalised / np.sqrt(normalised.var(0) + model.norm.epsilon)
        assert_statistics(model.inner.layers[0].layers[0], np.maximum(positive, 0.0))

    def test_networks_of_kcnn(self):
        """Their BatchNorm is a subclass with a kernel of its own."""
        shape = {"input_shape": (9, 8, 2), "classes": 3, "depths": (1, 1, 1)}
        model = kcnn.build("resnet20", **shape)
        x = images(shape=(9, 8, 2))
        norms = batchnorm_layers(model)
        before = keras.Model(model.input, norms[0].input).predict(x, verbose=0)
        recalibrate_batchnorm(model, x, batch_size=8)
        assert_statistics(norms[0], before)
        trained = [statistics(norm) for norm in norms]
        assert all((variance != 1.0).all() for _, variance in trained)

    @pytest.mark.parametrize("options", [{"jit_compile": True}, {"run_eagerly": True}])
    def test_a_compiled_model_and_its_functions(self, options):
        x = images(16, (6,))
        norm = L.BatchNormalization()
        model = sequential(norm, shape=(6,))
        model.compile("sgd", "mse", steps_per_execution=2, **options)
        before = model.predict(x, batch_size=8, verbose=0)
        recalibrate_batchnorm(model, x, batch_size=8)
        assert_statistics(norm, x)
        after = model.predict(x, batch_size=8, verbose=0)
        np.testing.assert_allclose(
            after, (x - x.mean(0)) / np.sqrt(x.var(0) + norm.epsilon), rtol=1e-4, atol=1e-4
        )
        assert abs(after - before).max() > 0.1

    def test_nothing_else_changes(self):
        x = images(16, (6,))
        model = sequential(L.Dense(6), L.BatchNormalization(), L.Dropout(0.5), shape=(6,))
        before = {v.path: v.numpy() for v in model.variables}
        recalibrate_batchnorm(model, x)
        changed = {v.path.split("/")[-1] for v in model.variables
                   if not np.array_equal(v.numpy(), before[v.path])}  # fmt: skip
        assert changed == {"moving_mean", "moving_variance"}
        assert all("call" not in vars(layer) for layer in model.layers)
        assert len(before) == len(model.variables)

    def test_without_batchnorm_nothing_is_read(self):
        recalibrate_batchnorm(sequential(L.Dense(2)), None)

    def test_a_call_of_the_users_own_comes_back(self):
        norm = L.BatchNormalization()
        model = sequential(norm, shape=(6,))
        norm.call = own = lambda inputs, training=None, mask=None: inputs
        recalibrate_batchnorm(model, images(shape=(6,)))
        assert norm.call is own

    def test_often_without_preparing_anew(self):
        """TensorFlow warns when functions are traced again and again."""
        model, x = sequential(L.BatchNormalization(), shape=(6,)), images(shape=(6,))
        run, said = Recalibration(model), []
        handler = logging.Handler()
        handler.emit = said.append
        logger = logging.getLogger("tensorflow")
        logger.addHandler(handler)
        traces = []
        call = run.model.call
        run.model.call = lambda *args, **options: traces.append(1) or call(*args, **options)
        try:
            for shift in range(8):
                run.run(x + shift, batch_size=11)
                assert_statistics(model.layers[0], x + shift)
        finally:
            logger.removeHandler(handler)
            del run.model.call
        assert len(traces) == 1
        assert not [record for record in said if "retracing" in record.getMessage()]


class TestRefusals:
    def test_an_iterator(self):
        model = sequential(L.BatchNormalization(), shape=(6,))
        with pytest.raises(kcnn.InputError, match=r"received generator, which is used up"):
            recalibrate_batchnorm(model, (x for x in [images(shape=(6,))]))

    def test_endless_data(self):
        class Endless(keras.utils.PyDataset):
            @property
            def num_batches(self):
                return None

            def __getitem__(self, i):
                return (images(8, (6,)),)

        x = images(16, (6,))
        norm = L.BatchNormalization()
        model = sequential(norm, shape=(6,))
        for data in (Endless(), batches(x, 8).repeat()):
            with pytest.raises(kcnn.InputError, match=r"no end.*steps="):
                recalibrate_batchnorm(model, data)
        recalibrate_batchnorm(model, batches(x, 8).repeat(), steps=2)
        assert_statistics(norm, x)
        recalibrate_batchnorm(model, Endless(), steps=3)
        assert_statistics(norm, images(8, (6,)))

    def test_an_exception_leaves_the_model_as_it_was(self):
        class Broken(keras.utils.PyDataset):
            def __len__(self):
                return 4

            def __getitem__(self, i):
                if i == 3:
                    raise OSError("unreadable")
                return (images(8, (6,)),)

        norm = L.BatchNormalization()
        model = sequential(norm, shape=(6,))
        with pytest.raises(Exception, match="unreadable"):
            recalibrate_batchnorm(model, Broken())
        np.testing.assert_array_equal(norm.moving_mean, np.zeros(6))
        assert "call" not in vars(norm)
        x = images(8, (6,))
        np.testing.assert_allclose(model(x), x / np.sqrt(1.0 + norm.epsilon), rtol=1e-5)


@pytest.mark.parametrize(
    "empty",
    [
        lambda: np.zeros((0, 4), "float32"),
        lambda: tf.data.Dataset.from_tensor_slices(np.zeros((0, 4), "float32")).batch(2),
    ],
    ids=["array", "data set"],
)
def test_data_that_are_empty_are_refused(empty):
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    with pytest.raises(InputError, match="are empty"):
        recalibrate_batchnorm(model, empty())
    with pytest.raises(InputError, match="steps is a number of batches from 1 up; received 0"):
        recalibrate_batchnorm(model, np.zeros((4, 4), "float32"), steps=0)
