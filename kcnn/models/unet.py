"""U-Net: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015, figure 1; with the paper's own encoder, or on a classifier.

| level | stride | encoder | decoder |
|-------|--------|---------|---------|
| 1 | 1 | enc1_1, enc1_2: 64 | up1, dec1_1, dec1_2: 64, then predictions 1×1 |
| 2 | 2 | pool1, enc2_1, enc2_2: 128 | up2, dec2_1, dec2_2: 128 |
| 3 | 4 | pool2, enc3_1, enc3_2: 256 | up3, dec3_1, dec3_2: 256 |
| 4 | 8 | pool3, enc4_1, enc4_2: 512 | up4, dec4_1, dec4_2: 512 |
| 5 | 16 | pool4, enc5_1, enc5_2: 1024 | |

The other convolutions are 3×3. "Up" is the paper's up-convolution: 2×2 transposed, stride 2, to as
many filters as the skip has that it is concatenated with; linear, as the paper names no ReLU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from kcnn.errors import InputError
from kcnn.models import layers
from kcnn.models.backbones import backbone as feature_backbone
from kcnn.models.backbones import behind, check_sides
from kcnn.models.build import Shape
from kcnn.models.options import Activation, Count, Rate, Stem
from kcnn.models.registry import note, register
from kcnn.recipes import families
from kcnn.recipes.checks import whole
from kcnn.startup import keras

_DEPTH, _WIDTH = 4, 64  # the paper's

#: Poolings; at 8 the last map is of stride 256.
Depth = Annotated[int, whole(1, 9, "a whole number from 1 to 8")]


class _Encoded(NamedTuple):
    inputs: keras.KerasTensor
    x: keras.KerasTensor  # the last map
    level: int  # of `x`, from 1
    skips: Mapping[int, keras.KerasTensor]  # by level; there may be gaps


@register(
    "unet",
    family=families.UNET,
    input_shape=(512, 512, 1),
    classes=2,
    task="segmentation",
    paper="Ronneberger et al. 2015",
    parameters=31_030_658,
    macs=192_384_335_872,
    notes=(
        note(
            "Convolutions pad: predictions have the image's size. padding='valid' is the paper's "
            "(572×572 to 388×388), with the same weights.",
            padding="same",
            backbone=None,
        ),
        "dropout acts behind the last map of the encoder; the paper gives no rate.",
        "Up-convolutions are linear.",
    ),
)
def unet(
    input_shape: Shape,
    *,
    classes: Count = 2,
    backbone: str | None = None,
    width: Count | None = None,
    depth: Depth = _DEPTH,
    padding: Literal["same", "valid"] = "same",
    batchnorm: bool | None = None,
    dropout: Rate = 0.0,
    stem: Stem = "auto",
    classifier_activation: Activation | None = "softmax",
    preprocessing: Sequence[keras.layers.Layer] = (),
) -> keras.Model:
    """U-Net: (N, H, W, C) to the probabilities (N, H, W, classes) of each pixel.

    Args:
        input_shape: (H, W, C); sides are multiples of the largest stride (2 to the power of
            `depth`; a backbone's, up to 32), or None for images of any such size.
        classes: Number of classes; 1 gives one sigmoid (binary).
        backbone: Name of a network for classification whose maps of strides 1 to 32 are the
            encoder; None is the paper's. Without a map of stride 1, the decoder ends with an "up"
            and two convolutions of half the filters.
        width: Filters of the first level, doubled at each; None for 64. With a backbone: those
            of its first stage, the others in proportion; None for its own.
        depth: Poolings of the paper's encoder.
        padding: Of the 3×3 convolutions. "valid" makes the predictions smaller than the image, and
            cuts the skips' borders off (figure 1); for the paper's encoder.
        batchnorm: BatchNorm between each 3×3 convolution and its ReLU; None: no, or as the
            backbone has it.
        dropout: Rate at the end of the contracting path (section 3.1).
        stem: Of a backbone that has one; "auto" is "imagenet", whatever the image's size.
        classifier_activation: "softmax", another Keras activation, or None for logits.
        preprocessing: See `layers.image_input`.

    Raises:
        InputError: A value outside these, options that exclude each other, or a backbone without
            such maps.
        GeometryError: Sides that do not fit, with the nearest that do.
    """
    if backbone is None:
        if stem != "auto":
            raise InputError(f"stem={stem!r} is a backbone's; U-Net's own encoder has none. Name a "
                             f"backbone, such as resnet18, or leave stem out.")  # fmt: skip
        batchnorm = bool(batchnorm)
        network = _encoder(input_shape, preprocessing, width or _WIDTH, depth, padding, batchnorm)
    else:
        _check_backbone(backbone, depth, padding)
        found = feature_backbone(
            backbone, input_shape, user="unet", preprocessing=preprocessing,
            width=width, batchnorm=batchnorm, stem=stem,
        )  # fmt: skip
        skips = {stride.bit_length(): x for stride, x in found.last.items()}
        level, batchnorm = max(skips), found.batchnorm
        network = _Encoded(found.inputs, skips.pop(level), level, skips)
    x = network.x
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    bind = partial(layers.conv_bn, padding=padding, batchnorm=batchnorm)
    x = _decoder(bind, x, network, crop=padding == "valid")
    return keras.Model(network.inputs, layers.predictions(x, classes, classifier_activation))


def _check_backbone(backbone: str, depth: int, padding: str) -> None:
    if padding == "valid":
        raise InputError(
            f"padding='valid' is of U-Net's own encoder; that of {backbone} pads as it is. Leave "
            f"one of the two out."
        )
    if depth != _DEPTH:
        raise InputError(
            f"depth={depth} is of U-Net's own encoder; with backbone={backbone!r} its maps' "
            f"strides decide. Leave one of the two out."
        )


def _encoder(
    input_shape: Shape,
    preprocessing: Sequence[keras.layers.Layer],
    width: int,
    depth: int,
    padding: str,
    batchnorm: bool,
) -> _Encoded:
    """The contracting path of figure 1."""
    step, smallest = 2**depth, None
    if padding == "valid":
        smallest = _smallest_valid(depth)
    check_sides("unet", behind(input_shape, preprocessing), step=step, smallest=smallest)
    inputs, x = layers.image_input(input_shape, preprocessing)
    bind, skips = partial(layers.conv_bn, padding=padding, batchnorm=batchnorm), {}
    for level in range(1, depth + 2):
        if level > 1:
            skips[level - 1] = x
            x = layers.pool(x, 2, stride=2, name=f"pool{level - 1}")
        x = _double(bind, x, width * 2 ** (level - 1), f"enc{level}")
    return _Encoded(inputs, x, depth + 1, skips)


def _smallest_valid(depth: int) -> int:
    """The smallest side of which unpadded convolutions leave a pixel.

    Each level takes 4 pixels on the way down and 4 on the way up. With s pixels in front of the
    last level's convolutions the image has 2^d s + 4 (2^d - 1), its predictions have
    2^d (s - 4) - 4 (2^d - 1).
    """
    factor, lost = 2**depth, 4 * (2**depth - 1)
    return factor * (lost // factor + 1 + 4) + lost


def _decoder(
    bind: partial[Any], x: keras.KerasTensor, network: _Encoded, crop: bool
) -> keras.KerasTensor:
    """The expansive path of figure 1, to the image's own size where convolutions pad."""
    border = 4  # by which a skip is larger than what it goes with, on each side
    for level in range(network.level - 1, 0, -1):
        skip = network.skips.get(level)
        filters = max(1, x.shape[-1] // 2) if skip is None else skip.shape[-1]
        x = _up(x, filters, f"up{level}")
        if skip is not None:
            if crop:
                skip = keras.layers.Cropping2D(border, name=f"up{level}_crop")(skip)
            x = keras.layers.Concatenate(name=f"up{level}_concat")([skip, x])
        x = _double(bind, x, filters, f"dec{level}")
        border = 2 * border + 8
    return x


def _double(bind: partial[Any], x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    for index in (1, 2):
        x = bind(x, filters, 3, name=f"{name}_{index}")
    return x


def _up(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """Up-convolution, (N, H, W, C) -> (N, 2H, 2W, filters).

    Each output reads one position, C values, which is a quarter of what Keras counts as
    the fan-out of a transposed kernel: the signal's variance stays at a scale of 4.
    """
    return keras.layers.Conv2DTranspose(
        filters,
        2,
        strides=2,
        kernel_initializer=keras.initializers.VarianceScaling(4.0, mode="fan_out"),
        name=name,
    )(x)
