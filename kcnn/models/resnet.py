"""ResNet: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015 (v1, and
the plain networks without shortcuts); "Identity Mappings in Deep Residual Networks", 2016 (v2,
`preact=True`).

Table 1 of the paper (ImageNet) and section 4.2 (CIFAR-10) are the rows below; a projection
appears where two shapes differ, a stride where a stage begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from kcnn import layers
from kcnn.errors import InputError
from kcnn.registry import register
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
    block: str,
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    shortcut: str = "B",
    preact: bool = False,
    stride_in: str | None = None,
    zero_init_residual: bool = False,
    output_stride: int | None = None,
    stem: str = "auto",
    batchnorm: bool = True,
    dropout: float = 0.0,
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
    layers.check_lengths(depths=depths, widths=widths)
    _check(block, shortcut, stride_in, zero_init_residual, preact, batchnorm, residual)
    inputs, x = layers.image_input(input_shape, preprocessing)
    stem = layers.choose_stem(stem, x.shape[1:])
    grids = _grids(stem, len(depths), output_stride)
    zero_gamma = zero_init_residual
    bind = partial(layers.conv_bn, batchnorm=batchnorm)
    x = _stem(bind, x, widths[0], stem)
    build_block = _preact_block if preact else _block
    for stage, (depth, width, grid) in enumerate(zip(depths, widths, grids, strict=True), 2):
        for index in range(1, depth + 1):
            first = index == 1
            x = build_block(
                bind,
                x,
                _branch(block, width, grid if first else grid.inside, stride_in or "3x3"),
                name=f"conv{stage}_{index}",
                shortcut=shortcut if residual else None,
                **({"activated": first and stage == 2} if preact else {"zero_gamma": zero_gamma}),
            )
    if preact:
        x = _norm_relu(x, "post", batchnorm)
    return layers.classifier(inputs, x, default_pooling="avg", dropout=dropout, **top)


def _stem(
    bind: Callable[..., Any], x: keras.KerasTensor, width: int, stem: str
) -> keras.KerasTensor:
    if stem == "cifar":
        return bind(x, width, 3, name="conv1")
    x = bind(x, width, 7, stride=2, name="conv1")
    return layers.pool(x, 3, stride=2, padding=1, name="pool1")


def _block(
    bind: Callable[..., Any],
    x: keras.KerasTensor,
    branch: list[dict[str, int]],
    *,
    name: str,
    shortcut: str | None,
    zero_gamma: bool,
) -> keras.KerasTensor:
    """v1: convolution, BatchNorm, ReLU; the last ReLU behind the addition (2015, figure 2)."""
    inputs = x
    for index, convolution in enumerate(branch, 1):
        last = index == len(branch)
        x = bind(
            x,
            name=f"{name}_{index}",
            activation=None if last else "relu",
            zero_gamma=zero_gamma and last,
            **convolution,
        )
    if shortcut:
        project = partial(bind, activation=None)
        inputs = _shortcut(project, inputs, inputs, x.shape, _stride(branch), shortcut, name)
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return layers.activate(x, "relu", name=name)


def _preact_block(
    bind: Callable[..., Any],
    x: keras.KerasTensor,
    branch: list[dict[str, int]],
    *,
    name: str,
    shortcut: str | None,
    activated: bool,
) -> keras.KerasTensor:
    """v2: BatchNorm, ReLU, convolution (2016, figure 4e); a projection sees activations."""
    batchnorm, inputs = bind.keywords["batchnorm"], x
    if not activated:  # the very first block follows the stem's own ReLU
        x = _norm_relu(x, f"{name}_0", batchnorm)
    activations, project = x, partial(layers.conv, use_bias=not batchnorm)
    for index, convolution in enumerate(branch, 1):
        convolve = project if index == len(branch) else bind
        x = convolve(x, name=f"{name}_{index}", **convolution)
    if shortcut:
        inputs = _shortcut(project, inputs, activations, x.shape, _stride(branch), shortcut, name)
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _branch(block: str, width: int, grid: _Grid, stride_in: str) -> list[dict[str, int]]:
    """The residual branch's convolutions: filters, kernel, stride and dilation of each."""
    if block == "basic":
        return [
            {"filters": width, "kernel": 3, "stride": grid.stride, "dilation": grid.before},
            {"filters": width, "kernel": 3, "dilation": grid.dilation},
        ]
    if stride_in == "1x1":
        return [
            {"filters": width, "kernel": 1, "stride": grid.stride},
            {"filters": width, "kernel": 3, "dilation": grid.dilation},
            {"filters": 4 * width, "kernel": 1},
        ]
    return [
        {"filters": width, "kernel": 1},
        {"filters": width, "kernel": 3, "stride": grid.stride, "dilation": grid.before},
        {"filters": 4 * width, "kernel": 1},
    ]


