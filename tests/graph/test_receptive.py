"""Receptive fields: against what a changed pixel changes, and against `kcnn show`'s figures."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.graph.cost import cost
from kcnn.graph.flat import flat
from kcnn.graph.receptive import fields

L = keras.layers


def branches(x):
    """Two ways with different windows, met again."""
    return L.Add()([L.Conv2D(2, 3, padding="same")(x), L.Conv2D(2, (1, 5), padding="same")(x)])


#: Layers on an image of 17×20, in turn; the last one's field is what is asked.
NETS = {
    "valid": [L.Conv2D(2, 3), L.Conv2D(2, (2, 4))],
    "same, strides": [L.Conv2D(2, 4, 3, padding="same"), L.Conv2D(2, 3, 2, padding="same")],
    "dilation": [L.Conv2D(2, 3, dilation_rate=(2, 3), padding="same"), L.Conv2D(2, 2)],
    "pooling": [L.AveragePooling2D(3, 2, padding="same"), L.DepthwiseConv2D(2, padding="same")],
    "padding": [L.ZeroPadding2D(((2, 0), (1, 3))), L.Conv2D(2, 3, 2),
                L.Cropping2D(((1, 0), (0, 1)))],
    "branches": [L.Conv2D(2, 2), branches],
    "transposed": [L.Conv2D(2, 3, 2), L.Conv2DTranspose(2, 3, 2, padding="same")],
    "transposed, valid": [L.Conv2D(2, 3, 2), L.Conv2DTranspose(2, 4, 3)],
    "nearest": [L.Conv2D(2, 3, 2), L.UpSampling2D(2)],
    "bilinear": [L.Conv2D(2, 3, 2), L.UpSampling2D((2, 3), interpolation="bilinear")],
    "resizing": [L.Resizing(26, 31), L.Conv2D(2, 3)],
    "shrinking": [L.Resizing(9, 7), L.Conv2D(2, 3)],
    "channels added": [L.ZeroPadding2D(((0, 0), (0, 3)), data_format="channels_first"),
                       L.Conv2D(2, 3)],
    "norm": [L.Conv2D(2, 3), L.LayerNormalization(), L.ReLU(), L.Conv2D(2, 1)],
}  # fmt: skip
#: Whose intervals are exact; behind others they hold what is seen, and a little more.
LOOSE = ("transposed", "transposed, valid", "nearest", "bilinear", "resizing", "shrinking")


def seen(model, row, column, size=(17, 20)):
    """Rows and columns of the pixels on which a value depends, by its gradient."""
    import tensorflow as tf

    image = tf.constant(np.random.default_rng(0).normal(size=(1, *size, 1)), "float32")
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = tf.reduce_sum(model(image, training=False)[0, row, column])
    there = np.abs(tape.gradient(value, image)[0, :, :, 0]) > 0
    return np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))


@pytest.mark.parametrize("name", NETS)
def test_the_box_holds_what_a_value_sees(name):
    x = image = keras.Input((17, 20, 1))
    for layer in NETS[name]:
        x = layer(x, training=False) if isinstance(layer, L.Resizing) else layer(x)
    model = keras.Model(image, x)
    found = flat(model)
    field = fields(found)[id(found.output)]
    height, width = x.shape[1:3]
    for row, column in [(0, 0), (height // 2, width // 2), (height - 1, width - 1)]:
        top, left, bottom, right = field.box(row, column, 17, 20)
        rows, columns = seen(model, row, column)
        assert top <= rows[0]
        assert left <= columns[0]
        assert bottom > rows[-1]
        assert right > columns[-1]
        if name not in LOOSE:
            assert (top, bottom) == (rows[0], rows[-1] + 1)
            assert (left, right) == (columns[0], columns[-1] + 1)
        else:
            assert bottom - top <= len(rows) + 6
            assert right - left <= len(columns) + 6


@pytest.mark.parametrize(
    "name",
    [
        "lenet5",
        "resnet20",
        "resnet18",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("alexnet", "resnet50")),
    ],
)
@pytest.mark.slow
def test_sizes_and_strides_are_those_of_the_table(name):
    shape = {"lenet5": (32, 32, 1), "alexnet": (227, 227, 3)}.get(name, (64, 64, 3))
    found, table = flat(kcnn.build(name, input_shape=shape)), {}
    for layer in cost(kcnn.build(name, input_shape=shape)).layers:
        table[layer.name] = (layer.receptive_field, layer.stride)
    known = fields(found)
    maps = [call for call in found.calls if len(call.output.shape) == 4]
    assert len(maps) >= 6
    for call in maps:
        field = known[id(call.output)]
        assert (max(field.size), max(field.stride)) == table[call.name]


class Mixing(L.Layer):
    def call(self, x):
        return x - keras.ops.mean(x, axis=(1, 2), keepdims=True)


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: L.Multiply()([x, L.GlobalAveragePooling2D(keepdims=True)(x)]),
        lambda x: L.Reshape(x.shape[1:])(L.Flatten()(x)),
        lambda x: L.GroupNormalization(1)(x),
        lambda x: L.LayerNormalization(axis=[1, 2, 3])(x),
        lambda x: Mixing()(x),
        lambda x: L.Concatenate(axis=1)([x, x]),
        lambda x: x[:, ::-1],
        lambda x: keras.ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]),
    ],
)
def test_what_sees_all_or_is_unknown_is_the_whole_image(layer):
    image = keras.Input((8, 8, 1))
    found = flat(keras.Model(image, L.Conv2D(2, 1)(layer(L.Conv2D(2, 3)(image)))))
    known = fields(found)
    first, last = (c for c in found.calls if c.kind == "Conv2D")
    assert known[id(first.output)].size == (3, 3)
    assert known[id(last.output)] is None
