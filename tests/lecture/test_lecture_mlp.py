"""The lecture's recap of neural networks, and softmax, on Keras layers and optimisers.

A Keras kernel is the transpose of the lecture's W. Everything is float64.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

SIZES = (5, 7, 6, 3)

#: φ and φ', with φ' as a function of z.
ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (
        lambda z: 1 / (1 + np.exp(-z)),
        lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2,
    ),
}


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def mlp(activation, *, use_bias=True):
    model = keras.Sequential(
        [keras.Input((SIZES[0],), dtype="float64")]
        + [
            keras.layers.Dense(size, activation=activation, use_bias=use_bias, dtype="float64")
            for size in SIZES[1:]
        ]
    )
    model.set_weights([random(*w.shape, seed=i) for i, w in enumerate(model.get_weights())])
    return model


def forward(model, x, phi):
    """z^ℓ = W^ℓ x^(ℓ-1) + b^ℓ, x^ℓ = φ(z^ℓ), column by column: lists of z and of x.

    ℓ runs from 1: the slide starts at 0, where there is no x^(-1).
    """
    zs, xs = [None], [x]
    for layer in model.layers:
        bias = layer.bias.numpy()[:, None] if layer.use_bias else 0.0
        zs.append(layer.kernel.numpy().T @ xs[-1] + bias)
        xs.append(phi(zs[-1]))
    return zs, xs


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_propagation(activation, use_bias):
    """Slide "Recap: Neural Networks and Training": forward propagation."""
    model = mlp(activation, use_bias=use_bias)
    x = random(SIZES[0], 4, seed=9)
    _, xs = forward(model, x, ACTIVATIONS[activation][0])
    np.testing.assert_allclose(model(x.T), xs[-1].T, rtol=1e-12, atol=1e-12)
    assert np.std(xs[-1]) > 0.01


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backward_propagation(activation):
    """Slide "Recap: Neural Networks and Training": backward propagation against a tape.

    dz^L = (x^L - y) ⊙ φ'(z^L) belongs to the loss ½‖x^L - y‖². The slide lists dW^ℓ beside
    dz^ℓ for ℓ < L; it holds for ℓ = 1 .. L. The training loss is the mean over n samples, so
    dW is the mean of the samples' outer products, and db that of dz.
    """
    phi, derivative = ACTIVATIONS[activation]
    model, n = mlp(activation), 4
    x, y = random(SIZES[0], n, seed=10), random(SIZES[-1], n, seed=11)

    zs, xs = forward(model, x, phi)
    depth = len(SIZES) - 1
    dz = {depth: (xs[depth] - y) * derivative(zs[depth])}
    for ell in range(depth - 1, 0, -1):
        above = model.layers[ell].kernel.numpy().T  # W^(ℓ+1): layers[0] holds W^1
        dz[ell] = (above.T @ dz[ell + 1]) * derivative(zs[ell])

    with tf.GradientTape() as tape:
        errors = model(x.T) - y.T
        loss = tf.reduce_mean(0.5 * tf.reduce_sum(errors**2, axis=1))
    gradients = iter(tape.gradient(loss, [v.value for v in model.trainable_variables]))
    for ell in range(1, depth + 1):
        kernel, bias = next(gradients), next(gradients)
        dw = sum(np.outer(dz[ell][:, i], xs[ell - 1][:, i]) for i in range(n)) / n
        np.testing.assert_allclose(kernel, dw.T, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(bias, dz[ell].mean(axis=1), rtol=1e-10, atol=1e-12)
        assert np.abs(dw).max() > 1e-6


@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_gradient_descent_with_momentum(momentum):
    """Slide "Recap: Neural Networks and Training": θ⁺ = θ - η v⁺, v⁺ = momentum · v + ∇L(θ).

    The slide leaves v open; with momentum it is the decaying sum of gradients, without it the
    gradient. The figures are exact in binary, as Keras keeps the learning rate in float32.
    """
    rate, target = 0.125, random(6, seed=1)
    theta, velocity = random(6), np.zeros(6)
    variable = keras.Variable(theta, dtype="float64")
    optimizer = keras.optimizers.SGD(rate, momentum=momentum)
    optimizer.build([variable])
    for _ in range(5):
        gradient = theta - target  # of ½‖θ - target‖²
        optimizer.apply([keras.ops.convert_to_tensor(variable.numpy() - target)], [variable])
        velocity = momentum * velocity + gradient
        theta = theta - rate * velocity
        np.testing.assert_allclose(variable.numpy(), theta, rtol=1e-12)
    assert np.linalg.norm(theta - target) < np.linalg.norm(random(6) - target)


def test_a_training_step_is_the_lectures_update():
    """Slide "Recap: Neural Networks and Training": one `fit` step on the mean loss of n samples."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, dtype="float64")])
    x, y = random(8, 4), random(8, 2, seed=1)
    w, b = (v.astype(float) for v in model.get_weights())
    model.compile(keras.optimizers.SGD(0.125), "mse")  # the mean over both outputs: ½‖·‖² here
    history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"]
    for _ in range(2):
        dz = (x @ w + b - y) / 8
        w, b = w - 0.125 * (x.T @ dz), b - 0.125 * dz.sum(axis=0)
    # `fit` hands its arrays over in float32.
    np.testing.assert_allclose(model.get_weights()[0], w, atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[1], b, atol=1e-6)
    assert history[1] < history[0]


