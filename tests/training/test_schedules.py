"""Learning rates by formula, and what the optimisers do to a weight."""

import math

import keras
import numpy as np
import pytest

from kcnn.training.defaults import resolve
from kcnn.training.recipe import Recipe
from kcnn.training.schedules import WarmUp, learning_rate, optimizer

GREY = (8, 8, 1)
STEPS = 10  # an epoch


def rates(**fields):
    recipe = resolve(
        Recipe(epochs=8, learning_rate=0.5, **fields), family=None, images=320, image_shape=GREY
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


def test_warm_up_round_trips_through_its_config():
    for inner in (0.3, keras.optimizers.schedules.CosineDecay(0.3, 20)):
        schedule = WarmUp(inner, 5)
        again = keras.optimizers.schedules.deserialize(
            keras.optimizers.schedules.serialize(schedule)
        )
        assert [float(again(s)) for s in range(20)] == [float(schedule(s)) for s in range(20)]


def one_layer():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()]
    )
    for weight in model.trainable_weights:
        weight.assign(keras.random.uniform(weight.shape, 0.5, 1.0, seed=1))
    return model


def made(name, **fields):
    model = one_layer()
    recipe = Recipe(
        optimizer=name, learning_rate=0.1, schedule="constant", warmup=0.0, epochs=1, **fields
    )
    recipe = resolve(recipe, family=None, images=64, image_shape=GREY)
    return model, optimizer(recipe, STEPS, model)


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_weight_decay_is_decoupled_and_spares_vectors(name):
    """With zero gradients a kernel shrinks by rate x decay, biases and BatchNorm not at all."""
    model, opt = made(name, weight_decay=0.2)
    before = [w.numpy() for w in model.trainable_weights]
    opt.apply([keras.ops.zeros(w.shape) for w in model.trainable_variables],
              model.trainable_variables)  # fmt: skip
    for weight, old in zip(model.trainable_weights, before, strict=True):
        shrink = 0.1 * 0.2 if len(weight.shape) > 1 else 0.0
        np.testing.assert_allclose(weight.numpy(), old * (1 - shrink), rtol=1e-6)


def steps(name, gradients, **fields):
    model, opt = made(name, weight_decay=0.0, **fields)
    kernel = model.trainable_variables[0]
    start = kernel.numpy()
    rest = [keras.ops.zeros(w.shape) for w in model.trainable_variables[1:]]
    for gradient in gradients:
        opt.apply([keras.ops.full(kernel.shape, gradient), *rest], model.trainable_variables)
    return float((kernel.numpy() - start).mean())


def test_updates_by_the_textbook():
    """Two steps with gradients 1 and 3 at rate 0.1, by hand."""
    assert steps("sgd", [1.0, 3.0]) == pytest.approx(-0.1 - 0.3, rel=1e-5)
    # v1 = -0.1, v2 = 0.9 v1 - 0.3
    assert steps("momentum", [1.0, 3.0]) == pytest.approx(-0.1 - 0.39, rel=1e-5)
    # Nesterov: w += m v - r g
    assert steps("nesterov", [1.0, 3.0]) == pytest.approx(
        (0.9 * -0.1 - 0.1) + (0.9 * -0.39 - 0.3), rel=1e-5
    )
    assert steps("momentum", [1.0, 3.0], momentum=0.5) == pytest.approx(-0.1 - 0.35, rel=1e-5)
    # Adam's first step is the rate, whatever the gradient's size.
    assert steps("adam", [7.0]) == pytest.approx(-0.1, rel=1e-4)
    assert steps("adamw", [0.01]) == pytest.approx(-0.1, rel=1e-3)
    # RMSprop: g / sqrt((1 - rho) g²) with rho = 0.9
    assert steps("rmsprop", [5.0]) == pytest.approx(-0.1 / math.sqrt(0.1), rel=1e-4)
