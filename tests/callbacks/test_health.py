"""Health: figures against NumPy and plain gradients, and a training that it does not change."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

import kcnn
from kcnn.callbacks import Health, MetricsTable, Progress
from kcnn.interpret.health import Looking, drift, look, rectifiers, statistics

#: Seconds each; everybody's tests are to be short.
pytestmark = pytest.mark.slow

L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 8, 8, 2)).astype("float32")
Y = np.eye(3, dtype="float32")[np.arange(48) % 3]


def network(seed=0):
    """With a nested model, a ReLU of each kind, BatchNorm and dropout."""
    keras.utils.set_random_seed(seed)
    inner = keras.Sequential(
        [keras.Input((6, 6, 4)), L.Conv2D(5, 3, activation="relu", name="conv"),
         L.BatchNormalization(name="norm"), L.ReLU(name="relu")], name="inner",
    )  # fmt: skip
    inputs = keras.Input((8, 8, 2))
    x = L.Conv2D(4, 3, name="conv")(inputs)
    x = keras.ops.relu(x)
    x = inner(x)
    x = L.Flatten()(L.Dropout(0.3)(x))
    x = L.Activation("relu", name="activation")(L.Dense(6, name="dense")(x))
    x = L.ReLU(negative_slope=0.1, name="leaky")(x)
    return keras.Model(inputs, L.Dense(3, "softmax", name="top")(x))


def fit(callbacks, epochs=2, **options):
    model = network()
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        "categorical_crossentropy",
        metrics=["accuracy"],
    )
    options = {"batch_size": 16, "verbose": 0} | options
    history = model.fit(X, Y, epochs=epochs, callbacks=callbacks, **options)
    return model, history.history


def test_dead_channels_of_every_kind_of_relu():
    model = network()
    assert [one.name for one in rectifiers(model)][1:] == ["conv", "relu", "activation"]
    model.get_layer("inner").get_layer("conv").bias.assign([0, -1e3, 0, -1e3, 0])
    model.get_layer("dense").bias.assign([-1e3, 0, 0, 0, 0, 0])
    seen = look(model, X[:7])
    assert len(seen.dead) == 4
    np.testing.assert_array_equal(seen.dead["conv"], [0, 1, 0, 1, 0])
    assert seen.dead["activation"][0]
    inner = model.get_layer("inner")
    first = np.maximum(keras.ops.convert_to_numpy(model.get_layer("conv")(X[:7])), 0)
    expected = keras.ops.convert_to_numpy(inner(first, training=False)).max(axis=(0, 1, 2)) <= 0
    np.testing.assert_array_equal(seen.dead["relu (2)"], expected)  # the first is keras.ops'
    assert seen.gradients == {}
    assert "call" not in vars(inner.get_layer("conv"))


def test_gradients():
    model = network()
    model.compile("sgd", "categorical_crossentropy")
    seen = look(model, X[:9], Y[:9])
    with tf.GradientTape() as tape:
        said = model(X[:9], training=False)
        loss = -tf.reduce_mean(tf.reduce_sum(Y[:9] * tf.math.log(said), axis=1))
    found = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
    for weight, gradient in zip(model.trainable_variables, found, strict=True):
        assert seen.gradients[weight.path] == pytest.approx(
            np.linalg.norm(gradient), rel=1e-4, abs=1e-7
        )


def test_a_trace_sees_the_same_until_other_layers_are_trained():
    calls = []

    class Counted(L.Dense):
        def call(self, inputs):
            calls.append(1)
            return super().call(inputs)

    inner = network()
    model = keras.Model(inner.input, Counted(3, "softmax", name="last")(inner.output))
    model.compile("sgd", "categorical_crossentropy")
    looking = Looking(model)
    for change in (0.9, 1.1):
        inner.get_layer("dense").bias.assign(np.full(6, change - 1.0))
        plain, traced = look(model, X[:9], Y[:9]), looking(X[:9], Y[:9], traced=True)
        assert traced.gradients == pytest.approx(plain.gradients, rel=1e-4)
        assert traced.dead.keys() == plain.dead.keys()
        for name, dead in plain.dead.items():
            np.testing.assert_array_equal(traced.dead[name], dead)
    before = len(calls)
    looking(X[:9], Y[:9], traced=True)
    assert len(calls) == before
    inner.get_layer("dense").trainable = False
    frozen = looking(X[:9], Y[:9], traced=True)
    assert plain.gradients.keys() - frozen.gradients.keys() == {"dense/kernel", "dense/bias"}


def test_drift():
    before = np.array([0.0, 1.0]), np.array([4.0, 1.0])
    now = np.array([1.0, 0.0]), np.array([4.0, np.e**2])
    moved, factor = drift(before, now)
    assert moved == pytest.approx((0.5 + 1.0) / 2)
    assert factor == pytest.approx(np.exp(0.5))
    (only,) = statistics(network()).values()
    np.testing.assert_array_equal(only, ([0.0] * 5, [1.0] * 5))


class Weights(keras.callbacks.Callback):
    """Weights and statistics around the first step of each epoch, and behind the epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.start = {w.path: w.numpy() for w in self.model.weights}

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self.after = {w.path: w.numpy() for w in self.model.weights}

    def on_epoch_end(self, epoch, logs=None):
        self.end = {w.path: w.numpy() for w in self.model.weights}


