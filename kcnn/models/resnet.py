"""ResNet: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015 (v1, and
the plain networks without shortcuts); "Identity Mappings in Deep Residual Networks", 2016 (v2,
`preact=True`).

Table 1 of the paper (ImageNet) and section 4.2 (CIFAR-10) are the rows below; a projection
appears where two shapes differ, a stride where a stage begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from kcnn.errors import InputError
from kcnn.models import checks, layers
from kcnn.models.options import Counts, Rate, Stem
from kcnn.models.registry import Note, note, register
from kcnn.models.resnet_blocks import (
    block_grids,
    block_v1,
    block_v2,
    branch,
    norm_relu,
    stage_grids,
)
from kcnn.recipes import families
from kcnn.startup import keras

#: name: (block, blocks per stage, trainable parameters, multiply-accumulates)
_IMAGENET = {
    "resnet18": ("basic", (2, 2, 2, 2), 11_689_512, 1_814_073_344),
    "resnet34": ("basic", (3, 4, 6, 3), 21_797_672, 3_663_761_408),
    "resnet50": ("bottleneck", (3, 4, 6, 3), 25_557_032, 4_089_184_256),
    "resnet101": ("bottleneck", (3, 4, 23, 3), 44_549_160, 7_801_405_440),
    "resnet152": ("bottleneck", (3, 8, 36, 3), 60_192_808, 11_513_626_624),
}

#: depth 6n + 2: trainable parameters, multiply-accumulates
_CIFAR = {
    20: (269_722, 40_551_040),
    32: (464_154, 68_862_592),
    44: (658_586, 97_174_144),
    56: (853_018, 125_485_696),
    110: (1_727_962, 252_887_680),
}


def resnet(
    input_shape: tuple[int, int, int],
    *,
    block: Literal["basic", "bottleneck"],
    depths: Counts,
    widths: Counts,
    shortcut: Literal["A", "B", "C"] = "B",
    preact: bool = False,
    layout: Literal["paper", "applications"] = "paper",
    stride_in: Literal["3x3", "1x1"] | None = None,
    zero_init_residual: bool = False,
    output_stride: Literal[8, 16, 32] | None = None,
    stem: Stem = "auto",
    batchnorm: bool = True,
    dropout: Rate = 0.0,
    residual: bool = True,
    preprocessing: Sequence[keras.layers.Layer] = (),
    **top: Any,
) -> keras.Model:
    """A residual network, or the plain one of the same layers.

    Args:
        input_shape: (H, W, C).
        block: "basic" (two 3×3) or "bottleneck" (1×1, 3×3, 1×1 to four times the width).
        depths: Blocks of each stage.
        widths: Filters of each stage.
        shortcut: What stands where shapes differ: "A" subsampling and zero channels, "B" a
            1×1 projection; "C" projects in every block (He et al. 2015, section 4.1).
        preact: BatchNorm and ReLU before each convolution instead of behind (He et al. 2016).
        layout: With `preact`, "applications" is that of `keras.applications`' ResNet v2: the stem
            is a bare convolution, stages subsample in their last block, without a projection.
        stride_in: Bottlenecks subsample in their "3x3" (the default) or first "1x1" (paper).
        zero_init_residual: Each residual branch ends in a BatchNorm whose gamma starts at 0,
            so that every block starts as the identity (Goyal et al. 2017, section 5.1).
        output_stride: 8, 16 or 32: later stages dilate instead of subsampling further
            (Chen et al. 2017), for dense prediction.
        stem: "imagenet" (7×7 / 2, max pooling 3×3 / 2), "cifar" (3×3), "auto": by size.
        batchnorm: False leaves BatchNorm out and gives the convolutions biases.
        dropout: Rate in front of the classifier.
        residual: False leaves the shortcuts out.
        preprocessing: See `layers.image_input`.
        **top: Options of `layers.classifier`.

    Raises:
        InputError: A value outside these, or options that exclude each other.
    """
    checks.lengths(depths=depths, widths=widths)
    _check(block, shortcut, stride_in, zero_init_residual, preact, batchnorm, residual)
    theirs = layout == "applications"
    _check_layout(theirs, preact, residual, batchnorm, shortcut, output_stride)
    inputs, x = layers.image_input(input_shape, preprocessing)
    stem = layers.choose_stem(stem, x.shape[1:])
    grids = stage_grids(stem, len(depths), output_stride)
    zero_gamma = zero_init_residual
    bind = partial(layers.conv_bn, batchnorm=batchnorm)
    x = _stem(layers.conv if theirs else bind, x, widths[0], stem)
    blocks = block_grids(grids, depths, late=theirs)
    for stage, (steps, width) in enumerate(zip(blocks, widths, strict=True), 2):
        for index, grid in enumerate(steps, 1):
            convolutions = branch(block, width, grid, stride_in or "3x3")
            named: dict[str, Any] = {
                "name": f"conv{stage}_{index}", "shortcut": shortcut if residual else None,
            }  # fmt: skip
            if preact:
                behind_stem = index == 1 and stage == 2 and not theirs  # which ends in a ReLU
                x = block_v2(
                    bind, x, convolutions, activated=behind_stem, applications=theirs, **named
                )
            else:
                x = block_v1(bind, x, convolutions, zero_gamma=zero_gamma, **named)
    if preact:
        x = norm_relu(x, "post", batchnorm)
    return layers.classifier(inputs, x, default_pooling="avg", dropout=dropout, **top)


def _stem(
    bind: Callable[..., Any], x: keras.KerasTensor, width: int, stem: str
) -> keras.KerasTensor:
    if stem == "cifar":
        return bind(x, width, 3, name="conv1")
    x = bind(x, width, 7, stride=2, name="conv1")
    return layers.pool(x, 3, stride=2, padding=1, name="pool1")


def _check(
    block: str,
    shortcut: str,
    stride_in: str | None,
    zero_init_residual: bool,
    preact: bool,
    batchnorm: bool,
    residual: bool,
) -> None:
    if stride_in and block != "bottleneck":
        raise InputError(
            f"stride_in={stride_in!r} moves the stride within bottleneck blocks; this network "
            f"has basic blocks. resnet50, 101 and 152 have bottlenecks."
        )
    if zero_init_residual and (preact or not batchnorm or not residual):
        raise InputError(
            "zero_init_residual=True starts the BatchNorm that ends a residual branch at 0: it "
            "needs residual=True, batchnorm=True and preact=False; received "
            f"residual={residual}, batchnorm={batchnorm}, preact={preact}."
        )


def _check_layout(
    theirs: bool,
    preact: bool,
    residual: bool,
    batchnorm: bool,
    shortcut: str,
    output_stride: int | None,
) -> None:
    if theirs and not (preact and residual and batchnorm and shortcut == "B" and not output_stride):
        raise InputError(
            "layout='applications' is that of ResNet v2 in keras.applications: it needs "
            "preact=True, residual=True, batchnorm=True, shortcut='B' and no output_stride; "
            f"received preact={preact}, residual={residual}, batchnorm={batchnorm}, "
            f"shortcut={shortcut!r}, output_stride={output_stride}."
        )


_SHORTCUTS = (
    note("Shortcuts: option A, without parameters.", residual=True, shortcut="A"),
    note(
        "Shortcuts: option B, projections where shapes differ (the paper tries A, B, C).",
        residual=True,
        shortcut="B",
    ),
    note("Shortcuts: option C, projections in every block.", residual=True, shortcut="C"),
    note("No shortcuts: the paper's plain network.", residual=False),
    note("BatchNorm and ReLU before each convolution: He et al. 2016.", preact=True),
)

for _name, (_kind, _depths, _parameters, _macs) in _IMAGENET.items():
    _notes: list[str | Note] = [*_SHORTCUTS]
    if _name == "resnet34":
        _notes.append("The lecture's 11.7 million is ResNet-18's count; ResNet-34 has 21.8.")
    if _kind == "bottleneck":
        _v15 = "Stride in the 3×3 (v1.5); stride_in='1x1' is the paper's."
        _notes += [note(_v15, stride_in=stride) for stride in (None, "3x3")]
    register(
        _name,
        family=families.RESNET,
        input_shape=(224, 224, 3),
        paper="He et al. 2015",
        parameters=_parameters,
        macs=_macs,
        notes=tuple(_notes),
        block=_kind,
        depths=_depths,
        widths=(64, 128, 256, 512),
    )(resnet)

for _depth, (_parameters, _macs) in _CIFAR.items():
    register(
        f"resnet{_depth}",
        family=families.RESNET,
        input_shape=(32, 32, 3),
        classes=10,
        paper="He et al. 2015",
        parameters=_parameters,
        macs=_macs,
        notes=(
            note("Section 4.2: 6n + 2 layers.", depths=((_depth - 2) // 6,) * 3),
            *_SHORTCUTS,
        ),
        block="basic",
        depths=((_depth - 2) // 6,) * 3,
        widths=(16, 32, 64),
        shortcut="A",
    )(resnet)