def _stride(branch: list[dict[str, int]]) -> int:
    return max(convolution.get("stride", 1) for convolution in branch)


def _shortcut(
    project: Callable[..., Any],
    x: keras.KerasTensor,
    source: keras.KerasTensor,
    shape: tuple[int | None, ...],
    stride: int,
    shortcut: str,
    name: str,
) -> keras.KerasTensor:
    """x itself, x padded with zeros (A), or a projection of `source`, of the branch's shape."""
    if x.shape == shape and shortcut != "C":
        return x
    if shortcut == "A":
        return layers.zero_pad_shortcut(x, shape[-1], stride=stride, name=name)
    return project(source, shape[-1], 1, stride=stride, name=f"{name}_shortcut")


def _norm_relu(x: keras.KerasTensor, name: str, batchnorm: bool) -> keras.KerasTensor:
    if batchnorm:
        x = layers.norm(x, name=f"{name}_bn")
    return layers.activate(x, "relu", name=name)


class _Grid(NamedTuple):
    """How a stage steps: its first block's stride, and dilations before and behind that."""

    stride: int
    before: int
    dilation: int

    @property
    def inside(self) -> _Grid:
        """The same for the stage's other blocks."""
        return _Grid(1, self.dilation, self.dilation)


def _grids(stem: str, stages: int, output_stride: int | None) -> list[_Grid]:
    """Each stage's grid. A stage that would exceed `output_stride` keeps its resolution, and
    all that follows its omitted stride samples twice as far apart: at every second pixel the
    values are those of the strided network.
    """
    total, dilation, grids = (4 if stem == "imagenet" else 1), 1, []
    whole = total * 2 ** (stages - 1)
    if output_stride is not None:
        layers.check_choice("output_stride", output_stride, (8, 16, 32))
        if output_stride > whole:
            raise InputError(
                f"output_stride={output_stride} is more than this network's own, {whole} (with "
                f"the {stem} stem). Leave it out, or use a deeper "
                f"network or the imagenet stem."
            )
    for stage in range(stages):
        before, stride = dilation, 1 if stage == 0 else 2
        if output_stride and total * stride > output_stride:
            dilation, stride = dilation * stride, 1
        total *= stride
        grids.append(_Grid(stride, before, dilation))
    return grids


def _check(
    block: str,
    shortcut: str,
    stride_in: str | None,
    zero_init_residual: bool,
    preact: bool,
    batchnorm: bool,
    residual: bool,
) -> None:
    layers.check_choice("block", block, ("basic", "bottleneck"))
    layers.check_choice("shortcut", shortcut, ("A", "B", "C"))
    layers.check_choice("stride_in", stride_in, (None, "3x3", "1x1"))
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


for _name, (_kind, _depths, _parameters, _macs) in _IMAGENET.items():
    _notes = ["Shortcuts: option B, projections where shapes differ (the paper tries A, B, C)."]
    if _name == "resnet34":
        _notes.append("The lecture's 11.7 million is ResNet-18's count; ResNet-34 has 21.8.")
    if _kind == "bottleneck":
        _notes.append("Stride in the 3×3 (v1.5); stride_in='1x1' is the paper's.")
    register(
        _name,
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
        input_shape=(32, 32, 3),
        classes=10,
        paper="He et al. 2015",
        parameters=_parameters,
        macs=_macs,
        notes=("Section 4.2: 6n + 2 layers, shortcuts without parameters (option A).",),
        block="basic",
        depths=((_depth - 2) // 6,) * 3,
        widths=(16, 32, 64),
        shortcut="A",
    )(resnet)
