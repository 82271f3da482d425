"""Images per second of the input alone, contenders in turn: python -m benchmarks.input [WORK ...]

WORK: crop-flip and none (32×32 in memory), 64 and 224 (JPEG files of that side). Against
per-image tf.image, Keras' image_dataset_from_directory, and a PyTorch DataLoader. Three minutes
on two cores.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contenders.feeds import BATCHES, FEEDS
from benchmarks.harness import contest
from benchmarks.harness.machine import number, report, saved
from benchmarks.harness.pictures import write_folder

_FILES = {"64": 4000, "224": 2000}
_TITLES = {
    "crop-flip": "32×32 in memory, crop and flip",
    "none": "32×32 in memory",
    "64": "JPEG files of 64×64",
    "224": "JPEG files of 224×224",
}


def measured(work: str, windows: int, seconds: float) -> list[dict[str, Any]]:
    """The lines of one kind of work."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = []
        if work in _FILES:
            folder = [str(write_folder(Path(temporary) / "images", _FILES[work], int(work)))]
        contenders = [
            contest.Contender(
                program,
                [sys.executable, "-m", "benchmarks.contenders.feeds", work, program, *folder],
            )
            for program in FEEDS
        ]
        entries = contest.contest(contenders, windows=windows, seconds=seconds)
    busy, others = contest.disturbance(entries)
    lines = contest.rows(entries, against="tensorflow")
    return [{"work": work, "busy_before": busy, "taken_by_others": others} | r for r in lines]


def shown(line: dict[str, Any]) -> dict[str, Any]:
    """The line with the table's cells."""
    file_reader = "image_dataset_from_directory" if line["work"] in _FILES else "tf.image"
    names = {"kcnn": "kcnn", "tensorflow": file_reader, "torch": "torch DataLoader"}
    return line | {
        "input": _TITLES[line["work"]],
        "by": names[line["contender"]],
        "images/s": number(line["median_images_per_second"]),
        "min": number(line["min_images_per_second"]),
        "max": number(line["max_images_per_second"]),
        "kcnn is ×": f"{line['ours_against_it']:.2f}",
    }


def main() -> None:
    """Measure the kinds asked for, or all; the others stay as they were measured last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", nargs="*", metavar="WORK", help=", ".join(_TITLES))
    parser.add_argument("--windows", type=int, default=5, help="of each contender")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a window")
    options = parser.parse_args()
    if unknown := set(options.work) - set(_TITLES):
        parser.error(f"no such work: {', '.join(unknown)}; there are {', '.join(_TITLES)}")
    wanted = options.work or list(_TITLES)
    lines = [line for line in saved("input") if line["work"] not in wanted]
    for work in wanted:
        lines += map(shown, measured(work, options.windows, options.seconds))
    lines.sort(key=lambda line: list(_TITLES).index(line["work"]))
    notes = f"Batches of {BATCHES['none']}, files {BATCHES['64']}; {contest.THREADS} threads."
    columns = ["input", "by", "images/s", "min", "max", "kcnn is ×"]
    report("input", "Input", columns, lines, notes=notes)


if __name__ == "__main__":
    main()
