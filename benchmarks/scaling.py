"""Cost against size: python -m benchmarks.scaling [--largest N]

Seconds per epoch of `kcnn.train` (LeNet-5, 28×28) against the number of images in memory, 1,000
to a million, and the memory of a process against the number of files in a folder, 1,000 to
100,000; a process for each point. Six minutes on two cores. Expected: straight lines, and memory
constant but for the index of the files. Draws `results/scaling.png`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.contest import FAIR, ROOT
from benchmarks.harness.machine import RESULTS, idle, number, report, show
from benchmarks.harness.pictures import write_folder

_ARRAYS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
_FOLDERS = (1_000, 10_000, 100_000)
_LINEAR_FROM = 10_000  # images: below, the fixed cost of an epoch shows


def point(*arguments: Any) -> dict[str, Any]:
    """What `benchmarks.contenders.scale` measures in a process of its own."""
    idle()
    command = [sys.executable, "-m", "benchmarks.contenders.scale", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | FAIR, stdout=subprocess.PIPE, check=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return json.loads(done.stdout)


def epochs(largest: int) -> list[dict[str, Any]]:
    """Seconds per epoch; the first epoch, which traces, does not count."""
    rows = []
    for images in (n for n in _ARRAYS if n <= largest):
        count = min(10, max(2, 60_000 // images))
        found = point("arrays", images, count)
        seconds = statistics.median(found["seconds"][1:])
        cells = {
            "s per epoch": number(seconds),
            "µs per image": number(1e6 * seconds / images),
            "peak MiB": number(found["memory"] / 2**20),
            "n": count - 1,
        }
        rows.append({"images": images, "median_seconds": seconds, **cells, "measured": found})
    return rows


def folders(largest: int) -> list[dict[str, Any]]:
    """Peak memory in bytes after imports, index and steps."""
    rows = []
    for images in (n for n in _FOLDERS if n <= largest):
        with tempfile.TemporaryDirectory() as temporary:
            found = point("folder", write_folder(Path(temporary) / "images", images, 64))
        cells = {f"{part} MiB": number(value / 2**20) for part, value in found.items()}
        rows.append({"files": images, **cells, "measured": found})
    return rows


def slopes(arrays: list[dict[str, Any]], files: list[dict[str, Any]]) -> dict[str, float | None]:
    """The log-log slope of seconds against images, 1 for a straight line, and bytes per file."""
    large = [row for row in arrays if row["images"] >= _LINEAR_FROM]
    exponent = per_file = None
    if len(large) > 1:
        logs = [(np.log(row["images"]), np.log(row["median_seconds"])) for row in large]
        exponent = float(np.polyfit(*zip(*logs, strict=True), 1)[0])
    if len(files) > 1:
        memory = [row["measured"]["steps"] for row in files]
        per_file = float(np.polyfit([row["files"] for row in files], memory, 1)[0])
    return {"exponent": exponent, "bytes_per_file": per_file}


def draw(arrays: list[dict[str, Any]], files: list[dict[str, Any]], path: Path) -> None:
    """Both measurements as one figure."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    images = np.array([row["images"] for row in arrays])
    seconds = np.array([row["median_seconds"] for row in arrays])
    rate = seconds[-1] / images[-1]
    left.loglog(images, images * rate, color="0.7", linewidth=1, label="in proportion")
    left.loglog(images, seconds, "o", color="C0", label="measured")
    left.set(xlabel="training images in memory", ylabel="seconds per epoch")
    left.set_title("LeNet-5, 28×28, kcnn.train", fontsize=10)
    left.legend(frameon=False)
    counts = [row["files"] for row in files]
    for part, label in (
        ("steps", "index, checks and 50 batches"), ("index", "index"), ("imports", "imports only")
    ):  # fmt: skip
        memory = [row["measured"][part] / 2**20 for row in files]
        right.plot(counts, memory, "o-", linewidth=1, label=label)
    right.set(xlabel="image files in a folder", ylabel="peak memory, MiB")
    right.set_ylim(0, 1.1 * max(row["measured"]["steps"] for row in files) / 2**20)
    right.xaxis.set_major_formatter("{x:,.0f}")
    right.set_title("a folder of class folders", fontsize=10)
    right.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Measure, print, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000, help="number of images")
    largest = parser.parse_args().largest
    files, arrays = folders(largest), epochs(largest)
    fit = slopes(arrays, files)
    show("Memory", ["files", "imports MiB", "index MiB", "steps MiB"], files)
    words = []
    if fit["exponent"] is not None:
        words.append(f"seconds ~ images^{fit['exponent']:.2f} from {_LINEAR_FROM:,} up.")
    if fit["bytes_per_file"] is not None:
        words.append(f"{fit['bytes_per_file']:.0f} bytes of memory per image file.")
    columns = ["images", "s per epoch", "µs per image", "peak MiB", "n"]
    RESULTS.mkdir(exist_ok=True)
    draw(arrays, files, RESULTS / "scaling.png")
    report("scaling", "Epochs", columns, arrays, notes=" ".join(words), files=files, fit=fit)


if __name__ == "__main__":
    main()
