"""Multiply-accumulates by hand, of layers of every kind; of what is not known, nothing is said."""

import keras
import numpy as np
import pytest
from keras import layers

import kcnn
from kcnn.graph.cost import Cost, cost
from kcnn.models.build import Card
from kcnn.models.tables import show_tables
from kcnn.terminal import Terminal


def counted(model):
    return {row.name: row.macs for row in cost(model).layers}


def of(layer, *shapes, listed=False):
    """The count of one layer, called on inputs of these shapes."""
    inputs = [keras.Input(shape) for shape in shapes]
    found = keras.tree.flatten(layer(inputs) if listed else layer(*inputs))
    return counted(keras.Model(inputs, found[0]))[layer.name]


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.Conv1D(4, 3), (10, 2), 8 * 3 * 2 * 4),
        (layers.Conv3D(4, 2), (5, 5, 5, 2), 4**3 * 2**3 * 2 * 4),
        (layers.Conv2D(6, 3, groups=2, padding="same"), (4, 5, 4), 20 * 9 * 2 * 6),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (6, 6, 5), 16 * 9 * 5 * 2),
        (layers.SeparableConv2D(7, 3), (6, 6, 5), 16 * (9 * 5 + 5 * 7)),
        (layers.Conv1DTranspose(4, 3, strides=2), (10, 2), 10 * 3 * 2 * 4),
        (layers.Conv2DTranspose(4, 3, strides=2), (5, 6, 2), 30 * 9 * 2 * 4),
        (layers.Conv3DTranspose(4, 2, strides=2), (3, 3, 3, 2), 27 * 8 * 2 * 4),
        (layers.Dense(5), (7, 3), 7 * 3 * 5),
        # (b, t, c) x (c, d, e): each of the t · d · e values is a sum over c
        (layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3)), (4, 6), 4 * 2 * 3 * 6),
        (layers.LSTM(5), (4, 6), 4 * (6 * 20 + 5 * 20)),
        (layers.LSTM(5, return_sequences=True, return_state=True), (4, 6), 4 * 220),
        (layers.GRU(5), (4, 6), 4 * (6 * 15 + 5 * 15)),
        (layers.SimpleRNN(5), (4, 6), 4 * (6 * 5 + 5 * 5)),
        (layers.Bidirectional(layers.GRU(5)), (4, 6), 2 * 4 * 165),
        (layers.TimeDistributed(layers.Conv2D(2, 3)), (3, 6, 6, 4), 3 * 16 * 9 * 4 * 2),
        (layers.Embedding(10, 4), (3,), 0),
        (layers.PReLU(), (4, 4, 2), 0),
        (layers.LayerNormalization(axis=(1, 2)), (4, 3), 0),
        (layers.UpSampling2D(2), (4, 4, 2), 0),
    ],
)
def test_by_hand(layer, shape, expected):
    assert of(layer, shape) == expected


def test_attention_by_hand():
    """4 queries of 6, 9 keys and values of 8; 3 heads of 5, whose values have 7."""
    layer = layers.MultiHeadAttention(3, 5, value_dim=7)
    projections = 4 * 6 * 15 + 9 * 8 * 15 + 9 * 8 * 21 + 4 * 21 * 6
    assert of(layer, (4, 6), (9, 8)) == projections + 3 * 4 * 9 * (5 + 7)
    assert of(layers.Attention(), (4, 6), (9, 6), listed=True) == 4 * 9 * (6 + 6)
    # Four heads of queries, two of keys and values.
    grouped = 4 * 6 * 20 + 2 * 9 * 6 * 10 + 4 * 20 * 6 + 4 * 4 * 9 * 5 * 2
    assert of(layers.GroupQueryAttention(5, 4, 2), (4, 6), (9, 6)) == grouped


def test_attention_along_one_axis_of_two():
    """5 rows of 4 positions, which attend within their row."""
    layer = layers.MultiHeadAttention(3, 5, attention_axes=(2,))
    projections = 4 * (5 * 4 * 6 * 15)
    assert of(layer, (5, 4, 6), (5, 4, 6)) == projections + 5 * 3 * 4 * 4 * (5 + 5)


def test_products_between_layers():
    a, b = keras.Input((4, 6)), keras.Input((6, 9))
    model = keras.Model([a, b], keras.ops.matmul(a, b))
    assert cost(model).macs == np.prod(np.broadcast_shapes((4, 1, 6), (1, 9, 6)))
    einsum = keras.Model(a, keras.ops.einsum("btd,bsd->bts", a, a))
    assert (cost(einsum).macs, len(cost(einsum).uncounted)) == (0, 1)
    one, other = keras.Input((4, 6)), keras.Input((9, 6))
    model = keras.Model([one, other], layers.Dot((2, 2), name="dot")([one, other]))
    assert counted(model)["dot"] == 4 * 9 * 6


