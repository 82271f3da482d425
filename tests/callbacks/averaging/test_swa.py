"""Stochastic weight averaging against NumPy, PyTorch, and the sentences of its documentation."""

import copy
import functools
import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import kcnn
from kcnn.callbacks.averaging import timetable as swa_schedule
from kcnn.callbacks.averaging.swa import StochasticWeightAveraging
from kcnn.graph.fit_data import fit_data

L = keras.layers
SAMPLES, BATCH = 40, 8
STEPS = SAMPLES // BATCH
HERE = Path(__file__).parent


def arrays(n=SAMPLES):
    rng = np.random.default_rng(0)
    x = rng.normal(1.0, 2.0, size=(n, 4, 3, 2)).astype("float32")
    return x, (x.mean((1, 2, 3)) > 1).astype("int32")


def dataset(repeat=False):
    import tensorflow as tf

    batches = tf.data.Dataset.from_tensor_slices(arrays()).batch(BATCH)
    return batches.repeat() if repeat else batches


def generator():
    while True:
        yield from dataset().as_numpy_iterator()


class Counter(L.Layer):
    """Counts its calls in training: a weight that is an integer."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)

    def call(self, x, training=None):
        if training:
            self.calls.assign_add(1)
        return x


def layers(kind):
    norms = {"plain": [], "counted": [Counter(), L.Dropout(0.5)]}
    return [
        L.Conv2D(3, 2),
        *norms.get(kind, [L.BatchNormalization(momentum=0.5)]),
        L.Flatten(),
        L.Dense(2, "softmax"),
    ]


@functools.cache
def compiled(kind, **options):
    model = keras.Sequential([keras.Input((4, 3, 2)), *layers(kind)])
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.1, 0.9), loss, metrics=["accuracy"], **options)
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    return model, [(v, v.numpy()) for v in variables]


def fresh(kind="batchnorm", **options):
    """A compiled model as it was when it was made: not made and traced again for each test."""
    model, initial = compiled(kind, **options)
    for variable, value in initial:
        variable.assign(value)
    model.stop_training = False
    return model


def fit(model, callbacks=(), epochs=4, **options):
    if "x" not in options:
        options |= dict(zip("xy", arrays(), strict=True)) | {"batch_size": BATCH}
    options = {"verbose": 0, "shuffle": False} | options
    return model.fit(epochs=epochs, callbacks=list(callbacks), **options).history


class Recorder(keras.callbacks.Callback):
    """Weights after each number of steps, and the learning rate of each step."""

    def on_train_begin(self, logs=None):
        self.steps, self.rates, self.seen = {}, [], 0

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(np.array(self.model.optimizer.learning_rate)))

    def on_train_batch_end(self, batch, logs=None):
        done = self.seen + min(batch + 1, STEPS)
        self.steps[done] = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        self.seen += STEPS

    def mean(self, steps):
        rows = zip(*(self.steps[step] for step in steps), strict=True)
        return [np.mean(np.asarray(row, "float64"), axis=0) for row in rows]


class Stop(keras.callbacks.Callback):
    def __init__(self, epoch=None, error=None):
        super().__init__()
        self.epoch, self.error = epoch, error

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            if self.error:
                raise self.error
            self.model.stop_training = True


def assert_close(found, expected, tolerance=1e-6):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(a, "float64"), b, rtol=tolerance, atol=tolerance)


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def statistics_of_all_data(model, x=None):
    """Mean and variance of what the first convolution makes of all the data."""
    kernel, bias = (w.astype("float64") for w in model.layers[0].get_weights())
    x = arrays()[0] if x is None else x
    windows = np.lib.stride_tricks.sliding_window_view(x.astype("float64"), (2, 2), axis=(1, 2))
    y = np.einsum("nijchw,hwcd->nijd", windows, kernel) + bias
    return y.mean((0, 1, 2)), y.var((0, 1, 2))


def statistics(model):
    return [w.numpy() for w in model.layers[1].non_trainable_variables]


class TestContract:
    def test_averaged_weights_and_exact_statistics_at_the_end(self):
        model, recorder = fresh(), Recorder()
        swa = kcnn.callbacks.StochasticWeightAveraging(start=0.5, learning_rate=0.01)
        fit(model, [swa, recorder])
        expected = recorder.mean([3 * STEPS, 4 * STEPS])
        assert_close([w.numpy() for w in model.trainable_variables],
                     [expected[i] for i in (0, 1, 2, 3, 6, 7)])  # fmt: skip
        assert_close(statistics(model), statistics_of_all_data(model))
        assert recorder.rates == pytest.approx([0.1] * 2 * STEPS + [0.01] * 2 * STEPS)
        assert swa.snapshots == 2

    def test_the_default_averages_the_last_quarter(self):
        model, recorder = fresh("plain"), Recorder()
        fit(model, [StochasticWeightAveraging(), recorder], epochs=8)
        assert_close(model.get_weights(), recorder.mean([7 * STEPS, 8 * STEPS]))

    @pytest.mark.parametrize("endless", [False, True])
    def test_a_data_set_of_fit(self, endless):
        model = fresh()
        options = {"x": dataset(endless)} | ({"steps_per_epoch": STEPS} if endless else {})
        fit(model, [StochasticWeightAveraging(0.5)], **options)
        assert_close(statistics(model), statistics_of_all_data(model))

    def test_the_part_of_fit_that_is_not_validation(self):
        model = fresh()
        fit(model, [StochasticWeightAveraging(0.5)], validation_split=0.2)
        x = arrays()[0][: int(0.8 * SAMPLES)]
        assert_close(statistics(model), statistics_of_all_data(model, x))

    def test_data_that_cannot_be_read_twice_are_refused(self):
        options = {"x": generator(), "steps_per_epoch": STEPS}
        with pytest.raises(kcnn.InputError, match=r"read again.*data=\.\.\..*recalibrate=False"):
            fit(fresh(), [StochasticWeightAveraging(0.5)], **options)

    def test_without_a_fit_there_are_no_data(self):
        swa, model = StochasticWeightAveraging(0.5), fresh()
        swa.set_params({"epochs": 4, "steps": STEPS})
        swa.set_model(model)
        with pytest.raises(kcnn.InputError, match=r"cannot be found.*data=\.\.\."):
            swa.on_train_begin()

    @pytest.mark.parametrize("data", ["arrays", "endless"])
    def test_data_that_are_given(self, data):
        model = fresh()
        data = arrays()[0] if data == "arrays" else dataset(repeat=True)
        options = {"x": generator(), "steps_per_epoch": STEPS}
        fit(model, [StochasticWeightAveraging(0.5, data=data)], **options)
        assert_close(statistics(model), statistics_of_all_data(model))

    @pytest.mark.parametrize("kind", ["plain", "batchnorm"])
    def test_data_are_needed_for_statistics_only(self, kind):
        model = fresh(kind)
        swa = StochasticWeightAveraging(0.5, recalibrate=kind == "plain")
        fit(model, [swa], x=generator(), steps_per_epoch=STEPS)
        assert swa.snapshots == 2

    def test_what_is_read_from_the_frame_of_fit(self):
        """Keras has renamed an argument, or hides it, when this fails: see `fit_data`."""
        found, model = [], fresh("plain")
        x, y = arrays()
        begin = keras.callbacks.LambdaCallback(
            on_train_begin=lambda _: found.append(fit_data(model))
        )
        model.fit(x, y, batch_size=5, steps_per_epoch=2, validation_data=(x, y), verbose=0,
                  validation_batch_size=4, validation_steps=3, callbacks=[begin])  # fmt: skip
        assert found[0].x is x
        assert found[0].validation[0] is x
        numbers = found[0].batch_size, found[0].steps
        assert numbers == (5, 2)
        assert (found[0].validation_batch_size, found[0].validation_steps) == (4, 3)
        assert fit_data(model) is None

    def test_a_fit_of_the_users_own(self):
        class Own(keras.Sequential):
            def fit(self, *args, **options):
                return super().fit(*args, **options)

        model = Own([keras.Input((4, 3, 2)), *layers("batchnorm")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        fit(model, [StochasticWeightAveraging(0.5)])
        assert_close(statistics(model), statistics_of_all_data(model))


class TestWhen:
    @pytest.mark.parametrize(
        ("options", "epochs", "expected"),
        [
            ({"start": 0.5}, 4, [15, 20]),
            ({"start": 0.7}, 5, [20, 25]),  # 3.5: from the fourth epoch on
            ({"start": 1, "every": 2}, 5, [15, 25]),
            ({"start": 1, "every": 2}, 6, [15, 25]),  # a last period cut short
            ({"start": 0, "every": "1 epoch"}, 2, [5, 10]),
            ({"start": "3 steps", "every": "2 steps"}, 2, [5, 7, 9]),
            ({"start": 1, "every": "2 steps"}, 2, [7, 9]),
            ({"start": 0.5, "every": "5 steps"}, 4, [15, 20]),
            ({"start": "6 steps"}, 4, [15, 20]),  # whole epochs from there
        ],
    )
    def test_snapshots(self, options, epochs, expected):
        model, recorder = fresh("plain"), Recorder()
        swa = StochasticWeightAveraging(**options)
        fit(model, [swa, recorder], epochs=epochs)
        assert swa.snapshots == len(expected)
        assert_close(model.get_weights(), recorder.mean(expected))

    def test_nobody_else_has_to_look(self):
        options = {"start": "3 steps", "every": "2 steps"}
        swa, recorder = StochasticWeightAveraging(**options), Recorder()
        fit(fresh("plain"), [swa])
        fit(fresh("plain"), [recorder])
        assert_close(swa.averaged_weights, recorder.mean(range(5, 21, 2)))

    def test_groups_of_steps(self):
        """Due behind steps 3, 5, 7, 9; groups end behind 2, 4, 5 of five steps."""
        model, recorder = fresh("plain", steps_per_execution=2), Recorder()
        swa = StochasticWeightAveraging("1 step", every="2 steps")
        fit(model, [swa, recorder], epochs=2)
        assert_close(model.get_weights(), recorder.mean([4, 5, 7, 9]))
        assert swa.snapshots == 4

    @pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras, of every such fit
    @pytest.mark.parametrize(
        ("options", "expected"),
        [({"start": 0.5}, [15, 20]), ({"start": "9 steps", "every": "4 steps"}, [13, 17])],
    )
    def test_an_unknown_number_of_steps(self, options, expected):
        import tensorflow as tf

        model, recorder = fresh("plain"), Recorder()
        data = tf.data.Dataset.from_generator(
            lambda: dataset().as_numpy_iterator(), output_signature=dataset().element_spec
        )
        fit(model, [StochasticWeightAveraging(**options), recorder], x=data)
        assert_close(model.get_weights(), recorder.mean(expected))

    def test_training_that_goes_on_with_a_later_epoch(self):
        model, recorder = fresh("plain"), Recorder()
        options = {"start": "12 steps", "every": "3 steps", "learning_rate": 0.01}
        fit(model, [StochasticWeightAveraging(**options), recorder], initial_epoch=2)
        assert_close(model.get_weights(), recorder.mean([5, 8]))  # 15 and 18 in all
        assert recorder.rates == pytest.approx([0.1] * 2 + [0.01] * 8)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"start": 0.75}, r"75% of the epochs and every 1 epoch.* 4 epochs of 5 steps takes 1"),
            ({"start": 9}, r"9 epochs and every 1 epoch, .* takes 0\. Train longer"),
            ({"start": 0.5, "every": 2}, r"takes 1"),
            ({"start": "15 steps", "every": "3 steps"}, r"15 steps and every 3 steps.* takes 1"),
        ],
    )
    def test_two_have_to_fit(self, options, words):
        with pytest.raises(kcnn.InputError, match=words):
            fit(fresh("plain"), [StochasticWeightAveraging(**options)])

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"start": 0.0}, r"start is a fraction.*received 0\.0"),
            ({"start": 1.0}, "start is a fraction"),
            ({"start": -1}, "start is a fraction"),
            ({"start": True}, "start is a fraction"),
            ({"start": "12 batches"}, "'1200 steps'.*received '12 batches'"),
            ({"every": 0}, "every is a number of epochs.*from 1 up; received 0"),
            ({"every": 0.5}, "every is a number of epochs"),
            ({"learning_rate": -0.1}, "learning_rate is None.*received -0.1"),
            ({"learning_rate": float("nan")}, "learning_rate is None"),
            ({"learning_rate": (0.01, 0.1)}, r"\(high, low\)"),
            ({"learning_rate": "0.1"}, "learning_rate is None"),
            ({"learning_rate": 0.1, "anneal_epochs": -1}, "anneal_epochs is a number"),
            ({"learning_rate": 0.1, "anneal": "exp"}, "anneal is 'linear' or 'cosine'"),
            ({"anneal_epochs": 2}, "anneal_epochs=2 approaches a constant"),
            ({"learning_rate": (0.1, 0.01), "anneal_epochs": 2}, "anneal_epochs=2 approaches"),
            ({"recalibration_steps": 0}, "recalibration_steps is a number of batches"),
        ],
    )
    def test_values_that_are_refused(self, options, words):
        with pytest.raises(kcnn.InputError, match=words):
            StochasticWeightAveraging(**options)


class TestMean:
    @pytest.mark.parametrize(
        ("policy", "tolerance"),
        [("mixed_bfloat16", 1e-6), ("mixed_float16", 1e-6), ("bfloat16", 5e-3), ("float64", 1e-12)],
    )
    def test_every_precision(self, policy, tolerance):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            model = keras.Sequential([keras.Input((4, 3, 2)), *layers("batchnorm")])
        finally:
            keras.config.set_dtype_policy(before)
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        recorder, swa = Recorder(), StochasticWeightAveraging(0.5, learning_rate=0.02)
        fit(model, [swa, recorder])
        single = "float64" if policy == "float64" else "float32"
        assert {mean.dtype.name for mean in swa.get_state()["means"]} == {single}
        expected = recorder.mean([3 * STEPS, 4 * STEPS])
        found = model.get_weights()
        assert found[0].dtype.name == model.weights[0].dtype
        trainable = [0, 1, 2, 3, 6, 7]
        assert_close([found[i] for i in trainable], [expected[i] for i in trainable], tolerance)
        assert_close(statistics(model), statistics_of_all_data(model), 0.02)
        assert recorder.rates == pytest.approx([0.1] * 10 + [0.02] * 10, rel=1e-2)

    @pytest.mark.slow
    def test_compiled_by_xla(self):
        model, recorder = fresh(jit_compile=True), Recorder()
        fit(model, [StochasticWeightAveraging(0.5), recorder])
        expected = recorder.mean([3 * STEPS, 4 * STEPS])
        assert_close(model.get_weights()[:4], expected[:4])
        assert_close(statistics(model), statistics_of_all_data(model))

    def test_pytorch_averages_to_the_same(self):
        torch = pytest.importorskip("torch", reason="needs PyTorch: pip install kcnn[oracle]")
        model, recorder = fresh("plain"), Recorder()
        fit(model, [StochasticWeightAveraging(2), recorder], epochs=6)
        shapes = [w.shape for w in model.get_weights()]
        theirs = torch.nn.ParameterList([torch.zeros(shape) for shape in shapes])
        averaged = torch.optim.swa_utils.AveragedModel(theirs)
        for epoch in (3, 4, 5, 6):
            with torch.no_grad():
                for target, source in zip(theirs, recorder.steps[epoch * STEPS], strict=True):
                    target.copy_(torch.from_numpy(source.copy()))
            averaged.update_parameters(theirs)
        assert_close(model.get_weights(), [p.detach().numpy() for p in averaged.module])

    def test_integers_and_seeds_are_the_models_own(self):
        with_swa = fresh("counted")
        fit(with_swa, [StochasticWeightAveraging(0.5)])
        counts, seeds = with_swa.layers[1].calls.numpy(), with_swa.layers[2].variables[0].numpy()
        without = fresh("counted")
        fit(without)
        assert counts == without.layers[1].calls.numpy() == 4 * STEPS
        np.testing.assert_array_equal(seeds, without.layers[2].variables[0].numpy())

    @pytest.mark.parametrize("xla", [False, True])
    @pytest.mark.slow
    def test_training_is_the_same_to_the_bit(self, xla):
        alone, beside = Recorder(), Recorder()
        options = {"jit_compile": True} if xla else {}
        x, y = arrays()
        fit(fresh(**options), [alone])
        fit(fresh(**options), [StochasticWeightAveraging(0.5, validate=True), beside],
            validation_data=(x[:9], y[:9]))  # fmt: skip
        for step, weights in alone.steps.items():
            assert_same(beside.steps[step], weights)


class TestStatistics:
    def test_without_recalibration_they_are_averaged(self):
        model, recorder = fresh(), Recorder()
        fit(model, [StochasticWeightAveraging(0.5, recalibrate=False), recorder])
        assert_close(model.get_weights(), recorder.mean([3 * STEPS, 4 * STEPS]))

    def test_a_sample_of_the_data(self):
        model = fresh()
        fit(model, [StochasticWeightAveraging(0.5, recalibration_steps=2)], x=dataset())
        x = arrays()[0][: 2 * BATCH]
        assert_close(statistics(model), statistics_of_all_data(model, x))

    @pytest.mark.parametrize("how", ["frozen", "called in inference mode"])
    def test_what_training_does_not_move_stays(self, how):
        class Fixed(L.Layer):
            """BatchNorm in inference mode, whatever the mode of the model."""

            def __init__(self):
                super().__init__()
                self.norm = L.BatchNormalization()

            def call(self, x):
                return self.norm(x, training=False)

        kept, inputs = L.BatchNormalization(trainable=False), keras.Input((4, 3, 2))
        fixed = Fixed()
        x = L.Conv2D(3, 2)(inputs)
        if how == "frozen":
            x = keras.Sequential([kept])(x)
        else:
            x, kept = fixed(x), fixed.norm
        x = L.BatchNormalization()(x)
        model = keras.Model(inputs, L.Dense(2, "softmax")(L.Flatten()(x)))
        model.compile("sgd", "sparse_categorical_crossentropy")
        own = model.layers[3]
        kept.moving_mean.assign([1.0, -1.0, 0.5])
        fit(model, [StochasticWeightAveraging(0.5)])
        np.testing.assert_array_equal(kept.moving_mean, [1.0, -1.0, 0.5])
        np.testing.assert_array_equal(kept.moving_variance, [1.0] * 3)
        seen = keras.Model(inputs, own.input).predict(arrays()[0], verbose=0)
        assert_close(
            [own.moving_mean, own.moving_variance],
            [seen.mean((0, 1, 2)), seen.var((0, 1, 2))],
            1e-5,
        )

    def test_a_model_that_is_built_by_training(self):
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.conv, self.norm = L.Conv2D(3, 2), L.BatchNormalization()
                self.dense = L.Dense(2, "softmax")

            def call(self, x):
                x = self.norm(self.conv(x))
                return self.dense(keras.ops.reshape(x, (-1, 18)))

        model, recorder = Own(), Recorder()
        model.compile("sgd", "sparse_categorical_crossentropy")
        fit(model, [StochasticWeightAveraging(0.5), recorder])
        expected = recorder.mean([3 * STEPS, 4 * STEPS])
        assert_close(model.get_weights()[:2], expected[:2])
        assert_close(statistics(model), statistics_of_all_data(model))


class TestLearningRate:
    def rates(self, kind="plain", epochs=4, model_options=None, **options):
        recorder = Recorder()
        model = fresh(kind, **(model_options or {}))
        fit(model, [StochasticWeightAveraging(**options), recorder], epochs=epochs)
        return recorder.rates

    def test_left_alone(self):
        assert self.rates(start=0.5) == pytest.approx([0.1] * 4 * STEPS)

    def test_from_a_step_on(self):
        rates = self.rates(start="7 steps", every="3 steps", learning_rate=0.01)
        assert rates == pytest.approx([0.1] * 7 + [0.01] * 13)

    @pytest.mark.parametrize("anneal", ["linear", "cosine"])
    @pytest.mark.slow
    def test_annealed_as_pytorch_does(self, anneal):
        torch = pytest.importorskip("torch", reason="needs PyTorch: pip install kcnn[oracle]")
        ours = self.rates(start=1, epochs=6, learning_rate=0.01, anneal_epochs=3, anneal=anneal)[
            STEPS::STEPS
        ]
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        strategy = {"linear": "linear", "cosine": "cos"}[anneal]
        theirs = torch.optim.swa_utils.SWALR(
            optimizer, swa_lr=0.01, anneal_epochs=3, anneal_strategy=strategy
        )
        expected = []
        for _ in range(5):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            theirs.step()
        assert ours == pytest.approx(expected)
        assert ours[-1] == pytest.approx(0.01)

    @pytest.mark.parametrize("every", [1, "5 steps"])
    def test_cycles_with_snapshots_at_the_troughs(self, every):
        rates = self.rates(start=2, every=every, learning_rate=(0.5, 0.1))
        assert rates == pytest.approx([0.1] * 10 + [0.42, 0.34, 0.26, 0.18, 0.1] * 2)

    def test_a_group_of_steps_has_the_rate_of_its_last(self):
        options = {"model_options": {"steps_per_execution": 2}, "epochs": 3}
        rates = self.rates(start=1, learning_rate=(0.5, 0.1), **options)
        assert rates == pytest.approx([0.1] * 3 + [0.34, 0.18, 0.1] * 2)

    def test_cycles_of_epochs_of_unknown_length(self):
        swa = StochasticWeightAveraging(0, learning_rate=(0.5, 0.1))
        x = (batch for batch in [arrays()] * 2)
        with pytest.raises(kcnn.InputError, match=r"unknown in the first.*steps_per_epoch"):
            fit(fresh("plain"), [swa], x=x)

    @pytest.mark.parametrize("learning_rate", [0.01, (0.1, 0.01)])
    def test_a_schedule_in_the_optimizer_is_refused(self, learning_rate):
        model = keras.Sequential([keras.Input((4, 3, 2)), *layers("plain")])
        schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
        model.compile(keras.optimizers.SGD(schedule), "sparse_categorical_crossentropy")
        with pytest.raises(kcnn.InputError, match=r"is a schedule.*learning_rate=None"):
            fit(model, [StochasticWeightAveraging(0.5, learning_rate=learning_rate)])
        fit(model, [StochasticWeightAveraging(0.5)])  # left alone it may be one

    def test_a_schedule_that_is_a_function_is_refused(self):
        model = keras.Sequential([keras.Input((4, 3, 2)), *layers("plain")])
        model.compile(keras.optimizers.SGD(lambda: 0.1), "sparse_categorical_crossentropy")
        with pytest.raises(kcnn.InputError, match="is a schedule"):
            fit(model, [StochasticWeightAveraging(0.5, learning_rate=0.01)])

    def test_the_rate_that_is_set_acts(self):
        """With nobody else looking: on JAX the optimizer's variables are elsewhere in an epoch."""
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch, _: 0.02 if epoch else 0.1)
        model = fresh("plain")
        fit(model, [schedule], epochs=3)
        expected = model.get_weights()
        for options in (
            {"start": 1, "learning_rate": 0.02},
            {"start": "5 steps", "every": "2 steps", "learning_rate": 0.02},
            {"start": 1, "learning_rate": (0.02, 0.02)},
        ):
            model = fresh("plain")
            fit(model, [StochasticWeightAveraging(**options, apply=False)], epochs=3)
            assert_same(model.get_weights(), expected)

    def test_cosine_is_half_way_in_the_middle(self):
        rate = swa_schedule.Rate(0.0, anneal_epochs=4, anneal="cosine")
        assert rate.constant(1.0, 2) == pytest.approx(0.5)
        assert rate.constant(1.0, 1) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