def test_the_logs():
    health, weights = Health(X[:8], Y[:8]), Weights()
    model, history = fit([weights, health], validation_data=(X[:16], Y[:16]))
    ratios = [
        np.linalg.norm(weights.after[w.path] - weights.start[w.path])
        / np.linalg.norm(weights.start[w.path])
        for w in model.trainable_variables
        if w.ndim > 1
    ]
    assert health.steps == 1
    assert history["health/update_ratio"][-1] == pytest.approx(np.median(ratios), rel=1e-3)
    assert list(health.layers["update_ratio"].values()) == pytest.approx(ratios, rel=1e-3)
    seen = look(model, X[:8], Y[:8])
    total = np.sqrt(sum(norm**2 for norm in seen.gradients.values()))
    assert history["health/gradient_norm"][-1] == pytest.approx(total, rel=1e-4)
    dead = np.concatenate(list(seen.dead.values()))
    assert history["health/dead_relus"][-1] == pytest.approx(dead.mean())
    moved = [
        np.abs(weights.end[f"{name}/moving_mean"] - weights.start[f"{name}/moving_mean"])
        / np.sqrt(weights.start[f"{name}/moving_variance"])
        for name in health.layers["batchnorm_drift"]
    ]
    assert len(moved) == 1
    assert history["health/batchnorm_drift"][-1] == pytest.approx(np.mean(moved), rel=1e-4)
    assert len(history["health/update_ratio"]) == 2


