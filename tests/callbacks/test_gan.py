"""Programs that are no classifiers: two networks, two optimisers, averages that swap.

A GAN on vectors, after keras.io's recipe: `call` is the discriminator's, the generator is another
network of the same model.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.callbacks import EvaluateEMA, ExactCheckpoint, StochasticWeightAveraging

L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:.*SeedGenerator.*:UserWarning")


class Gan(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.generator = keras.Sequential(
            [keras.Input((3,)), L.Dense(8), L.BatchNormalization(momentum=0.5), L.Dense(4)]
        )
        self.discriminator = keras.Sequential(
            [keras.Input((4,)), L.Dense(8), L.BatchNormalization(momentum=0.5), L.Dense(1)]
        )
        self.seeds = keras.random.SeedGenerator(7)

    def compile(self, d_optimizer, g_optimizer, **options):
        super().compile(**options)
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.loss_fn = keras.losses.BinaryCrossentropy(from_logits=True)

    def call(self, x, training=None):
        return self.discriminator(x, training=training)

    def train_step(self, real):
        real = real[0] if isinstance(real, tuple) else real
        count = keras.ops.shape(real)[0]
        noise = keras.random.normal((count, 3), seed=self.seeds)
        both = keras.ops.concatenate([real, self.generator(noise, training=True)])
        labels = keras.ops.concatenate([keras.ops.zeros((count, 1)), keras.ops.ones((count, 1))])
        with tf.GradientTape() as tape:
            loss = self.loss_fn(labels, self.discriminator(both, training=True))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply(tape.gradient(loss, weights), weights)
        noise = keras.random.normal((count, 3), seed=self.seeds)
        with tf.GradientTape() as tape:
            fooled = self.discriminator(self.generator(noise, training=True), training=True)
            g_loss = self.loss_fn(keras.ops.zeros((count, 1)), fooled)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(g_loss, weights), weights)
        return {"d_loss": loss, "g_loss": g_loss}


X = np.random.default_rng(0).normal(2.0, 0.5, (32, 4)).astype("float32")


def gan(build=False):
    keras.utils.set_random_seed(1)
    model = Gan(name="gan")
    model.compile(keras.optimizers.Adam(0.02), keras.optimizers.Adam(0.05))
    model(X[:2])
    if build:
        model.d_optimizer.build(model.discriminator.trainable_variables)
        model.g_optimizer.build(model.generator.trainable_variables)
    return model


def fit(model, callbacks, epochs=6, **options):
    return model.fit(
        X, batch_size=8, shuffle=False, epochs=epochs, verbose=0, callbacks=callbacks, **options
    )


class TestTwoOptimizers:
    @pytest.mark.slow
    def test_go_on_to_the_same_bits(self, tmp_path):
        whole = gan()
        fit(whole, [])
        fit(gan(), [ExactCheckpoint(tmp_path)], epochs=3)
        model, checkpoint = gan(build=True), ExactCheckpoint(tmp_path)
        fit(model, [checkpoint], initial_epoch=checkpoint.initial_epoch)
        for ours, theirs in zip(model.get_weights(), whole.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for name in ("d_optimizer", "g_optimizer"):
            pairs = zip(getattr(model, name).variables, getattr(whole, name).variables, strict=True)
            for ours, theirs in pairs:
                np.testing.assert_array_equal(ours.numpy(), theirs.numpy())

    @pytest.mark.slow
    def test_one_without_variables_is_refused(self, tmp_path):
        fit(gan(), [ExactCheckpoint(tmp_path)], epochs=1)
        checkpoint = ExactCheckpoint(tmp_path)
        with pytest.raises(kcnn.InputError, match="'d_optimizer', which has no variables yet"):
            fit(gan(), [checkpoint], initial_epoch=checkpoint.initial_epoch)

    def test_a_checkpoint_without_their_state_is_refused(self, tmp_path):
        """As those of before are: of the compiled optimiser alone."""
        fit(gan(build=True), [ExactCheckpoint(tmp_path)], epochs=1)
        checkpoint = ExactCheckpoint(tmp_path)
        del checkpoint._found["variables"]["others"]
        with pytest.raises(kcnn.InputError, match="d_optimizer: 0 variables there, 14 here"):
            fit(gan(build=True), [checkpoint], initial_epoch=checkpoint.initial_epoch)


class TestAveraging:
    @pytest.mark.slow
    def test_layers_that_the_data_do_not_reach_keep_their_statistics(self):
        model, seen = gan(), {}
        swa = StochasticWeightAveraging(start=0.5)

        class Look(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                norm = self.model.generator.layers[1]
                seen["mean"] = norm.moving_mean.numpy()
                seen["variance"] = norm.moving_variance.numpy()

        with pytest.warns(UserWarning, match="data do not reach .* of 'gan'"):
            fit(model, [swa, Look()])
        norm = model.generator.layers[1]
        np.testing.assert_array_equal(norm.moving_mean, seen["mean"])
        np.testing.assert_array_equal(norm.moving_variance, seen["variance"])
        # The others have those of the data: of the first layer behind the inputs, by NumPy.
        first, norm = model.discriminator.layers[:2]
        x = X @ first.kernel.numpy() + first.bias.numpy()
        np.testing.assert_allclose(norm.moving_mean, x.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm.moving_variance, x.var(0), rtol=1e-4)


def classifier(**options):
    keras.utils.set_random_seed(1)
    layers = [keras.Input((4,)), L.Dense(8, "relu"), L.Dense(2, "softmax")]
    model = keras.Sequential(layers)
    optimizer = keras.optimizers.SGD(0.1, **options)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def fit_classes(model, callbacks, epochs=4):
    y = (X.sum(1) > 8).astype("int32")
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    return model.fit(X, y, epochs=epochs, validation_data=(X, y), callbacks=callbacks, **options)


class TestSwapping:
    @pytest.mark.parametrize("named", [True, False], ids=["given to it", "beside it"])
    def test_averages_in_the_model_are_refused(self, tmp_path, named):
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        checkpoint = ExactCheckpoint(tmp_path, callbacks=[swap] if named else [])
        with pytest.raises(kcnn.InputError, match=r"kcnn\.callbacks\.EvaluateEMA"):
            fit_classes(classifier(use_ema=True), [checkpoint, swap])

    @pytest.mark.parametrize(
        "make", [EvaluateEMA, keras.callbacks.SwapEMAWeights], ids=["ours", "Keras'"]
    )
    @pytest.mark.slow
    def test_others_go_on_to_the_same_bits(self, tmp_path, make):
        whole = classifier(use_ema=True)
        fit_classes(whole, [make()])
        fit_classes(classifier(use_ema=True), [ExactCheckpoint(tmp_path), make()], epochs=2)
        model, checkpoint = classifier(use_ema=True), ExactCheckpoint(tmp_path)
        y = (X.sum(1) > 8).astype("int32")
        model.fit(
            X, y, epochs=4, validation_data=(X, y), batch_size=8, shuffle=False, verbose=0,
            callbacks=[checkpoint, make()], initial_epoch=checkpoint.initial_epoch,
        )  # fmt: skip
        for ours, theirs in zip(model.get_weights(), whole.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


class TestKeepers:
    """Callbacks that would keep the raw weights under a figure of the average."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda path: keras.callbacks.ModelCheckpoint(
                path / "a.keras", monitor="swa_val_loss", save_best_only=True
            ),
            lambda path: keras.callbacks.ModelCheckpoint(path / "{swa_val_loss:.2f}.keras"),
            lambda path: keras.callbacks.EarlyStopping("swa_val_loss", restore_best_weights=True),
        ],
        ids=["best", "by path", "stopping"],
    )
    def test_are_refused(self, tmp_path, make):
        swa = StochasticWeightAveraging(start=0.25, validate=True)
        for order in ([swa, make(tmp_path)], [make(tmp_path), swa]):
            with pytest.raises(kcnn.InputError, match="a figure of the averaged weights"):
                fit_classes(classifier(), order)
        assert list(tmp_path.iterdir()) == []

    def test_what_would_overwrite_the_average_is_refused(self):
        swa = StochasticWeightAveraging(start=0.25)
        stopping = keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True)
        with pytest.raises(kcnn.InputError, match="puts the weights of its best epoch over"):
            fit_classes(classifier(), [swa, stopping])
        fit_classes(classifier(), [stopping, swa])

    def test_in_kcnn_train(self, tmp_path):
        stopping = keras.callbacks.EarlyStopping("val_loss", restore_best_weights=True)
        recipe = kcnn.Recipe(epochs=4, swa_start=0.5, logs=str(tmp_path))
        with pytest.raises(kcnn.InputError, match="puts the weights of its best epoch over"):
            kcnn.train(recipe, callbacks=[stopping], verbose=False)

    def test_others_pass(self, tmp_path):
        swa = StochasticWeightAveraging(start=0.25, validate=True)
        others = [
            keras.callbacks.EarlyStopping("swa_val_loss", mode="min", patience=9),
            keras.callbacks.ModelCheckpoint(tmp_path / "a.keras", monitor="val_loss"),
        ]
        model = classifier()
        fit_classes(model, [swa, *others])
        np.testing.assert_array_equal(model.get_weights()[0], swa.averaged_weights[0])
