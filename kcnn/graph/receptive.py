"""Which pixels of the image a value of a feature map sees: by kernel, stride, dilation, padding.

Along an axis value i of a map sees the pixels from `step` · i + `first` to `step` · i + `last`
(Dumoulin & Visin 2016, A guide to convolution arithmetic; Araujo et al. 2019, Computing receptive
fields of convolutional neural networks). Through a window of k values, d apart, every s, with p
values of padding in front:

    step' = step · s    first' = first - step · p    last' = last + step · (d · (k - 1) - p)

Where branches meet, it is the smallest interval that holds all of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kcnn.graph.cost import Stride
from kcnn.graph.flat import Call, Flat


@dataclass(frozen=True)
class Axis:
    """Along one axis, in pixels of the image."""

    step: Fraction = Fraction(1)
    first: Fraction = Fraction(0)
    last: Fraction = Fraction(0)

    @property
    def size(self) -> int:
        """Pixels that a value sees at most."""
        return math.floor(self.last - self.first) + 1

    def span(self, index: int, pixels: int) -> tuple[int, int]:
        """The first pixel that value `index` sees, and the one behind the last, in the image."""
        begin, end = math.ceil(self.first + self.step * index), self.last + self.step * index
        return min(max(begin, 0), pixels - 1), min(max(math.floor(end) + 1, 1), pixels)

    def through(self, step: Fraction | int, first: Fraction | int, last: Fraction | int) -> Axis:
        """Behind a layer whose value j reads the values step · j + first .. step · j + last."""
        return Axis(self.step * step, self.first + self.step * first, self.last + self.step * last)


@dataclass(frozen=True)
class Field:
    """Of a feature map (N, h, w, C)."""

    rows: Axis
    columns: Axis

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of pixels that a value sees, padding and all."""
        return self.rows.size, self.columns.size

    @property
    def stride(self) -> tuple[Stride, Stride]:
        """Pixels between neighbouring values."""
        return _plain(self.rows.step), _plain(self.columns.step)

    def box(self, row: int, column: int, height: int, width: int) -> tuple[int, int, int, int]:
        """What a value sees of an image: top, left, bottom, right; the last two are behind it."""
        top, bottom = self.rows.span(row, height)
        left, right = self.columns.span(column, width)
        return top, left, bottom, right


def fields(found: Flat) -> dict[int, Field | None]:
    """By the id of a call's output; None: the whole image, or what cannot be told from the layer.

    Args:
        found: Of images of one size: what "same" pads depends on it.
    """
    known: dict[int, Field | None] = {id(found.input): Field(Axis(), Axis())}
    for call in found.calls:
        before = [known[id(x)] for x in call.inputs if id(x) in known]
        known[id(call.output)] = _behind(call, before)
    return known


def _behind(call: Call, before: Sequence[Field | None]) -> Field | None:
    if not before or len(call.output.shape) != 4:
        return None
    rows = _axis(call, 0, [None if field is None else field.rows for field in before])
    columns = _axis(call, 1, [None if field is None else field.columns for field in before])
    return None if rows is None or columns is None else Field(rows, columns)


def _axis(call: Call, axis: int, before: Sequence[Axis | None]) -> Axis | None:
    """Behind a call, along the axis of rows (0) or of columns (1)."""
    joined = _joined(before)
    if joined is None or not type(call.operation).__module__.startswith(("keras.", "kcnn.")):
        return None
    layer, kind = call.operation, call.kind
    size, made = call.inputs[0].shape[1 + axis], call.output.shape[1 + axis]
    if kind in ("ZeroPadding2D", "Cropping2D"):
        edge = _edge(layer, axis) * (-1 if kind == "ZeroPadding2D" else 1)
        return joined.through(1, edge, edge)
    if kind in _WINDOWS or kind == "Conv2DTranspose":
        if layer.data_format != "channels_last":
            return None
        return (_transposed if kind == "Conv2DTranspose" else _window)(layer, axis, size, joined)
    if kind == "UpSampling2D":
        return _resized(joined, Fraction(1, layer.size[axis]), layer.interpolation)
    if kind in ("Resizing", "Resize"):
        ratio = any(getattr(layer, f"{how}_to_aspect_ratio", False) for how in ("crop", "pad"))
        if ratio or size is None or layer.data_format != "channels_last":
            return None
        return (
            joined if size == made else _resized(joined, Fraction(size, made), layer.interpolation)
        )
    alone = kind in _POINTWISE and _last_axis(layer) and size == made
    return joined if alone else None


