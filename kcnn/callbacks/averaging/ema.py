"""Validation of the exponential moving average of weights that Keras' optimizers keep."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from kcnn.callbacks.averaging.mean import assign, values
from kcnn.errors import InputError
from kcnn.startup import keras

Logs = dict[str, Any] | None


class EvaluateEMA(keras.callbacks.Callback):
    """With `use_ema=True` in the optimizer: validate, and save, the averaged weights.

    From the beginning of an epoch's validation on, the model has the averaged weights; callbacks
    that evaluate, predict or save at the epoch's end see them, too, if this one is the last in
    the list. Its `on_epoch_end` puts the raw weights back, with which training goes on to the
    same bits as without this callback. (In an epoch without validation nothing is put in; see
    `averaged`.) Behind the last epoch Keras itself puts the averages in for good. BatchNorm's
    statistics are those of the raw weights: Keras averages trainable weights only.

    In a list of `callbacks` outside `fit` it serves `model.evaluate` and `model.predict` alike,
    and puts the raw weights back at their end.

    When validation is interrupted by an exception the raw weights are put back, too. Where one of
    the other callbacks may raise at an epoch's end, use it as a context manager:

        with EvaluateEMA() as ema:
            model.fit(x, y, validation_data=data, callbacks=[..., ema])

    Raises:
        InputError: At the beginning of training, when the optimizer keeps no average.
    """

    def __init__(self) -> None:
        super().__init__()
        self._raw: list[Any] | None = None  # while the averages are in the model
        self._training = False

    @contextlib.contextmanager
    def averaged(self, model: keras.Model) -> Iterator[keras.Model]:
        """Within it, `model` has the averaged weights; behind it, again those it had."""
        raw = values(model.trainable_variables)
        try:
            _put_average_into(model)
            yield model
        finally:
            assign(model, model.trainable_variables, raw)

    def put_back(self) -> None:
        """Put the raw weights back into the model, if the averages are in it."""
        raw, self._raw, self._training = self._raw, None, False
        if raw is not None:
            assign(self.model, self.model.trainable_variables, raw)

    def __enter__(self) -> EvaluateEMA:
        return self

    def __exit__(self, *exception: object) -> None:
        self.put_back()

    # Hooks

    def on_train_begin(self, logs: Logs = None) -> None:
        self._raw, self._training = None, True
        _check_average(self.model)
        self._guard_evaluate()

    def on_test_begin(self, logs: Logs = None) -> None:
        self._swap_in()

    def on_test_end(self, logs: Logs = None) -> None:
        if not self._training:
            self.put_back()

    def on_predict_begin(self, logs: Logs = None) -> None:
        self._swap_in()

    def on_predict_end(self, logs: Logs = None) -> None:
        if not self._training:
            self.put_back()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.put_back()
        self._training = True

    def on_train_end(self, logs: Logs = None) -> None:
        self._training = False
        self.model.__dict__.pop("evaluate", None)

    def _swap_in(self) -> None:
        if self._raw is None:
            self._raw = values(self.model.trainable_variables)
            _put_average_into(self.model)

    def _guard_evaluate(self) -> None:
        """Keras tells no callback of an exception: `evaluate`, of this model, shall."""
        model = self.model
        evaluate = type(model).evaluate

        def guarded(*args: Any, **options: Any) -> Any:
            try:
                return evaluate(model, *args, **options)
            except BaseException:
                self.put_back()
                raise

        model.evaluate = guarded


def _check_average(model: keras.Model) -> None:
    optimizer = model.optimizer
    if not getattr(getattr(optimizer, "inner_optimizer", optimizer), "use_ema", False):
        raise InputError(
            f"EvaluateEMA needs an optimizer that keeps a moving average of the weights; received "
            f"{type(optimizer).__name__} without. Make it with use_ema=True."
        )


def _put_average_into(model: keras.Model) -> None:
    model.optimizer.finalize_variable_values(model.trainable_variables)
    if keras.backend.backend() == "jax":
        # They share the memory of the average, which evaluation would use up with theirs.
        assign(model, model.trainable_variables, values(model.trainable_variables))