def test_a_layer_that_is_shared():
    """Two maps of different sizes through one convolution, and one transposed."""
    image = keras.Input((16, 16, 3))
    conv, up = layers.Conv2D(3, 3, name="conv"), layers.Conv2DTranspose(3, 2, strides=2, name="up")
    large = conv(image)  # 14×14
    small = conv(layers.MaxPooling2D(2)(large))  # 7×7 to 5×5
    found = cost(keras.Model(image, [up(large), up(small)]))
    rows = {row.name: row for row in found.layers}
    assert rows["conv"].macs == (14 * 14 + 5 * 5) * 81
    assert rows["conv"].activation_bytes == 4 * (14 * 14 + 5 * 5) * 3
    assert rows["up"].macs == (14 * 14 + 5 * 5) * 2 * 2 * 3 * 3
    assert rows["up"].activation_bytes == 4 * (28 * 28 + 10 * 10) * 3


def test_a_model_that_is_shared():
    body = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(2, 3, name="inner"), layers.Flatten(),
         layers.Dense(4, name="code")], name="body"
    )  # fmt: skip
    left, right = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    both = layers.Concatenate()([body(left), body(right)])
    found = counted(keras.Model([left, right], layers.Dense(1, name="same")(both)))
    assert found["inner"] == 2 * 36 * 9 * 2
    assert found["code"] == 2 * 72 * 4
    assert found["same"] == 8


def test_a_model_for_any_size_is_counted_at_the_size_it_gets():
    body = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 3, name="inner")])
    image = keras.Input((16, 12, 3))
    once = keras.Model(image, body(image))
    assert counted(once)["inner"] == 14 * 10 * 9 * 3 * 2
    assert counted(keras.Sequential([keras.Input((16, 12, 3)), body]))["inner"] == 14 * 10 * 54
    twice = keras.Model(image, [body(image), body(layers.AveragePooling2D(2)(image))])
    assert counted(twice)["inner"] == (14 * 10 + 6 * 4) * 54


def test_a_layer_that_was_called_before_on_something_else():
    conv = layers.Conv2D(2, 3, name="conv")
    conv(keras.Input((32, 32, 3)))
    image = keras.Input((8, 8, 3))
    assert counted(keras.Model(image, conv(image)))["conv"] == 36 * 54
    assert counted(keras.Sequential([keras.Input((10, 10, 3)), conv]))["conv"] == 64 * 54


class Mine(keras.layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4))

    def call(self, x):
        return x @ self.kernel

    def compute_output_shape(self, shape):
        return (*shape[:-1], 4)


class Scaled(keras.layers.Dense):
    def call(self, x):
        return super().call(super().call(x))


class Named(keras.layers.Dense):
    """Nothing of its own."""


def unknown():
    image = keras.Input((8, 8, 3))
    x = Mine(name="mine")(layers.Conv2D(4, 1, name="known")(image))
    x = layers.Lambda(lambda x: x @ keras.ops.transpose(x, (0, 1, 3, 2)), name="lambda")(x)
    return keras.Model(image, Named(2, name="named")(x))


def test_what_is_not_known_is_said():
    found = cost(unknown())
    assert found.uncounted == ("mine", "lambda")
    assert found.macs == 64 * 12 + 64 * 8 * 2  # the others
    assert {row.name: row.macs for row in found.layers}["mine"] is None
    assert of(Scaled(4, name="scaled"), (4,)) is None  # a call of its own
    assert of(layers.AdditiveAttention(), (4, 6), (9, 6), listed=True) is None
    assert of(layers.Attention(score_mode="concat"), (4, 6), (9, 6), listed=True) is None
    assert of(layers.EinsumDense("...c,cd->...d", output_shape=(3,)), (4, 6)) is None
    assert of(layers.Conv2D(2, 3), (None, 8, 3)) is None
    assert of(layers.ConvLSTM2D(2, 3), (3, 6, 6, 4)) is None


def test_layers_without_a_config_that_are_called_twice_are_not_known():
    class Bare(keras.layers.Layer):
        def __init__(self, width):
            super().__init__(name="bare")
            self.width = width

        def call(self, x):
            return x

    image = keras.Input((8, 8, 3))
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    model = keras.Model(image, conv(Bare(object())(conv(image))))
    assert "conv" in cost(model).uncounted


def test_it_is_seen_in_tables_and_headers(tmp_path, capsys):
    found = cost(unknown())
    card = Card("mine", "", (8, 8, 3), 2, found, {}, (), None, "classification")
    Terminal(width=100).print(show_tables(card))
    shown = capsys.readouterr().out
    assert "≥ 1.79 k" in shown
    assert "without mine, lambda: what these compute is not known" in shown
    whole = Cost(tuple(row for row in found.layers if row.macs is not None))
    Terminal(width=100).print(show_tables(Card("m", "", (8, 8, 3), 2, whole, {}, (), None, "c")))
    assert "≥" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_training_says_at_least(tmp_path, capsys):
    image = keras.Input((8, 8, 1))
    x = Mine(name="mine")(layers.Dense(4)(layers.Flatten()(image)))
    model = keras.Model(image, layers.Dense(10, activation="softmax")(x))
    recipe = kcnn.Recipe(epochs=1, logs=str(tmp_path))
    kcnn.train(recipe, model=model, save_model=False)
    assert "at least 296 MACs an image" in capsys.readouterr().out
