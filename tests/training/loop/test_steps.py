"""Many steps in one graph call: the same bits in any grouping, and Keras' habits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.data import training_batches
from kcnn.training.loop import engine as engines
from kcnn.training.loop.steps import even, per_execution

IMAGES, SIZE = 40, 12  # 7 steps an epoch in batches of 6, the last of 4
CHANCE = {  # everything random, and BatchNorm
    "model": "resnet20", "batchnorm": True, "dropout": 0.3, "augment": "crop-flip", "mixup": 0.2,
    "options": {"depths": (1,), "widths": (4,)}, "batch_size": 6, "learning_rate": 0.05,
    "epochs": 3, "seed": 5, "select": "last",
}  # fmt: skip


def arrays(images=IMAGES, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    pixels = rng.integers(0, 128, (images, SIZE, SIZE, 3)) + 40 * labels[:, None, None, None]
    return pixels.astype("uint8"), labels


DATA = {"train": arrays(), "validation": arrays(9, seed=1), "test": arrays(9, seed=2)}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No engine of another test."""
    monkeypatch.setattr(engines, "_engines", type(engines._engines)())


def trained(tmp_path, callbacks=(), **fields):
    recipe = kcnn.Recipe(logs=str(tmp_path), **CHANCE | fields)
    return kcnn.train(recipe, data=DATA, callbacks=callbacks, verbose=False)


class Calls(keras.callbacks.Callback):
    """Which batches `fit` reports, and when validation comes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)

    def on_test_begin(self, logs=None):
        self.seen.append("validation")


class TestGrouping:
    @pytest.fixture(scope="class")
    @classmethod
    def one_by_one(cls, tmp_path_factory):
        return trained(tmp_path_factory.mktemp("one"), steps_per_execution=1)

    @pytest.mark.parametrize(("fused", "used"), [(3, 3), (5, 4), (100, 7)])
    def test_the_bits_are_the_same(self, fused, used, one_by_one, tmp_path):
        run = trained(tmp_path, steps_per_execution=fused)
        assert run.recipe.steps_per_execution == used
        assert run.result["steps"] == one_by_one.result["steps"] == 21
        for a, b in zip(run.model.weights, one_by_one.model.weights, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
        for name in set(run.history) - {"seconds", "images_per_second"}:
            assert run.history[name] == one_by_one.history[name], name
        assert run.test_metrics == one_by_one.test_metrics

    def test_callbacks_see_groups_that_end_with_the_epoch(self, tmp_path):
        calls = Calls()
        trained(tmp_path, [calls], steps_per_execution=3, epochs=2)
        assert calls.seen == [2, 5, 8, "validation"] * 2

    @pytest.mark.slow
    def test_plain_fit_over_the_same_batches_comes_to_the_same(self, tmp_path):
        """With Keras' loop and Keras' optimiser: equal but for rounding after 21 steps."""
        ours = kcnn.build(
            "resnet20", input_shape=(SIZE, SIZE, 3), classes=3,
            preprocessing=[keras.layers.Rescaling(1 / 255)], **CHANCE["options"],
        )  # fmt: skip
        theirs = keras.models.clone_model(ours)
        theirs.set_weights(ours.get_weights())
        fields = {
            "epochs": 3, "batch_size": 6, "augment": "crop-flip", "mixup": 0.2, "seed": 5,
            "optimizer": "momentum", "learning_rate": 0.05, "schedule": "constant", "warmup": 0.0,
            "weight_decay": 0.0, "select": "last",
        }  # fmt: skip
        recipe = kcnn.Recipe(logs=str(tmp_path), **fields)
        run = kcnn.train(recipe, model=ours, data=DATA, verbose=False)
        assert run.recipe.steps_per_execution > 1
        theirs.compile(keras.optimizers.SGD(0.05, momentum=0.9), "categorical_crossentropy")
        split = kcnn.from_arrays(DATA["train"], DATA["validation"], DATA["test"]).train
        batches = training_batches(
            split, 6, classes=3, seed=5, augment="crop-flip", mixup=0.2, stop=21
        )
        theirs.fit(batches, shuffle=False, verbose=0)
        for a, b in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-4, err_msg=a.path)


class TestKerasHabits:
    @pytest.mark.slow
    def test_an_exception_in_a_callback_leaves_everything_usable(self, tmp_path):
        class Bomb(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path, [Bomb()])
        again, expected = trained(tmp_path), trained(tmp_path, name="expected")
        assert again.history["loss"] == expected.history["loss"]

    def test_a_loss_that_is_not_finite_stops(self, tmp_path):
        with pytest.raises(FloatingPointError, match=r"not finite in step 2 \(epoch 1\)"):
            trained(tmp_path, learning_rate=1e30, optimizer="sgd")

    def test_stopping_by_a_callback(self, tmp_path):
        class Stop(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.stop_training = epoch == 1

        assert trained(tmp_path, [Stop()], epochs=5).result["epochs"] == 2

    def test_a_rate_that_a_callback_sets_acts(self, tmp_path):
        class Halt(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                self.before = self.model.get_weights()
                if epoch == 1:
                    self.model.optimizer.learning_rate = 0.0

            def on_epoch_end(self, epoch, logs=None):
                pairs = zip(self.before, self.model.get_weights(), strict=True)
                kernels = [np.array_equal(a, b) for a, b in pairs if a.ndim == 4]
                self.moved = not all(kernels)

        halt = Halt()
        trained(tmp_path, [halt], epochs=2, schedule="constant", warmup=0.0, optimizer="sgd")
        assert not halt.moved

    @pytest.mark.slow
    def test_xla(self, tmp_path):
        """Compiled steps compute the same, but for rounding and its growth over an epoch."""
        plain, compiled = (trained(tmp_path, epochs=1, jit=jit) for jit in (False, True))
        assert compiled.history["loss"] == pytest.approx(plain.history["loss"], rel=0.02)

    def test_a_model_of_ones_own_with_its_own_step(self, tmp_path):
        """`train_step` of a user's class runs in the graph, as in `fit`."""

        class Doubled(keras.Model):
            def train_step(self, data):
                counted.append(1)
                return super().train_step(data)

        counted = []
        inputs = keras.Input((SIZE, SIZE, 3))
        flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
        model = Doubled(inputs, keras.layers.Dense(3, activation="softmax")(flat))
        recipe = kcnn.Recipe(epochs=2, batch_size=6, logs=str(tmp_path))
        run = kcnn.train(recipe, model=model, data=DATA, verbose=False)
        assert run.model is model
        assert len(counted) == 1  # traced once for all steps
        assert run.result["steps"] == 14


@pytest.mark.parametrize(
    ("fused", "steps", "expected"),
    [(1, 10, 1), (3, 10, 3), (4, 10, 4), (6, 10, 5), (9, 10, 5), (10, 10, 10), (99, 10, 10)],
)
def test_an_epoch_is_divided_evenly(fused, steps, expected):
    assert even(fused, steps) == expected
    calls = -(-steps // expected)
    assert calls == -(-steps // min(fused, steps))  # no more calls than asked for


def test_small_networks_fuse_many_steps_and_large_ones_none():
    assert per_execution(400_000, 128) > 20  # LeNet-5
    assert per_execution(15_000_000_000, 32) == 1  # VGG-16 at 224×224
    assert per_execution(0, 1) > 0


def test_steps_end_with_the_epoch_whatever_the_count(tmp_path):
    """More steps in a call than an epoch has: validation still comes after each."""
    calls = Calls()
    trained(tmp_path, [calls], steps_per_execution=1000, epochs=2)
    assert calls.seen == [6, "validation"] * 2
    assert tf.executing_eagerly()
