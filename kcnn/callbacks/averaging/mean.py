"""The running mean of a model's weights, on the device."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.startup import keras, tf


class WeightMean:
    """Mean of snapshots of a model's floating-point weights, in at least single precision.

    It consists of tensors, which nothing changes: a copy may share them.
    """

    def __init__(self) -> None:
        self._mean: tuple[int, list[Any]] = (0, [])
        self._merge: Callable[..., list[Any]] | None = None  # for tensors of the present shapes
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
            means, self._merge = [keras.ops.copy(value) for value in values], None
        else:
            if self._merge is None:
                self._merge = _merging(values)
            means = self._merge(means, values, 1.0 / (count + 1))
        self._mean = (count + 1, means)  # in one step, should Ctrl-C come in between

    def put_into(self, model: keras.Model) -> None:
        """Assign the mean to the weights of `model` that are averaged."""
        weights = model.weights
        assign(model, [weights[i] for i in self.indices if i < len(weights)], self._mean[1])

    def over(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        """`weights`, those of a model, with the mean in place of what is averaged."""
        for i, mean in zip(self.indices, self._mean[1], strict=True):
            weights[i] = np.array(keras.ops.convert_to_numpy(mean)).astype(weights[i].dtype)
        return weights

    def get_state(self) -> dict[str, Any]:
        """As numbers and arrays."""
        count, means = self._mean
        return {
            "count": count,
            "means": [np.array(keras.ops.convert_to_numpy(mean)) for mean in means],
            "indices": list(self.indices),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave."""
        means = [keras.ops.convert_to_tensor(np.array(mean)) for mean in state["means"]]
        self._mean, self._merge = (int(state["count"]), means), None
        self.indices = [int(i) for i in state["indices"]]


def _merged(means: list[Any], values: list[Any], share: Any) -> list[Any]:
    pairs = zip(means, values, strict=True)
    return [mean + (value - mean) * keras.ops.cast(share, mean.dtype) for mean, value in pairs]


def _merging(values: list[Any]) -> Callable[..., list[Any]]:
    """`_merged` for tensors as `values`; on TensorFlow as one graph, which takes half the time."""
    if keras.backend.backend() != "tensorflow":
        return _merged
    specs = [tf.TensorSpec(value.shape, value.dtype) for value in values]
    share = tf.TensorSpec((), tf.float64)
    # A concrete function: calling a new tf.function for every training makes TensorFlow warn.
    graph = tf.function(_merged, autograph=False).get_concrete_function(specs, specs, share)
    return lambda means, values, share: graph(means, values, tf.constant(share, tf.float64))


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
    return keras.ops.cast(
        keras.ops.convert_to_tensor(weight), keras.backend.result_type(weight.dtype, "float32")
    )