# Softmax

LOGITS = np.array([[1.0, 2.0, 3.0, 0.5], [-4.0, 0.0, 4.0, 4.0], [7.0, 7.0, 7.0, 7.0]])


def test_softmax():
    """Slide "Multiple Classification: Softmax": e^(z_i) / Σ e^(z_j), row by row."""
    expected = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    dense = keras.layers.Dense(4, activation="softmax", dtype="float64")
    dense.build((None, 4))
    dense.set_weights([np.eye(4), np.zeros(4)])
    for actual in (keras.activations.softmax(LOGITS), dense(LOGITS)):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)
        np.testing.assert_allclose(np.sum(actual, axis=1), 1, rtol=1e-12)
        np.testing.assert_array_equal(np.argmax(actual, axis=1), LOGITS.argmax(axis=1))
        np.testing.assert_allclose(actual[2], 1 / 4, rtol=1e-12)


def test_softmax_of_large_logits_is_finite():
    """Slide "Multiple Classification: Softmax": a common shift cancels, so 1000 is no overflow."""
    actual = keras.activations.softmax(LOGITS + 1000)
    np.testing.assert_allclose(actual, keras.activations.softmax(LOGITS), rtol=1e-12)


def test_softmax_of_two_classes_is_the_sigmoid():
    """Slides "Image Classification" and "Multiple Classification": binary is the special case."""
    z = np.linspace(-5, 5, 11)
    pair = keras.activations.softmax(np.stack([np.zeros(11), z], axis=1))
    np.testing.assert_allclose(pair[:, 1], keras.activations.sigmoid(z), rtol=1e-12)


def test_softmax_with_cross_entropy_has_the_same_first_error():
    """Slide "Multiple Classification: Softmax": with cross-entropy, dz^L = p - y."""
    labels = np.array([2, 0, 3])
    z = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = tf.reduce_sum(
            keras.losses.sparse_categorical_crossentropy(labels, z, from_logits=True)
        )
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    expected = probabilities - np.eye(4)[labels]
    np.testing.assert_allclose(tape.gradient(loss, z), expected, rtol=1e-9, atol=1e-12)


def test_high_dimensionality_of_dense_layers():
    """Slide "Challenges in Image Data": width 1000 on 28×28 has 795,010 parameters, 3.2 MB.

    The slide rounds up to 1 million and 4 MB. A convolution of 3×3 does not grow with the image.
    """
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(1000, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    assert model.count_params() == 795_010 == 784 * 1000 + 1000 + 1000 * 10 + 10
    assert sum(w.nbytes for w in model.get_weights()) == 4 * 795_010
    counts = []
    for side in (28, 280):
        layer = keras.layers.Conv2D(8, 3)
        layer.build((None, side, side, 1))
        counts.append(layer.count_params())
    assert counts == [80, 80]
