"""Steps in parts: Keras' training with the large batch is the oracle, and NumPy for one step."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

import kcnn
from kcnn.data import training_batches
from kcnn.errors import InputError
from kcnn.recipes.defaults import resolve
from kcnn.recipes.families import LENET, OTHERS
from kcnn.training.loop.accumulation import in_parts
from kcnn.training.loop.optimizers import Update
from kcnn.training.setup import decide

IMAGES, BATCH, TOGETHER = 41, 4, 3  # steps of 12, 12, 12 and 5 images, the last in parts of 4 and 1
FIELDS = {
    "epochs": 2, "batch_size": BATCH, "accumulate": TOGETHER, "augment": "crop-flip", "seed": 5,
    "optimizer": "momentum", "learning_rate": 0.05, "schedule": "constant", "warmup": 0.0,
    "weight_decay": 0.0, "mixup": 0.2, "clip_norm": 0.5, "select": "last",
}  # fmt: skip


def arrays(images, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    pixels = rng.integers(0, 128, (images, 10, 10, 3)) + 40 * labels[:, None, None, None]
    return pixels.astype("uint8"), labels


DATA = {"train": arrays(IMAGES), "validation": arrays(9, seed=1), "test": arrays(9, seed=2)}


@keras.saving.register_keras_serializable("test")
class Watched(keras.layers.Layer):
    """What goes in, with the number of images that it has seen in training, at most and in all."""

    def build(self, shape):
        self.seen = self.add_weight(shape=(2,), initializer="zeros", trainable=False, name="seen")

    def call(self, x, training=False):
        if training:
            count = keras.ops.cast(keras.ops.shape(x)[0], "float32")
            most, total = self.seen[0], self.seen[1]
            self.seen.assign(keras.ops.stack([keras.ops.maximum(most, count), total + count]))
        return x


def network():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            layers.Rescaling(1 / 255),
            Watched(),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def trained(tmp_path, model, data=DATA, **fields):
    recipe = kcnn.Recipe(logs=str(tmp_path), **FIELDS | fields)
    return kcnn.train(recipe, model=model, data=data, verbose=False)


def close(a, b, tolerance=1e-5):
    for ours, theirs in zip(a.trainable_weights, b.trainable_weights, strict=True):
        np.testing.assert_allclose(
            ours.numpy(), theirs.numpy(), rtol=0, atol=tolerance, err_msg=ours.path
        )


@pytest.mark.slow
def test_it_comes_to_what_keras_comes_to_with_the_large_batch(tmp_path):
    """Rest, clipping, mixing and order included; the network sees a small batch at a time."""
    ours, theirs = network(), network()
    run = trained(tmp_path, ours)
    assert run.result["steps"] == 2 * 4
    watched = ours.layers[1].seen.numpy()
    assert list(watched) == [BATCH, 2 * IMAGES]
    theirs.compile(
        keras.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=0.5), "categorical_crossentropy"
    )
    split = kcnn.from_arrays(DATA["train"], DATA["validation"], DATA["test"]).train
    batches = training_batches(
        split, BATCH * TOGETHER, classes=3, seed=5, augment="crop-flip", mixup=0.2, stop=8
    )
    history = theirs.fit(batches.take(4), shuffle=False, verbose=0).history["loss"]
    history += theirs.fit(batches.skip(4), shuffle=False, verbose=0).history["loss"]
    close(ours, theirs)
    assert run.history["loss"] == pytest.approx(history, rel=1e-5)


class TestOneStep:
    """Of a linear model with a squared error, under float16's loss scaling."""

    X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    Y = np.random.default_rng(1).normal(size=(5, 2)).astype("float32")

    def step(self, x, jit=False):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=8.0)
        model.compile(scaled, "mean_squared_error", jit_compile=jit)
        recipe = kcnn.Recipe(
            optimizer="sgd", learning_rate=0.1, schedule="constant", warmup=0.0, weight_decay=0.0
        )
        recipe = resolve(recipe, family=OTHERS, images=5, image_shape=(3, 1, 1))
        update, before = Update(model, recipe, 1), model.get_weights()[0]
        step = tf.function(in_parts(model, update, 2), autograph=False)
        logs = step((tf.constant(x), tf.constant(self.Y)))
        assert not {"apply", "update_step"} & set(vars(model.optimizer))
        return before, model, float(logs["loss"])

    @pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_against_numpy(self, jit):
        before, model, loss = self.step(self.X, jit)
        error = self.X @ before - self.Y
        gradient = self.X.T @ error * 2 / error.size
        np.testing.assert_allclose(model.get_weights()[0], before - 0.1 * gradient, atol=1e-6)
        assert loss == pytest.approx(np.square(error).mean(), rel=1e-5)
        assert int(model.optimizer.iterations) == 1

    def test_one_part_that_is_not_finite_leaves_out_the_whole_step(self):
        wrong = self.X.copy()
        wrong[4] = np.inf  # in the last part
        before, model, _ = self.step(wrong)
        np.testing.assert_array_equal(model.get_weights()[0], before)
        assert float(model.optimizer.dynamic_scale) == 4.0


