"""Signals that end a training, kept until it can be saved."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

#: What ends a process that may save first: also a terminal that is closed.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Within it each of `ENDING` is an exception at once, as Ctrl-C is: `SystemExit(128 + number)`.

    For work that is repeated when it goes on, and that writes files whole or not at all.
    """

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    previous = {}
    with contextlib.suppress(ValueError):  # not the main thread
        for number in ENDING:
            if number != signal.SIGINT and signal.getsignal(number) == signal.SIG_DFL:
                previous[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Signals:
    """What was received within `caught`, until somebody raises it.

    Attributes:
        received: Number of the signal; None before one.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    @contextlib.contextmanager
    def caught(self, *signals: int) -> Iterator[None]:
        """Keep the first of SIGTERM, SIGINT and SIGHUP (or `signals`); at the second, end.

        SIGHUP stays ignored where the process ignores it, as below `nohup`.
        """
        self.received, previous = None, {}
        with contextlib.suppress(ValueError):  # not the main thread
            for number in signals or ENDING:
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    previous[number] = signal.signal(number, self._receive)
        try:
            yield
            self.raise_it()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def raise_it(self) -> None:
        """Raise what was received, if anything was.

        Raises:
            KeyboardInterrupt: For SIGINT.
            SystemExit: For another, with 128 + its number.
        """
        number, self.received = self.received, None
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number is not None:
            raise SystemExit(128 + number)

    def _receive(self, number: int, frame: Any) -> None:
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
