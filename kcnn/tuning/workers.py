"""Trials side by side: KerasTuner's chief and workers, started, watched and started again.

The parent holds the search's lock. Its chief is the oracle that all ask; each worker runs trials as
a search without workers does. All is in the trials' records, so that any process may die at any
time: a worker is started again under its number, gets the trial it had, and goes on with it from
the checkpoint; a new chief asks anew, and finished trials answer from their records.

KerasTuner's protocol has no authentication: whoever reaches the port can take and change trials.
So it listens on this machine alone. On several machines that share the folder of runs, one listens
(`--listen 10.0.0.1:9000`) and others join (`--join 10.0.0.1:9000`): in a network you trust.

Each process keeps its log below `workers/` in the search's directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kcnn.devices.names import gpus
from kcnn.errors import InputError
from kcnn.storage import files
from kcnn.tuning.options import ENDED, REFUSED, Options

_DEATHS = 4  # of processes outside of trials, before the search ends
_PATIENCE = 5.0  # seconds that a chief gets to end by itself, when its workers have
_ABSENCE = 30.0  # seconds in which a chief that died is there again, or the search is over


def run(
    directory: Path, options: Options, space: Mapping[str, str], poll: Callable[[], Any]
) -> None:
    """Run a search's trials in `options.workers` processes, until there are none left.

    Args:
        directory: Of the search.
        options: Of the search.
        space: Its rows as text.
        poll: Called once in a while, to show what there is.

    Raises:
        InputError: What a worker was refused, or a worker that dies again and again; nobody
            listens at the address to join.
    """
    fields = dataclasses.asdict(options) | {"space_file": None, "logs": str(directory.parent)}
    fields |= {"name": directory.name, "space": [f"{n}={text}" for n, text in space.items()]}
    (directory / "workers").mkdir(exist_ok=True)
    crew = _Crew(directory, options)
    files.write_json(crew.task, fields)
    try:
        crew.start()
        while crew.watch():
            poll()
            time.sleep(0.2)
    finally:
        crew.stop()
    poll()


class _Crew:
    """A chief and its workers."""

    def __init__(self, directory: Path, options: Options) -> None:
        self._directory, self._options = directory, options
        self._gpus, self._address = gpus(), options.join or options.listen
        self._processes: dict[str, subprocess.Popen] = {}
        self._met = False  # the search that this machine joins
        self._deaths = 0  # outside of trials, which count their own (`kcnn.tuning.trials`)
        self._name = f"{'joined' if options.join else 'worker'}-{_host()}"
        self.task = directory / "workers" / f"{self._name}.json"  #: what its processes read

    def start(self) -> None:
        """Start all that is not running."""
        if not self._processes:
            self._heard = self._asked = time.monotonic()
            self._chosen = self._address or f"127.0.0.1:{_free_port()}"
        roles = [] if self._options.join else ["chief"]
        roles += [f"{self._name}-{index}" for index in range(self._options.workers)]
        for index, role in enumerate(roles):
            if role not in self._processes:
                self._processes[role] = self._started(role, index - len(roles))

    def watch(self) -> bool:
        """Start again who has died; whether there is still something to do."""
        if self._options.join and self._is_over():
            return False
        for role, process in list(self._processes.items()):
            status = process.poll()
            if status == REFUSED:
                raise InputError(self._last_words(role))
            if status is None or status == ENDED:
                continue
            self._bury(role, process)
            if role == "chief":  # the others hold on to one that is gone
                self.stop()
            else:
                del self._processes[role]
            self.start()
            return True
        workers = [p for role, p in self._processes.items() if role != "chief"]
        return any(process.poll() is None for process in workers)

    def _is_over(self) -> bool:
        """Whether nobody listens any more where this machine has joined.

        KerasTuner's workers would wait for an hour.
        """
        now = time.monotonic()
        if now - self._asked < 1.0:
            return False
        self._asked, (host, _, port) = now, self._chosen.rpartition(":")
        with contextlib.suppress(OSError):
            socket.create_connection((host, int(port)), 1.0).close()
            self._heard, self._met = now, True
        if now - self._heard < _ABSENCE:
            return False
        if not self._met:
            raise InputError(
                f"Nobody listens at {self._chosen}: the search there is over, or has not begun. "
                f"Start it with --listen {self._chosen}."
            )
        return True

    def _bury(self, role: str, process: subprocess.Popen) -> None:
        """Count a death outside of a trial."""
        if held_by(self._directory, process.pid) is not None:
            return
        self._deaths += 1
        if self._deaths >= _DEATHS:
            died = f"died {_DEATHS} times, the last with status {process.returncode}"
            raise InputError(f"{role} {died}: {self._last_words(role)} See {self._log(role)}.")

    def stop(self) -> None:
        """End all: workers behind a checkpoint, the chief when it has had its time."""
        workers = {role: p for role, p in self._processes.items() if role != "chief"}
        for process in workers.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in workers.values():
            _wait(process, 60.0)
        if chief := self._processes.get("chief"):
            _wait(chief, _PATIENCE)
        self._processes.clear()

    def _started(self, role: str, index: int) -> subprocess.Popen:
        host, _, port = self._chosen.rpartition(":")
        environment = os.environ | {
            "KERASTUNER_TUNER_ID": role,
            "KERASTUNER_ORACLE_IP": host,
            "KERASTUNER_ORACLE_PORT": port,
        }
        if role == "chief":
            environment["CUDA_VISIBLE_DEVICES"] = "-1"
        elif self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[index % len(self._gpus)]
        member = [sys.executable, "-m", "kcnn.tuning.member"]
        command = [*member, str(self.task), str(os.getpid())]
        with self._log(role).open("ab") as log:
            # In a group of its own: Ctrl-C reaches the parent, which ends the others in order.
            return subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def _log(self, role: str) -> Path:
        return self._directory / "workers" / f"{role}.log"

    def _last_words(self, role: str) -> str:
        with contextlib.suppress(OSError):
            lines = self._log(role).read_text(errors="replace").strip().splitlines()
            return lines[-1].removeprefix("kcnn: ") if lines else "no words."
        return "no words."


def _wait(process: subprocess.Popen, seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def held_by(directory: Path, pid: int) -> int | None:
    """The trial that process `pid` of this machine was running, as its lock's file says."""
    owner = f"process {pid} on {socket.gethostname()}"
    for path in directory.glob(f"trial-*/{files.Lock.NAME}"):
        if files.owner(path) == owner:
            with contextlib.suppress(ValueError):
                return int(path.parent.name.rpartition("-")[2])
    return None


def _host() -> str:
    """Name of this machine, as part of workers' names: KerasTuner takes "chief" for the chief."""
    return socket.gethostname().replace("chief", "c-h-i-e-f").replace("/", "-")
