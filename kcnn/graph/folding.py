"""BatchNorm folded into the layer before it, for inference (Jacob et al. 2018, section 3.2).

At inference BatchNorm is y = s · (x - mean) + beta with s = gamma / √(variance + epsilon), a
constant for each channel. Behind a layer x = W∗a + b it is the same as one layer with kernel
s · W and bias s · (b - mean) + beta.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.modes import settled
from kcnn.graph.walk import is_model, references
from kcnn.startup import keras


def fold_batchnorm(model: keras.Model) -> keras.Model:
    """A copy of `model` for inference, with BatchNorm folded into convolutions and dense layers.

    Folded is every `BatchNormalization` whose input is the output of a `Conv2D`,
    `DepthwiseConv2D` or `Dense` without activation that nothing else uses; other BatchNorm
    layers stay. Nested functional and sequential models are folded in themselves; a pair that
    lies on both sides of their border stays. The copy is made of Keras' own layers, is not
    compiled, and shares no variables with `model`, which stays as it is.

    Args:
        model: Functional or sequential, built. Its outputs and the copy's differ by rounding.

    Raises:
        InputError: `model` has no graph of layers: it is of a class of its own, or not built.
    """
    if not getattr(model, "inputs", None) or not hasattr(model, "layers"):
        raise InputError(
            f"BatchNorm is folded in functional and sequential models that are built; received "
            f"{type(model).__name__} {getattr(model, 'name', '')!r}. Give a sequential one a "
            f"keras.Input; wrap another: keras.Model(inputs, model(inputs))."
        )
    # A functional view: one form for both kinds, without what `compile` added.
    sequential = isinstance(model, keras.Sequential)
    inputs = model.inputs[0] if sequential else model.input
    outputs = model.outputs[0] if sequential else model.output
    plain = keras.Model(inputs, outputs, name=model.name)
    layers = {layer.name: layer for layer in plain.layers}
    pairs = {norm: layers[layer] for norm, layer in _pairs(plain, layers)}
    folded = {layer.name for layer in pairs.values()}

    def clone(operation: keras.Operation) -> keras.Operation:
        if operation.name in pairs:
            return operation  # not called
        if is_model(operation):
            return fold_batchnorm(operation)
        changes = _untrained(operation) if type(operation) in _kinds() else {}
        if operation.name in folded:
            changes["use_bias"] = True
        return _copied(operation, changes)

    def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        if operation.name in pairs:
            return args[0]
        return operation(*args, **settled(operation, kwargs))

    copy = keras.models.clone_model(plain, clone_function=clone, call_function=call)
    weights = {layer.name: _folded(layer, layers[norm]) for norm, layer in pairs.items()}
    for layer in copy.layers:
        if layer.weights and not is_model(layer):
            layer.set_weights(weights.get(layer.name) or layers[layer.name].get_weights())
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # what it computes from its weights
    return copy


def _pairs(model: keras.Model, layers: dict[str, keras.layers.Layer]) -> Iterator[tuple[str, str]]:
    """Names (BatchNorm, layer before it) of what can be folded."""
    config = model.get_config()
    rows = {row["name"]: row["inbound_nodes"] for row in config["layers"]}
    uses = Counter(references([*rows.values(), config["output_layers"]]))
    for name, calls in rows.items():
        norm = layers.get(name)
        if not isinstance(norm, keras.layers.BatchNormalization) or len(calls) != 1:
            continue
        before = next(references(calls[0]["args"]))
        layer = layers.get(before)
        alone = len(rows[before]) == 1 and uses[before] == 1
        if alone and not _asked_to_train(calls[0]) and _folds(layer, norm):
            yield name, before


def _asked_to_train(call: dict[str, Any]) -> bool:
    """Whether BatchNorm is called with batch statistics whatever the mode of the model."""
    return len(call["args"]) > 1 or bool(call["kwargs"].get("training"))


def _folds(layer: keras.layers.Layer | None, norm: keras.layers.BatchNormalization) -> bool:
    """Whether `norm` acts on the channels that `layer`, a linear one, gives."""
    # A subclass may compute something else; LoRA and quantisation add weights.
    if layer is None or type(layer) not in _kinds() or len(layer.weights) != 1 + layer.use_bias:
        return False
    rank = norm.input_spec.ndim
    channels_first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return (
        layer.activation is keras.activations.linear
        and layer.compute_dtype == norm.compute_dtype
        and norm.axis % rank == (1 if channels_first else rank - 1)
    )


def _untrained(layer: keras.layers.Layer) -> dict[str, Any]:
    """Changes of a layer's config: no random weights, nothing that serves training only."""
    return {
        name: "zeros" if name.endswith("_initializer") else None
        for name in layer.get_config()
        if name.endswith(("_initializer", "_regularizer", "_constraint"))
    }


def _copied(operation: keras.Operation, changes: dict[str, Any]) -> keras.Operation:
    try:
        return type(operation).from_config(operation.get_config() | changes)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise InputError(
            f"The layer {operation.name!r} ({type(operation).__name__}) cannot be copied from its "
            f"config: {error} Give a layer of your own get_config; in place of a Lambda, use a "
            f"layer or an operation of keras.ops."
        ) from error


def _folded(layer: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Kernel and bias of the one layer that does the work of both."""
    kernel, *bias = layer.get_weights()
    scale = _values(norm.gamma, 1.0) / np.sqrt(_values(norm.moving_variance) + norm.epsilon)
    shift = _values(norm.beta, 0.0) - scale * _values(norm.moving_mean)
    # The last axes of a depthwise kernel are (C, multiplier), and C · multiplier come out.
    channels = kernel.shape[2:] if isinstance(layer, keras.layers.DepthwiseConv2D) else (-1,)
    precise = np.result_type(kernel, "float32")  # of 16-bit weights, too
    return [kernel * scale.reshape(channels).astype(precise), sum(bias) * scale + shift]


def _values(variable: keras.Variable | None, default: float = 0.0) -> np.ndarray | float:
    if variable is None:  # center=False or scale=False
        return default
    return keras.ops.convert_to_numpy(variable).astype("float64")


def _kinds() -> tuple[type, ...]:
    return keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense
