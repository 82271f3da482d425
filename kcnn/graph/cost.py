"""What a network costs: parameters, multiply-accumulates, memory, receptive field, by layer.

Works on any functional or sequential `keras.Model`, built for real or under `abstract`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from kcnn.errors import InputError
from kcnn.graph.calls import Call, calls, first_call, shapes
from kcnn.graph.macs import macs, multiplies
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
    #: multiply-accumulates, over all calls (`kcnn.graph.macs`); None: they are not known
    macs: int | None
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
        """Multiply-accumulates; at least so many where some are `uncounted`."""
        return sum(layer.macs or 0 for layer in self.layers)

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Names of the layers of which it is not known what they compute."""
        return tuple(layer.name for layer in self.layers if layer.macs is None)

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


def sized(model: keras.Model, shape: tuple[int | None, ...]) -> keras.Model:
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
    return Cost(tuple(_rows(model, {})))


def _rows(model: keras.Model, fields: dict[int, _Field]) -> Iterator[LayerCost]:
    several = calls(model)
    for operation in getattr(model, "operations", model.layers):
        known = several.get(id(operation))
        if is_model(operation):
            rows = list(_rows(operation, fields))
            yield from rows if known is None else _called(operation, rows, known)
            continue
        field = _receptive_field(operation, fields)
        if isinstance(operation, keras.layers.Layer) or multiplies(operation):
            yield _layer_cost(operation, field, known or [first_call(operation)])


def _called(model: keras.Model, rows: list[LayerCost], several: list[Call]) -> Iterator[LayerCost]:
    """The rows of a nested model that is called so: on other images than it was made for, often."""
    found: list[Mapping[str, LayerCost]] = []
    for call in several:
        try:
            found.append({row.name: row for row in _at(model, rows, call)})
        except Exception:  # a copy runs somebody's own code; or it has several inputs
            found.append({})
    for row in rows:
        each = [at.get(row.name) for at in found]
        counts = [None if one is None else one.macs for one in each]
        stored = sum(row.activation_bytes if one is None else one.activation_bytes for one in each)
        shape = row.output_shape if each[0] is None else each[0].output_shape
        yield replace(row, macs=_sum(counts), activation_bytes=stored, output_shape=shape)


def _at(model: keras.Model, rows: list[LayerCost], call: Call) -> Sequence[LayerCost]:
    """The rows of a nested model on the images of a call."""
    if call.inputs == shapes(model.inputs):
        return rows
    if call.inputs is None or len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(f"{model.name} cannot be copied at another size.")
    return cost(sized(model, call.inputs[0])).layers


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


def _layer_cost(layer: keras.Operation, field: _Field, several: list[Call]) -> LayerCost:
    first = first_call(layer)
    trained, fixed = (getattr(layer, f"{kind}trainable_weights", ()) for kind in ("", "non_"))
    return LayerCost(
        name=layer.name,
        kind=type(layer).__name__,
        output_shape=(several[0].outputs or first.outputs or ((),))[0],
        parameters=sum(math.prod(w.shape) for w in trained),
        # Seeds of random layers are state, not parameters.
        fixed_parameters=sum(math.prod(w.shape) for w in fixed if "seed" not in w.path),
        macs=_sum([_macs(layer, call) for call in several]),
        activation_bytes=sum(
            _stored(layer, call.outputs or first.outputs or ()) for call in several
        ),
        receptive_field=None if field.size is None else math.ceil(field.size),
        stride=_plain(field.stride),
    )


def _macs(layer: keras.Operation, call: Call) -> int | None:
    if call.inputs is None or not call.outputs:
        return None
    return macs(layer, call.inputs, call.outputs[0])


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _stored(layer: keras.Operation, outputs: Sequence[tuple[int | None, ...]]) -> int:
    """Bytes of outputs of those shapes."""
    if type(layer).__name__ in _VIEWS:
        return 0
    dtypes = [keras.backend.standardize_dtype(x.dtype) for x in keras.tree.flatten(layer.output)]
    return sum(
        math.prod(side or 1 for side in shape) * _ITEM_SIZES.get(dtype, 4)
        for shape, dtype in zip(outputs, dtypes, strict=False)
    )


_ITEM_SIZES = {"float16": 2, "bfloat16": 2, "float64": 8, "uint8": 1, "int8": 1, "bool": 1}


def _receptive_field(layer: keras.Operation, fields: dict[int, _Field]) -> _Field:
    """r = r_in + (window - 1) · stride_in; stride = stride_in · stride of the layer.

    Of a layer that makes the map s times as large, window is what one output reads at most, and
    stride = stride_in / s.
    """
    inputs = keras.tree.flatten(layer.input)
    known = [fields[id(x)] for x in inputs if id(x) in fields]
    # At the border of a nested model the tensors change; the field is that of the layer before.
    before = _widest(known) if known else _widest(list(fields.values())[-1:] or [_Field(1, 1)])
    field = _step(layer, before)
    for output in keras.tree.flatten(layer.output):
        fields[id(output)] = field
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