def _joined(before: Sequence[Axis | None]) -> Axis | None:
    """The interval that holds all; None where one is the whole image, or the steps differ."""
    axes = [axis for axis in before if axis is not None]
    if len(axes) < len(before) or len({axis.step for axis in axes}) != 1:
        return None
    return Axis(axes[0].step, min(axis.first for axis in axes), max(axis.last for axis in axes))


def _window(layer: Any, axis: int, size: int | None, before: Axis) -> Axis | None:
    window = _at(getattr(layer, "kernel_size", None) or layer.pool_size, axis)
    stride = _at(layer.strides, axis)
    reach = _at(getattr(layer, "dilation_rate", 1), axis) * (window - 1)
    pad = 0
    if layer.padding == "same":
        if size is None and stride > 1:
            return None
        # To ⌈size / stride⌉ values, the odd one behind; of stride 1 that is the reach in all.
        size = size or 1
        pad = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0) // 2
    return before.through(stride, -pad, reach - pad)


def _transposed(layer: Any, axis: int, size: int | None, before: Axis) -> Axis | None:
    """Value i goes to i · s - p .. i · s - p + k - 1."""
    kernel, stride = _at(layer.kernel_size, axis), _at(layer.strides, axis)
    if _at(layer.dilation_rate, axis) != 1 or layer.output_padding is not None:
        return None
    pad = max(kernel - stride, 0) // 2 if layer.padding == "same" else 0
    return before.through(
        Fraction(1, stride), Fraction(pad - kernel + 1, stride), Fraction(pad, stride)
    )


def _resized(before: Axis, factor: Fraction, interpolation: str) -> Axis | None:
    """Value j lies at (j + 1/2) · factor - 1/2, and reads so many on both sides as is usual."""
    if interpolation not in _REACH:
        return None
    reach = _REACH[interpolation] * max(factor, Fraction(1))
    middle = (factor - 1) / 2
    return before.through(factor, middle - reach, middle + reach)


def _edge(layer: Any, axis: int) -> int:
    """What a layer adds to, or takes off, the beginning of an axis.

    kcnn adds channels by ZeroPadding2D of channels first: its two axes then are columns, channels.
    """
    by_axis = layer.padding if hasattr(layer, "padding") else layer.cropping
    if layer.data_format == "channels_last":
        return int(by_axis[axis][0])
    return int(by_axis[0][0]) if axis == 1 else 0


def _last_axis(layer: Any) -> bool:
    """Whether what works along an axis works along the channels."""
    axis = getattr(layer, "axis", -1)
    return list(axis) in ([-1], [3]) if isinstance(axis, (list, tuple)) else axis in (-1, 3)


def _at(value: Any, axis: int) -> int:
    return int(value[axis]) if isinstance(value, (list, tuple)) else int(value)


def _plain(number: Fraction) -> Stride:
    return int(number) if number.denominator == 1 else number


_WINDOWS = {
    "Conv2D", "DepthwiseConv2D", "SeparableConv2D", "MaxPooling2D", "AveragePooling2D",
}  # fmt: skip
#: Values on each side that an interpolation reads.
_REACH = {"nearest": Fraction(1, 2), "bilinear": Fraction(1), "bicubic": Fraction(2)}
#: Layers and operations whose value at a place comes of the values at that place.
_POINTWISE = {
    "InputLayer", "Identity", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax",
    "BatchNormalization", "LayerNormalization", "Normalization", "Rescaling", "Dense", "Dropout",
    "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization",
    "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Divide",
    "TrueDivide", "Negative", "Absolute", "Square", "Sqrt", "Exp", "Power", "Clip", "Cast",
    "ConvertToTensor", "Relu", "Relu6", "Sigmoid", "Tanh", "Silu", "Gelu", "Elu", "Selu",
    "Softplus", "Softsign", "HardSigmoid", "HardSilu", "LeakyRelu",
}  # fmt: skip
