"""BatchNorm's statistics for averaged weights, of the layers whose own ones training moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kcnn.graph.recalibration import Recalibration, batchnorm_layers
from kcnn.startup import keras


def statistics_of(model: keras.Model) -> set[int]:
    """Indices in `model.weights` of the moving statistics of BatchNorm that is not frozen."""
    layers = batchnorm_layers(model)
    ids = {id(weight) for layer in layers for weight in layer.non_trainable_variables}
    return {i for i, weight in enumerate(model.weights) if id(weight) in ids}


class Statistics:
    """Knows what the statistics were before training, and computes those of an average.

    Attributes:
        reference: By index in `model.weights`: their values before training.
    """

    def __init__(self) -> None:
        self.reference: dict[int, np.ndarray] = {}
        self._run: Recalibration | None = None

    def begin(self, model: keras.Model) -> None:
        """Training begins."""
        weights = model.weights
        self.reference = {i: _value(weights[i]) for i in statistics_of(model)}

    def begin_from(self, reference: Mapping[str, Any]) -> None:
        """Training goes on: with the values of before it began, by index as text."""
        self.reference = {int(i): np.array(x) for i, x in reference.items()}

    def renew(
        self, model: keras.Model, data: Callable[[], tuple[Any, int | None, int | None]]
    ) -> None:
        """Exact statistics for the weights that `model` has.

        Args:
            model: Whose layers get them.
            data: Gives the training data, their batch size, and how many batches to take.
        """
        if not (layers := self._moved(model)):
            return
        if self._run is None or self._run.model is not model or self._run.layers != layers:
            self._run = Recalibration(model, layers)
        images, batch_size, steps = data()
        self._run.run(images, batch_size=batch_size, steps=steps)

    def forget(self) -> None:
        """Let the compiled pass go, and with it the data."""
        self._run = None

    def _moved(self, model: keras.Model) -> list[keras.layers.BatchNormalization]:
        """Layers that training moved; a call with `training=False` does not."""
        moved = {
            id(weight)
            for i, weight in enumerate(model.weights)
            if i not in self.reference
            or not np.array_equal(_value(weight), self.reference[i], equal_nan=True)
        }
        layers = batchnorm_layers(model)
        return [x for x in layers if not moved.isdisjoint(map(id, x.non_trainable_variables))]


def _value(weight: keras.Variable) -> np.ndarray:
    """A copy: on some backends the array is the variable's own memory."""
    return np.array(keras.ops.convert_to_numpy(weight))
