"""All variables of a training, as arrays, out of it and into it again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.startup import keras


class Snapshot:
    """The variables of a compiled model: its own, its optimiser's, its metrics'."""

    @staticmethod
    def take(
        model: keras.Model,
        with_metrics: bool,
        metrics: list[np.ndarray] | None = None,
        raw: list[Any] | None = None,
    ) -> dict[str, Any]:
        """The variables as NumPy arrays by kind, in the order in which Keras lists them.

        Args:
            model: Compiled and built, and its optimiser too.
            with_metrics: Whether the running metrics belong to it.
            metrics: What they were, where that is not what they are.
            raw: What the trainable variables were, likewise.

        Raises:
            FloatingPointError: One of the model's is not finite; with its path.
        """
        if hasattr(model, "jax_state_sync"):
            model.jax_state_sync()
        were = zip(model.trainable_variables, raw or model.trainable_variables, strict=True)
        values = {id(v): value for v, value in were}
        own = [_array(values.get(id(v), v)) for v in model.variables]
        for variable, value in zip(model.variables, own, strict=True):
            if not _is_finite(value):
                raise FloatingPointError(f"The weights of {variable.path!r} are not finite")
        taken = {
            "model": own,
            "optimizer": [_array(v) for v in model.optimizer.variables],
            "others": {
                name: [_array(v) for v in optimizer.variables]
                for name, optimizer in other_optimizers(model).items()
            },
        }
        if with_metrics:
            taken["metrics"] = Snapshot.metrics(model) if metrics is None else metrics
        return taken

    @staticmethod
    def metrics(model: keras.Model) -> list[np.ndarray]:
        """The running metrics' variables."""
        return [_array(v) for v in model.metrics_variables]

    @staticmethod
    def differences(model: keras.Model, taken: dict[str, Any]) -> list[str]:
        """Where the variables of `model` are not those that were taken, in words."""
        found = []
        here = {"model": model.variables, "optimizer": _optimizer_variables(model, taken)}
        others = {n: list(other.variables) for n, other in other_optimizers(model).items()}
        there = taken.get("others") or {}
        for kind in [*here, *(others | there)]:
            variables = here[kind] if kind in here else others.get(kind, [])
            values = taken[kind] if kind in here else there.get(kind, [])
            if len(values) != len(variables):
                found.append(f"{kind}: {len(values)} variables there, {len(variables)} here")
                continue
            for variable, value in zip(variables, values, strict=True):
                found += _difference(variable, value)
        return found

    @staticmethod
    def restore(model: keras.Model, taken: dict[str, Any]) -> None:
        """Assign what `take` gave.

        A rate that an older version did not keep stays as it is: the schedule sets it.

        Raises:
            InputError: Metrics are to be restored that Keras has not built yet, or that are others.
        """
        pairs = list(zip(model.variables, taken["model"], strict=True))
        pairs += zip(_optimizer_variables(model, taken), taken["optimizer"], strict=True)
        for name, other in other_optimizers(model).items():
            pairs += zip(other.variables, taken["others"][name], strict=True)
        if "metrics" in taken:
            if len(model.metrics_variables) != len(taken["metrics"]):
                raise InputError(
                    "Keras has not built the metrics yet, or they are others. Call "
                    "model.compute_metrics, or evaluate a batch, before fit."
                )
            pairs += zip(model.metrics_variables, taken["metrics"], strict=True)
        if found := [text for variable, value in pairs for text in _difference(variable, value)]:
            raise InputError(f"The checkpoint is of another training: {'; '.join(found)}.")
        for variable, value in pairs:
            variable.assign(value)

    @staticmethod
    def build_metrics(model: keras.Model, batch: Any) -> None:
        """Let Keras make the variables of compiled metrics, which it does at the first batch."""
        if batch is None:
            return
        if not all(getattr(metric, "built", True) for metric in model.metrics):
            x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
            model.compute_metrics(x, y, model(x, training=False), sample_weight=weight)
            model.reset_metrics()


def _difference(variable: keras.Variable, value: Any) -> list[str]:
    """How a value is not one of the variable's, in words."""
    shape, dtype = tuple(variable.shape), keras.backend.standardize_dtype(variable.dtype)
    found = []
    if shape != value.shape:
        found.append(f"{variable.path}: shape {value.shape} there, {shape} here")
    if dtype != value.dtype.name:
        found.append(f"{variable.path}: {value.dtype.name} there, {dtype} here")
    return found


def other_optimizers(model: keras.Model) -> dict[str, keras.optimizers.Optimizer]:
    """By attribute: optimisers that a model of its own class holds beside the compiled one."""
    found, known = {}, {id(model.optimizer), id(getattr(model.optimizer, "inner_optimizer", None))}
    held_directly = sorted(vars(model).items(), key=lambda item: isinstance(item[1], dict))
    for name, value in held_directly:  # dictionaries last: trackers of their own hold them, too
        held = value.items() if isinstance(value, dict) else enumerate(_listed(value))
        for key, leaf in held:
            if isinstance(leaf, keras.optimizers.Optimizer) and id(leaf) not in known:
                known.add(id(leaf))
                found[name if leaf is value else f"{name}[{key!r}]"] = leaf
    return found


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def averages(model: keras.Model) -> bool:
    """Whether the optimiser keeps an average of the weights, also behind a loss scaling."""
    optimizer = model.optimizer
    return bool(getattr(getattr(optimizer, "inner_optimizer", optimizer), "use_ema", False))


def kinds(model: keras.Model) -> dict[str, str]:
    """What shapes of variables do not tell: class of the optimiser, and precision."""
    optimizer = model.optimizer
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    policies = sorted({layer.dtype_policy.name for layer in model.layers if layer.weights})
    return {"optimizer": type(inner).__name__, "precision": ", ".join(policies)}


def _optimizer_variables(model: keras.Model, taken: dict[str, Any]) -> list[keras.Variable]:
    """The optimiser's variables of which there are values."""
    variables = list(model.optimizer.variables)
    if taken.get("rated", True) or len(taken["optimizer"]) != len(variables) - 1:
        return variables
    rate = getattr(model.optimizer, "inner_optimizer", model.optimizer).learning_rate
    return [variable for variable in variables if variable is not rate]


def _array(value: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(value)


def _is_finite(value: np.ndarray) -> bool:
    if value.dtype.kind in "iub":
        return True
    return bool(np.isfinite(value).all())
