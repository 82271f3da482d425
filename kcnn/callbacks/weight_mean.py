"""The running mean of a model's weights, on the device."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.startup import keras


class WeightMean:
    """Mean of snapshots of a model's floating-point weights, in at least single precision.

    It consists of tensors, which nothing changes: a copy may share them.
    """

    def __init__(self) -> None:
        self._mean: tuple[int, list[Any]] = (0, [])
        self.indices: list[int] = []  #: in `model.weights`, of what is averaged

    @property
    def count(self) -> int:
        """Number of snapshots."""
        return self._mean[0]

    def take(self, model: keras.Model, left_out: Collection[int] = ()) -> None:
        """Add a snapshot of `model`; the first says what is averaged.

        Args:
            model: The same each time.
            left_out: Indices in `model.weights` of those to leave alone.
        """
        weights, (count, means) = model.weights, self._mean
        if not count:
            kept = [i for i, weight in enumerate(weights) if "float" in weight.dtype]
            self.indices = [i for i in kept if i not in left_out]
        values = [_single(weights[i]) for i in self.indices]
        if not count:
            means = [keras.ops.copy(value) for value in values]
        else:
            share = 1.0 / (count + 1)
            pairs = zip(means, values, strict=True)
            means = [mean + (value - mean) * share for mean, value in pairs]
        self._mean = (count + 1, means)  # in one step, should Ctrl-C come in between

    def put_into(self, model: keras.Model) -> None:
        """Assign the mean to the weights of `model` that are averaged."""
        weights = model.weights
        assign(model, [weights[i] for i in self.indices if i < len(weights)], self._mean[1])

    def over(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        """`weights`, those of a model, with the mean in place of what is averaged."""
        for i, mean in zip(self.indices, self._mean[1], strict=True):
            weights[i] = np.array(mean).astype(weights[i].dtype)
        return weights

    def get_state(self) -> dict[str, Any]:
        """As numbers and arrays."""
        count, means = self._mean
        return {
            "count": count,
            "means": [np.array(mean) for mean in means],
            "indices": list(self.indices),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        means = [keras.ops.convert_to_tensor(np.array(mean)) for mean in state["means"]]
        self._mean = (int(state["count"]), means)
        self.indices = [int(i) for i in state["indices"]]


def values(weights: Sequence[keras.Variable]) -> list[Any]:
    """The present values, which stay, on the device."""
    return [keras.ops.copy(weight.value) for weight in weights]


def assign(model: keras.Model, weights: Sequence[keras.Variable], values: Sequence[Any]) -> None:
    """Give `weights`, of `model`, the `values`, which stay.

    Raises:
        InputError: They differ in number or shapes; nothing is assigned.
    """
    if [tuple(x.shape) for x in weights] != [tuple(x.shape) for x in values]:
        raise InputError(
            f"The weights are those of another model than {model.name!r}: their number or shapes "
            f"differ."
        )
    for weight, value in zip(weights, values, strict=True):
        weight.assign(_given_away(value, weight.dtype))


def _given_away(value: Any, dtype: str) -> Any:
    """On JAX a copy: the next training step uses up the memory of its variables."""
    if keras.backend.backend() == "jax":
        return keras.ops.copy(keras.ops.cast(value, dtype))
    return value


def _single(weight: keras.Variable) -> Any:
    return keras.ops.cast(weight.value, keras.backend.result_type(weight.dtype, "float32"))
