"""Contenders side by side: processes of their own that work in turn, A B A B, window by window.

All are started at first, traced, compiled and warmed up; then each round gives every contender
one window of a few seconds while the others block. Before a window the machine has to be idle;
how busy it was, and what others took of it meanwhile, is written down. A contender is any
command that speaks as `benchmarks.harness.seat` does.
"""

import contextlib
import json
import math
import os
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import cpu_times, idle

ROOT = Path(__file__).parents[2]
THREADS = len(os.sched_getaffinity(0))

#: The same threads for all, and no contender takes the whole GPU for itself.
FAIR = {
    "OMP_NUM_THREADS": str(THREADS),
    "MKL_NUM_THREADS": str(THREADS),
    "TF_NUM_INTRAOP_THREADS": str(THREADS),
    "TF_NUM_INTEROP_THREADS": str(THREADS),
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


class Refused(Exception):
    """A row whose contenders did not do the same work, or failed at it."""


@dataclass(frozen=True)
class Contender:
    """A name in the table, and the command that sits down for it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Entry:
    """What a contender said and did."""

    name: str
    facts: dict[str, Any]
    first: dict[str, Any]  #: its first window, of one step: traced and compiled in it
    windows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def speeds(self) -> list[float]:
        """Images per second of each window."""
        return [self.facts["batch"] * w["steps"] / w["seconds"] for w in self.windows]

    @property
    def speed(self) -> float:
        """Median images per second."""
        return statistics.median(self.speeds)


class _Player:
    """A contender's process."""

    def __init__(self, contender: Contender) -> None:
        self.name = contender.name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `end` closes it
        self._process = subprocess.Popen(
            contender.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env=os.environ | FAIR | dict(contender.environment),
        )

    def hear(self) -> dict[str, Any]:
        """Its next line.

        Raises:
            Refused: It has ended; with the last lines that it wrote.
        """
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        last = "\n".join(self._errors.read().strip().splitlines()[-5:])
        raise Refused(f"{self.name} ended with code {self._process.returncode}: {last}")

    def run(self, steps: int) -> dict[str, Any]:
        """One window of `steps` steps; `others` is the share of the cores that it did not get."""
        before, own = cpu_times(), _cpu_seconds(self._process.pid)
        with contextlib.suppress(BrokenPipeError):  # `hear` says why it ended
            print(steps, file=self._process.stdin, flush=True)
        window = self.hear()
        if before:
            after = cpu_times()
            foreign = (after[0] - before[0]) - (_cpu_seconds(self._process.pid) - own)
            window["others"] = max(0.0, foreign) / max(after[1] - before[1], 1e-9)
        return window

    def end(self) -> None:
        """It sees the end of its orders and leaves."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def _cpu_seconds(process: int) -> float:
    """Processor seconds of a process and of those that it started; 0 where there is no /proc."""
    folder = Path(f"/proc/{process}")
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        children = [task.read_text() for task in folder.glob("task/*/children")]
    except OSError:  # it has ended
        return 0.0
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime + stime
    return own + sum(_cpu_seconds(int(child)) for text in children for child in text.split())


def contest(
    contenders: Sequence[Contender], *, windows: int = 5, seconds: float = 3.0
) -> list[Entry]:
    """Let all contenders run `windows` windows of about `seconds` each, in turn.

    Raises:
        Refused: A contender failed.
    """
    players = [_Player(contender) for contender in contenders]
    try:
        entries = [Entry(player.name, player.hear(), {}) for player in players]
        steps = [_warm_up(*pair, seconds) for pair in zip(players, entries, strict=True)]
        for _ in range(windows):
            for player, entry, count in zip(players, entries, steps, strict=True):
                busy = idle()
                entry.windows.append(player.run(count) | {"busy_before": busy})
    finally:
        for player in players:
            player.end()
    return entries


def _warm_up(player: _Player, entry: Entry, seconds: float) -> int:
    """Three windows or more; returns the steps of one that lasts about `seconds`."""
    longest = entry.facts.get("longest", math.inf)
    entry.first = window = player.run(1)
    window = player.run(window["steps"])
    while window["seconds"] < seconds / 4 and window["steps"] < longest:
        window = player.run(min(4 * window["steps"], longest))
    steps = max(1, round(seconds * window["steps"] / window["seconds"]))
    player.run(min(steps, longest))
    return min(steps, longest)


def check(entries: Sequence[Entry], *, tolerance: float = 0.0) -> None:
    """Everybody did the same work: equal parameter counts, and a loss that fell.

    Losses are looked at where contenders report them: the median of the windows' has to lie
    below that of the first step.

    Args:
        entries: Of one contest.
        tolerance: Relative difference of parameter counts that is let pass.

    Raises:
        Refused: They did not; with the figures.
    """
    counts = {entry.name: entry.facts["parameters"] for entry in entries}
    if max(counts.values()) - min(counts.values()) > tolerance * max(counts.values()):
        raise Refused(f"the parameter counts differ: {counts}")
    for entry in entries:
        losses = [w["loss"] for w in (entry.first, *entry.windows) if "loss" in w]
        finite = all(map(math.isfinite, losses))
        if losses and not (finite and statistics.median(losses[1:]) < losses[0]):
            raise Refused(f"the loss of {entry.name} did not fall: {losses}")


def ratios(entry: Entry, other: Entry) -> tuple[float, float]:
    """How many times as fast as `other`: by the medians, and the median over the rounds."""
    rounds = [a / b for a, b in zip(entry.speeds, other.speeds, strict=True)]
    return entry.speed / other.speed, statistics.median(rounds)


def rows(
    entries: Sequence[Entry], *, against: str, flops: float = 0.0, peak: float | None = None
) -> list[dict[str, Any]]:
    """The rows of a table, one for each contender; the first is ours.

    Args:
        entries: Of one contest.
        against: Prefix of the names that are the reference; the fastest of them counts.
        flops: Floating-point operations of one image.
        peak: Of the machine, in GFLOP/s.
    """
    references = [entry for entry in entries if entry.name.startswith(against)]
    reference = max(references, key=lambda entry: entry.speed, default=None)
    return [
        _figures(entry)
        | _ratios("ratio", entry, reference)
        | _ratios("ours_against_it", entries[0], entry)
        | {"reference": reference and reference.name}
        | _share(entry, flops, peak)
        for entry in entries
    ]


def _figures(entry: Entry) -> dict[str, Any]:
    speeds = entry.speeds
    return {
        "contender": entry.name,
        "n": len(speeds),
        "median_images_per_second": entry.speed,
        "min_images_per_second": min(speeds),
        "max_images_per_second": max(speeds),
        "spread": (max(speeds) - min(speeds)) / entry.speed,
        "first_loss": entry.first.get("loss"),
        "last_loss": entry.windows[-1].get("loss"),
        "first_step_seconds": entry.first["seconds"],
        "facts": entry.facts,
        "windows": entry.windows,
    }


def _ratios(name: str, entry: Entry, other: Entry | None) -> dict[str, float | None]:
    by_medians, by_rounds = ratios(entry, other) if other else (None, None)
    return {name: by_medians, f"{name}_of_rounds": by_rounds}


def _share(entry: Entry, flops: float, peak: float | None) -> dict[str, float | None]:
    if not (flops and peak):
        return {"gflops": None, "share_of_peak": None}
    gflops = flops * entry.speed / 1e9
    return {"gflops": gflops, "share_of_peak": gflops / peak}


def disturbance(entries: Sequence[Entry]) -> tuple[float, float]:
    """The worst over all windows: share busy just before one, share that others took in one."""
    windows = [window for entry in entries for window in entry.windows]
    return (
        max(window["busy_before"] or 0.0 for window in windows),
        max(window.get("others", 0.0) for window in windows),
    )
