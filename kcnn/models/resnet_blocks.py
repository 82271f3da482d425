"""Residual blocks (He et al. 2015, figures 2 and 5; 2016, figure 4e), and how stages step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from kcnn.errors import InputError
from kcnn.models import layers
from kcnn.startup import keras


class Grid(NamedTuple):
    """How a stage steps: its first block's stride, and dilations before and behind that."""

    stride: int
    before: int
    dilation: int

    @property
    def inside(self) -> Grid:
        """The same for the stage's other blocks."""
        return Grid(1, self.dilation, self.dilation)


def stage_grids(stem: str, stages: int, output_stride: int | None) -> list[Grid]:
    """Each stage's grid. A stage that would exceed `output_stride` keeps its resolution, and
    all that follows its omitted stride samples twice as far apart: at every second pixel the
    values are those of the strided network.
    """
    total, dilation, grids = (4 if stem == "imagenet" else 1), 1, []
    whole = total * 2 ** (stages - 1)
    if output_stride is not None and output_stride > whole:
        raise InputError(
            f"output_stride={output_stride} is more than this network's own, {whole} (with the "
            f"{stem} stem). Leave it out, or use a deeper network or the imagenet stem."
        )
    for stage in range(stages):
        before, stride = dilation, 1 if stage == 0 else 2
        if output_stride and total * stride > output_stride:
            dilation, stride = dilation * stride, 1
        total *= stride
        grids.append(Grid(stride, before, dilation))
    return grids


def block_grids(grids: list[Grid], depths: Sequence[int], *, late: bool) -> list[list[Grid]]:
    """Each block's grid, by stages; `late`: the last of a stage makes the next stage's step."""
    if late:
        steps = [*(grid.stride for grid in grids[1:]), 1]
        return [
            [Grid(1, 1, 1)] * (depth - 1) + [Grid(step, 1, 1)]
            for step, depth in zip(steps, depths, strict=True)
        ]
    return [[grid, *[grid.inside] * (depth - 1)] for grid, depth in zip(grids, depths, strict=True)]


def block_v1(
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


def block_v2(
    bind: partial[Any],
    x: keras.KerasTensor,
    branch: list[dict[str, int]],
    *,
    name: str,
    shortcut: str | None,
    activated: bool,
    applications: bool = False,
) -> keras.KerasTensor:
    """v2: BatchNorm, ReLU, convolution (2016, figure 4e); a projection sees activations.

    Of `keras.applications` a shortcut that only subsamples has no weights, and convolutions that no
    BatchNorm follows have biases.
    """
    batchnorm, inputs = bind.keywords["batchnorm"], x
    if not activated:  # the very first block follows the stem's own ReLU
        x = norm_relu(x, f"{name}_0", batchnorm)
    activations, project = x, partial(layers.conv, use_bias=applications or not batchnorm)
    for index, convolution in enumerate(branch, 1):
        convolve = project if index == len(branch) else bind
        x = convolve(x, name=f"{name}_{index}", **convolution)
    if shortcut:
        stride = _stride(branch)
        if applications and stride > 1 and inputs.shape[-1] == x.shape[-1]:
            inputs = layers.pool(inputs, 1, stride=stride, name=f"{name}_shortcut_pool")
        inputs = _shortcut(project, inputs, activations, x.shape, stride, shortcut, name)
        x = keras.layers.Add(name=f"{name}_add")([x, inputs])
    return x


def branch(block: str, width: int, grid: Grid, stride_in: str) -> list[dict[str, int]]:
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
    shape: tuple[Any, ...],
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


def norm_relu(x: keras.KerasTensor, name: str, batchnorm: bool) -> keras.KerasTensor:
    """BatchNorm, if asked for, then ReLU: what precedes a convolution of v2."""
    if batchnorm:
        x = layers.norm(x, name=f"{name}_bn")
    return layers.activate(x, "relu", name=name)