class TestValidation:
    def test_figures_are_those_of_the_averaged_model(self, tmp_path):
        x, y = arrays()
        model = fresh()
        swa = StochasticWeightAveraging(0.5, validate=True)
        log = keras.callbacks.CSVLogger(tmp_path / "log.csv")
        history = fit(model, [swa, log], validation_data=(x[:9], y[:9]))
        expected = model.evaluate(x[:9], y[:9], verbose=0, return_dict=True)
        for name, value in expected.items():
            figures = history[f"swa_val_{name}"]
            assert figures[-1] == pytest.approx(value, rel=1e-5)
            assert figures[:2] == history[f"val_{name}"][:2]  # before the first snapshot
            assert len(figures) == 4
        header, *rows = (tmp_path / "log.csv").read_text().splitlines()
        assert {"swa_val_accuracy", "swa_val_loss"} < set(header.split(","))
        assert len(rows) == 4

    def test_data_of_its_own(self):
        x, y = arrays()
        model = fresh()
        data = dataset().take(2)
        swa = StochasticWeightAveraging(1, every=2, validate=True, validation_data=data)
        history = fit(model, [swa], epochs=5)
        expected = model.evaluate(x[: 2 * BATCH], y[: 2 * BATCH], verbose=0)[0]
        losses = history["swa_val_loss"]
        assert losses[4] == pytest.approx(expected, rel=1e-5)
        assert losses[2] == losses[3]  # no snapshot between
        assert len(set(losses)) == 4
        assert "val_loss" not in history

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({}, r"no validation data that.*validation_data="),
            ({"validation_data": generator(), "validation_steps": 2}, "used up by reading"),
        ],
    )
    def test_it_needs_data(self, options, words):
        with pytest.raises(kcnn.InputError, match=words):
            fit(fresh("plain"), [StochasticWeightAveraging(0.5, validate=True)], **options)

    def test_training_goes_on_with_the_raw_weights_when_it_fails(self, monkeypatch):
        x, y = arrays()
        model, recorder = fresh(), Recorder()
        swa = StochasticWeightAveraging(0.5, validate=True)
        evaluate, calls = model.evaluate, []

        def failing(*args, **options):
            if "callbacks" not in options:
                calls.append(1)
                raise RuntimeError("no more")
            return evaluate(*args, **options)

        monkeypatch.setattr(model, "evaluate", failing)
        with pytest.raises(RuntimeError, match="no more"):
            fit(model, [recorder, swa], validation_data=(x, y))
        assert calls == [1]
        assert_same(model.get_weights(), recorder.steps[3 * STEPS])


