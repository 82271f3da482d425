"""Signals that end a training, kept until it can be saved."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any


class Signals:
    """What was received within `caught`, until somebody raises it.

    Attributes:
        received: Number of the signal; None before one.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    @contextlib.contextmanager
    def caught(self, *signals: int) -> Iterator[None]:
        """Keep the first of SIGTERM and SIGINT (or `signals`); end the process at the second."""
        self.received, previous = None, {}
        with contextlib.suppress(ValueError):  # not the main thread
            for number in signals or (signal.SIGTERM, signal.SIGINT):
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
