"""The multilayer perceptron: the baseline that convolutional networks are measured against.

The lecture counts weight layers: its "two-layer MLP with width 1000" is one hidden layer and
the output. On 28×28 that is 784·1000 + 1000 + 1000·10 + 10 = 795,010 parameters, 3.2 MB in
float32 (the lecture rounds to 1 million and 4 MB); on a 1099×733 RGB photograph it is 2.42
billion, 9.7 GB (the lecture's 3 billion and 12.6 GB are generous).
`kcnn show mlp --input-shape 1099 733 3` prints it without building it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcnn.errors import InputError
from kcnn.models import layers
from kcnn.models.options import Activation, Count, Rate
from kcnn.models.registry import note, register
from kcnn.recipes import families
from kcnn.startup import keras


@register(
    "mlp",
    family=families.MLP,
    input_shape=(28, 28, 1),
    classes=10,
    paper="Rumelhart et al. 1986",
    parameters=795_010,
    macs=794_000,
    notes=(
        note(
            "ReLU units, as in the lecture; the paper's are sigmoid (activation='sigmoid').",
            activation="relu",
        ),
    ),
)
def mlp(
    input_shape: tuple[int, int, int],
    *,
    width: Count = 1000,
    depth: Count = 2,
    activation: Activation = "relu",
    batchnorm: bool = False,
    dropout: Rate = 0.0,
    residual: bool = False,
    preprocessing: Sequence[keras.layers.Layer] = (),
    **top: Any,
) -> keras.Model:
    """A multilayer perceptron on the flattened image.

    Args:
        input_shape: (H, W, C).
        width: Units of each hidden layer.
        depth: Weight layers, the output included; 1 is softmax regression.
        activation: Of the hidden layers.
        batchnorm: BatchNorm between each hidden layer and its activation.
        dropout: Rate behind each hidden layer.
        residual: Add each hidden layer's input to its output, from the second on.
        preprocessing: See `layers.image_input`.
        **top: Options of `layers.classifier`.

    Raises:
        InputError: No hidden layer has the width of its input, so that nothing can be added;
            pooling asked for, of a network without feature maps.
    """
    if residual and depth < 3:
        raise InputError(
            f"residual=True adds the input of a hidden layer to its output where both have the "
            f"same width; at depth={depth} there is no such layer. Use depth=3 or more."
        )
    if top.get("pooling") is not None:
        raise InputError(f"An MLP has no feature map to pool; received pooling={top['pooling']!r}.")
    inputs, x = layers.image_input(input_shape, preprocessing)
    if None in x.shape[1:]:
        raise InputError(
            f"An MLP takes images of one size: input_shape is (height, width, channels); received "
            f"{tuple(input_shape)}."
        )
    x = keras.layers.Flatten(name="flatten")(x)  # (N, H·W·C)
    for index in range(1, depth):
        shortcut, name = x, f"fc{index}"
        x = layers.hidden(
            x, width, name=name, activation=activation, batchnorm=batchnorm, dropout=dropout
        )
        if residual and index > 1:
            x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.classifier(inputs, x, **top)
