"""What checking image files costs: python -m benchmarks.checking [FILES]

Needs KCNN_DATA. Copies of the photographs of `imagenette_small`, 20,000 by default, in two class
folders on the local disk (they are in the page cache: on a cold disk reading comes on top). Each
line is a process of its own, three times, in turn.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness.machine import number, report
from kcnn.data.sets.seen import NAME

_ROUNDS = 3

#: Prints seconds of what follows `begin`, and how many files were looked at.
_TIMED = """
import json, sys, time
from pathlib import Path
from kcnn.data import load_data, preflight
data = load_data(sys.argv[1])
begin = time.perf_counter()
{work}
print(json.dumps(time.perf_counter() - begin))
"""

#: line: work; whether what was seen is there
_LINES = {
    "first look: read, hash, header": ("preflight(data); data.fingerprint", False),
    "again, from what was seen": ("preflight(data); data.fingerprint", True),
    "decoding all, for comparison": (
        "from kcnn.data import load_image\n"
        "for part in (data.train, data.validation, data.test):\n"
        "    for path in part.images: load_image(path, (64, 64, 3))",
        True,
    ),
}


def copies(source: Path, root: Path, count: int) -> None:
    """`count` copies of the photographs of a folder, in two classes."""
    photographs = sorted(source.rglob("*.JPEG")) or sorted(source.rglob("*.jp*g"))
    for name in "ab":
        (root / name).mkdir()
    for number_ in range(count):
        original = photographs[number_ % len(photographs)]
        shutil.copyfile(original, root / "ab"[number_ % 2] / f"{number_:07}.jpg")


def seconds(root: Path, work: str, seen: bool) -> float:
    """Of one process."""
    if not seen:
        (root / NAME).unlink(missing_ok=True)
    command = [sys.executable, "-c", _TIMED.format(work=work), str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main(count: int) -> None:
    """Measure, report."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        root.mkdir()
        copies(Path(os.environ["KCNN_DATA"]) / "imagenette_small", root, count)
        found: dict[str, list[float]] = {line: [] for line in _LINES}
        for _ in range(_ROUNDS):
            for line, (work, seen) in _LINES.items():
                found[line].append(seconds(root, work, seen))
    rows = [
        {
            "work": line,
            "µs a file": number(1e6 * statistics.median(times) / count),
            "a million files": f"{1e6 * statistics.median(times) / count / 60:.1f} min",
            "results": times,
        }
        for line, times in found.items()
    ]
    report(
        "checking", f"Checking {count:,} JPEG files", ["work", "µs a file", "a million files"], rows
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
