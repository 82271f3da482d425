"""Stochastic weight averaging (Izmailov et al. 2018, algorithm 1)."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from kcnn.callbacks.averaging import refusals, timetable
from kcnn.callbacks.averaging.fit_data import evaluate_options, evaluated, training_data
from kcnn.callbacks.averaging.mean import WeightMean, assign, values
from kcnn.callbacks.averaging.statistics import Statistics, statistics_of
from kcnn.callbacks.averaging.timetable import Timetable
from kcnn.errors import InputError
from kcnn.graph.fit_data import FitData, fit_data
from kcnn.graph.recalibration import batchnorm_layers
from kcnn.startup import keras

Logs = dict[str, Any] | None


class StochasticWeightAveraging(keras.callbacks.Callback):
    """Average the weights of the last part of training; put the average into the model at its end.

    A snapshot enters the mean at the end of each period of `every` after `start`, the end of
    training included; a last period that is cut short does not count. The mean is kept in single
    precision (double for double) on the device. Integer weights and the seeds of dropout are the
    model's own. BatchNorm's statistics are computed anew for the averaged weights, exactly, by a
    pass over the training data (see `kcnn.graph.recalibration`): those of the running `fit`.
    Layers whose statistics training does not move, such as frozen ones, keep them.

    Training that is stopped early ends with the average of the snapshots there are; without one
    (`snapshots` is 0) the model is left alone. Put the callback behind an EarlyStopping with
    `restore_best_weights`, and before callbacks that write logs if `validate` is on.

    Args:
        start: When averaging begins: a fraction of the epochs (0.75), a number of epochs (150),
            or of steps ("1200 steps"), after which the first period begins.
        every: Length of a period: epochs (1), or steps ("100 steps"). With `steps_per_execution`
            above 1 the snapshot is taken at the first end of a group at or behind the step due.
        learning_rate: From `start` on: None leaves it alone; a number is a constant rate; a pair
            (high, low) falls linearly in each period, with the snapshot at `low`. It stays with
            the optimizer afterwards.
        anneal_epochs: Epochs over which a constant rate is approached from the rate at `start`.
        anneal: The way there: "linear" or "cosine".
        recalibrate: Compute BatchNorm's statistics anew; without, they are averaged like weights,
            which is cheaper and not exact.
        recalibration_steps: Batches of that pass: a sample of the data. By default all of them,
            or `steps_per_epoch` if `fit` has it.
        data: The training data, for that pass, as `model.predict` takes them, if `fit` is given
            what cannot be read twice.
        validate: At the end of each epoch, evaluate the averaged model and add the figures to the
            logs: `swa_val_loss`, `swa_val_` and each metric. It costs a
            validation and, with BatchNorm, a recalibration an epoch. Before the first snapshot
            they are the model's.
        validation_data: What that is done on; by default what `fit` validates on.
        apply: Put the average into the model at the end of training; else the raw weights stay.

    Raises:
        InputError: A value outside these; at the beginning of training, when fewer than two
            snapshots fit into it, the optimizer's learning rate is a schedule and cannot be set,
            or data for BatchNorm or validation are missing.
    """

    #: To Keras: on JAX, `on_train_batch_end` need not keep training waiting for each step.
    async_safe = True

    _base_rate: float | None  #: when averaging began
    _validated: dict[str, float]  #: figures of the present mean

    def __init__(
        self,
        start: float | int | str = 0.75,
        *,
        every: int | str = 1,
        learning_rate: float | tuple[float, float] | None = None,
        anneal_epochs: int = 0,
        anneal: str = "linear",
        recalibrate: bool = True,
        recalibration_steps: int | None = None,
        data: Any = None,
        validate: bool = False,
        validation_data: Any = None,
        apply: bool = True,
    ) -> None:
        super().__init__()
        self.start = timetable.span("start", start, least=0, fraction=True)
        self.every = timetable.span("every", every, least=1)
        self.rate = timetable.rate(learning_rate, anneal_epochs, anneal)
        self.recalibrate, self.recalibration_steps = recalibrate, recalibration_steps
        self.data, self.validation_data = data, validation_data
        self.validate, self.apply = validate, apply
        if recalibration_steps is not None and not recalibration_steps >= 1:
            raise InputError(
                f"recalibration_steps is a number of batches from 1; received "
                f"{recalibration_steps!r}."
            )
        self._begin_afresh()

    # What comes out

    @property
    def snapshots(self) -> int:
        """How many snapshots are in the mean."""
        return self._mean.count

    @property
    def raw_weights(self) -> list[np.ndarray] | None:
        """Weights with which training ended, in the order of `model.weights`; None before."""
        return self._raw

    @property
    def averaged_weights(self) -> list[np.ndarray] | None:
        """The averaged weights, in the order of `model.weights`; None without a snapshot.

        Until training has ended (also if an exception ended it) BatchNorm's statistics among
        them are the model's; within `averaged` they are exact.
        """
        if self._final is not None or not self.snapshots:
            return self._final
        return self._mean.over(self.model.get_weights())

    @contextlib.contextmanager
    def averaged(self, model: keras.Model) -> Iterator[keras.Model]:
        """Within it, `model` has the averaged weights; behind it, again those it had.

        Args:
            model: The one that was trained, or another of the same weights.

        Raises:
            InputError: There is no snapshot yet, or `model` has other weights.
        """
        if not self.snapshots:
            raise InputError("No weights are averaged yet: the first snapshot comes after `start`.")
        present = values(model.weights)
        try:
            self._put_into(model)
            yield model
        finally:
            assign(model, model.weights, present)

    # State, for checkpoints

    def get_state(self) -> dict[str, Any]:
        """All that averaging needs to go on, as numbers, text and arrays."""
        return self._mean.get_state() | {
            "position": dict(self._timetable.position) if self._timetable else {},
            "base_rate": self._base_rate,
            "validated": dict(self._validated),
            "reference": {str(i): np.array(x) for i, x in self._statistics.reference.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave; between `on_train_begin` and an epoch or step."""
        self._mean.set_state(state)
        self._base_rate, self._validated = state["base_rate"], dict(state["validated"])
        if self._timetable and state["position"] and self._timetable.go_on(state["position"]):
            self._forget_snapshots()
        self._statistics.begin_from(state["reference"])

    def __deepcopy__(self, memo: dict[int, Any]) -> StochasticWeightAveraging:
        twin = copy.copy(self)  # model and data stay shared
        twin._mean, twin._timetable = copy.copy(self._mean), copy.deepcopy(self._timetable)
        twin._statistics = copy.copy(self._statistics)
        twin._statistics.forget()
        memo[id(self)] = twin
        return twin

    def _begin_afresh(self) -> None:
        self._timetable: Any = None  # a Timetable, in training
        self._mean = WeightMean()
        self._raw: list[np.ndarray] | None = None
        self._final: list[np.ndarray] | None = None
        self._base_rate, self._validated = None, {}
        self._statistics = Statistics()
        self._fit: FitData | None = None

    def _forget_snapshots(self) -> None:
        """Of a shorter training: they are of epochs before the start of this one."""
        self._mean, self._base_rate, self._validated = WeightMean(), None, {}

    # Hooks

    def on_train_begin(self, logs: Logs = None) -> None:
        self._begin_afresh()
        model, params = self.model, self.params
        group = model.steps_per_execution
        self._fit = fit_data(model)
        when = self.start, self.every
        self._timetable = Timetable(*when, params["epochs"], params["steps"], group)
        refusals.refuse_few_snapshots(*when, params, group)
        if self.rate is not None:
            refusals.refuse_rate(model.optimizer, self.rate, *when, params)
        refusals.refuse_keepers(self, self._fit.others if self._fit else ())
        self._check_data(model)
        self._statistics.begin(model)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._timetable.begin_epoch(epoch)
        self._set_constant_rate(epoch)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        # Snapshots of the end of the group before: at its end, JAX lets hooks run at any time.
        if not self._needs_steps:
            return
        begun = self._timetable.begun
        if self._timetable.begin_group(batch):
            self._take_snapshot()
        if self.rate is not None and self._is_cyclic and self._timetable.begun:
            self.model.optimizer.learning_rate = self.rate.cyclic(*self._timetable.place_in_cycle())
        elif not begun:
            self._set_constant_rate(None)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._needs_steps:
            self._timetable.end_group(batch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self._timetable.end_epoch(epoch):
            self._take_snapshot()
        if self.validate and logs is not None:
            logs.update({f"swa_val_{name}": x for name, x in self._figures(logs).items()})

    def on_train_end(self, logs: Logs = None) -> None:
        model = self.model
        self._raw, final = model.get_weights(), None
        if not self.snapshots:
            return
        try:
            self._put_into(model)
            final = model.get_weights()
        finally:
            if final is None or not self.apply:
                model.set_weights(self._raw)
        self._final = final
        self._statistics.forget()  # let the data go
        self._fit = None

    # The learning rate

    @property
    def _is_cyclic(self) -> bool:
        return self.rate is not None and self.rate.high is not None

    @property
    def _needs_steps(self) -> bool:
        return self._is_cyclic or "steps" in (self.start.unit, self.every.unit)

    def _set_constant_rate(self, epoch: int | None) -> None:
        """Where averaging has begun with a constant rate: that of `epoch`, or of its beginning."""
        if self.rate is None or self._is_cyclic or not self._timetable.begun:
            return
        if self._base_rate is None:
            self._base_rate = refusals.rate_of(self.model.optimizer)
        since = 0 if epoch is None else self._timetable.epochs_since(epoch)
        self.model.optimizer.learning_rate = self.rate.constant(self._base_rate, since)

    # What

    def _take_snapshot(self) -> None:
        left_out = statistics_of(self.model) if self.recalibrate else ()
        self._mean.take(self.model, left_out)
        self._validated = {}

    def _put_into(self, model: keras.Model) -> None:
        """Averaged weights, with BatchNorm's statistics for them, into `model`."""
        if self._final is not None:
            assign(model, model.weights, self._final)
            return
        self._mean.put_into(model)
        if self.recalibrate:
            self._statistics.renew(model, self._training_data)

    def _training_data(self) -> tuple[Any, int | None, int | None]:
        steps = self.recalibration_steps
        return training_data(self._fit, self.data, steps, self.params["steps"])

    def _figures(self, logs: dict[str, Any]) -> dict[str, float]:
        """Loss and metrics of the averaged model; before the first snapshot, of the model."""
        names = self.model.get_metrics_result()
        if not self.snapshots:
            if all(f"val_{name}" in logs for name in names):
                return {name: float(logs[f"val_{name}"]) for name in names}
            return evaluated(self.model, self._fit, self.validation_data)
        if not self._validated:
            with self.averaged(self.model):
                self._validated = evaluated(self.model, self._fit, self.validation_data)
        return self._validated

    # Refusals, at the beginning

    def _check_data(self, model: keras.Model) -> None:
        if self.recalibrate and batchnorm_layers(model):
            self._training_data()
        if self.validate:
            evaluate_options(self._fit, self.validation_data)
