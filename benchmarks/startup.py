"""Start-up, the commands in turn: python -m benchmarks.startup

First whole processes, then what lies before the first training step of ResNet-34. Three minutes
on two cores. Expected: everything that needs no Keras in well under half a second; `import
keras` beside it for comparison.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.contenders.first_step import PROGRAMS
from benchmarks.harness.contest import FAIR, ROOT
from benchmarks.harness.machine import idle, report, show

_KCNN = str(Path(sys.executable).parent / "kcnn")
_COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import kcnn": [sys.executable, "-c", "import kcnn"],
    "kcnn --help": [_KCNN, "--help"],
    "kcnn train --help": [_KCNN, "train", "--help"],
    "kcnn list": [_KCNN, "list"],
    "import keras": [sys.executable, "-c", "import keras"],
}
_PHASES = ("import", "build", "first step", "process")


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def commands(runs: int) -> list[dict[str, Any]]:
    """One warm-up, then `runs` rounds of all commands in turn."""
    taken: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for round_ in range(runs + 1):
        for name, command in _COMMANDS.items():
            idle()
            value = seconds(command)
            if round_:
                taken[name].append(value)
    return [
        {
            "process": name,
            "median s": f"{statistics.median(values):.3f}",
            "min s": f"{min(values):.3f}",
            "max s": f"{max(values):.3f}",
            "n": runs,
            "seconds": values,
        }
        for name, values in taken.items()
    ]


def first_steps(runs: int) -> list[dict[str, Any]]:
    """`runs` rounds, after one for the page cache, of processes up to their first step."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    for round_ in range(runs + 1):
        for name in PROGRAMS:
            idle()
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.contenders.first_step", name],
                cwd=ROOT, env=os.environ | FAIR, capture_output=True, check=True,
            )  # fmt: skip
            whole = {"process": time.perf_counter() - start}
            if round_:
                taken[name].append(json.loads(done.stdout) | whole)
    return [_first_step(name, values) for name, values in taken.items()]


def _first_step(name: str, values: list[dict[str, float]]) -> dict[str, Any]:
    cells = {}
    for phase in _PHASES:
        figures = [value[phase] for value in values]
        cells[f"{phase} s"] = (
            f"{statistics.median(figures):.2f} ({min(figures):.2f}-{max(figures):.2f})"
        )
    memory = statistics.median(value["memory"] for value in values)
    return {"program": name, **cells, "peak MiB": round(memory / 2**20), "n": len(values)} | {
        "runs": values
    }


def main(runs: int = 11, trainings: int = 3) -> None:
    """Measure, print and write."""
    first = first_steps(trainings)
    columns = ["program", *(f"{phase} s" for phase in _PHASES), "peak MiB", "n"]
    show("From process start to the first step of ResNet-34, 32×32, batch 64", columns, first)
    columns = ["process", "median s", "min s", "max s", "n"]
    report("startup", "Start-up", columns, commands(runs), first_steps=first)


if __name__ == "__main__":
    main()
