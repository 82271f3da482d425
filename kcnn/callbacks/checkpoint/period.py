"""How often a training is saved: at the end of epochs, every so many steps, every so long."""

from __future__ import annotations

import re
import time

from kcnn.errors import InputError
from kcnn.startup import keras

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}

#: "auto": the share of time that writing may take, and seconds of an epoch that may be lost.
_SHARE, _LONGEST = 0.05, 600.0


def within_epochs() -> bool:
    """Whether a training can be saved, and go on, within an epoch."""
    return keras.backend.backend() == "tensorflow"


class Period:
    """Tells when the next save is due.

    Args:
        every: "epoch", "auto", a number of steps from 1 up, or a time: "90 s", "5 min", "2 h".

    Raises:
        InputError: `every` is none of those.
    """

    def __init__(self, every: int | str) -> None:
        self.kind, self.length = _parsed(every)
        self.begin(0)

    def begin(self, step: int) -> None:
        """Count from `step`, and from now on."""
        self._step, self._time, self._not_before = step, time.monotonic(), 0.0

    def saved(self, step: int, started: float) -> None:
        """A save that began at `started` is done."""
        self._step, self._time = step, time.monotonic()
        self._not_before = (self._time - started) / _SHARE

    def restored(self, step: int) -> None:
        """Training goes on from `step`; how long a save takes is known from before."""
        self._step, self._time = step, time.monotonic()

    def is_due(self, step: int, boundary: bool) -> bool:
        """Whether to save behind `step`, which may be the end of an epoch."""
        passed = time.monotonic() - self._time
        if self.kind == "steps":
            return step - self._step >= self.length
        if self.kind == "seconds":
            return passed >= self.length
        if self.kind == "epoch":
            return boundary
        return passed >= (self._not_before if boundary else _LONGEST)


def _parsed(every: int | str) -> tuple[str, float]:
    """("epoch", 0), ("auto", 0), ("steps", n) or ("seconds", t)."""
    if isinstance(every, str) and every in ("epoch", "auto"):
        return every, 0
    found: tuple[str, float]
    if isinstance(every, int) and not isinstance(every, bool) and every > 0:
        found = "steps", every
    elif isinstance(every, str) and every.isdecimal() and int(every) > 0:
        found = "steps", int(every)
    elif isinstance(every, str) and (match := _TIME.fullmatch(every.strip())):
        found = "seconds", float(match[1]) * _SECONDS[match[2]]
    else:
        raise InputError(
            f"every is 'epoch', 'auto', a number of steps from 1 up, or a time such as '90 s', "
            f"'5 min' or '2 h'; received {every!r}."
        )
    if not within_epochs():
        raise InputError(
            f"Keras on {keras.backend.backend()} can be saved between epochs only; received "
            f"every={every!r}. Use every='epoch'."
        )
    return found
