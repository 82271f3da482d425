"""Losses and metrics of Keras that take class numbers, on targets that are one-hot rows."""

from __future__ import annotations

from typing import Any

from kcnn.startup import keras

ops = keras.ops


def takes_numbers(one: Any) -> bool:
    """Whether a loss or a metric of Keras' own, or its name, is of class numbers."""
    if isinstance(one, str):
        return one.lower().startswith("sparse")
    kind = one if hasattr(one, "__name__") else type(one)
    name = str(kind.__name__).lower()
    return str(kind.__module__).split(".")[0] == "keras" and name.startswith("sparse")


def numbers(rows: Any) -> Any:
    """One-hot rows (..., K) as class numbers (...)."""
    return ops.argmax(rows, axis=-1)


class LossOfNumbers(keras.losses.Loss):
    """A loss of class numbers, given one-hot rows.

    Args:
        loss: An object, a function or a name of Keras' own.
    """

    def __init__(self, loss: Any) -> None:
        self._of = keras.losses.get(loss)
        own = isinstance(self._of, keras.losses.Loss)
        super().__init__(
            name=self._of.name if own else self._of.__name__,
            reduction=self._of.reduction if own else "sum_over_batch_size",
        )

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Of each image."""
        of = self._of.call if isinstance(self._of, keras.losses.Loss) else self._of
        return of(numbers(y_true), y_pred)


class MetricOfNumbers(keras.metrics.Metric):
    """A metric of class numbers, given one-hot rows.

    Args:
        metric: An object, a function or a name of Keras' own.
    """

    def __init__(self, metric: Any) -> None:
        found = keras.metrics.get(metric)
        if not isinstance(found, keras.metrics.Metric):
            name = metric if isinstance(metric, str) else found.__name__
            found = keras.metrics.MeanMetricWrapper(found, name=name)
        super().__init__(name=found.name)
        self.of = found

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """With the numbers of the rows."""
        return self.of.update_state(numbers(y_true), y_pred, sample_weight)

    def result(self) -> Any:
        """The metric's."""
        return self.of.result()

    def reset_state(self) -> None:
        """The metric's."""
        self.of.reset_state()
