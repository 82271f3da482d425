"""Layers that put everything behind them into training mode where nobody says the mode.

Keras' layers that change images (`Resizing`, `CenterCrop`, `RandomFlip`, ...) have `training=True`
as their default, and Keras 3.15.1 hands the mode of one layer on to all that follow (keras#23166):
`model(x)` then uses batch statistics in BatchNorm, moves its averages, and drops units. With
`training=False` in the graph the mode of the model, where it has one, still overrides it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from kcnn.graph.walk import is_model
from kcnn.startup import keras


def settled(operation: keras.Operation, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a layer's call in a graph, with a mode for those that would train.

    Keras writes the default into the graph: whether somebody asked for it cannot be seen. In
    `predict` and `evaluate` the mode of the model is stronger than either.
    """
    if kwargs.get("training") is not False and _trains_by_default(operation):
        return {**kwargs, "training": False}
    return dict(kwargs)


def unsettled(model: keras.Model) -> list[str]:
    """Names of the layers, of nested models too, that put what follows into training mode."""
    return list(_unsettled(model))


def settle(model: keras.Model) -> keras.Model:
    """`model` itself, or its layers in a model in which none of them does so.

    Args:
        model: Functional or sequential; one without a graph is given back.
    """
    if not getattr(model, "inputs", None) or not unsettled(model):
        return model
    sequential = isinstance(model, keras.Sequential)
    inputs = model.inputs[0] if sequential else model.input
    outputs = model.outputs[0] if sequential else model.output
    return keras.models.clone_model(
        keras.Model(inputs, outputs, name=model.name),
        clone_function=lambda operation: settle(operation) if is_model(operation) else operation,
        call_function=lambda operation, *args, **kwargs: operation(
            *args, **settled(operation, kwargs)
        ),
    )


def _unsettled(model: keras.Model) -> Iterator[str]:
    calls = _calls(model)
    for operation in getattr(model, "operations", model.layers):
        if is_model(operation):
            yield from _unsettled(operation)
        elif any(dict(kwargs) != settled(operation, kwargs) for kwargs in calls(operation)):
            yield operation.name


def _calls(model: keras.Model) -> Any:
    """A function that gives the keyword arguments of each call of a layer in the graph."""
    if isinstance(model, keras.Sequential):
        return lambda operation: [{}]
    rows = {row["name"]: row["inbound_nodes"] for row in model.get_config()["layers"]}
    return lambda operation: [call["kwargs"] for call in rows.get(operation.name, [])]


def _trains_by_default(operation: keras.Operation) -> bool:
    parameter = inspect.signature(operation.call).parameters.get("training")
    return parameter is not None and parameter.default is True
