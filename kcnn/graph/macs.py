"""Multiply-accumulates of one call of a layer, by Keras' own layers; of others they are not known.

A kernel counts once for each position that it is applied at, also where padding lets a part of it
meet zeros. Additions, normalisation, activations and pooling do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kcnn.startup import keras

Shape = tuple[int | None, ...]  # without the batch axis

#: What computes, and of which there is no rule here, beside layers that are none of Keras' own.
_UNKNOWN = {
    "AdditiveAttention", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "FlaxLayer", "JaxLayer",
    "Lambda", "MelSpectrogram", "RNN", "STFTSpectrogram", "SpectralNormalization", "TFSMLayer",
    "TorchModuleWrapper", "Wrapper",
}  # fmt: skip
#: Operations between layers (`keras.ops`) that multiply matrices.
_PRODUCTS = {
    "Conv", "ConvTranspose", "DepthwiseConv", "Dot", "DotProductAttention", "Einsum", "Inner",
    "Kron", "Matmul", "Outer", "SeparableConv", "Tensordot", "Vdot",
}  # fmt: skip
#: Layers whose weights have several axes, and are looked up, or scale elementwise.
_ELEMENTWISE = {
    "BatchNormalization", "Embedding", "GroupNormalization", "LayerNormalization",
    "Normalization", "PReLU", "RMSNormalization",
}  # fmt: skip


def multiplies(operation: keras.Operation) -> bool:
    """Whether an operation between layers multiplies matrices."""
    return type(operation).__name__ in _PRODUCTS


def macs(operation: keras.Operation, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Multiply-accumulates of one call for one image; None where they are not known.

    So it is where a side of what goes in is not: a network for images of any size.

    Args:
        operation: A layer, or an operation of `keras.ops`.
        inputs: Shapes of the tensors that go in.
        output: Of the (first) that comes out.
    """
    if not isinstance(operation, keras.layers.Layer):
        if type(operation).__name__ == "Matmul" and _are_known((*inputs, output)):
            return _product(output) * (inputs[0][-1] or 1)
        return None if multiplies(operation) else 0
    kind = _kind(operation)
    if kind is None or kind in _UNKNOWN:
        return None
    if kind in _RULES:
        if not _are_known(inputs):
            return None
        return _RULES[kind](operation, inputs, output)
    plain = kind in _ELEMENTWISE or all(len(weight.shape) < 2 for weight in operation.weights)
    return 0 if plain else None


def _kind(layer: keras.layers.Layer) -> str | None:
    """The class of Keras' own whose `call` the layer does; None for one of somebody else's."""
    for cls in type(layer).__mro__:
        if cls.__module__.startswith("keras."):
            return cls.__name__
        if "call" in vars(cls) and not cls.__module__.startswith("kcnn."):
            return None
    return None


def _are_known(shapes: Sequence[Shape]) -> bool:
    return all(None not in shape for shape in shapes)


def _product(shape: Shape) -> int:
    """Of sides that are known."""
    return math.prod(side or 0 for side in shape)


def _size(weight: Any) -> int:
    return math.prod(weight.shape)


def _convolution(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    return _positions(layer, output) * _size(layer.kernel)


def _separable(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    kernels = _size(layer.depthwise_kernel) + _size(layer.pointwise_kernel)
    return _positions(layer, output) * kernels


def _transposed(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """Each position that goes in is multiplied with the whole kernel."""
    return _positions(layer, inputs[0]) * _size(layer.kernel)


def _positions(layer: Any, shape: Shape) -> int:
    return _product(shape[1:] if layer.data_format == "channels_first" else shape[:-1])


def _dense(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    return _product(output[:-1]) * _size(layer.kernel)


def _einsum(layer: Any, inputs: Sequence[Shape], output: Shape) -> int | None:
    """A product for each combination of the letters; the first is that of the images."""
    given, _, kernel = layer.equation.replace(" ", "").partition("->")[0].partition(",")
    if "..." in given:
        return None
    sides = dict(zip(given[1:], inputs[0], strict=True))
    sides |= dict(zip(kernel, layer.kernel.shape, strict=True))
    return _product(tuple(sides.values()))


def _attention(layer: Any, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Scores by dot products (Luong et al. 2015), and the average of the values."""
    query, value = inputs[0], inputs[1]
    if layer.score_mode != "dot":
        return None
    return _product((query[0], value[0])) * _product((query[1],)) + _product((query[0], *value))


def _multi_head(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """Vaswani et al. 2017, section 3.2.2: four projections, scores, averages of the values."""
    query, source = inputs[0][:-1], inputs[1][:-1]
    of_queries = _size(layer.query_dense.kernel) + _size(layer.output_dense.kernel)
    of_sources = _size(layer.key_dense.kernel) + _size(layer.value_dense.kernel)
    attended = tuple(source[axis - 1] for axis in layer.attention_axes)
    scores = layer.num_heads * _product((*query, *attended))
    projections = _product(query) * of_queries + _product(source) * of_sources
    return projections + scores * (layer.key_dim + layer.value_dim)


def _grouped(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """Ainslie et al. 2023: heads of queries share those of keys and values."""
    query, source = inputs[0], inputs[1]
    queries = layer.num_query_heads * layer.head_dim
    keys = layer.num_key_value_heads * layer.head_dim
    projections = 2 * _product(query) * queries + 2 * _product(source) * keys
    return projections + 2 * _product((query[0], source[0])) * queries


def _recurrent(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """Both kernels at each step."""
    return _product(inputs[0][:1]) * (_size(layer.cell.kernel) + _size(layer.cell.recurrent_kernel))


def _both_ways(layer: Any, inputs: Sequence[Shape], output: Shape) -> int | None:
    ways = [macs(one, inputs, output) for one in (layer.forward_layer, layer.backward_layer)]
    return None if None in ways else sum(ways)  # type: ignore[arg-type]


def _at_each_step(layer: Any, inputs: Sequence[Shape], output: Shape) -> int | None:
    once = macs(layer.layer, [inputs[0][1:]], output[1:])
    return None if once is None else _product(inputs[0][:1]) * once


def _dot(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    axis = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
    return _product(output) * _product((inputs[0][axis - 1 if axis > 0 else axis],))


_Rule = Callable[[Any, Sequence[Shape], Shape], int | None]
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(
        ("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D"), _convolution
    ),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _transposed),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), _recurrent),
    "Attention": _attention,
    "Bidirectional": _both_ways,
    "Dense": _dense,
    "Dot": _dot,
    "EinsumDense": _einsum,
    "GroupedQueryAttention": _grouped,
    "MultiHeadAttention": _multi_head,
    "TimeDistributed": _at_each_step,
}
