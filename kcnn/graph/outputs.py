"""What the outputs of a model mean: the one place where that is found out.

Probabilities of classes that exclude each other, or logits, of which softmax or sigmoid makes such.
The graph says it where it ends with an activation or a linear layer; of other models the outputs
for a batch of real images say it; in doubt, the user does.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.walk import is_model, references
from kcnn.startup import keras

Meaning = Literal["probabilities", "logits"]

#: Operations that leave what a value means: they move values, or average them.
_PASSING = {
    "Flatten", "Reshape", "Permute", "Identity", "Squeeze", "Transpose", "GetItem", "Mean", "Cast",
    "Dropout", "SpatialDropout2D", "GlobalAveragePooling2D", "AveragePooling2D",
}  # fmt: skip

#: How far the sum of probabilities may be from 1: those of a 16-bit network are.
_ROUNDING, _SMALL = 0.02, 1e-6


def ending(model: keras.Model) -> Literal["softmax", "sigmoid", "linear"] | None:
    """How a functional or sequential model ends, in nested models too; None: neither."""
    operation = _producer(model)
    return None if operation is None else activation_of(operation)


def activation_of(operation: keras.Operation) -> Literal["softmax", "sigmoid", "linear"] | None:
    """What an operation does to its values in the end; None: something else."""
    kind = type(operation).__name__
    if kind in ("Softmax", "Sigmoid"):
        return "softmax" if kind == "Softmax" else "sigmoid"
    activation = getattr(operation, "activation", None)
    for name in ("softmax", "sigmoid", "linear"):
        if activation is getattr(keras.activations, name):
            return name
    return None


def gives_logits(model: keras.Model) -> bool:
    """Whether a network of ours ends without softmax or sigmoid."""
    return ending(model) == "linear"


def meaning(model: keras.Model, values: Any, said: Meaning | None = None) -> Meaning:
    """What the outputs of `model` are, by its graph, and by `values`, those of real images.

    Args:
        model: Functional or sequential.
        values: (N, K); K = 1 is one output for two classes.
        said: By the user, who may be wrong.

    Raises:
        InputError: They are neither; nothing tells; or they are not what was said.
    """
    values = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(values, "float32")))
    if values.ndim != 2:
        raise InputError(
            f"A classifier gives a row for each image, (N, classes); this model gives "
            f"(N, {', '.join(map(str, values.shape[1:]))}). End it with a Flatten or a pooling."
        )
    if not np.isfinite(values).all():
        raise InputError(
            "The model's outputs for real images are not finite. Perhaps it divides by the images' "
            "deviation, or its weights are NaN."
        )
    found, why = _found(values, ending(model))
    if said is None and found is None:
        raise InputError(
            f"What the model's outputs are cannot be seen: {why}. Say it: outputs='probabilities' "
            f"or outputs='logits' (--outputs); or end it with a softmax or a linear layer."
        )
    impossible = said == "probabilities" and values.shape[1] > 1 and not _sum_to_one(values)
    if said is not None and (impossible or found not in (said, None)):
        raise InputError(f"The model's outputs are said to be {said}, but {why}.")
    return said or found or "logits"


def _found(values: np.ndarray, end: str | None) -> tuple[Meaning | None, str]:
    """What they are, and why; None where nothing tells."""
    several = values.shape[1] > 1
    if several and _sum_to_one(values):
        return "probabilities", "they sum to 1 for every image"
    if several and end in ("softmax", "sigmoid"):
        raise InputError(
            f"The model ends with a {end}, but {_seen(values)}: these are no probabilities of "
            f"classes that exclude each other. End it with a softmax over the classes (the last "
            f"axis), or with a linear layer."
        )
    if end == "softmax":
        raise InputError(
            "The model ends with a softmax over one output, which is 1 for every image. Use a "
            "sigmoid, or one output for each class."
        )
    if end == "sigmoid":
        return "probabilities", "it ends with a sigmoid"
    if end == "linear":
        return "logits", f"it ends with a linear layer; {_seen(values)}"
    inside = values.min() >= -_SMALL and values.max() <= 1 + _SMALL
    return (None if inside else "logits"), _seen(values)


def _sum_to_one(values: np.ndarray) -> bool:
    sums = values.sum(axis=1)
    return bool(values.min() >= -_SMALL and np.abs(sums - 1.0).max() < _ROUNDING)


def _seen(values: np.ndarray) -> str:
    text = f"for {len(values)} images they lie between {values.min():.3g} and {values.max():.3g}"
    if values.shape[1] > 1:
        sums = values.sum(axis=1)
        text += f", and sum to {sums.min():.3g} up to {sums.max():.3g}"
    return text


def _producer(model: keras.Model) -> keras.Operation | None:
    """The last operation that decides what the values are; None: the inputs, or no graph."""
    for operation in _backwards(model):
        if is_model(operation):
            nested = _producer(operation)
            if nested is not None:
                return nested
        elif not passes(operation):
            return operation
    return None


def passes(operation: keras.Operation) -> bool:
    """Whether what values mean is the same behind an operation as in front of it."""
    linear = getattr(operation, "activation", None) is keras.activations.linear
    bare = isinstance(operation, keras.layers.Activation) and linear
    return bare or type(operation).__name__ in _PASSING


def _backwards(model: keras.Model) -> list[keras.Operation]:
    """The operations from the output back to the first with several inputs, or the input."""
    if isinstance(model, keras.Sequential):
        return list(reversed(model.layers))
    if not hasattr(model, "operations"):
        return []
    config = model.get_config()
    before = {row["name"]: row["inbound_nodes"] for row in config["layers"]}
    by_name = {operation.name: operation for operation in model.operations}
    name, found = next(references(config["output_layers"])), []
    while name in by_name and before[name]:
        found.append(by_name[name])
        sources = set(references(before[name][-1]["args"]))
        if len(sources) != 1:
            break
        (name,) = sources
    return found
