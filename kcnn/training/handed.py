"""Optimiser, loss and metrics of the user's own: into the recipe, so that the run repeats.

What is handed over is recorded as its config, and a training is of what the config makes: a resume
has nothing else. Whatever its config does not hold is refused.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from kcnn.errors import InputError
from kcnn.recipes.idle import refuse_idle_beside_optimizer
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras
from kcnn.terminal import styled
from kcnn.training.loop.compiled import made, own_name, shown
from kcnn.training.setup import Setup

#: Losses and metrics: an object, a function, or a name of Keras'.
Loss = Any
Metrics = Sequence[Any]


def handed(
    recipe: Recipe,
    *,
    model: keras.Model | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    loss: Loss | None = None,
    metrics: Metrics = (),
    keep_compiled: bool = False,
) -> Recipe:
    """The recipe with what is handed over in it, in place of its own.

    Args:
        recipe: As it was given.
        model: The user's own.
        optimizer: Is made anew of its config: it begins without what it has counted.
        loss: Instead of the task's.
        metrics: Beside the task's figures.
        keep_compiled: Take all three from `model`.

    Raises:
        InputError: What cannot be recorded; fields of the recipe that would not count.
    """
    given = {"optimizer": optimizer, "loss": loss, "metrics": metrics}
    given = {name: one for name, one in given.items() if one is not None and one not in ((), [])}
    if keep_compiled:
        given = _of_model(model, given)
    if not given:
        return recipe
    _check_kinds(given)
    configs = {name: _recorded(name, one) for name, one in given.items()}
    compiled = {**recipe.compiled, **configs}
    if "optimizer" not in configs:
        return dataclasses.replace(recipe, compiled=compiled)
    if "optimizer" not in recipe.compiled:
        refuse_idle_beside_optimizer(recipe, shown(configs["optimizer"]))
    return dataclasses.replace(recipe, compiled=compiled, **_numbers(recipe, configs["optimizer"]))


def say_replaced(console: Console, setup: Setup, model: keras.Model | None) -> None:
    """Say so where a model is not trained with all that it was compiled with."""
    kept = setup.recipe.compiled
    if model is None or not model.compiled or {"optimizer", "loss"} <= kept.keys():
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = model.get_compile_config() or {}
    except Exception:  # of a get_config of anybody's
        config = {}
    parts = [shown(config[name]) for name in ("optimizer", "loss") if config.get(name)]
    recipe = setup.recipe
    used = f"{recipe.optimizer} at {recipe.learning_rate:g}"
    used += (
        f" and {shown(kept['loss'])}" if "loss" in kept else f" and the loss of {setup.task.name}"
    )
    console.print(
        styled(
            f"{model.name} was compiled with {' and '.join(parts) or 'others'}: it is trained with "
            f"{used}. keep_compiled=True keeps its own."
        )
    )


def _of_model(model: keras.Model | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is compiled with."""
    if model is None or not model.compiled:
        said = "received none" if model is None else f"{model.name} is not compiled"
        raise InputError(f"keep_compiled=True is of a compiled model of your own; {said}.")
    if given:
        raise InputError(
            f"keep_compiled=True takes the model's own; received {', '.join(given)}, too. Leave "
            f"one of the two out."
        )
    config = _serialized("compiled", model.get_compile_config)
    for name in ("loss_weights", "weighted_metrics"):
        if config.get(name):
            raise InputError(
                f"The model was compiled with {name}, which a training of kcnn does not heed. "
                f"Compile it without, or hand over optimizer, loss and metrics."
            )
    found = {name: config.get(name) for name in ("optimizer", "loss", "metrics")}
    if not found["loss"]:
        raise InputError(
            f"{model.name} is compiled without a loss. Hand one over, or compile it with one."
        )
    return {name: made(name, one) if name == "optimizer" else one for name, one in found.items()
            if one}  # fmt: skip


