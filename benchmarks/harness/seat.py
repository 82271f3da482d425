"""A contender's side of a contest (see `benchmarks.harness.contest`): lines of JSON over its pipes.

A contender introduces itself, then runs the windows that it is told to, and blocks in between.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


class Seat:
    """The pipes to the contest. Whatever else the process prints goes to standard error."""

    def __init__(self) -> None:
        self._reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def introduce(self, *, batch: int, **facts: Any) -> int:
        """Say what sits here; returns the steps of the first window.

        Args:
            batch: Images of one step.
            **facts: What the contest compares or writes down: `parameters` (trainable), `macs`
                of one image, `longest` (steps that a window can have at most), `device`.
        """
        return self._say({"batch": batch, **facts})

    def report(self, steps: int, seconds: float, **more: Any) -> int:
        """Hand in a window; blocks, and returns the steps of the next.

        Args:
            steps: Steps that were run: those asked for, or the next larger possible number.
            seconds: Wall time, the device's work finished.
            **more: `loss` (mean over the window), `device_memory` (peak bytes).
        """
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return self._say({"steps": steps, "seconds": seconds, "memory": memory, **more})

    def _say(self, content: dict[str, Any]) -> int:
        print(json.dumps(content), file=self._reports, flush=True)
        order = sys.stdin.readline()
        if not order:  # the contest is over
            sys.exit()
        return int(order)


def serve(run: Callable[[int], dict[str, Any]], *, batch: int, **facts: Any) -> None:
    """Sit in a contest with `run`, which does n steps and finishes the device's work.

    Args:
        run: steps -> what `Seat.report` takes beside steps and seconds, perhaps nothing.
        batch: Images of one step.
        **facts: See `Seat.introduce`.
    """
    seat = Seat()
    steps = seat.introduce(batch=batch, **facts)
    while True:
        start = time.perf_counter()
        more = run(steps)
        steps = seat.report(steps, time.perf_counter() - start, **more)
