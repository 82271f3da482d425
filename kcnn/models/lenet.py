"""LeNet-5: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proceedings of the IEEE 86(11), 1998, section II.B.

| layer | 1998 | parameters | lecture's form | parameters |
|-------|------|-----------:|----------------|-----------:|
| C1 | 6 maps 5×5 | 156 | the same | 156 |
| S2 | sum 2×2, coefficient and bias per map | 12 | average 2×2 | 0 |
| C3 | 16 maps 5×5, sparse table I | 1,516 | 16 maps 5×5, all connected | 2,416 |
| S4 | as S2 | 32 | average 2×2 | 0 |
| C5 | 120 maps 5×5 | 48,120 | dense 120 | 48,120 |
| F6 | dense 84 | 10,164 | dense 84 | 10,164 |
| output | 10 RBF units, 840 fixed weights | 0 | dense 10 | 850 |
| total, trainable | | 60,000 | | 61,706 |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from kcnn.errors import GeometryError, InputError
from kcnn.models import layers
from kcnn.models.options import Activation, Count, Rate
from kcnn.models.registry import note, register
from kcnn.recipes import families
from kcnn.startup import keras

_PAPER = "LeCun et al. 1998"

#: Table I: which of the six S2 maps each of the sixteen C3 maps sees.
C3_CONNECTIONS = (
    *[tuple(sorted((i + j) % 6 for j in range(3))) for i in range(6)],  # 3 in a row
    *[tuple(sorted((i + j) % 6 for j in range(4))) for i in range(6)],  # 4 in a row
    *[(i, i + 1, i + 3, i + 4) for i in range(2)],  # 2 and 2
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)


@register(
    "lenet5",
    family=families.LENET,
    input_shape=(32, 32, 1),
    classes=10,
    paper=_PAPER,
    parameters=61_706,
    macs=416_520,
    notes=(
        "The lecture's form: C3 sees all maps, pooling has no parameters, dense softmax output.",
    ),
)
def lenet5(
    input_shape: tuple[int, int, int],
    *,
    activation: Activation = "tanh",
    batchnorm: bool = False,
    dropout: Rate = 0.0,
    preprocessing: Sequence[keras.layers.Layer] = (),
    **top: Any,
) -> keras.Model:
    """LeNet-5 as the lecture draws it: 2 convolutions, 3 dense layers, average pooling.

    Args:
        input_shape: (H, W, C), 32×32 or anything from 16×16 up; 28×28 is padded to 32×32.
        activation: "tanh", "sigmoid", or any other of Keras.
        batchnorm: BatchNorm between each convolution and its activation.
        dropout: Rate behind the two hidden dense layers.
        preprocessing: See `layers.image_input`.
        **top: Options of `layers.classifier`.
    """
    inputs, x = _padded_input(input_shape, preprocessing)
    for index, filters in ((1, 6), (2, 16)):
        x = layers.conv_bn(
            x, filters, 5, name=f"conv{index}", padding="valid",
            batchnorm=batchnorm, activation=activation,
        )  # fmt: skip
        x = layers.pool(x, 2, stride=2, kind="average", name=f"pool{index}")
    return layers.classifier(
        inputs, x, hidden_widths=(120, 84),
        activation=activation, dropout=dropout, **top,
    )  # fmt: skip


@register(
    "lenet5_1998",
    family=families.LENET,
    input_shape=(32, 32, 1),
    classes=10,
    paper=_PAPER,
    parameters=60_000,
    macs=328_096,
    notes=(
        note(
            "840 fixed RBF weights beside the 60,000 trainable; the codes are kcnn's own drawings.",
            head="rbf",
            include_top=True,
        ),
        note(
            "Output: softmax of the negative RBF distances, the paper's eq. 9 without its "
            "constant j.",
            head="rbf",
            include_top=True,
            classifier_activation="softmax",
        ),
        "Subsampling scales the mean of 2×2, not the sum: the same family of functions.",
        "Glorot initialisation; the paper draws uniformly within ±2.4 / fan-in.",
    ),
)
def lenet5_1998(
    input_shape: tuple[int, int, int],
    *,
    head: Literal["rbf", "dense"] = "rbf",
    classes: Count = 10,
    include_top: bool = True,
    classifier_activation: Activation | None = "softmax",
    preprocessing: Sequence[keras.layers.Layer] = (),
) -> keras.Model:
    """LeNet-5 as published: sparse C3, trainable subsampling, scaled tanh, RBF output.

    Args:
        input_shape: (H, W, C), 32×32; 28×28 is padded to it.
        head: "rbf": Euclidean distances to the fixed codes of the ten digits (eq. 7); "dense":
            a trainable dense layer instead, for other classes.
        classes: 10 with the RBF head.
        include_top: False ends with F6's 84 units.
        classifier_activation: "softmax", or None for the negative distances or the logits.
        preprocessing: See `layers.image_input`.

    Raises:
        GeometryError: Another size than 32×32 or 28×28.
        InputError: The RBF head with other classes than the
            ten digits or another activation.
    """
    inputs, x = _padded_input(input_shape, preprocessing)
    if tuple(x.shape[1:3]) != (32, 32):
        raise GeometryError(
            f"lenet5_1998 is LeCun's own network for 32×32 images (28×28 is padded); received "
            f"{x.shape[1]}×{x.shape[2]}. lenet5 takes other sizes."
        )
    x = _squash(layers.conv(x, 6, 5, name="c1", padding="valid", activation="tanh"), "c1")
    x = _subsample(x, "s2")
    x = _squash(_sparse_conv(x, "c3"), "c3")
    x = _subsample(x, "s4")
    x = _squash(layers.conv(x, 120, 5, name="c5", padding="valid", activation="tanh"), "c5")
    x = keras.layers.Flatten(name="flatten")(x)  # (N, 120)
    x = _squash(keras.layers.Dense(84, name="f6")(x), "f6")
    if head == "rbf" and include_top:
        outputs = _rbf(x, classes, classifier_activation)
        return keras.Model(inputs, outputs)
    return layers.classifier(
        inputs, x, classes=classes, include_top=include_top,
        classifier_activation=classifier_activation,
    )  # fmt: skip


def _padded_input(
    input_shape: tuple[int, int, int], preprocessing: Sequence[keras.layers.Layer]
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    inputs, x = layers.image_input(input_shape, preprocessing)
    if tuple(x.shape[1:3]) == (28, 28):
        x = keras.layers.ZeroPadding2D(2, name="pad")(x)  # (N, 32, 32, C)
    return inputs, x


def _squash(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """1.7159 tanh(2x/3): slope near 1 at 0, values ±1 at ±1 (appendix A)."""
    x = keras.layers.Rescaling(2 / 3, name=f"{name}_slope")(x)
    x = keras.layers.Activation("tanh", name=f"{name}_tanh")(x)
    return keras.layers.Rescaling(1.7159, name=f"{name}_amplitude")(x)


def _subsample(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Halve the map; one trainable coefficient and bias per channel; squash."""
    x = layers.pool(x, 2, stride=2, kind="average", name=f"{name}_mean")
    x = keras.layers.DepthwiseConv2D(1, depthwise_initializer="ones", name=name)(x)
    return _squash(x, name)


