"""The lecture's section "Stabilize CNNs Training" on the Keras layers that the library uses.

The oracle is NumPy in float64. BatchNorm has the library's settings: momentum 0.9, epsilon 1e-5.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

EPSILON = 1e-5
ALPHA = 0.1  # the lecture's α; Keras' momentum is 1 - α


def batch_norm(**options):
    return keras.layers.BatchNormalization(
        momentum=1 - ALPHA, epsilon=EPSILON, dtype="float64", **options
    )


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Pooling


@pytest.mark.parametrize(
    ("layer", "reduce"),
    [(keras.layers.MaxPooling2D, np.max), (keras.layers.AveragePooling2D, np.mean)],
)
@pytest.mark.parametrize(("f", "s"), [(2, 2), (3, 2), (3, 1), (2, 3)])
def test_pooling_reduces_each_window(layer, reduce, f, s):
    """Slide "Pooling": the maximum or the mean of every f×f window, channel by channel."""
    images = random(2, 7, 8, 3) - 2  # mostly negative: a maximum with zeros would show
    actual = layer(f, strides=s, dtype="float64")(images)
    rows, columns = range(0, 7 - f + 1, s), range(0, 8 - f + 1, s)
    expected = np.empty((2, len(rows), len(columns), 3))
    for (i, top), (j, left) in itertools.product(enumerate(rows), enumerate(columns)):
        expected[:, i, j] = reduce(images[:, top : top + f, left : left + f], axis=(1, 2))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_pooling_usual_hyperparameters():
    """Slide "Pooling": f = s = 2 halves each side; nothing is learned."""
    image = np.array([[1, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]], "float64")
    batch = image[None, ..., None]
    most = keras.layers.MaxPooling2D(2, dtype="float64")
    mean = keras.layers.AveragePooling2D(2, dtype="float64")
    np.testing.assert_array_equal(most(batch)[0, ..., 0], [[9, 2], [6, 3]])
    np.testing.assert_array_equal(mean(batch)[0, ..., 0], [[3.75, 1.25], [3.75, 2]])
    assert most.count_params() == mean.count_params() == 0


def test_max_pooling_ignores_small_shifts():
    """Slide "Pooling": a feature may move within its window without a trace, not beyond."""

    def pooled(row, column):
        image = np.zeros((1, 6, 6, 1))
        image[0, row, column] = 1
        return keras.layers.MaxPooling2D(2, dtype="float64")(image).numpy()

    for row, column in itertools.product((2, 3), repeat=2):
        np.testing.assert_array_equal(pooled(row, column), pooled(2, 2))
    assert not np.array_equal(pooled(4, 2), pooled(2, 2))


# Input normalisation


def test_inputs_are_normalised_with_the_training_sets_statistics():
    """Slide "Input Normalization": μ and σ of the training set, applied to both sets."""
    train = random(50, 4, 4, 3) * [100, 1, 0.1] + [30, 0, -2]
    test = random(20, 4, 4, 3, seed=1) * [50, 2, 0.1] + [60, 1, -2]
    mean = train.sum(axis=(0, 1, 2)) / (50 * 16)
    variance = ((train - mean) ** 2).sum(axis=(0, 1, 2)) / (50 * 16)
    layer = keras.layers.Normalization(mean=mean, variance=variance, dtype="float64")
    np.testing.assert_allclose(layer(train), (train - mean) / np.sqrt(variance), rtol=1e-12)
    np.testing.assert_allclose(layer(test), (test - mean) / np.sqrt(variance), rtol=1e-12)
    np.testing.assert_allclose(np.mean(layer(train), axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(np.std(layer(train), axis=(0, 1, 2)), 1, atol=1e-12)
    # The test set's own statistics would hide that it differs.
    assert np.abs(np.mean(layer(test), axis=(0, 1, 2)))[:2].min() > 0.1
    assert not layer.trainable_variables
    copy = keras.layers.Normalization.from_config(layer.get_config())  # as in a saved model
    np.testing.assert_allclose(copy(test), layer(test), atol=1e-5)  # a list is float32


def test_normalisation_lets_weights_have_one_scale():
    """Slide "Input Normalization": wᵀx with x_1 = O(100) needs w_1 = O(1/100); w̄ = σw needs not."""
    x = random(1000, 2) * [100, 1]
    w = np.array([0.01, 1.0])
    mean, variance = x.mean(axis=0), x.var(axis=0)
    normalized = keras.layers.Normalization(mean=mean, variance=variance, dtype="float64")(x)
    dense = keras.layers.Dense(1, dtype="float64")
    dense.build((None, 2))
    scaled = w * np.sqrt(variance)
    dense.set_weights([scaled[:, None], np.array([mean @ w])])
    np.testing.assert_allclose(dense(normalized)[:, 0], x @ w, rtol=1e-9)
    assert w.max() / w.min() > 50
    assert scaled.max() / scaled.min() < 2


# Batch normalisation


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 5, 2)], ids=["dense", "convolution"])
def test_batchnorm_in_training_uses_the_batch(shape):
    """Slide "Batch Normalization During Training": per feature, or per channel of a map.

    The variance is the biased one, 1/b; the batch is small so that 1/(b - 1) would show.
    """
    z = random(*shape) * 3 + 7
    axes = tuple(range(len(shape) - 1))
    gamma, beta = random(shape[-1], seed=1) + 2, random(shape[-1], seed=2)
    layer = batch_norm()
    layer.build((None, *shape[1:]))
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    count = np.prod(shape[:-1])
    mu = z.sum(axis=axes) / count
    variance = ((z - mu) ** 2).sum(axis=axes) / count
    expected = gamma * (z - mu) / np.sqrt(variance + EPSILON) + beta
    actual = layer(z, training=True)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
    unbiased = gamma * (z - mu) / np.sqrt(z.var(axis=axes, ddof=1) + EPSILON) + beta
    assert not np.allclose(actual, unbiased, rtol=1e-3)


def test_batchnorm_epsilon_keeps_constant_features_finite():
    """Slide "Batch Normalization During Training": without variance, ε divides; β remains."""
    z = np.full((6, 3), 4.0)
    layer = batch_norm(beta_initializer=keras.initializers.Constant(0.5))
    np.testing.assert_array_equal(layer(z, training=True), 0.5)


def test_batchnorm_running_statistics():
    """Slide "Batch Normalization at Test Time": run ← (1 - α) run + α batch, from 0 and 1."""
    layer = batch_norm()
    mean, variance = np.zeros(4), np.ones(4)
    for step in range(7):
        z = random(5, 4, seed=step) * (step + 1) + step
        layer(z, training=True)
        mean = (1 - ALPHA) * mean + ALPHA * z.mean(axis=0)
        variance = (1 - ALPHA) * variance + ALPHA * z.var(axis=0)  # biased, as in the slide
        np.testing.assert_allclose(layer.moving_mean.numpy(), mean, rtol=1e-9)
        np.testing.assert_allclose(layer.moving_variance.numpy(), variance, rtol=1e-9)


def test_batchnorm_at_test_time_uses_running_statistics():
    """Slide "Batch Normalization at Test Time": each image alone, and nothing is updated."""
    mean, gamma, beta = random(4), random(4, seed=1), random(4, seed=2)
    variance = random(4, seed=3) ** 2 + 0.5
    layer = batch_norm()
    layer.build((None, 4))
    layer.set_weights([gamma, beta, mean, variance])
    z = random(6, 4, seed=4) * 5
    expected = gamma * (z - mean) / np.sqrt(variance + EPSILON) + beta
    np.testing.assert_allclose(layer(z, training=False), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(layer(z[:1], training=False), expected[:1], rtol=1e-9, atol=1e-9)
    assert not np.allclose(layer(z, training=True), expected, rtol=1e-3)
    layer.set_weights([gamma, beta, mean, variance])
    layer(z)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), mean)
    np.testing.assert_array_equal(layer.moving_variance.numpy(), variance)


@pytest.mark.parametrize("training", [True, False])
def test_batchnorm_can_be_the_identity(training):
    """Slide "Batch Normalization During Training": γ = √(σ² + ε), β = μ undo it."""
    z = random(8, 3) * [1, 10, 0.01] + [0, 5, -3]
    mu, variance = z.mean(axis=0), z.var(axis=0)
    layer = batch_norm()
    layer.build((None, 3))
    layer.set_weights([np.sqrt(variance + EPSILON), mu, mu, variance])
    np.testing.assert_allclose(layer(z, training=training), z, rtol=1e-9, atol=1e-9)
    layer.set_weights([np.sqrt(variance), mu, mu, variance])  # without ε it is not quite that
    assert not np.allclose(layer(z, training=training), z, rtol=1e-4, atol=0)


def test_batchnorm_makes_a_bias_in_front_useless():
    """Slide "Batch Normalization During Training": μ contains the bias, so it cancels."""
    z, bias = random(8, 3), random(3, seed=1) * 10
    plain, biased = batch_norm(), batch_norm()
    expected = plain(z, training=True)
    np.testing.assert_allclose(biased(z + bias, training=True), expected, rtol=1e-9, atol=1e-9)
    assert not np.allclose(plain.moving_mean.numpy(), biased.moving_mean.numpy())


# Skip connections


def test_skip_connection_adds_the_input():
    """Slide "Skip Connections": the output is the branch plus its input, unchanged."""
    x = random(2, 5, 5, 4)
    branch = keras.layers.Conv2D(4, 3, padding="same", activation="relu", dtype="float64")(x)
    actual = keras.layers.Add(dtype="float64")([branch, x])
    np.testing.assert_array_equal(actual, branch.numpy() + x)
    with pytest.raises(ValueError, match="incompatible shapes"):
        keras.layers.Add()([np.ones((1, 5, 5, 4)), np.ones((1, 3, 3, 4))])


def test_skip_connection_lets_the_gradient_through():
    """Slide "Skip Connections": ∂(φ(Wx) + x)/∂x is 1 where the branch is dead, 0 without."""
    branch = keras.layers.Dense(4, activation="relu", dtype="float64")
    branch.build((None, 4))
    branch.set_weights([random(4, 4), np.full(4, -100.0)])  # below zero for every input here
    x = tf.constant(random(3, 4))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        plain = branch(x)
        skipped = keras.layers.Add(dtype="float64")([branch(x), x])
    np.testing.assert_array_equal(tape.gradient(plain, x), 0)
    np.testing.assert_array_equal(tape.gradient(skipped, x), 1)


def mean_squares(block, depth=40, width=128):
    """Mean square of x^ℓ for ℓ = 0 .. depth, from standard normal x^0 (N = width = 128)."""
    x = keras.ops.convert_to_tensor(random(128, width))
    squares = [1.0]
    for layer in range(depth):
        dense = keras.layers.Dense(
            width,
            use_bias=False,
            dtype="float64",
            kernel_initializer=keras.initializers.HeNormal(seed=layer),
        )
        x = block(x, dense)
        squares.append(float(np.mean(x.numpy() ** 2)))
    return np.array(squares)


def straightness(values):
    """Slope and R² of a line through `values`."""
    steps = np.arange(len(values))
    slope = np.polyfit(steps, values, 1)[0]
    return slope, np.corrcoef(steps, values)[0, 1] ** 2


@pytest.mark.parametrize("gain", [0.7, 1.5])
def test_without_skip_growth_is_exponential(gain):
    """Slide "Skip Connections": x^ℓ = O(a^ℓ), decay for a < 1 and growth for a > 1."""
    squares = mean_squares(lambda x, dense: keras.ops.relu(gain * dense(x)))
    slope, r2 = straightness(np.log(squares))
    # He's variance 2/n keeps the mean square through a ReLU, so a is the gain.
    assert np.exp(slope / 2) == pytest.approx(gain, rel=0.05)
    assert r2 > 0.99


def test_skip_alone_still_grows_exponentially():
    """Slide "Skip Connections": its sum Σ W^i x^(i-1) contains x, which grows with it.

    Each He-initialised branch has the mean square of its input, so the sum about doubles: the
    slide's O(ℓ) needs branches of constant size (next test).
    """
    squares = mean_squares(lambda x, dense: dense(keras.ops.relu(x)) + x)
    slope, r2 = straightness(np.log(squares))
    assert 1.8 < np.exp(slope) < 2.2
    assert r2 > 0.99


def test_skip_with_normalised_branches_grows_linearly():
    """Slide "Skip Connections": with BatchNorm in the branch each layer adds about as much.

    What grows linearly is the mean square (the branches are nearly uncorrelated).
    """

    def block(x, dense):
        branch = dense(keras.ops.relu(batch_norm()(x, training=True)))
        return keras.layers.Add(dtype="float64")([branch, x])

    squares = mean_squares(block)
    slope, r2 = straightness(squares)
    assert 0.8 < slope < 1.3
    assert r2 > 0.99
    assert straightness(np.log(squares))[1] < 0.9


def test_residual_output_is_the_input_plus_all_branches():
    """Slide "Skip Connections": x^L = x^0 + Σ φ(W^ℓ x^(ℓ-1)); the slide's sum leaves out x^0."""
    x = first = random(5, 6)
    branches = []
    for _ in range(8):
        branch = keras.layers.Dense(6, activation="relu", dtype="float64")(x)
        branches.append(branch.numpy())
        x = keras.layers.Add(dtype="float64")([branch, x])
    np.testing.assert_allclose(x, first + np.sum(branches, axis=0), rtol=1e-12)
    assert not np.allclose(x, np.sum(branches, axis=0))
