"""Kills for as long as one likes: python -m benchmarks.soak [--minutes N] [--seed N]

Trainings by the command line, of every kind in `tests/oracles/kills.py` in turn, are killed
(-9) at random moments and in the middle of saves, resumed until they are done, and compared bit
for bit with a training of the same kind that ran through: checkpoint, history, result and models.
Two at a time, ten minutes. Expected: no difference. The directories of a run that differs stay,
and the exit status is 1.
"""

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kcnn
from benchmarks.harness.machine import report
from kcnn import startup
from tests.oracles import kills

_KINDS = tuple(kills.FLAGS)
_OPTIONS = {"epochs": 6, "every": "2"}
_KILLS = (2, 5)  # of a run, from - to
_LONGEST = 1.5  # seconds from the first new checkpoint to a kill
_PROCESSES = 2


class Soak:
    """The runs, in a folder of their own.

    Args:
        folder: An empty one.
        seed: Of the moments of the kills.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.images = folder / "bright.npz"
        self._reading = threading.Lock()  # Keras loads one model at a time
        kills.write_images(self.images)

    def whole(self, kind: str) -> None:
        """A run of that kind without kills."""
        kills.finish(
            kills.train_arguments(kind, self.images, self.folder, f"{kind}-whole", **_OPTIONS)
        )

    def killed(self, number: int) -> dict[str, Any]:
        """The `number`-th run with kills: what it took, and how it differs, if it does."""
        kind, rng = _KINDS[number % len(_KINDS)], random.Random(f"{self.seed}-{number}")
        name, count = f"{kind}-{number}", rng.randint(*_KILLS)
        run, course, difference = self.folder / name, kills.Course(), None
        arguments = kills.train_arguments(kind, self.images, self.folder, name, **_OPTIONS)
        from tests.oracles.bits import assert_same_runs  # imports Keras

        try:
            course = kills.killed_and_resumed(arguments, run, rng, count, _LONGEST)
            with self._reading:
                assert_same_runs(run, self.folder / f"{kind}-whole")
        except Exception as error:  # a command that failed, or whatever cannot be read
            difference = f"{type(error).__name__}: {error}"
            print(f"{run} differs: {difference}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(run)
        return {"kind": kind, "number": number, "difference": difference} | vars(course)


def soak(folder: Path, seed: int, minutes: float) -> list[dict[str, Any]]:
    """Runs of all kinds in turn, one of each at least; none is begun when the time is over."""
    startup.load()
    made, deadline = Soak(folder, seed), time.monotonic() + 60 * minutes

    def numbers() -> Iterator[int]:
        number = 0
        while number < len(_KINDS) or time.monotonic() < deadline:
            yield number
            number += 1

    todo, lock, done = numbers(), threading.Lock(), []

    def work() -> None:
        while True:
            with lock:
                number = next(todo, None)
            if number is None:
                return
            done.append(made.killed(number))

    with ThreadPoolExecutor(_PROCESSES) as pool:
        list(pool.map(made.whole, _KINDS))
        for worker in [pool.submit(work) for _ in range(_PROCESSES)]:
            worker.result()
    return sorted(done, key=lambda run: run["number"])


def sources() -> str:
    """A digest of kcnn's files: runs of other code are other runs."""
    files = sorted(Path(kcnn.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def row(kind: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The line of a kind, or of all."""
    return {
        "kind": kind,
        "runs": len(runs),
        "kills": sum(run["kills"] for run in runs),
        "kills in saves": sum(run["in_saves"] for run in runs),
        "resumes": sum(run["resumes"] for run in runs),
        "differences": sum(run["difference"] is not None for run in runs),
    }


def main() -> None:
    """Soak, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    folder, started = Path(tempfile.mkdtemp(prefix="soak-")), time.monotonic()
    code = sources()
    runs = soak(folder, options.seed, options.minutes)
    rows = [row(kind, [run for run in runs if run["kind"] == kind]) for kind in _KINDS]
    rows.append(row("all", runs))
    notes = f"{(time.monotonic() - started) / 60:.1f} minutes, seed {options.seed}."
    if sources() != code:
        notes += " kcnn's files were changed meanwhile: the runs are not comparable."
    differ = rows[-1]["differences"]
    if differ:
        notes += f" Runs that differ: {folder}"
    else:
        shutil.rmtree(folder)
    report(
        "soak", "Runs killed and resumed, against runs that were not", list(rows[0]), rows,
        notes=notes, seed=options.seed, minutes=options.minutes, sources=code, trainings=runs,
    )  # fmt: skip
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
