"""FCOS: Tian, Shen, Chen, He, "FCOS: Fully Convolutional One-Stage Object Detection", 2019.

Each position of a few feature maps says of the object around it the class, the distances to the
four sides, and how central it is (section 3.1, figure 2). The maps are a backbone's, by stride, or
a pyramid's on top of it (Lin et al. 2017, "Feature Pyramid Networks for Object Detection"). What
the outputs mean, loss and decoding are in `kcnn.tasks.fcos`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from kcnn.errors import InputError
from kcnn.models import layers
from kcnn.models.backbones import backbone as feature_backbone
from kcnn.models.backbones import behind, check_sides
from kcnn.models.build import Shape
from kcnn.models.options import Count, Counts, Rate, Stem
from kcnn.models.registry import register
from kcnn.recipes import families
from kcnn.startup import keras

#: Probability of each class at each position before training (Lin et al. 2017, "Focal Loss for
#: Dense Object Detection", section 4.1).
PRIOR = 0.01

#: Channels of a group of the towers' normalisation (Wu & He 2018); in the paper 256 in 32 groups.
GROUP = 8


def fcos(
    input_shape: Shape,
    *,
    classes: Count = 80,
    backbone: str = "resnet18",
    width: Count | None = None,
    pyramid: bool = True,
    strides: Counts = (8, 16, 32),
    channels: Count = 64,
    depth: Count = 2,
    batchnorm: bool | None = None,
    dropout: Rate = 0.0,
    stem: Stem = "auto",
    preprocessing: Sequence[keras.layers.Layer] = (),
) -> keras.Model:
    """The detector, (N, H, W, C) to (N, P, 8 + classes) float32, P positions of all levels.

    The columns are x_min, y_min, x_max, y_max in pixels of the input, which may lie outside it; the
    centerness' logit; x, y and stride of the position; the logit of each class. Levels come finest
    first, each row by row.

    Args:
        input_shape: (H, W, C), sides multiples of the largest stride; None for any.
        classes: Of objects; the background is none.
        backbone: Name of a network with feature maps of these strides.
        width: Filters of the backbone's first stage, the other stages' in proportion.
        pyramid: Each level sees the coarser ones: 1×1 laterals, sums on the way down, 3×3.
            False takes the backbone's maps through a 1×1 each.
        strides: Of the levels, ascending. A pyramid goes on behind the backbone's last map by
            convolutions of stride 2, as the paper's (8, 16, 32, 64, 128) does.
        channels: Of levels and towers; the paper has 256.
        depth: Convolutions of each of the two towers; the paper has 4.
        batchnorm: Of the backbone; None as it is by itself. False leaves out the towers'
            normalisation, which is by groups, too.
        dropout: Rate in front of the last convolutions.
        stem: Of the backbone.
        preprocessing: See `layers.image_input`.

    Raises:
        InputError: A value outside these; a backbone without such maps.
    """
    _check_strides(strides)
    found = feature_backbone(
        backbone, input_shape, user="fcos", preprocessing=preprocessing,
        width=width, batchnorm=batchnorm, stem=stem,
    )  # fmt: skip
    maps = _maps(found.last, strides, pyramid, backbone)
    check_sides("fcos", behind(input_shape, preprocessing), step=strides[-1])
    levels = _levels(maps, strides, channels, pyramid)
    head = _head(classes, channels, depth, batchnorm is not False, dropout)
    rows = [head(x, stride) for x, stride in zip(levels, strides, strict=True)]
    if len(rows) > 1:
        rows = [keras.layers.Concatenate(axis=1, dtype="float32", name="positions")(rows)]
    return keras.Model(found.inputs, rows[0])


def _check_strides(strides: Sequence[int]) -> None:
    if not strides or any(fine >= coarse or coarse % fine for fine, coarse in pairwise(strides)):
        raise InputError(
            f"strides ascend, each a multiple of the one before, such as (8, 16, 32); received "
            f"{tuple(strides)}."
        )


def _maps(
    last: Mapping[int, keras.KerasTensor], strides: Sequence[int], pyramid: bool, backbone: str
) -> list[keras.KerasTensor]:
    """The backbone's maps of those strides that it has; the others a pyramid makes behind them."""
    inside = [stride for stride in strides if stride in last]
    beyond = [max(last) * 2**times for times in range(1, len(strides) - len(inside) + 1)]
    whole = inside and [*inside, *beyond] == list(strides)
    if not whole or (beyond and not (pyramid and inside[-1] == max(last))):
        raise InputError(
            f"{backbone} has maps of strides {', '.join(map(str, sorted(last)))}; received strides="
            f"{tuple(strides)}. Behind all of them a pyramid doubles the stride, as in "
            f"(8, 16, 32, 64, 128)."
        )
    return [last[stride] for stride in inside]