def _sparse_conv(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """C3: (N, 14, 14, 6) -> (N, 10, 10, 16), each map from its own choice of input maps."""
    maps = [
        layers.conv(
            keras.ops.take(x, connections, axis=-1), 1, 5,
            name=f"{name}_{index}", padding="valid", activation="tanh",
        )
        for index, connections in enumerate(C3_CONNECTIONS, 1)
    ]  # fmt: skip
    return keras.layers.Concatenate(name=name)(maps)


def _rbf(x: keras.KerasTensor, classes: int, activation: str | None) -> keras.KerasTensor:
    """Minus the squared distance of x (N, 84) to each class's code: (N, 10), eq. 7."""
    if classes != 10 or activation not in ("softmax", None):
        raise InputError(
            f"The RBF output has codes for the ten digits, and gives a softmax or (None) "
            f"negative distances; received classes={classes!r}, "
            f"classifier_activation={activation!r}. Use head='dense'."
        )
    from kcnn.models.rbf_codes import digit_codes  # NumPy, which listing does without

    codes = digit_codes()  # (10, 84) of ±1
    products = keras.layers.Dense(
        10, use_bias=False, trainable=False, name="rbf",
        kernel_initializer=keras.initializers.Constant(codes.T),
    )(x)  # fmt: skip
    # |x - w|² = |x|² - 2 x·w + |w|², and |w|² = 84 for a code of ±1.
    norm = keras.ops.sum(keras.ops.square(x), axis=-1, keepdims=True)
    distances = norm - 2.0 * products + float(codes.shape[1])
    name, activation = "predictions", activation or "linear"
    return keras.layers.Activation(activation, dtype="float32", name=name)(-distances)
