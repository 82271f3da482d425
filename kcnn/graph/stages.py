"""Stages of a network, to be frozen, and the classifier at its end, to be replaced."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from kcnn.errors import InputError
from kcnn.graph.features import body
from kcnn.graph.walk import is_model, leaves
from kcnn.startup import keras


def stage_names(names: Iterable[str]) -> tuple[str, ...]:
    """What the names of layers begin with, each once: conv2_1_1_bn is of the stage conv2."""
    return tuple(dict.fromkeys(name.split("_")[0] for name in names))


def up_to(model: keras.Model, stage: str) -> set[str]:
    """The names of the layers up to the last one of a stage, in the order of the graph.

    Args:
        model: Any.
        stage: A layer's name, or what the names of a stage's layers begin with: conv4 stands for
            conv4_1, conv4_2_bn and so on; block4 for the same where no name begins with block.

    Raises:
        InputError: No layer has such a name; with the stages that there are.
    """
    names = [layer.name for layer in leaves(model)]
    for said in (stage, re.sub(r"^block(\d+)$", r"conv\1", stage)):
        of_stage = [i for i, n in enumerate(names) if n == said or n.startswith(f"{said}_")]
        if of_stage:
            return set(names[: of_stage[-1] + 1])
    raise InputError(
        f"{model.name} has no stage {stage!r}; it has {', '.join(stage_names(names))}."
    )


def freeze(model: keras.Model, until: str | None = None) -> list[str]:
    """Let layers be as they are in every training: `trainable=False`, BatchNorm in inference.

    Args:
        model: Any; compile it anew, as Keras asks for behind such a change.
        until: The last stage or layer (see `up_to`); None is all up to the last feature map.

    Returns:
        The names of the layers with weights that are frozen now.

    Raises:
        InputError: There is no such stage, or no feature map.
    """
    names = up_to(model, until) if until else {layer.name for layer in leaves(body(model))}
    frozen = [layer for layer in leaves(model) if layer.name in names and layer.weights]
    for layer in frozen:
        layer.trainable = False
    return [layer.name for layer in frozen]


def replace_classifier(
    model: keras.Model, classes: int, *, activation: str | None = "softmax"
) -> keras.Model:
    """The same layers with a new last one, for another number of classes.

    Args:
        model: Functional or sequential, whose last layer with weights is dense.
        classes: At least 1; 1 is one sigmoid unit.
        activation: "softmax", another Keras activation, or None for logits.

    Returns:
        A model (N, H, W, C) -> (N, classes), whose other layers are those of `model`; the new one
        begins with a kernel of zeros, as in Big Transfer (Kolesnikov et al. 2020).

    Raises:
        InputError: It ends in another way.
    """
    if not isinstance(classes, int) or classes < 1:
        raise InputError(f"classes is a whole number from 1 up; received {classes!r}.")
    every = list(model.layers)
    last: Any = next((layer for layer in reversed(every) if layer.weights), None)
    if not isinstance(last, keras.layers.Dense) or any(map(is_model, every)):
        kind = "nothing with weights" if last is None else type(last).__name__
        raise InputError(
            f"{model.name} ends with {kind}; a classifier to be replaced is a dense layer of the "
            f"model itself. Build it with include_top=False and put your own layers behind."
        )
    if classes == 1 and activation == "softmax":
        activation = "sigmoid"
    # Zeros: what trained layers give is of any size, and of Glorot's kernel logits would be, too.
    config = last.get_config() | {
        "units": classes, "activation": activation, "kernel_initializer": "zeros",
    }  # fmt: skip
    new = keras.layers.Dense.from_config(config)
    return keras.Model(model.inputs[0], new(last.input), name=model.name)
