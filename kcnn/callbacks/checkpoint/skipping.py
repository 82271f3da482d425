"""`fit` goes through training steps without training: those that were done before."""

from __future__ import annotations

from typing import Any

from kcnn.callbacks.checkpoint.variables import Snapshot
from kcnn.graph.fit_data import fit_data
from kcnn.startup import keras


class Skipping:
    """Lets `fit` do nothing in a call of steps; TensorFlow only. Callbacks hear of the steps.

    `fit` looks up `model.train_function` for every call. What is put there stays for that call
    alone, since an exception may end `fit` at any point, and no callback hears of it.

    Args:
        model: In `fit`, before the first step.
        draw: Take each batch, and drop it. Else the data begin with the step: nothing is taken,
            and what Keras makes of a first batch is made of zeros of the data's form.
    """

    def __init__(self, model: keras.Model, *, draw: bool) -> None:
        self._model, self._draw = model, draw
        self._function, self._history = model.train_function, model.history
        fit = None if draw else fit_data(model)
        if fit is not None and hasattr(fit.x, "element_spec"):
            Snapshot.build_metrics(model, _zeros(fit.x.element_spec))

    def next_call(self) -> None:
        """Do nothing in the next call."""
        self._model.train_function = self._skip

    def _skip(self, iterator: Any) -> Any:
        self._model.train_function = self._function
        if self._model.history is not self._history:  # that `fit` ended before its call
            return self._function(iterator)
        if self._draw:
            for _ in range(self._model.steps_per_execution):
                Snapshot.build_metrics(self._model, next(iterator, None))
        return self._model.get_metrics_result()


def _zeros(spec: Any) -> Any:
    """A batch of one element of zeros, of the form that a `tf.data.Dataset` gives."""

    def zeros(one: Any) -> Any:
        return keras.ops.zeros([side or 1 for side in one.shape], one.dtype.name)

    return keras.tree.map_structure(zeros, spec)
