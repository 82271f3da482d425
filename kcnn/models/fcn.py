"""FCN: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
2015, figure 3: a classifier whose dense layers are convolutions, and its scores made larger.

| net | scores | sums |
|-----|--------|------|
| FCN-32s | fc7 (stride 32) | |
| FCN-16s | fc7, pool4 | 2× fc7's + pool4's |
| FCN-8s | fc7, pool4, pool3 | 2× (2× fc7's + pool4's) + pool3's |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from kcnn.errors import InputError
from kcnn.models import layers
from kcnn.models.backbones import backbone as feature_backbone
from kcnn.models.build import Shape
from kcnn.models.options import Activation, Count, Rate, Stem, Widths
from kcnn.models.registry import note, register
from kcnn.recipes import families
from kcnn.startup import keras

#: Stride of the map that the convolutional head reads.
_COARSEST = 32


@register(
    "fcn",
    family=families.FCN,
    input_shape=(512, 512, 3),
    classes=21,
    task="segmentation",
    paper="Long et al. 2015",
    parameters=134_362_751,
    macs=110_835_007_488,
    notes=(
        note(
            "FCN-8s on VGG-16; stride=16 and 32 are the paper's FCN-16s and FCN-32s.",
            stride=8,
            backbone="vgg16",
        ),
        *(
            note(f"FCN-{stride}s on VGG-16.", stride=stride, backbone="vgg16")
            for stride in (16, 32)
        ),
        "Convolutions pad to the same size; the paper pads the image by 100 pixels and crops.",
        "Enlarging is bilinear without weights; the paper trains two of its three filters.",
        "The score of fc7 starts at Glorot's values, the paper's at 0; pool4's and pool3's at 0.",
    ),
)
def fcn(
    input_shape: Shape,
    *,
    classes: Count = 21,
    backbone: str = "vgg16",
    stride: Literal[8, 16, 32] = 8,
    hidden: Widths = (4096, 4096),
    width: Count | None = None,
    batchnorm: bool | None = None,
    dropout: Rate = 0.5,
    stem: Stem = "auto",
    classifier_activation: Activation | None = "softmax",
    preprocessing: Sequence[keras.layers.Layer] = (),
) -> keras.Model:
    """FCN: (N, H, W, C) to the probabilities (N, H, W, classes) of each pixel.

    Args:
        input_shape: (H, W, C); sides are multiples of 32, or None for images of any such size.
        classes: Number of classes, the background included; 1 gives one sigmoid (binary).
        backbone: Name of a network for classification with maps of strides up to 32.
        stride: Of the finest map that is scored: FCN-8s, FCN-16s, FCN-32s.
        hidden: Filters of fc6 (7×7), fc7 and so on (1×1), behind the backbone's last map.
        width: Filters of the backbone's first stage, the others in proportion; None for its own.
        batchnorm: Of the backbone; None as it has it.
        dropout: Rate behind each hidden layer.
        stem: Of a backbone that has one; "auto" is "imagenet", whatever the image's size.
        classifier_activation: "softmax", another Keras activation, or None for logits.
        preprocessing: See `layers.image_input`.

    Raises:
        InputError: A value outside these, or a backbone without such maps.
        GeometryError: Sides that 32 does not divide, with the nearest that it does.
    """
    found = feature_backbone(
        backbone, input_shape, user="fcn", preprocessing=preprocessing,
        width=width, batchnorm=batchnorm, stem=stem,
    )  # fmt: skip
    finer = [one for one in (16, 8) if one >= stride]
    if missing := [one for one in (*finer, _COARSEST) if one not in found.last]:
        raise InputError(
            f"fcn reads a backbone's maps of strides {stride} to 32; {backbone} has none of stride "
            f"{', '.join(map(str, missing))}. Take vgg16 or resnet18."
        )
    x = _head(found.last[_COARSEST], hidden, dropout)
    x = _score(x, classes, _COARSEST, "glorot_uniform")
    for one in finer:
        x = _enlarge(x, 2, f"up{one}")
        # At 0 the network begins as the coarser one does (section 4.2).
        score = _score(found.first[one], classes, one, "zeros")
        x = keras.layers.Add(name=f"sum{one}")([x, score])
    x = _enlarge(x, stride, "up1", layers.output_dtype())
    activation = layers.output_activation(classes, classifier_activation) or "linear"
    x = keras.layers.Activation(activation, dtype=layers.output_dtype(), name="predictions")(x)
    return keras.Model(found.inputs, x)


def _head(x: keras.KerasTensor, hidden: Sequence[int], dropout: float) -> keras.KerasTensor:
    """VGG's dense layers as convolutions (section 3.1)."""
    for index, filters in enumerate(hidden, 6):
        name = f"fc{index}"
        x = layers.conv(x, filters, 7 if index == 6 else 1, name=name)
        x = layers.activate(x, "relu", name=name)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return x


def _score(x: keras.KerasTensor, classes: int, stride: int, initializer: str) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        classes, 1, kernel_initializer=initializer, name=f"score{stride}"
    )(x)  # fmt: skip


def _enlarge(
    x: keras.KerasTensor, factor: int, name: str, dtype: str | None = None
) -> keras.KerasTensor:
    """Bilinear: (N, H, W, C) to (N, factor · H, factor · W, C); `factor` is even."""
    if None not in x.shape[1:3]:
        return keras.layers.UpSampling2D(
            factor, interpolation="bilinear", dtype=dtype, name=name
        )(x)  # fmt: skip
    # Keras 3.15.1 cannot where sizes are known to the graph alone: `keras.ops.image.resize` asks in
    # Python whether they are positive. The same from nearest pixels: a weight that falls linearly
    # is two means, of factor + 1 and of factor - 1 pixels. At the border a mean is of what is
    # there, all of which is the pixel that bilinear interpolation repeats.
    x = keras.layers.UpSampling2D(factor, dtype=dtype, name=f"{name}_nearest")(x)
    for axis, sizes in (("down", lambda size: (size, 1)), ("across", lambda size: (1, size))):
        parts = []
        for size in (factor + 1, factor - 1):
            part = keras.layers.AveragePooling2D(
                sizes(size), 1, "same", dtype=dtype, name=f"{name}_{axis}{size}"
            )(x)
            share = size / (2 * factor)
            part = keras.layers.Rescaling(share, dtype=dtype, name=f"{name}_{axis}{size}_share")(
                part
            )
            parts.append(part)
        last = name if axis == "across" else f"{name}_{axis}"
        x = keras.layers.Add(dtype=dtype, name=last)(parts)
    return x
