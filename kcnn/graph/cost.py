"""What a network costs: parameters, multiply-accumulates, memory, receptive field, by layer.

Works on any functional or sequential `keras.Model`, built for real or under `abstract`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kcnn.graph.walk import operations
from kcnn.startup import keras

#: Layers whose output is their input seen differently: nothing is stored for them.
_VIEWS = ("InputLayer", "Flatten", "Reshape")


@dataclass(frozen=True)
class LayerCost:
    """One layer, for one image."""

    name: str
    kind: str  #: class of the layer
    output_shape: tuple[int | None, ...]  #: without the batch axis
    parameters: int  #: trainable
    fixed_parameters: int  #: not trainable (BatchNorm's moving statistics, fixed codes)
    macs: int  #: multiply-accumulates of convolutions and dense layers
    activation_bytes: int  #: of the output
    receptive_field: int | None  #: pixels along the longer side; None: the whole image
    stride: int | None  #: pixels between neighbouring outputs; None: no map


@dataclass(frozen=True)
class Cost:
    """A whole network, for one image."""

    layers: tuple[LayerCost, ...]

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def fixed_parameters(self) -> int:
        """Parameters that training leaves alone; Keras' `count_params()` counts both."""
        return sum(layer.fixed_parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the convolutions and dense layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_memory(self) -> int:
        """Bytes of all weights in float32."""
        return 4 * (self.parameters + self.fixed_parameters)

    def activation_memory(self, batch_size: int = 1) -> int:
        """Bytes of all layers' outputs, which the backward pass needs."""
        return batch_size * sum(layer.activation_bytes for layer in self.layers)

    def training_memory(self, batch_size: int, slots: int = 1) -> int:
        """Estimated bytes of one training step, without the framework's own.

        Weights, one gradient and `slots` optimizer values for each trainable one (1 with
        momentum, 2 with Adam), and the activations of `batch_size` images.
        """
        trained = 4 * self.parameters * (1 + slots)
        return self.weight_memory + trained + self.activation_memory(batch_size)


def abstract(build: Callable[[], keras.Model]) -> keras.Model:
    """The model that `build` makes, with shapes but without memory for its weights.

    Keras leaves variables uninitialised inside a `StatelessScope`. It remembers them for the
    thread, to initialise them later; the thread here ends with the call. Keras' dtype policy
    is the thread's too, and is handed on.
    """
    policy = keras.config.dtype_policy()

    def run() -> keras.Model:
        keras.config.set_dtype_policy(policy)
        with keras.StatelessScope(initialize_variables=False):
            return build()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(run).result()


def cost(model: keras.Model) -> Cost:
    """The cost of `model`, layer by layer, in the order of its graph."""
    fields: dict[int, _Field] = {}
    rows = []
    for operation in operations(model):
        field = _receptive_field(operation, fields)
        if isinstance(operation, keras.layers.Layer):
            rows.append(_layer_cost(operation, field))
    return Cost(tuple(rows))


def strides(model: keras.Model) -> dict[int, int | None]:
    """Pixels between neighbouring values, by the id of an operation's output; None: no map."""
    fields: dict[int, _Field] = {}
    for operation in operations(model):
        _receptive_field(operation, fields)
    return {tensor: field.stride for tensor, field in fields.items()}


@dataclass(frozen=True)
class _Field:
    size: int | None  # None: the whole image
    stride: int | None  # None: the axes are no longer those of the image


def _layer_cost(layer: keras.layers.Layer, field: _Field) -> LayerCost:
    shape = tuple(layer.output.shape[1:])
    bytes_per_value = keras.backend.standardize_dtype(layer.output.dtype)
    stored = 0 if type(layer).__name__ in _VIEWS else math.prod(d or 1 for d in shape)
    return LayerCost(
        name=layer.name,
        kind=type(layer).__name__,
        output_shape=shape,
        parameters=sum(math.prod(w.shape) for w in layer.trainable_weights),
        # Seeds of random layers are state, not parameters.
        fixed_parameters=sum(
            math.prod(w.shape) for w in layer.non_trainable_weights if "seed" not in w.path
        ),
        macs=_macs(layer, shape),
        activation_bytes=stored * _ITEM_SIZES.get(bytes_per_value, 4),
        receptive_field=field.size,
        stride=field.stride,
    )


_ITEM_SIZES = {"float16": 2, "bfloat16": 2, "float64": 8, "uint8": 1, "int8": 1, "bool": 1}


def _macs(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> int:
    """Each kernel is applied once per output position (Dense: per position before the last)."""
    positions = math.prod(d or 1 for d in shape[:-1])
    kernels = [
        getattr(layer, name)
        for name in ("kernel", "depthwise_kernel", "pointwise_kernel")
        if getattr(layer, name, None) is not None
    ]
    return positions * sum(math.prod(kernel.shape) for kernel in kernels)


def _receptive_field(layer: keras.Operation, fields: dict[int, _Field]) -> _Field:
    """r = r_in + (window - 1) · stride_in; stride = stride_in · stride of the layer."""
    inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    known = [fields[id(x)] for x in inputs if id(x) in fields]
    # At the border of a nested model the tensors change; the field is that of the layer before.
    before = _widest(known) if known else _widest(list(fields.values())[-1:] or [_Field(1, 1)])
    field = _step(layer, before)
    fields[id(layer.output)] = field
    return field


def _step(layer: keras.Operation, before: _Field) -> _Field:
    kind = type(layer).__name__
    if kind == "Flatten" or kind.startswith("Global"):
        return _Field(None, None)
    if kind == "Reshape" and len(layer.input.shape) == 4:
        return _Field(before.size, None)
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if before.size is None or before.stride is None or window is None:
        return before
    dilation = max(_pair(getattr(layer, "dilation_rate", 1)))
    reach = dilation * (max(_pair(window)) - 1)
    return _Field(
        before.size + reach * before.stride, before.stride * max(_pair(layer.strides or window))
    )


def _widest(fields: list[_Field]) -> _Field:
    sizes = [field.size for field in fields if field.size is not None]
    if len(sizes) < len(fields):
        return _Field(None, None)
    strides = [field.stride for field in fields if field.stride is not None]
    return _Field(max(sizes), max(strides, default=None))


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