class TestAtTheEnd:
    def test_both_are_there(self):
        model, recorder = fresh(), Recorder()
        swa = StochasticWeightAveraging(0.5)
        assert swa.averaged_weights is None
        assert swa.raw_weights is None
        fit(model, [swa, recorder])
        assert_same(swa.raw_weights, recorder.steps[4 * STEPS])
        assert_same(swa.averaged_weights, model.get_weights())

    @pytest.mark.slow
    def test_the_raw_ones_stay_on_request(self):
        applied, raw = fresh(), Recorder()
        swa = StochasticWeightAveraging(0.5)
        fit(applied, [swa])
        expected = swa.averaged_weights
        model, kept = fresh(), StochasticWeightAveraging(0.5, apply=False)
        fit(model, [kept, raw])
        assert_same(model.get_weights(), raw.steps[4 * STEPS])
        assert_same(kept.averaged_weights, expected)
        with kept.averaged(model):
            assert_same(model.get_weights(), expected)
        assert_same(model.get_weights(), raw.steps[4 * STEPS])
        with pytest.raises(ZeroDivisionError), kept.averaged(model):
            _ = 1 / 0
        assert_same(model.get_weights(), raw.steps[4 * STEPS])

    def test_another_model(self):
        model, swa = fresh(), StochasticWeightAveraging(0.5)
        fit(model, [swa])
        copied = keras.models.clone_model(model)
        with swa.averaged(copied):
            assert_same(copied.get_weights(), swa.averaged_weights)
        with pytest.raises(kcnn.InputError, match="another model"), swa.averaged(fresh("plain")):
            pass

    def test_within_training(self):
        """What other callbacks do at an epoch's end."""
        model, found = fresh(), []
        swa = StochasticWeightAveraging(1)

        class Look(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                if swa.snapshots == 2:
                    with swa.averaged(model):
                        found.append(model.get_weights())
                        found.append(statistics_of_all_data(model))

        recorder = Recorder()
        fit(model, [swa, Look(), recorder], epochs=3)
        assert_close(found[0][:4], recorder.mean([2 * STEPS, 3 * STEPS])[:4])
        assert_close(found[0][4:6], found[1])

    def test_stopped_early(self):
        model, recorder = fresh(), Recorder()
        fit(model, [StochasticWeightAveraging(0.3), recorder, Stop(5)], epochs=10)
        assert_close(model.get_weights()[:4], recorder.mean([4 * STEPS, 5 * STEPS])[:4])
        assert_close(statistics(model), statistics_of_all_data(model))

    def test_stopped_before_the_first_snapshot(self):
        model, recorder, swa = fresh(), Recorder(), StochasticWeightAveraging(0.5)
        fit(model, [swa, recorder, Stop(2)])
        assert_same(model.get_weights(), recorder.steps[2 * STEPS])
        assert swa.snapshots == 0
        assert swa.averaged_weights is None
        assert_same(swa.raw_weights, recorder.steps[2 * STEPS])
        with pytest.raises(kcnn.InputError, match="No weights are averaged yet"):
            swa.averaged(model).__enter__()

    def test_behind_early_stopping_that_restores(self):
        model, recorder, swa = fresh("plain"), Recorder(), StochasticWeightAveraging(0.3)
        stopping = keras.callbacks.EarlyStopping(
            "loss", min_delta=100.0, patience=5, restore_best_weights=True
        )
        fit(model, [recorder, stopping, swa], epochs=10)
        last = max(recorder.steps)
        assert_same(swa.raw_weights, recorder.steps[STEPS])  # the "best", and not the result
        assert last < 10 * STEPS
        assert_close(swa.averaged_weights, recorder.mean(range(4 * STEPS, last + 1, STEPS)))
        assert_same(model.get_weights(), swa.averaged_weights)

    @pytest.mark.parametrize("error", [RuntimeError("lost"), KeyboardInterrupt()])
    def test_an_exception_loses_nothing(self, error):
        model, recorder, swa = fresh(), Recorder(), StochasticWeightAveraging(1)
        with pytest.raises(type(error)):
            fit(model, [swa, recorder, Stop(3, error)])
        assert_same(model.get_weights(), recorder.steps[3 * STEPS])
        expected = recorder.mean([2 * STEPS, 3 * STEPS])
        assert_close(swa.averaged_weights[:4], expected[:4])
        with swa.averaged(model):
            assert_close(model.get_weights()[:4], expected[:4])
            assert_close(statistics(model), statistics_of_all_data(model))
        assert_same(model.get_weights(), recorder.steps[3 * STEPS])

    def test_interrupted_while_the_statistics_are_computed(self):
        class Interrupting(keras.utils.PyDataset):
            def __len__(self):
                return 2

            def __getitem__(self, i):
                if self.armed:
                    raise KeyboardInterrupt
                return arrays()[0][:BATCH]

        model, recorder = fresh(), Recorder()
        data = Interrupting()
        data.armed = True
        model.run_eagerly = True  # Python's exceptions reach it as they are
        swa = StochasticWeightAveraging(0.5, data=data)
        with pytest.raises(BaseException) as caught:  # noqa: PT011 - TensorFlow wraps it
            fit(model, [swa, recorder])
        model.run_eagerly = False
        assert "KeyboardInterrupt" in repr(caught.value)
        assert_same(model.get_weights(), recorder.steps[4 * STEPS])
        assert_close(swa.averaged_weights[:4], recorder.mean([3 * STEPS, 4 * STEPS])[:4])
        assert "call" not in vars(model.layers[1])

    def test_a_second_fit_starts_afresh(self):
        swa, recorder, model = StochasticWeightAveraging(0.5), Recorder(), fresh("plain")
        fit(model, [swa])
        fit(model, [swa, recorder])
        assert swa.snapshots == 2
        assert_close(model.get_weights(), recorder.mean([3 * STEPS, 4 * STEPS]))


def is_plain(state):
    if isinstance(state, dict):
        return all(isinstance(k, str) and is_plain(v) for k, v in state.items())
    if isinstance(state, list):
        return all(map(is_plain, state))
    return state is None or isinstance(state, (str, int, float, bool, np.ndarray))


class TestState:
    OPTIONS = (
        {"start": 1, "learning_rate": 0.01, "anneal_epochs": 2},
        {"start": "2 steps", "every": "3 steps", "learning_rate": 0.01},
        {"start": 1, "every": "4 steps", "learning_rate": (0.1, 0.01)},
        {"start": 0, "every": 2, "learning_rate": (0.1, 0.01)},
    )

    @pytest.mark.parametrize("within", [False, True])
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_going_on_gives_the_same_bits(self, options, within):
        """Torn off behind two epochs, or three steps later, and gone on with in a new object."""

        class Tear(keras.callbacks.Callback):
            """Saves, or restores, when the others have seen the end of what was before."""

            saved = None

            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 2 and not within:
                    self.act()

            def on_train_batch_begin(self, batch, logs=None):
                self.epoch_step = batch
                if within and self.epochs_seen == 2 and batch == 3:
                    self.act()

            def on_train_begin(self, logs=None):
                self.epochs_seen = first

            def on_epoch_end(self, epoch, logs=None):
                self.epochs_seen = epoch + 1

            def act(self):
                variables = [*model.variables, *model.optimizer.variables]
                if self.saved is None:
                    values = [v.numpy() for v in variables]
                    Tear.saved = values, swa.get_state()
                else:
                    for variable, value in zip(variables, self.saved[0], strict=True):
                        variable.assign(value)
                    swa.set_state(self.saved[1])

        first, whole, model = 0, Recorder(), fresh()
        swa = StochasticWeightAveraging(**options)
        fit(model, [Tear(), whole, swa])
        expected, snapshots = model.get_weights(), swa.snapshots
        assert is_plain(Tear.saved[1])
        json.dumps({k: v for k, v in Tear.saved[1].items() if k not in ("means", "reference")})

        first, torn, model = 2, Recorder(), fresh()
        swa = StochasticWeightAveraging(**options)
        fit(model, [Tear(), torn, swa], initial_epoch=2)
        assert_same(model.get_weights(), expected)
        assert swa.snapshots == snapshots
        assert torn.rates[-5:] == whole.rates[-5:]

    def test_restored_when_all_epochs_were_done(self):
        model, swa = fresh(), StochasticWeightAveraging(0.5)

        class Save(keras.callbacks.Callback):
            def on_train_end(self, logs=None):
                self.saved = swa.get_state(), model.get_weights()

        save = Save()
        fit(model, [save, swa])
        expected = model.get_weights()

        again, model = StochasticWeightAveraging(0.5), fresh()

        class Restore(keras.callbacks.Callback):
            def on_train_end(self, logs=None):
                model.set_weights(save.saved[1])
                again.set_state(save.saved[0])

        fit(model, [Restore(), again], initial_epoch=4)
        assert_same(model.get_weights(), expected)

    @pytest.mark.slow
    def test_copied_deeply_before_and_after(self):
        model = fresh()
        original = StochasticWeightAveraging(0.5, data=dataset())
        twin = copy.deepcopy(original)
        fit(model, [twin])
        assert original.snapshots == 0
        after, expected = copy.deepcopy(twin), twin.averaged_weights
        assert_same(after.averaged_weights, expected)
        model = fresh()
        fit(model, [after], epochs=6)
        assert after.snapshots == 3
        assert twin.snapshots == 2
        assert_same(twin.averaged_weights, expected)


#: Most of the time is XLA's.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"

#: What is run again, in one process, on JAX.
ON_JAX = (
    "test_swa.py::TestContract::test_averaged_weights_and_exact_statistics_at_the_end",
    "test_swa.py::TestWhen::test_nobody_else_has_to_look",
    "test_swa.py::TestWhen::test_groups_of_steps",
    "test_swa.py::TestMean::test_integers_and_seeds_are_the_models_own",
    "test_swa.py::TestMean::test_training_is_the_same_to_the_bit",
    "test_swa.py::TestLearningRate::test_the_rate_that_is_set_acts",
    "test_swa.py::TestLearningRate::test_cycles_with_snapshots_at_the_troughs",
    "test_swa.py::TestAtTheEnd::test_an_exception_loses_nothing",
    "test_swa.py::TestAtTheEnd::test_the_raw_ones_stay_on_request",
    "test_swa.py::TestState::test_restored_when_all_epochs_were_done",
    "test_ema.py::test_validation_and_other_callbacks_see_the_average",
    "test_ema.py::test_training_is_the_same_to_the_bit",
    "test_ema.py::test_evaluate_and_predict_outside_fit_put_back",
    "../../graph/test_recalibration.py::TestFirstLayer::test_axes_and_options[options0]",
    "../../graph/test_recalibration.py::TestLaterLayers::test_a_shared_layer_pools_what_it_sees",
    "../../graph/test_recalibration.py::TestModels::test_frozen_layers_keep_and_use_their_statistics",
    "../../graph/test_recalibration.py::TestRefusals::test_an_exception_leaves_the_model_as_it_was",
)


@pytest.mark.slow
def test_the_same_on_jax():
    if importlib.util.find_spec("jax") is None:
        pytest.skip("needs jax: pip install kcnn[oracle]")
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ON_JAX],
        cwd=HERE,
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    assert "skipped" not in process.stdout


@pytest.fixture(scope="module")
def replicas():
    """Two replicas on two logical processors, in a process of its own."""
    process = subprocess.run(
        [sys.executable, HERE / "two_replicas.py"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["outside the scope", "inside the scope"])
def test_two_replicas(case, replicas):
    found = replicas[case]
    assert found["replicas"] == 2
    assert found["snapshots"] == 2
    assert found["mean"] < 1e-6
    assert found["statistics"] < 1e-5
    assert found["validated"] < 1e-5
    assert replicas["ema"] < 1e-6
