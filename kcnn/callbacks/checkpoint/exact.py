"""Checkpoints from which a training goes on to the same bits."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kcnn.callbacks.checkpoint import batches, files
from kcnn.callbacks.checkpoint.content import VERSION
from kcnn.callbacks.checkpoint.period import Period, within_epochs
from kcnn.callbacks.checkpoint.refusals import refuse_unbuilt, swapping
from kcnn.callbacks.checkpoint.signals import Signals
from kcnn.callbacks.checkpoint.skipping import Skipping
from kcnn.callbacks.checkpoint.state import States, restore_surroundings, surroundings
from kcnn.callbacks.checkpoint.variables import Snapshot, averages, kinds
from kcnn.errors import InputError, NonFiniteError
from kcnn.startup import keras
from kcnn.storage import archive

Logs = dict[str, Any] | None


class ExactCheckpoint(keras.callbacks.Callback):
    """Save all of a training, so that it can go on after any death to the same bits.

    A checkpoint holds the model's variables (weights, BatchNorm statistics, the seeds of dropout
    and augmentation layers), the optimiser's, the running metrics, the history, Python's and
    NumPy's random state, the position, and the state of `callbacks`. Each file is written beside,
    brought to the disk and put in place, and carries a checksum; of the last `keep` the newest
    whole one is used. In a new process, the same program goes on where the last one was:

        checkpoint = ExactCheckpoint("checkpoints", callbacks=[stopping])
        model.fit(data, epochs=20, callbacks=[checkpoint, stopping],
                  initial_epoch=checkpoint.initial_epoch)

    It has to be the first of the callbacks: it saves at the beginning of what comes next, when
    all of them have seen the end of what was before, and restores before any of them acts.

    The same bits need the same batches: that is the part of whoever gives the data. They have to
    be a function of the epoch (`data="epoch"`), or of the step, beginning with `step`
    (`data="step"`, as `kcnn.data.training_batches(start=checkpoint.step)` gives). `fit` on arrays
    with `shuffle=True` orders them by state that no checkpoint holds: use `shuffle=False`. What is
    shuffled anew is said; data with another first batch are refused. Within an epoch `fit` goes
    through the steps done again without training; callbacks hear of them, and have their state put
    back behind. A loop of one's own begins with `initial_batch`: it calls `restore` when the
    callbacks have heard of the beginning of the epoch.

    A callback whose state is more than plain data has to have `get_state` and `set_state` (see
    `kcnn.callbacks.checkpoint.state`).

    Args:
        directory: Where the files are; made where it is missing.
        callbacks: Those whose state belongs to the training; the history always does.
        every: When to save, besides the end of training: "epoch", at the end of each; a number of
            steps; a time such as "90 s", "5 min" or "2 h"; "auto", at the end of epochs that take
            twenty times as long as writing, and every ten minutes. Within epochs it saves on
            TensorFlow only, and at the end of a group of `steps_per_execution`.
        keep: How many of the last files stay.
        data: Where the data that `fit` gets begins when training goes on within an epoch: with
            the epoch ("epoch"; what was done of it is drawn and dropped), or with "step".
        identity: What else makes it the same training, as plain values by name: a seed, a batch
            size, a fingerprint. A checkpoint of another identity is refused.
        older: By name: what a checkpoint did that was written before `identity` had the name;
            None where nothing is said.

    Raises:
        InputError: A value outside these; no file is whole; at the beginning of training, a
            checkpoint of another model or identity (with the differences; nothing is touched),
            or a directory that cannot be written.
        OSError: A checkpoint cannot be written, as on a full disk; the one before stays.
        NonFiniteError: Weights are not finite; they are not saved.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        *,
        every: int | str = "epoch",
        keep: int = 2,
        data: str = "epoch",
        identity: Mapping[str, Any] | None = None,
        older: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.directory = Path(directory)
        self.callbacks = list(callbacks)
        self._period = Period(every)
        if not isinstance(keep, int) or keep < 1:
            raise InputError(f"keep is a number of files from 1 up; received {keep!r}.")
        if data not in ("epoch", "step"):
            raise InputError(f"data is 'epoch' or 'step'; received {data!r}.")
        self.keep, self.data = keep, data
        self.identity, self.older = dict(identity or {}), dict(older or {})
        self._signals = Signals()
        self._skipping: Skipping | None = None
        self._path: Path | None = None
        self._found: dict[str, Any] | None = None
        self.find()

    # What is there

    def find(self) -> None:
        """Look for the newest whole checkpoint, from which the next `fit` then goes on."""
        self._path, self._found = files.newest(self.directory)

    @property
    def initial_epoch(self) -> int:
        """What `fit` takes: the epoch in which to go on; beyond all where training was stopped."""
        if self._found is None:
            return 0
        return 2**31 if self._found["stopped"] else self._found["epoch"]

    @property
    def initial_batch(self) -> int:
        """Steps done in `initial_epoch`: all of them where validation is what comes next."""
        return self._found["batch"] if self._found else 0

    @property
    def step(self) -> int:
        """Steps done, over all epochs, at the checkpoint that was found."""
        return self._found["step"] if self._found else 0

    # Hooks, in the order of their calls

    def on_train_begin(self, logs: Logs = None) -> None:
        files.make_writable(self.directory)
        files.refuse_ended(self.directory, self._found)
        if not self.model.built:
            raise InputError(
                "A model without weights yet has nothing to save or restore. Give its first layer "
                "a keras.Input, or call it on a batch before fit."
            )
        self._epoch = self._batch = self._before = 0  # epoch; steps done in it, and before it
        self._period.begin(0)
        self._raw: list[Any] | None = None
        self._pending = self._found
        self._skipping, self._states = None, States(self.callbacks)
        self._swapped = swapping(self.model, self.callbacks)
        self.check(self.model)
        self._first = batches.first(self.model, self._found) if self.data == "epoch" else None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        found, self._raw = self._pending, None
        if found is None:
            self._before, self._batch, self._epoch = self._before + self._batch, 0, epoch
            if self._before:
                self._save_if_due(boundary=True)
            return
        self._epoch = epoch
        files.refuse_other_epoch(self._path, found, epoch)
        if not found["batch"]:
            self.restore()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self._pending is None:
            self._batch = batch
            if batch:
                self._save_if_due()
        elif batch >= self._pending["batch"]:
            self.restore()
        else:  # `fit`: it begins with the first step
            self._skip(self._pending)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        steps = self.params.get("steps")
        self._batch = min(batch + 1, steps) if steps else batch + 1
        found = self._pending
        if found and found["before_validation"] and self._batch >= found["batch"]:
            # What `fit` reads before validation; the callbacks follow behind the last of them.
            Snapshot.restore(self.model, found["variables"])

    def on_test_begin(self, logs: Logs = None) -> None:
        self._keep_raw()
        if self._pending:  # before_validation
            self.restore()
            return
        self._metrics = Snapshot.metrics(self.model)
        self._save_if_due(before_validation=True)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self._signals.received and within_epochs():
            self._stop(before_validation=True)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._keep_raw(anew=self._swapped)  # back by now, and rounded

    def on_train_end(self, logs: Logs = None) -> None:
        if self._pending:  # all epochs were done
            self.restore()
            if averages(self.model):  # done by fit, too early
                self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        else:
            self._before, self._batch, self._epoch = self._before + self._batch, 0, self._epoch + 1
            self._save(stopped=bool(self.model.stop_training))
        self._found, self._path = None, None
        self._signals.raise_it()

    def on_signals(self, *signals: int) -> contextlib.AbstractContextManager[None]:
        """Within it, SIGTERM, SIGINT and SIGHUP (or `signals`) end `fit` behind the step.

        A checkpoint is saved; `fit` then raises KeyboardInterrupt for SIGINT and SystemExit(128 +
        number) for another; a second signal ends the process at once. The handlers that were
        there before come back. In a thread that is not the main one Python allows no handlers,
        and nothing is changed.
        """
        return self._signals.caught(*signals)

    def _stop(self, **where: bool) -> None:
        self._save(**where)
        self._signals.raise_it()

    # Saving

    def _save_if_due(self, *, boundary: bool = False, before_validation: bool = False) -> None:
        if not boundary and not within_epochs():
            return
        if self._signals.received:
            self._stop(before_validation=before_validation)
        elif self._period.is_due(self._before + self._batch, boundary):
            self._save(before_validation=before_validation)

    def _save(self, *, before_validation: bool = False, stopped: bool = False) -> None:
        started, step = time.monotonic(), self._before + self._batch
        metrics = self._metrics if before_validation else None
        try:
            variables = Snapshot.take(self.model, self._batch > 0, metrics, self._raw)
        except FloatingPointError as error:
            raise NonFiniteError(f"{error} behind step {step}", step + 1) from error
        content = {
            "training": VERSION,  # of what follows
            "epoch": self._epoch,
            "batch": self._batch,
            "step": step,
            "before_validation": before_validation,
            "stopped": stopped,
            "identity": self.identity,
            "variables": variables,
            "callbacks": self._states.take(),
            "kinds": kinds(self.model),
            "first": self._first,
            **surroundings(self.model),
        }
        here = self._epoch, self._batch
        archive.write(files.path_of(self.directory, *here), content)
        self._period.saved(step, started)
        files.keep_last(self.directory, here, self.keep)

    def _keep_raw(self, anew: bool = False) -> None:
        """With Keras' EMA: the weights that training goes on with, before anybody swaps them.

        `fit` puts the averages in their place before it ends.
        """
        if (self._raw is None or anew) and averages(self.model):
            self._raw = [keras.ops.copy(v.value) for v in self.model.trainable_variables]

    # Restoring

    def _skip(self, found: dict[str, Any]) -> None:
        """Let `fit` do nothing in its next call of steps."""
        if self._skipping is None:
            files.refuse_other_groups(self._path, found, self.model.steps_per_execution)
            self._skipping = Skipping(self.model, draw=self.data == "epoch")
        self._skipping.next_call()

    def restore(self) -> None:
        """Put the training where the checkpoint was; once, with `fit` or a loop under way."""
        found, self._pending = self._pending, None
        if found is None:
            raise RuntimeError("restore is for a training that goes on, once, behind its beginning")
        Snapshot.restore(self.model, found["variables"])
        self._states.restore(found["callbacks"])
        restore_surroundings(self.model, found)
        self._batch, self._before = found["batch"], found["step"] - found["batch"]
        self._period.restored(found["step"])
        if found["stopped"]:
            self.model.stop_training = True

    def check(self, model: keras.Model) -> None:
        """Refuse the checkpoint that was found where it is not of this training of `model`.

        Raises:
            InputError: With the differences.
        """
        if not model.optimizer.built:  # Keras does it in the first step
            model.optimizer.build(model.trainable_variables)
        found = self._found
        if found is None:
            return
        refuse_unbuilt(model)
        differences = files.differences_from(
            found, self.identity, self.older, model, self.callbacks
        )
        if differences:
            listed = "\n".join(f"  {difference}" for difference in differences)
            raise InputError(
                f"The checkpoint {str(self._path)!r} is of another training:\n{listed}\n"
                f"Nothing was changed. Train as before, or choose another directory."
            )
