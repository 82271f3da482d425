"""Start-up of whole processes, the commands interleaved: python -m benchmarks.startup

About a minute on two cores. Expected: everything that needs no Keras in well under half a
second; `import keras` beside it for comparison.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import report

_KCNN = str(Path(sys.executable).parent / "kcnn")
_COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import kcnn": [sys.executable, "-c", "import kcnn"],
    "kcnn --help": [_KCNN, "--help"],
    "kcnn train --help": [_KCNN, "train", "--help"],
    "kcnn list": [_KCNN, "list"],
    "import keras": [sys.executable, "-c", "import keras"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main(runs: int = 11) -> None:
    """One warm-up, then `runs` rounds of all commands in turn."""
    taken: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for round_ in range(runs + 1):
        for name, command in _COMMANDS.items():
            value = seconds(command)
            if round_:
                taken[name].append(value)
    rows = [
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
    report("startup", "Start-up", ["process", "median s", "min s", "max s", "n"], rows)


if __name__ == "__main__":
    main()
