"""When weights are averaged, and the learning rate meanwhile: plain functions of numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from kcnn.errors import InputError

_SPAN = re.compile(r"\s*(\d+)\s*(step|epoch)s?\s*")


@dataclass(frozen=True)
class Span:
    """A part of training: `number` of a `unit`, "epochs", "steps" or "fraction" (of the epochs)."""

    number: float
    unit: str

    def __str__(self) -> str:
        if self.unit == "fraction":
            return f"{self.number:.0%} of the epochs"
        return f"{self.number} {self.unit[:-1] if self.number == 1 else self.unit}"


def span(option: str, value: Any, *, least: int, fraction: bool = False) -> Span:
    """`value` as a part of training: 5 or "5 epochs", "1200 steps", or a fraction as 0.75.

    Raises:
        InputError: It is neither, or less than `least`.
    """
    found = None
    text = _SPAN.fullmatch(value) if isinstance(value, str) else None
    if text:
        found = Span(int(text[1]), f"{text[2]}s")
    elif isinstance(value, Integral) and not isinstance(value, bool):
        found = Span(int(value), "epochs")
    elif fraction and _is_rate(value) and value < 1:
        return Span(float(value), "fraction")
    if found is None or found.number < least:
        forms = "a number of epochs, or of steps as '1200 steps'"
        forms = f"a fraction of training between 0 and 1, {forms}" if fraction else forms
        raise InputError(f"{option} is {forms}, from {least} up; received {value!r}.")
    return found


def first_epoch(start: Span, epochs: int) -> int:
    """The epoch, from 0, with which `start` begins when it is no number of steps."""
    if start.unit == "fraction":
        return math.floor(round(start.number * epochs, 6))
    return int(start.number)


def snapshots(start: Span, every: Span, epochs: int, steps: int | None, group: int) -> int | None:
    """How many snapshots a training of `epochs` epochs of `steps` steps takes.

    Args:
        start: Beginning of the first period.
        every: Length of a period.
        epochs: Epochs of the training.
        steps: Steps of an epoch; None where they are not known.
        group: Steps that run together (`steps_per_execution`): no snapshot between them.

    Returns:
        Their number; None where it depends on `steps` and these are not known.
    """
    if every.unit == "epochs":
        if start.unit != "steps":
            begin = first_epoch(start, epochs)
        elif steps:
            begin = math.ceil(start.number / steps)
        else:
            return None
        return max(0, epochs - begin) // int(every.number)
    if not steps:
        return None
    done = start.number if start.unit == "steps" else first_epoch(start, epochs) * steps
    return max(0, int(epochs * steps - done)) // max(int(every.number), group)


class Timetable:
    """Follows a training, and says when averaging has begun and a snapshot is due.

    Args:
        start: Beginning of the first period.
        every: Length of a period.
        epochs: Epochs of the training.
        steps: Steps of an epoch; None where they are not known.
        group: Steps that run together.
    """

    def __init__(
        self, start: Span, every: Span, epochs: int, steps: int | None, group: int
    ) -> None:
        self.start, self.every = start, every
        self.epochs, self.steps, self.group = epochs, steps, group
        #: Where training is: all that changes.
        self.position: dict[str, Any] = {
            "epoch": 0,
            "before": None,  # steps before this epoch
            "batch": None,  # steps in it before the group that runs
            "ended": None,  # the last step in it that has run, from 0
            "length": steps,  # steps of an epoch, when known
            "begin_epoch": None,  # where averaging began
            "begin_step": None,
            "periods": 0,  # since, as far as a snapshot was due
        }

    @property
    def begun(self) -> bool:
        """Whether averaging has begun."""
        return self.position["begin_epoch"] is not None

    def go_on(self, position: Mapping[str, Any]) -> bool:
        """Go on from a position; whether averaging then had begun too early for this training.

        It had where the training has become longer, of which `start` is a share: it begins anew.
        """
        self.position = dict(position)
        if not self.begun or self.start.unit == "steps":
            return False
        early = self.position["begin_epoch"] < first_epoch(self.start, self.epochs)
        if early:
            self.position.update(begin_epoch=None, begin_step=None, periods=0)
        return early

    def epochs_since(self, epoch: int) -> int:
        """Which epoch of averaging, from 0, `epoch` is."""
        return epoch - self.position["begin_epoch"]

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins."""
        here = self.position
        if here["before"] is None:  # `fit` may begin with a later epoch than the first
            here["before"] = epoch * (self.steps or 0)
        here["epoch"], here["batch"], here["ended"] = epoch, None, None
        self._begin_if_due(here["before"], epoch)

    def begin_group(self, batch: int) -> bool:
        """A group of steps begins behind `batch` steps of the epoch; is a snapshot due first?"""
        here = self.position
        here["batch"] = batch
        return batch > 0 and self._due_behind(here["before"] + batch, here["epoch"])

    def end_group(self, batch: int) -> None:
        """A group of steps has run, `batch` the last of them."""
        here = self.position
        here["ended"] = batch if here["ended"] is None else max(batch, here["ended"])

    def end_epoch(self, epoch: int) -> bool:
        """An epoch ends; is a snapshot due?"""
        here, due = self.position, False
        if here["ended"] is not None:
            # Keras gives the last group its full length; and lets one begin when data have run out.
            length = here["ended"] + 1
            here["length"] = min(length, self.steps or length)
            here["before"] += here["length"]
            here["batch"] = here["ended"] = None
            due = self._due_behind(here["before"], epoch + 1)
        if self.every.unit == "epochs" and self.begun:
            periods, rest = divmod(self.epochs_since(epoch + 1), int(self.every.number))
            due = periods > 0 and not rest
        return due

    def place_in_cycle(self) -> tuple[int, int]:
        """The last step of the group that begins, from 1, in cycles of how many steps."""
        here, length = self.position, int(self.every.number)
        if self.every.unit == "epochs":
            length *= here["length"]
        step = here["before"] + here["batch"] - here["begin_step"]
        end = (step // length + 1) * length
        return min(step + self.group, end), length

    def _due_behind(self, done: int, epoch: int) -> bool:
        """With periods of steps: is a snapshot due when `done` steps in all are behind?"""
        if self.every.unit != "steps":
            return False
        if self.start.unit == "steps":
            self._begin_if_due(done, epoch)
        if not self.begun:
            return False
        periods = (done - self.position["begin_step"]) // int(self.every.number)
        due = periods > self.position["periods"]
        self.position["periods"] = max(periods, self.position["periods"])
        return due

    def _begin_if_due(self, done: int, epoch: int) -> None:
        """Averaging begins, if `done` steps and `epoch` epochs are `start` or more."""
        if self.begun:
            return
        begin = done
        if self.start.unit == "steps":
            due = done >= self.start.number
            if self.every.unit == "steps":
                begin = int(self.start.number)  # maybe inside the group that has just run
        else:
            first = first_epoch(self.start, self.epochs)
            due = epoch >= first
            begin -= max(0, epoch - first) * (self.steps or 0)
            epoch = min(epoch, first)
        if due:
            self.position.update(begin_epoch=epoch, begin_step=begin)


@dataclass(frozen=True)
class Rate:
    """The learning rate while weights are averaged: constant at `low`, or cycles down to it.

    Args:
        low: The constant rate, or that at the end of each cycle.
        high: The rate at the beginning of each cycle; None without cycles.
        anneal_epochs: Epochs over which a constant rate is approached.
        anneal: "linear" or "cosine".
    """

    low: float
    high: float | None = None
    anneal_epochs: int = 0
    anneal: str = "linear"

    def constant(self, base: float, epoch: int) -> float:
        """The rate in the `epoch`-th epoch, from 0, of averaging; `base` is that before."""
        t = min(1.0, epoch / self.anneal_epochs) if self.anneal_epochs else 1.0
        if self.anneal == "cosine":
            t = (1.0 - math.cos(math.pi * t)) / 2.0
        return base + (self.low - base) * t if t < 1.0 else self.low

    def cyclic(self, step: int, length: int) -> float:
        """The rate in the `step`-th step, from 1, of cycles of `length` steps.

        (Izmailov et al. 2018, section 3.2.)
        """
        t = ((step - 1) % length + 1) / length
        return (1.0 - t) * (self.high or self.low) + t * self.low


def rate(learning_rate: Any, anneal_epochs: Any, anneal: Any) -> Rate | None:
    """The options of a callback as a `Rate`; None leaves the learning rate alone.

    Raises:
        InputError: One of them has none of the values allowed.
    """
    if anneal not in ("linear", "cosine"):
        raise InputError(f"anneal is 'linear' or 'cosine'; received {anneal!r}.")
    whole = isinstance(anneal_epochs, Integral) and not isinstance(anneal_epochs, bool)
    if not whole or anneal_epochs < 0:
        raise InputError(f"anneal_epochs is a number of epochs from 0; received {anneal_epochs!r}.")
    if learning_rate is None:
        needless = anneal_epochs > 0
    else:
        cyclic = isinstance(learning_rate, Sequence) and not isinstance(learning_rate, str)
        rates = list(learning_rate) if cyclic else [learning_rate]
        if not all(map(_is_rate, rates)) or (cyclic and (len(rates) != 2 or rates[0] < rates[1])):
            raise InputError(
                "learning_rate is None (left alone), a positive number, or for cycles a pair "
                f"(high, low); received {learning_rate!r}."
            )
        needless = cyclic and anneal_epochs > 0
    if needless:
        raise InputError(
            f"anneal_epochs={anneal_epochs} approaches a constant learning rate; received "
            f"learning_rate={learning_rate!r}. Give a number, or leave anneal_epochs out."
        )
    if learning_rate is None:
        return None
    high = float(rates[0]) if cyclic else None
    return Rate(float(rates[-1]), high, int(anneal_epochs), anneal)


def _is_rate(value: Any) -> bool:
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0
