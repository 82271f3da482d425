"""Learning rates by formula."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kcnn.recipes.defaults import resolve
from kcnn.recipes.families import OTHERS
from kcnn.recipes.recipe import Recipe
from kcnn.training.loop.schedules import Rate, learning_rate, reductions

GREY = (8, 8, 1)
STEPS = 10  # an epoch


def rates(**fields):
    recipe = resolve(
        Recipe(epochs=8, learning_rate=0.5, **fields), family=OTHERS, images=320, image_shape=GREY
    )
    rate = learning_rate(recipe, STEPS)
    if not callable(rate):
        return [rate] * (8 * STEPS)
    return [float(rate(step)) for step in range(8 * STEPS)]


def test_constant():
    assert rates(schedule="constant") == [0.5] * 80


def test_cosine_is_half_a_period():
    expected = [0.25 * (1 + math.cos(math.pi * step / 80)) for step in range(80)]
    np.testing.assert_allclose(rates(schedule="cosine"), expected, atol=1e-6)


def test_step_divides_by_ten_at_a_half_and_at_three_quarters():
    expected = [0.5] * 41 + [0.05] * 20 + [0.005] * 19  # Keras: the boundary itself belongs below
    np.testing.assert_allclose(rates(schedule="step"), expected, rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_warm_up_rises_linearly_then_lets_go(schedule):
    plain, warm = rates(schedule=schedule), rates(schedule=schedule, warmup=1.5)
    factor = np.minimum((np.arange(80) + 1) / 15, 1.0)
    np.testing.assert_allclose(warm, np.array(plain) * factor, atol=1e-7)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_it_round_trips_through_its_config(schedule):
    rate = Rate(schedule, 0.3, steps=20, warmup=5)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(rate))
    assert [float(again(s)) for s in range(20)] == [float(rate(s)) for s in range(20)]


def test_its_numbers_act_inside_a_trace():
    """The same trace gives the rates of other numbers."""
    rate, traces = Rate("cosine", 0.3, steps=20, warmup=5), []

    @tf.function
    def at(step):
        traces.append(step)
        return rate(step)

    steps = tf.range(40, dtype=tf.float32)
    at(steps[3])
    rate.set(0.7, 40, 2)
    fresh = Rate("cosine", 0.7, steps=40, warmup=2)
    np.testing.assert_array_equal([at(s) for s in steps], [fresh(s) for s in steps])
    assert len(traces) == 1


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("patience", [1, 2, 5])
def test_plateaus_are_those_of_keras(mode, patience):
    """Keras' own callback, told the same figures epoch by epoch; steps of about its least one."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    values = np.random.default_rng(patience).normal(size=60).cumsum() * 1e-4
    values[[7, 30]] = values[6], np.nan
    theirs = keras.callbacks.ReduceLROnPlateau("val_x", 0.5, patience, mode=mode)
    theirs.set_model(model)
    theirs.on_train_begin()
    for epoch, value in enumerate(values):
        theirs.on_epoch_end(epoch, {"val_x": value})
        lowered = reductions(values[: epoch + 1].tolist(), patience, mode == "max")
        assert float(model.optimizer.learning_rate.numpy()) == 0.5**lowered
    assert lowered > 3
