"""AlexNet: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional
Neural Networks", NeurIPS 2012; and the one-tower network of Krizhevsky 2014, "One weird trick
for parallelizing convolutional neural networks", in torchvision's form.

| layer | 2012 | 2014 |
|-------|------|------|
| conv1 | 96, 11×11 / 4 | 64, 11×11 / 4, pad 2 |
| conv2 | 256, 5×5 | 192, 5×5 |
| conv3, conv4, conv5 | 384, 384, 256, 3×3 | 384, 256, 256, 3×3 |
| fc | 4096, 4096, 1000 | the same |

Max pooling 3×3 / 2 follows conv1, conv2 and conv5. The paper's image is called 224×224; its
arithmetic (55×55 behind conv1) needs 227×227.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcnn.errors import InputError
from kcnn.models import checks, layers
from kcnn.models.options import Count, Counts, Pixels, Rate, Widths
from kcnn.models.registry import note, register
from kcnn.recipes import families
from kcnn.startup import keras

_SHARED_NOTES = ("He initialisation and zero biases; the paper draws N(0, 0.01²), some biases 1.",)


@register(
    "alexnet",
    family=families.ALEXNET,
    input_shape=(227, 227, 3),
    paper="Krizhevsky et al. 2012",
    parameters=62_378_344,
    macs=1_135_256_096,
    notes=(
        note(
            "One tower; groups=2 is the paper's split over two GPUs (60,965,224 parameters).",
            groups=1,
        ),
        note("Two towers, as on the paper's two GPUs.", groups=2),
        "The lecture's ~63 million: 62.4 in one tower, 61.0 grouped.",
        note("No local response normalisation unless lrn=True.", lrn=False),
        *_SHARED_NOTES,
    ),
    widths=(96, 256, 384, 384, 256),
    padding=0,
)
@register(
    "alexnet_owt",
    family=families.ALEXNET,
    input_shape=(224, 224, 3),
    paper="Krizhevsky 2014",
    parameters=61_100_840,
    macs=714_188_480,
    notes=(
        "torchvision's alexnet; dropout follows fc1 and fc2 as in the paper of 2012, where "
        "torchvision's precedes them.",
        *_SHARED_NOTES,
    ),
    widths=(64, 192, 384, 256, 256),
    padding=2,
)
def alexnet(
    input_shape: tuple[int, int, int],
    *,
    widths: Counts,
    padding: Pixels,
    hidden: Widths = (4096, 4096),
    groups: Count = 1,
    lrn: bool = False,
    batchnorm: bool = False,
    dropout: Rate = 0.5,
    preprocessing: Sequence[keras.layers.Layer] = (),
    **top: Any,
) -> keras.Model:
    """AlexNet: 5 convolutions, 3 dense layers, ReLU, overlapping max pooling, dropout.

    Args:
        input_shape: (H, W, C), from 67×67 up.
        widths: Filters of the five convolutions.
        padding: Of conv1.
        hidden: Units of the hidden dense layers.
        groups: 2 splits conv2, conv4 and conv5 over two towers, as the paper does.
        lrn: Local response normalisation behind conv1 and conv2 (section 3.3).
        batchnorm: BatchNorm between each convolution and its ReLU.
        dropout: Rate behind each hidden dense layer.
        preprocessing: See `layers.image_input`.
        **top: Options of `layers.classifier`.

    Raises:
        InputError: `groups` does not divide the filters.
    """
    checks.lengths(widths=widths, convolutions=range(5))
    if any(width % groups for width in widths):
        raise InputError(f"groups divides the filters {widths}, as 1 and 2 do; received {groups}.")
    inputs, x = layers.image_input(input_shape, preprocessing)
    if lrn and None in x.shape[1:]:
        raise InputError(
            f"lrn=True takes images of one size: input_shape is (height, width, channels); "
            f"received {tuple(input_shape)}."
        )
    for index, filters in enumerate(widths, 1):
        first, name = index == 1, f"conv{index}"
        x = layers.conv_bn(
            x, filters, {1: 11, 2: 5}.get(index, 3), name=name,
            stride=4 if first else 1, padding=padding if first else "same",
            groups=groups if index in (2, 4, 5) else 1, batchnorm=batchnorm,
        )  # fmt: skip
        if lrn and index in (1, 2):
            x = _local_response_norm(x, name=f"norm{index}")
        if index in (1, 2, 5):
            x = layers.pool(x, 3, stride=2, name=f"pool{index}")
    return layers.classifier(inputs, x, hidden_widths=hidden, dropout=dropout, **top)


def _local_response_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """b_i = a_i / (2 + 1e-4 Σ a_j²)^0.75 over five neighbouring channels (section 3.3).

    Made of Keras' own layers, so that a saved model needs nothing of kcnn.
    """
    exact = {"dtype": layers.output_dtype()}  # squares above 65,504 are infinite in float16
    height, width, channels = x.shape[1:]
    squares = keras.layers.Multiply(name=f"{name}_squares", **exact)([x, x])
    # Channels become the second spatial axis, with two zeros at either end.
    row = keras.layers.Reshape((height * width, channels, 1), name=f"{name}_row", **exact)(squares)
    row = keras.layers.ZeroPadding2D(((0, 0), (2, 2)), name=f"{name}_pad", **exact)(row)
    mean = keras.layers.AveragePooling2D((1, 5), strides=1, name=f"{name}_mean", **exact)(row)
    mean = keras.layers.Reshape((height, width, channels), name=f"{name}_map", **exact)(mean)
    scale = keras.layers.Rescaling(5e-4, offset=2.0, name=f"{name}_scale", **exact)(mean)
    return x * keras.ops.power(scale, -0.75)
