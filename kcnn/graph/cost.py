"""What a network costs: parameters, multiply-accumulates, memory, receptive field, by layer.

Works on any functional or sequential `keras.Model`, built for real or under `abstract`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from kcnn.graph.walk import is_model, operations
from kcnn.startup import keras

#: Pixels between neighbouring values of a map; a fraction where it is finer than the image.
Stride = int | Fraction

#: How many values a layer that makes a map larger reads along an axis, by its interpolation.
_TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4, "lanczos3": 6, "lanczos5": 10}

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
    activation_bytes: int  #: of the output; of all, where a layer is called several times
    receptive_field: int | None  #: pixels along the longer side; None: the whole image
    stride: Stride | None  #: pixels between neighbouring outputs; None: no map


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


def sized(model: keras.Model, shape: tuple[int, ...]) -> keras.Model:
    """`model` on inputs (N, *shape), without memory for weights: to be counted, not to be run.

    Args:
        model: Functional or sequential; one that takes that size already is given back.
        shape: (H, W, C).
    """
    if model.input_shape[1:] == tuple(shape):
        return model
    plain = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return abstract(lambda: keras.models.clone_model(plain, input_tensors=keras.Input(shape)))


def cost(model: keras.Model) -> Cost:
    """The cost of `model`, layer by layer, in the order of its graph."""
    fields: dict[int, _Field] = {}
    rows, later = [], _later_calls(model)
    for operation in operations(model):
        field = _receptive_field(operation, fields)
        if isinstance(operation, keras.layers.Layer):
            row = _layer_cost(operation, field)
            for shape in later.get(id(operation), ()):
                row = replace(
                    row,
                    macs=row.macs + _macs(operation, shape),
                    activation_bytes=row.activation_bytes + _stored(operation, shape),
                )
            rows.append(row)
    return Cost(tuple(rows))


def _later_calls(model: keras.Model) -> dict[int, list[tuple[int | None, ...]]]:
    """Output shapes, without the batch axis, of a layer's calls behind the first, by its id.

    Levels of a pyramid share their heads: one layer, called once for each.
    """
    found: dict[int, list[tuple[int | None, ...]]] = {}
    for nested in filter(is_model, getattr(model, "operations", ())):
        found |= _later_calls(nested)
    if isinstance(model, keras.Sequential) or not hasattr(model, "operations"):
        return found
    if _all_called_once(model):  # a config takes time, and lets Keras load TensorFlow
        return found
    try:
        rows = {row["name"]: row["inbound_nodes"] for row in model.get_config()["layers"]}
    except NotImplementedError:  # a layer of a class without a config
        return found
    for layer in model.layers:
        for call in rows[layer.name][1:]:
            shapes = [tuple(tensor["shape"]) for tensor in _tensors(call["args"])]
            output = layer.compute_output_shape(shapes[0] if len(shapes) == 1 else shapes)
            found.setdefault(id(layer), []).append(tuple(output[1:]))
    return found


def _all_called_once(model: keras.Model) -> bool:
    """Whether all that is taken in is what a first call has given."""
    given = {id(x) for operation in model.operations for x in keras.tree.flatten(operation.output)}
    taken = [x for operation in model.operations for x in keras.tree.flatten(operation.input)]
    return given.issuperset(map(id, [*taken, *model.outputs]))


def _tensors(value: Any) -> Iterator[dict[str, Any]]:
    """The symbolic tensors in a part of a functional model's config."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        yield value["config"]
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def strides(model: keras.Model) -> dict[int, Stride | None]:
    """Pixels between neighbouring values, by the id of an operation's output; None: no map."""
    fields: dict[int, _Field] = {}
    for operation in operations(model):
        _receptive_field(operation, fields)
    return {tensor: _plain(field.stride) for tensor, field in fields.items()}


def largest_stride(model: keras.Model) -> int:
    """Of all feature maps the largest stride: what the sides of whole pictures are multiples of."""
    return int(max((stride for stride in strides(model).values() if stride), default=1))


@dataclass(frozen=True)
class _Field:
    size: Stride | None  # None: the whole image
    stride: Stride | None  # None: the axes are no longer those of the image


def _layer_cost(layer: keras.layers.Layer, field: _Field) -> LayerCost:
    shape = tuple(layer.output.shape[1:])
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
        activation_bytes=_stored(layer, shape),
        receptive_field=None if field.size is None else math.ceil(field.size),
        stride=_plain(field.stride),
    )


def _stored(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> int:
    """Bytes of an output of that shape."""
    dtype = keras.backend.standardize_dtype(layer.output.dtype)
    values = 0 if type(layer).__name__ in _VIEWS else math.prod(d or 1 for d in shape)
    return values * _ITEM_SIZES.get(dtype, 4)


_ITEM_SIZES = {"float16": 2, "bfloat16": 2, "float64": 8, "uint8": 1, "int8": 1, "bool": 1}


def _macs(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> int:
    """Each kernel is applied once per output position (Dense: per position before the last).

    A transposed convolution's is applied once per input position.
    """
    if type(layer).__name__ == "Conv2DTranspose":
        shape = tuple(layer.input.shape[1:])
    positions = math.prod(d or 1 for d in shape[:-1])
    kernels = [
        getattr(layer, name)
        for name in ("kernel", "depthwise_kernel", "pointwise_kernel")
        if getattr(layer, name, None) is not None
    ]
    return positions * sum(math.prod(kernel.shape) for kernel in kernels)


def _receptive_field(layer: keras.Operation, fields: dict[int, _Field]) -> _Field:
    """r = r_in + (window - 1) · stride_in; stride = stride_in · stride of the layer.

    Of a layer that makes the map s times as large, window is what one output reads at most, and
    stride = stride_in / s.
    """
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
    if before.size is None or before.stride is None:
        return before
    if kind == "UpSampling2D":
        return _enlarged(before, _TAPS[layer.interpolation], min(_pair(layer.size)))
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if window is None:
        return before
    dilation = max(_pair(getattr(layer, "dilation_rate", 1)))
    reach = dilation * (max(_pair(window)) - 1)
    if kind == "Conv2DTranspose":
        factor = min(_pair(layer.strides))
        return _enlarged(before, reach // factor + 1, factor)  # every `factor`-th of the kernel
    return _Field(
        before.size + reach * before.stride, before.stride * max(_pair(layer.strides or window))
    )


def _enlarged(before: _Field, taps: int, factor: int) -> _Field:
    assert before.size is not None
    assert before.stride is not None
    return _Field(before.size + (taps - 1) * before.stride, Fraction(before.stride, factor))


def _plain(number: Stride | None) -> Stride | None:
    """A whole number as Python's own."""
    return number if number is None or number != int(number) else int(number)


def _widest(fields: list[_Field]) -> _Field:
    sizes = [field.size for field in fields if field.size is not None]
    if len(sizes) < len(fields):
        return _Field(None, None)
    strides = [field.stride for field in fields if field.stride is not None]
    return _Field(max(sizes), max(strides, default=None))


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