def _check_kinds(given: Mapping[str, Any]) -> None:
    optimizer = given.get("optimizer")
    if optimizer is not None and not isinstance(optimizer, keras.optimizers.Optimizer):
        raise InputError(
            f"optimizer is a keras.optimizers.Optimizer; received {optimizer!r}. By name it is the "
            f"recipe's: kcnn.Recipe(optimizer='adam')."
        )
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if getattr(inner, "use_ema", False):
        raise InputError(
            f"{type(inner).__name__}(use_ema=True) keeps an average of the weights, which is the "
            f"recipe's affair: ema of a named optimizer, or swa_start. Leave it out."
        )
    for name in ("loss", "metrics"):
        value = given.get(name, [])
        listed = value if name == "metrics" else [value]
        if isinstance(listed, (str, Mapping)) or any(map(_is_several, listed)):
            raise InputError(
                f"{name} is {'a list' if name == 'metrics' else 'one'}, for the one output of the "
                f"network; received {value!r}."
            )


def _is_several(one: Any) -> bool:
    """Whether it is for several outputs, by name or in their order."""
    return (isinstance(one, (list, tuple)) and bool(one)) or _is_by_name(one)


def _is_by_name(one: Any) -> bool:
    return isinstance(one, Mapping) and "class_name" not in one


def _recorded(name: str, one: Any) -> Any:
    """A config from which the same is made.

    Raises:
        InputError: There is none.
    """
    config = _serialized(name, lambda: keras.saving.serialize_keras_object(one))
    if any(part.get("class_name") == "__lambda__" for part in _parts(config)):
        raise InputError(
            f"{name} has a lambda in it, which no record can hold. Make it a function with a name, "
            f"registered by @keras.saving.register_keras_serializable()."
        )
    again = [made(name, part) for part in (config if name == "metrics" else [config])]
    for part in again:
        if isinstance(part, str):
            _check_word(name, part)
        elif missing := _left_out(part):
            raise InputError(
                f"{type(part).__name__}.get_config() has no {missing}: a run that is resumed would "
                f"have its default. Add it to what get_config gives."
            )
    return config


def _serialized(name: str, serialize: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lambdas, which are refused
            return json.loads(json.dumps(serialize(), allow_nan=False))
    except Exception as error:  # of a get_config of anybody's
        raise InputError(
            f"{name} cannot be recorded, and so not resumed: {type(error).__name__}: "
            f"{str(error)[:200]}. It needs a get_config of plain values."
        ) from error


def _check_word(name: str, word: str) -> None:
    try:
        (keras.losses if name == "loss" else keras.metrics).get(word)
    except ValueError:
        if name == "metrics" and word in ("accuracy", "acc", "crossentropy", "ce"):
            return
        raise InputError(f"Keras has no {name} called {word!r}.") from None


def _parts(config: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(config, Mapping):
        yield config
    if isinstance(config, (list, Mapping)):
        values = config.values() if isinstance(config, Mapping) else config
        yield from (part for value in values for part in _parts(value))


def _left_out(one: Any) -> str:
    """Arguments of the user's own class that its config does not hold."""
    if not hasattr(one, "get_config") or type(one).__module__.split(".")[0] == "keras":
        return ""
    config, kinds = one.get_config(), inspect.Parameter
    named = kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY
    parameters = inspect.signature(type(one)).parameters.values()
    known = {*config, "name", "dtype"}
    return ", ".join(p.name for p in parameters if p.kind in named and p.name not in known)


def _numbers(recipe: Recipe, config: Any) -> dict[str, Any]:
    """The recipe's fields as the optimiser has them, so that what is shown is so."""
    found = made("optimizer", config)
    inner = getattr(found, "inner_optimizer", found)
    rate = inner.get_config()["learning_rate"]
    scheduled = isinstance(rate, Mapping)
    if scheduled and recipe.on_nan == "retry":
        raise InputError(
            f"on_nan='retry' lowers the learning rate; that of the {type(inner).__name__} is its "
            f"{shown(rate)}'s. Take on_nan='stop', or give it a number."
        )
    return {
        "optimizer": own_name(config),
        "learning_rate": float(keras.ops.convert_to_numpy(inner.learning_rate)),
        "schedule": own_name(rate) if scheduled else "constant",
        "warmup": 0.0,
        "momentum": None,
        "weight_decay": float(inner.weight_decay or 0.0),
    }
