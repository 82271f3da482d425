"""VGG: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, table 1 (columns A, B, D, E).

Five stages of 3×3 convolutions, stride 1, "same"; 2×2 max pooling behind each; three dense
layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcnn.models import checks, layers
from kcnn.models.options import Counts, Rate, Widths
from kcnn.models.registry import note, register
from kcnn.recipes import families
from kcnn.startup import keras

#: name: (convolutions per stage, column, trainable parameters, multiply-accumulates)
_ROWS = {
    "vgg11": ((1, 1, 2, 2, 2), "A", 132_863_336, 7_609_090_048),
    "vgg13": ((2, 2, 2, 2, 2), "B", 133_047_848, 11_308_466_176),
    "vgg16": ((2, 2, 3, 3, 3), "D", 138_357_544, 15_470_264_320),
    "vgg19": ((2, 2, 4, 4, 4), "E", 143_667_240, 19_632_062_464),
}
_WIDTHS, _HIDDEN = (64, 128, 256, 512, 512), (4096, 4096)


def vgg(
    input_shape: tuple[int, int, int],
    *,
    depths: Counts,
    widths: Counts = _WIDTHS,
    hidden: Widths = _HIDDEN,
    batchnorm: bool = False,
    dropout: Rate = 0.5,
    residual: bool = False,
    conv_bias: bool | None = None,
    preprocessing: Sequence[keras.layers.Layer] = (),
    **top: Any,
) -> keras.Model:
    """VGG: `depths[i]` convolutions 3×3 in stage i + 1, then the dense layers.

    Args:
        input_shape: (H, W, C), from 32×32 up.
        depths: Convolutions of each stage.
        widths: Filters of each stage.
        hidden: Units of the hidden dense layers.
        batchnorm: BatchNorm between each convolution and its ReLU.
        dropout: Rate behind each hidden dense layer.
        residual: Add each stage's input to its last convolution, before its ReLU; a 1×1
            projection where the width grows (He et al. 2015, option B).
        conv_bias: Biases of the convolutions; None leaves them out where BatchNorm follows
            and would cancel them, True keeps them there, as torchvision's vgg16_bn does.
        preprocessing: See `layers.image_input`.
        **top: Options of `layers.classifier`.
    """
    checks.lengths(depths=depths, widths=widths)
    inputs, x = layers.image_input(input_shape, preprocessing)
    shared: dict[str, Any] = {"batchnorm": batchnorm, "use_bias": conv_bias}
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
        shortcut = x
        for index in range(1, depth + 1):
            activation = None if residual and index == depth else "relu"
            name = f"conv{stage}_{index}"
            x = layers.conv_bn(x, width, 3, name=name, activation=activation, **shared)
        if residual:
            x = _add(x, shortcut, f"conv{stage}", shared)
        x = layers.pool(x, 2, stride=2, name=f"pool{stage}")
    return layers.classifier(inputs, x, hidden_widths=hidden, dropout=dropout, **top)


def _add(
    x: keras.KerasTensor, shortcut: keras.KerasTensor, name: str, shared: dict[str, Any]
) -> keras.KerasTensor:
    if shortcut.shape != x.shape:
        shortcut = layers.conv_bn(
            shortcut, x.shape[-1], 1, name=f"{name}_shortcut", activation=None, **shared
        )
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.activate(x, "relu", name=f"{name}_add")


for _name, (_depths, _column, _parameters, _macs) in _ROWS.items():
    register(
        _name,
        family=families.VGG,
        input_shape=(224, 224, 3),
        paper="Simonyan & Zisserman 2015",
        parameters=_parameters,
        macs=_macs,
        notes=(
            note(f"Column {_column} of table 1.", depths=_depths, widths=_WIDTHS, hidden=_HIDDEN),
            "He initialisation; the paper draws N(0, 0.01²), and starts deep nets from shallow.",
            note(
                "Without the biases that BatchNorm cancels; conv_bias=True keeps them, as "
                "torchvision's counts do.",
                batchnorm=True,
                conv_bias=None,
            ),
            note("Shortcuts around stages are not the paper's.", residual=True),
        ),
        depths=_depths,
    )(vgg)