@pytest.mark.slow
def test_it_goes_on_to_the_same_bits(tmp_path):
    """From a checkpoint within an epoch: one falls behind each update, none between two parts."""

    class Killed(keras.callbacks.Callback):
        armed = True

        def on_train_batch_end(self, batch, logs=None):
            if self.armed and int(self.model.optimizer.iterations) == 7:
                raise KeyboardInterrupt

    fields = {
        "model": "mlp", "options": {"width": 8}, "batch_size": 100, "accumulate": 3, "epochs": 2,
        "checkpoint_every": "1", "logs": str(tmp_path),
    }  # fmt: skip
    whole = kcnn.train(kcnn.Recipe(name="whole", **fields), verbose=False)
    with pytest.raises(KeyboardInterrupt):
        kcnn.train(kcnn.Recipe(name="cut", **fields), callbacks=[Killed()], verbose=False)
    assert whole.result["steps"] == 10
    Killed.armed = False
    resumed = kcnn.resume(tmp_path / "cut", callbacks=[Killed()], verbose=False)
    for a, b in zip(resumed.model.weights, whole.model.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    assert resumed.history["loss"] == whole.history["loss"]


@pytest.mark.slow
def test_batches_of_a_stream_are_put_together(tmp_path):
    def streams(size):
        return {n: tf.data.Dataset.from_tensor_slices(d).batch(size) for n, d in DATA.items()}

    plain = {"augment": "auto", "mixup": 0.0, "batch_size": None}
    parts, whole = network(), network()
    run = trained(tmp_path, parts, streams(BATCH), **plain)
    assert run.result["steps"] == 2 * 4
    trained(tmp_path, whole, streams(BATCH * TOGETHER), accumulate=1, **plain)
    assert list(parts.layers[1].seen.numpy()) == [BATCH, 2 * IMAGES]
    close(parts, whole)


def test_statistics_of_an_average_are_of_the_batches_that_training_saw():
    recipe = kcnn.Recipe(model="lenet5", batchnorm=True, swa_start=0.5, **FIELDS | {"epochs": 4})
    setup = decide(recipe, data=DATA, console=Console(file=io.StringIO()))
    assert setup.steps == 4
    assert setup.recipe.slots == 1 + 1  # momentum, and the sum of gradients
    sizes = [len(images) for images, _ in setup.statistics_batches()]
    assert sizes == [BATCH] * 10 + [1]


class TestRefusals:
    def test_a_step_of_ones_own(self, tmp_path):
        class Theirs(keras.Model):
            def train_step(self, data):
                return super().train_step(data)

        made = network()
        with pytest.raises(InputError, match="accumulate=3 takes Keras' own training step apart"):
            trained(tmp_path, Theirs(made.inputs, made.outputs))

    def test_more_than_there_are(self):
        recipe = kcnn.Recipe(batch_size=32, accumulate=4)
        with pytest.raises(InputError, match=r"100 training images. Use accumulate=3 or less"):
            resolve(recipe, family=LENET, images=100, image_shape=(8, 8, 1))
        open_size = kcnn.Recipe(accumulate=4)  # then batches are smaller
        found = resolve(open_size, family=LENET, images=100, image_shape=(8, 8, 1))
        assert found.batch_size == 25


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_weights_of_images_count_in_every_part(stream, tmp_path):
    """As in the large batch, of arrays and of streams of three."""
    images, labels = arrays(48)
    weights = np.random.default_rng(3).uniform(0, 3, 48).astype("float32")
    found = []
    for batch, together in ((12, 1), (4, 3)):
        train = (images, labels, weights)
        data = DATA | {"train": train}
        if stream:
            whole = {"train": train, **{part: DATA[part] for part in ("validation", "test")}}
            data = {
                part: tf.data.Dataset.from_tensor_slices(of).batch(batch)
                for part, of in whole.items()
            }
        fields = FIELDS | {"batch_size": batch, "accumulate": together, "mixup": 0.0}
        fields |= {"augment": "none", "epochs": 1}
        if stream:
            fields.pop("batch_size")
        recipe = kcnn.Recipe(**fields, logs=str(tmp_path), name=f"{batch}-{stream}")
        model = network()
        kcnn.train(recipe, model=model, data=data, verbose=False)
        found.append([w for w in model.get_weights() if w.dtype == np.float32 and w.size > 2])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
