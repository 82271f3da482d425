"""Costs by layer, against figures worked out by hand or known from elsewhere."""

from fractions import Fraction

import keras
import pytest

import kcnn
from kcnn.graph.cost import abstract, cost


def rows(name, **options):
    return {layer.name: layer for layer in kcnn.card(name, **options).cost.layers}


def tiny():
    """(8, 8, 2) -> conv 3×3 / 2, 4 filters -> BatchNorm -> max pool 3×3 -> dense 5."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="conv"),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.MaxPooling2D(3, strides=1, name="pool"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dropout(0.5, name="dropout"),
            keras.layers.Dense(5, name="dense"),
        ]
    )


def test_a_tiny_network_by_hand():
    table = {
        layer.name: (
            layer.kind, layer.output_shape, layer.parameters, layer.fixed_parameters, layer.macs,
            layer.activation_bytes, layer.receptive_field, layer.stride,
        )
        for layer in cost(tiny()).layers
    }  # fmt: skip
    assert table == {
        "conv": ("Conv2D", (4, 4, 4), 72, 0, 16 * 72, 4 * 64, 3, 2),
        "bn": ("BatchNormalization", (4, 4, 4), 8, 8, 0, 4 * 64, 3, 2),
        "pool": ("MaxPooling2D", (2, 2, 4), 0, 0, 0, 4 * 16, 7, 2),
        "flatten": ("Flatten", (16,), 0, 0, 0, 0, None, None),  # a view
        "dropout": ("Dropout", (16,), 0, 0, 0, 4 * 16, None, None),  # its seed is no parameter
        "dense": ("Dense", (5,), 85, 0, 80, 4 * 5, None, None),
    }


def test_memory_by_hand():
    total = cost(tiny())
    assert total.parameters == 72 + 8 + 85
    assert total.fixed_parameters == 8
    assert total.macs == 16 * 72 + 80
    assert total.weight_memory == 4 * (165 + 8)
    activations = 4 * (64 + 64 + 16 + 16 + 5)
    assert total.activation_memory() == activations
    assert total.activation_memory(32) == 32 * activations
    # Weights, a gradient for each trained one, and the optimizer's values for it.
    for slots in (0, 1, 2):
        expected = 4 * 173 + 4 * 165 * (1 + slots) + 32 * activations
        assert total.training_memory(32, slots) == expected


@pytest.mark.parametrize(
    ("name", "layer", "receptive_field", "stride"),
    [
        # Known figures: each is r = 1 + Σ (window - 1) · stride so far.
        ("lenet5", "conv1", 5, 1),
        ("lenet5", "pool1", 6, 2),
        ("lenet5", "conv2", 14, 2),
        ("lenet5", "pool2", 16, 4),
        ("lenet5_1998", "c3", 14, 2),
        ("lenet5_1998", "s4", 16, 4),
        ("lenet5_1998", "c5", 32, 4),
        ("alexnet", "conv1", 11, 4),
        ("alexnet", "pool5", 195, 32),
        ("vgg16", "conv1_2", 5, 1),
        ("vgg16", "conv5_3", 196, 16),
        ("vgg16", "pool5", 212, 32),
        # 11 behind the stem; 2 · (4 · 4 + (4 + 3·8) + (8 + 3·16) + (16 + 3·32)) more
        ("resnet18", "pool1", 11, 4),
        ("resnet18", "conv5_2_relu", 11 + 2 * (16 + 28 + 56 + 112), 32),
        ("resnet34", "conv5_3_relu", 11 + 2 * (6 * 4 + 4 + 7 * 8 + 8 + 11 * 16 + 16 + 5 * 32), 32),
        # One 3×3 for each bottleneck; the first of a stage still steps at the old stride.
        ("resnet50", "conv5_3_relu", 11 + 2 * (3 * 4 + 4 + 3 * 8 + 8 + 5 * 16 + 16 + 2 * 32), 32),
        ("resnet20", "conv4_3_relu", 3 + 2 * (6 * 1 + 1 + 5 * 2 + 2 + 5 * 4), 4),
    ],
)
def test_receptive_fields(name, layer, receptive_field, stride):
    row = rows(name)[layer]
    assert (row.receptive_field, row.stride) == (receptive_field, stride)


def test_local_response_normalisation_sees_no_further():
    """It looks along the channels, whatever layers it is made of."""
    plain, normalised = rows("alexnet"), rows("alexnet", lrn=True)
    for layer in ("pool1", "conv2", "pool2", "conv5", "pool5"):
        assert normalised[layer].receptive_field == plain[layer].receptive_field
        assert normalised[layer].stride == plain[layer].stride


def test_dilation_widens_the_window():
    """Of the same weights at a finer stride: the receptive field stays."""
    strided, dilated = rows("resnet18"), rows("resnet18", output_stride=8)
    last = "conv5_2_relu"
    assert dilated[last].receptive_field == strided[last].receptive_field == 435
    assert (dilated[last].stride, strided[last].stride) == (8, 32)
    assert dilated[last].output_shape == (28, 28, 512)


def test_multiply_accumulates_by_hand():
    table = rows("alexnet", groups=2)
    assert table["conv1"].macs == 55 * 55 * 96 * 11 * 11 * 3
    assert table["conv2"].macs == 27 * 27 * 256 * 5 * 5 * 48  # each group sees half the maps
    assert table["conv3"].macs == 13 * 13 * 384 * 3 * 3 * 256
    assert table["fc1"].macs == 6 * 6 * 256 * 4096


def test_larger_maps_by_hand():
    """Strides go down again; a transposed kernel is applied once per position that it reads.

    One value of `wide` reads two of `up` at most, of `bilinear` two of `nearest`.
    """
    image = keras.Input((16, 24, 3))
    x = keras.layers.Conv2D(4, 4, strides=4, name="coarse")(image)  # (4, 6)
    x = keras.layers.Conv2D(5, 3, padding="same", name="deep")(x)
    x = keras.layers.Conv2DTranspose(6, 2, strides=2, name="up")(x)
    x = keras.layers.Conv2DTranspose(7, 3, strides=2, padding="same", name="wide")(x)
    x = keras.layers.Conv2D(2, 3, padding="same", name="fine")(x)
    x = keras.layers.UpSampling2D(2, name="nearest")(x)
    x = keras.layers.UpSampling2D((2, 2), interpolation="bilinear", name="bilinear")(x)
    x = keras.layers.Conv2D(1, 5, padding="same", name="last")(x)
    table = {row.name: row for row in cost(keras.Model(image, x)).layers}
    fields = {name: (row.stride, row.receptive_field) for name, row in table.items()}
    del fields[next(iter(fields))]  # the image
    assert fields == {
        "coarse": (4, 4),
        "deep": (4, 4 + 2 * 4),
        "up": (2, 12),
        "wide": (1, 12 + 2),
        "fine": (1, 14 + 2),
        "nearest": (Fraction(1, 2), 16),
        "bilinear": (Fraction(1, 4), 17),  # 16 + 1/2, in whole pixels
        "last": (Fraction(1, 4), 18),  # 16 + 1/2 + 4/4
    }
    assert table["up"].macs == 4 * 6 * (2 * 2 * 6 * 5)
    assert table["wide"].macs == 8 * 12 * (3 * 3 * 7 * 6)
    assert table["fine"].macs == 16 * 24 * (3 * 3 * 7 * 2)
    assert table["nearest"].macs == 0
    assert type(table["fine"].stride) is int


def test_nested_models_are_counted_in_their_place():
    backbone = keras.Sequential(
        [keras.Input((16, 16, 1)), keras.layers.Conv2D(3, 5, name="inner"),
         keras.layers.MaxPooling2D(2, name="inner_pool")]
    )  # fmt: skip
    image = keras.Input((20, 20, 1))
    x = backbone(keras.layers.Resizing(16, 16, name="resize")(image))
    x = keras.layers.Conv2D(2, 3, name="outer")(x)
    table = {layer.name: layer for layer in cost(keras.Model(image, x)).layers}
    assert (table["inner"].parameters, table["outer"].parameters) == (78, 56)
    assert (table["inner"].macs, table["outer"].macs) == (12 * 12 * 75, 4 * 4 * 54)
    # 5, 6 at stride 2, 6 + 2 · 2
    fields = [table[name].receptive_field for name in ("inner", "inner_pool", "outer")]
    assert fields == [5, 6, 10]


def test_operations_between_layers_pass_the_field_on():
    image = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(2, 3, name="first")(image)
    branch = keras.ops.square(x) * 0.5
    wide = keras.layers.Conv2D(2, 7, name="wide")(image)
    narrow = keras.layers.Conv2D(2, 3, name="narrow")(branch)  # listed behind `wide`
    model = keras.Model(image, [wide, narrow])
    table = {layer.name: layer.receptive_field for layer in cost(model).layers}
    assert (table["first"], table["wide"], table["narrow"]) == (3, 7, 5)


def test_abstract_follows_the_dtype_policy():
    full = kcnn.card("lenet5").cost
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half, built = kcnn.card("lenet5").cost, cost(kcnn.build("lenet5"))
    finally:
        keras.config.set_dtype_policy("float32")
    assert half == built
    head = 4 * 10  # the probabilities stay in float32
    assert half.activation_memory() - head == (full.activation_memory() - head) / 2
    assert half.weight_memory == full.weight_memory


def test_abstract_leaves_no_trace():
    """A model built behind it is initialised as usual, and it hands on what goes wrong."""
    abstract(tiny)
    assert tiny().get_layer("conv").get_weights()[0].std() > 0

    def fail():
        raise RuntimeError("in the builder")

    with pytest.raises(RuntimeError, match="in the builder"):
        abstract(fail)
