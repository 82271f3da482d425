"""Validation with the optimizer's moving average, beside NumPy's, and training left as it is."""

import functools

import keras
import numpy as np
import pytest

import kcnn
from kcnn.callbacks.averaging.ema import EvaluateEMA

MOMENTUM = 0.8
L = keras.layers


def arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 5)).astype("float32")
    return x, x @ rng.normal(size=(5, 2)).astype("float32")


@functools.cache
def compiled():
    model = keras.Sequential([keras.Input((5,)), L.Dense(4, "relu"), L.Dense(2)])
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=MOMENTUM)
    model.compile(optimizer, "mse")
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables]
    return model, [(v, v.numpy()) for v in variables]


def fresh():
    model, initial = compiled()
    for variable, value in initial:
        variable.assign(value)
    return model


def fit(model, callbacks, epochs=3, **options):
    x, y = arrays()
    options = {"validation_data": (x[:8], y[:8])} | options
    history = model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0,
                        callbacks=callbacks, **options)  # fmt: skip
    return history.history


class Recorder(keras.callbacks.Callback):
    """Weights before each epoch and after each step, and the average that NumPy makes of them."""

    def on_train_begin(self, logs=None):
        self.steps, self.begins, self.averages = [], [], []
        self.average = [np.zeros(w.shape) for w in self.model.get_weights()]

    def on_epoch_begin(self, epoch, logs=None):
        self.begins.append(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        weights = self.model.get_weights()
        self.steps.append(weights)
        # Keras starts the average with the first weights.
        share = 1.0 if len(self.steps) == 1 else 1.0 - MOMENTUM
        pairs = zip(self.average, weights, strict=True)
        self.average = [a + share * (w - a) for a, w in pairs]
        self.averages.append(self.average)


class AtTheEndOfEpochs(keras.callbacks.Callback):
    """What another callback sees: weights, and its own prediction."""

    def on_train_begin(self, logs=None):
        self.weights, self.predicted = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())
        self.predicted.append(self.model.predict(arrays()[0][:3], verbose=0))


def forward(weights, x):
    a, b, c, d = weights
    return np.maximum(x @ a + b, 0) @ c + d


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_validation_and_other_callbacks_see_the_average():
    model, recorder, other = fresh(), Recorder(), AtTheEndOfEpochs()
    history = fit(model, [recorder, other, EvaluateEMA()])
    x, y = arrays()
    for epoch in range(3):
        average = recorder.averages[4 * epoch + 3]
        loss = np.mean((forward(average, x[:8]) - y[:8]) ** 2)
        assert history["val_loss"][epoch] == pytest.approx(loss, rel=1e-4)
        assert_close(other.weights[epoch], average)
        np.testing.assert_allclose(other.predicted[epoch], forward(average, x[:3]), rtol=1e-3)
    assert_close(model.get_weights(), recorder.averages[-1])  # Keras' own doing


def test_training_is_the_same_to_the_bit():
    alone, beside, after = Recorder(), Recorder(), AtTheEndOfEpochs()
    fit(fresh(), [alone])
    fit(fresh(), [beside, EvaluateEMA(), after])
    for a, b in zip(alone.steps, beside.steps, strict=True):
        assert_same(a, b)
    for epoch in range(3):  # behind it in the list: raw
        assert_same(after.weights[epoch], alone.steps[4 * epoch + 3])


def test_epochs_without_validation():
    model, recorder, other = fresh(), Recorder(), AtTheEndOfEpochs()
    fit(model, [recorder, other, EvaluateEMA()], validation_freq=2)
    assert_same(other.weights[0], recorder.steps[3])
    assert_close(other.weights[1], recorder.averages[7])
    assert_same(other.weights[2], recorder.steps[11])


def test_evaluate_and_predict_outside_fit_put_back():
    model, recorder = fresh(), Recorder()
    ema = EvaluateEMA()

    class Spoil(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            model.set_weights(recorder.steps[-1])

    fit(model, [recorder, ema, Spoil()])
    raw, average = recorder.steps[-1], recorder.averages[-1]
    x, y = arrays()
    loss = model.evaluate(x, y, verbose=0, callbacks=[ema])
    assert loss == pytest.approx(np.mean((forward(average, x) - y) ** 2), rel=1e-4)
    assert_same(model.get_weights(), raw)
    predicted = model.predict(x, verbose=0, callbacks=[ema])
    np.testing.assert_allclose(predicted, forward(average, x), rtol=1e-3, atol=1e-5)
    assert_same(model.get_weights(), raw)
    with ema.averaged(model):
        assert_close(model.get_weights(), average)
    assert_same(model.get_weights(), raw)
    with pytest.raises(ZeroDivisionError), ema.averaged(model):
        _ = 1 / 0
    assert_same(model.get_weights(), raw)
    assert "evaluate" not in vars(model)


class Failing(keras.callbacks.Callback):
    def __init__(self, hook, error):
        super().__init__()
        setattr(self, hook, self.fail)
        self.error = error

    def fail(self, *args, **options):
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("lost"), KeyboardInterrupt()])
def test_an_exception_in_validation_puts_back(error):
    model, recorder = fresh(), Recorder()
    with pytest.raises(type(error)):
        fit(model, [recorder, EvaluateEMA(), Failing("on_test_batch_end", error)])
    assert_same(model.get_weights(), recorder.steps[3])
    x, y = arrays()
    raw = np.mean((forward(recorder.steps[3], x) - y) ** 2)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(raw, rel=1e-4)
    fit(model, [recorder, EvaluateEMA()])  # and a fit behind it is like any
    assert "evaluate" not in vars(model)


def test_an_exception_of_another_callback_within_the_context():
    model, recorder = fresh(), Recorder()
    with pytest.raises(RuntimeError), EvaluateEMA() as ema:
        fit(model, [recorder, Failing("on_epoch_end", RuntimeError("lost")), ema])
    assert_same(model.get_weights(), recorder.steps[3])


def test_an_exception_in_training_leaves_the_raw_weights():
    model, recorder = fresh(), Recorder()
    with pytest.raises(RuntimeError), EvaluateEMA() as ema:
        fit(model, [recorder, ema, Failing("on_train_batch_end", RuntimeError("lost"))])
    assert_same(model.get_weights(), recorder.steps[0])


def test_scaled_losses():
    model = keras.Sequential([keras.Input((5,)), L.Dense(4, "relu"), L.Dense(2)])
    inner = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=MOMENTUM)
    model.compile(keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0), "mse")
    recorder, other = Recorder(), AtTheEndOfEpochs()
    fit(model, [recorder, other, EvaluateEMA()], epochs=1)
    assert_close(other.weights[0], recorder.averages[3])


def test_an_optimizer_without_average_is_refused():
    model = keras.Sequential([keras.Input((5,)), L.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(kcnn.InputError, match=r"received SGD without.*use_ema=True"):
        fit(model, [EvaluateEMA()])