def _levels(
    xs: Sequence[keras.KerasTensor], strides: Sequence[int], channels: int, pyramid: bool
) -> list[keras.KerasTensor]:
    """A map (N, H / s, W / s, channels) for each stride s."""
    xs = [_conv(x, channels, 1, f"lateral_{s}") for x, s in zip(xs, strides, strict=False)]
    if not pyramid:
        return xs
    for index in reversed(range(len(xs) - 1)):
        fine, coarse = strides[index : index + 2]
        above = keras.layers.UpSampling2D(coarse // fine, name=f"upsample_{fine}")(xs[index + 1])
        xs[index] = keras.layers.Add(name=f"merge_{fine}")([xs[index], above])
    xs = [_conv(x, channels, 3, f"pyramid_{s}") for x, s in zip(xs, strides, strict=False)]
    inside = len(xs)
    for stride in strides[inside:]:
        x = xs[-1]
        if stride != strides[inside]:  # ReLU between those that are added
            x = layers.activate(x, "relu", name=f"pyramid_{stride // 2}")
        xs.append(_conv(x, channels, 3, f"pyramid_{stride}", stride=2))
    return xs


def _conv(x: keras.KerasTensor, filters: int, kernel: int, name: str, **more: Any) -> Any:
    return layers.conv(x, filters, kernel, activation="linear", name=name, **more)


def _head(
    classes: int, channels: int, depth: int, normalised: bool, dropout: float
) -> Callable[[keras.KerasTensor, int], keras.KerasTensor]:
    """What makes rows (N, P, 8 + classes) of a level and its stride; the levels share weights."""
    towers = {name: _tower(name, channels, depth, normalised) for name in ("classes", "boxes")}
    if dropout:
        for name, tower in towers.items():
            tower.append(keras.layers.Dropout(dropout, name=f"{name}_dropout"))
    prior = -math.log((1 - PRIOR) / PRIOR)
    logits = _last("class_logits", classes, keras.initializers.Constant(prior))
    distances, centerness = _last("box_distances", 4), _last("centerness", 1)

    def rows(x: keras.KerasTensor, stride: int) -> keras.KerasTensor:
        of_classes = of_boxes = x
        for layer in towers["classes"]:
            of_classes = layer(of_classes)
        for layer in towers["boxes"]:
            of_boxes = layer(of_boxes)
        return _rows(logits(of_classes), distances(of_boxes), centerness(of_boxes), stride)

    return rows


def _tower(name: str, channels: int, depth: int, normalised: bool) -> list[keras.layers.Layer]:
    """Convolutions 3×3, each with normalisation and ReLU, that every level goes through.

    Normalisation is by groups of an image's channels: statistics of a batch would be those of all
    levels together.
    """
    tower: list[keras.layers.Layer] = []
    for index in range(1, depth + 1):
        options = {"padding": "same", "kernel_initializer": layers.initializer("relu")}
        tower.append(keras.layers.Conv2D(channels, 3, name=f"{name}_{index}", **options))
        if normalised:
            groups = channels // math.gcd(GROUP, channels)
            norm = keras.layers.GroupNormalization(groups, epsilon=1e-5, name=f"{name}_{index}_gn")
            tower.append(norm)
        tower.append(keras.layers.ReLU(name=f"{name}_{index}_relu"))
    return tower


def _last(name: str, filters: int, bias: Any = "zeros") -> keras.layers.Layer:
    return keras.layers.Conv2D(
        filters,
        3,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        bias_initializer=bias,
        dtype=layers.output_dtype(),
        name=name,
    )


def _rows(
    logits: keras.KerasTensor,
    distances: keras.KerasTensor,
    centerness: keras.KerasTensor,
    stride: int,
) -> keras.KerasTensor:
    """The columns of one level's positions, of maps (N, h, w, K), (N, h, w, 4), (N, h, w, 1)."""
    ops = keras.ops
    # The size is known when images are: 1, 2, 3, ... along each side.
    ones = ops.ones_like(centerness)
    counts = ops.concatenate([ops.cumsum(ones, axis=2), ops.cumsum(ones, axis=1)], axis=-1)
    centres, away = (counts - 0.5) * stride, ops.softplus(distances) * stride
    low, high = centres - away[:, :, :, :2], centres + away[:, :, :, 2:]
    parts = [low, high, centerness, centres, ones * stride, logits]
    rows = ops.concatenate(parts, axis=-1)
    shape = (-1, rows.shape[-1])
    return keras.layers.Reshape(shape, dtype="float32", name=f"positions_{stride}")(rows)


register(
    "fcos",
    family=families.FCOS,
    input_shape=(512, 512, 3),
    classes=80,
    paper="Tian et al. 2019",
    parameters=11_542_101,
    macs=10_787_766_272,
    task="detection",
    notes=(
        "The paper's is backbone=resnet50, strides=8,16,32,64,128, channels=256, depth=4.",
        "Distances are stride · softplus(x) instead of exp(s x) with a learned s for each level.",
        "Center sampling and centerness on the box tower: the paper's second version.",
    ),
)(fcos)
