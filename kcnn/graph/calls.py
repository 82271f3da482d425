"""How often a model calls its layers, and on what: a layer knows the first call of its life."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kcnn.graph.walk import is_model
from kcnn.startup import keras

Shape = tuple[int | None, ...]  # without the batch axis


@dataclass(frozen=True)
class Call:
    """One call; None: what goes in, or comes out, cannot be found out."""

    inputs: tuple[Shape, ...] | None
    outputs: tuple[Shape, ...] | None


def first_call(operation: keras.Operation) -> Call:
    """The first of its life."""
    inputs, outputs = (shapes(keras.tree.flatten(x)) for x in (operation.input, operation.output))
    return Call(inputs, outputs)


def shapes(tensors: Any) -> tuple[Shape, ...]:
    """Of symbolic tensors."""
    return tuple(tuple(tensor.shape[1:]) for tensor in tensors)


def calls(model: keras.Model) -> dict[int, list[Call]]:
    """The calls of its layers and nested models by their ids, where `first_call` is not all.

    Levels of a pyramid share their heads: one layer, called once for each. A nested model, and a
    layer that another model has as well, may have been called on other images before.
    """
    if not hasattr(model, "operations"):
        return _in_a_row(model) if isinstance(model, keras.Sequential) else {}
    if _all_called_once(model) and not any(map(_of_any_size, model.layers)):
        return {}  # a config takes time, and lets Keras load TensorFlow
    taken = {id(x) for operation in model.operations for x in keras.tree.flatten(operation.input)}
    taken |= set(map(id, model.outputs))
    own = {
        id(layer) for layer in model.layers
        if not is_model(layer) and taken & set(map(id, keras.tree.flatten(layer.output)))
    }  # fmt: skip
    try:
        rows = {row["name"]: row["inbound_nodes"] for row in model.get_config()["layers"]}
    except NotImplementedError:  # a layer of a class without a config
        return {id(layer): [Call(None, None)] for layer in model.layers if layer.weights}
    found = {}
    for layer in model.layers:
        nodes = rows[layer.name]
        if nodes and (len(nodes) > 1 or id(layer) not in own):
            found[id(layer)] = [_call(layer, node) for node in nodes]
    return found


def _in_a_row(model: keras.Sequential) -> dict[int, list[Call]]:
    """Of a sequential model, one of whose layers was called elsewhere before."""
    before = [model.inputs[0], *(layer.output for layer in model.layers[:-1])]
    if all(layer.input is x for layer, x in zip(model.layers, before, strict=True)):
        return {}
    found: dict[int, list[Call]] = {}
    at: tuple[Shape, ...] | None = shapes(model.inputs)
    for layer in model.layers:
        outputs = None if at is None else _outputs(layer, at)
        found[id(layer)] = [Call(at, outputs)]
        at = outputs
    return found


def _of_any_size(layer: keras.layers.Layer) -> bool:
    return is_model(layer) and any(None in tensor.shape[1:] for tensor in layer.inputs)


def _call(layer: keras.layers.Layer, node: dict[str, Any]) -> Call:
    inputs = tuple(
        tuple(tensor["shape"][1:]) for tensor in _tensors([node["args"], node["kwargs"]])
    )
    return Call(inputs, _outputs(layer, inputs))


def _outputs(layer: keras.layers.Layer, inputs: tuple[Shape, ...]) -> tuple[Shape, ...] | None:
    tensors = [keras.KerasTensor((None, *shape)) for shape in inputs]
    try:
        try:
            found = layer.compute_output_spec(tensors[0] if len(tensors) == 1 else tensors)
        except (TypeError, ValueError):  # takes them one by one
            found = layer.compute_output_spec(*tensors)
        return shapes(keras.tree.flatten(found))
    except Exception:  # of somebody's own code, whatever it is
        return None


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