def test_several_steps_in_a_call():
    health = Health(X[:4])
    keras.utils.set_random_seed(0)
    model = network()
    model.compile("sgd", "categorical_crossentropy", steps_per_execution=2)
    start = model.get_layer("top").kernel.numpy()
    ends = []

    class Ends(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            ends.append(self.model.get_layer("top").kernel.numpy())

    model.fit(X, Y, batch_size=16, verbose=0, callbacks=[health, Ends()])  # 3 steps, in 2 calls
    assert health.steps == 2
    (path,) = (name for name in health.layers["update_ratio"] if name.startswith("top"))
    expected = np.linalg.norm(ends[0] - start) / np.linalg.norm(start) / 2
    assert health.layers["update_ratio"][path] == pytest.approx(expected, rel=1e-3)


def test_it_changes_no_bit_of_a_training():
    (plain, logs), (watched, more) = fit([]), fit([Health(X[:8], Y[:8])])
    for one, other in zip(plain.variables, watched.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert logs.items() <= more.items()


def test_every_and_by_layer():
    health = Health(X[:4], every=2, by_layer=True)
    looked = []

    class Looked(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            looked.append({name for name in logs if name.startswith("health/")})

    fit([health, Looked()], epochs=3)
    assert looked[1] == set()
    assert looked[0] == looked[2]
    assert {"health/dead_relus", "health/dead_relus/activation"} <= looked[0]
    assert not any("gradient" in name for name in looked[0])  # no targets


def test_the_table_and_what_writes_logs(tmp_path):
    console = Console(file=io.StringIO(), width=100)
    health = Health(X[:4], Y[:4], console=console)
    progress = Console(file=io.StringIO(), width=200)
    fit([health, MetricsTable(tmp_path / "metrics.csv"), Progress(progress)])
    text = console.file.getvalue()
    for word in ("update / weight", "gradient norm", "dead ReLUs", "σ", "activation", "over 1 st"):
        assert word in text
    assert "health/update_ratio" in (tmp_path / "metrics.csv").read_text()
    assert "health" not in progress.file.getvalue()


def test_what_is_no_batch():
    with pytest.raises(kcnn.InputError, match="received 4 images and 3 targets"):
        Health(X[:4], Y[:3])
    with pytest.raises(kcnn.InputError, match="received 0 images and none"):
        Health(X[:0])
    with pytest.raises(kcnn.InputError, match="every is a whole number"):
        Health(X[:4], every=0)


@pytest.mark.slow
def test_a_recipes_health_goes_on_where_it_was_and_changes_no_bit(tmp_path):
    labels = np.arange(96) % 3
    images = (60 * labels[:, None, None, None] + RNG.integers(0, 60, (96, 9, 9, 3))).astype("uint8")
    data = {part: (images, labels) for part in ("train", "validation", "test")}

    class Stop(keras.callbacks.Callback):
        stops, epoch = False, 0

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if self.stops and (self.epoch, batch) == (1, 3):
                raise KeyboardInterrupt

        def get_state(self):
            return {}

        def set_state(self, state):
            pass

    def recipe(name, health=True):
        return kcnn.Recipe(
            model="resnet20", options={"depths": (1, 1, 1)}, epochs=3, batch_size=16, name=name,
            logs=str(tmp_path), checkpoint_every="1", steps_per_execution=1,
            health=health,
        )  # fmt: skip

    whole = kcnn.train(recipe("whole"), data=data, verbose=False)
    plain = kcnn.train(recipe("plain", health=False), data=data, verbose=False)
    Stop.stops = True
    with pytest.raises(KeyboardInterrupt):
        kcnn.train(recipe("broken"), data=data, callbacks=[Stop()], verbose=False)
    Stop.stops = False
    resumed = kcnn.resume(tmp_path / "broken", data=data, callbacks=[Stop()], verbose=False)
    table = (tmp_path / "whole/metrics.csv").read_text()
    for name in ("update_ratio", "gradient_norm", "dead_relus", "batchnorm_drift"):
        assert len(whole.history[f"health/{name}"]) == 3
        assert f"health/{name}" in table
        assert resumed.history[f"health/{name}"] == whole.history[f"health/{name}"]
    assert whole.history["val_loss"] == plain.history["val_loss"]


def test_a_recipes_health_is_of_all_classes_and_of_some_images(tmp_path):
    from kcnn.terminal import console
    from kcnn.training.setup import decide
    from kcnn.training.watchers import _health

    labels = np.repeat(np.arange(3), 100)  # a first batch in stored order has one
    images = RNG.integers(0, 256, (300, 8, 8, 1)).astype("uint8")
    recipe = kcnn.Recipe(model="mlp", batch_size=64, health=True, logs=str(tmp_path))
    data = {part: (images, labels) for part in ("train", "validation", "test")}
    health = _health(decide(recipe, data=data, console=console(quiet=True)))
    assert health.images.shape == (32, 8, 8, 1)
    assert set(np.argmax(health.targets, axis=1)) == {0, 1, 2}
