"""Inference throughput, contenders in turn: python -m benchmarks.inference [ROW ...] [--windows N]

From images as bytes in memory to class probabilities, in batches of the size that kcnn chooses.
About a minute and a half a row on two cores. Two more tables:

    python -m benchmarks.inference --batches      kcnn's images/s against the batch size
    python -m benchmarks.inference --break-even   after how many batches folding and tracing pay

On a GPU everybody computes in bfloat16. Without TensorFlow, kcnn is Keras' predict of the folded
network.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.harness import contest, peak
from benchmarks.harness.machine import gpu, idle, number, report
from benchmarks.step import on_tensorflow

_ROWS = ("lenet5-28", "resnet20-32", "resnet34-32", "resnet34-224", "vgg16-224")
_CONTENDERS = ("kcnn", "keras predict", "layer by layer", "torch nhwc", "torch nchw")
_CONTENDER = [sys.executable, "-m", "benchmarks.contenders.inference_contender"]


def contender(name: str, row: str, kind: str, batch: int) -> contest.Contender:
    """Who classifies the row's images by `kind`, in batches of `batch`."""
    backend = {"KERAS_BACKEND": "tensorflow" if on_tensorflow() else "jax"}
    return contest.Contender(name, [*_CONTENDER, "sit", row, kind, str(batch)], backend)


def answer(question: str, row: str) -> Any:
    """What a process of its own says."""
    done = subprocess.run(
        [*_CONTENDER, question, row],
        cwd=contest.ROOT,
        env=os.environ | contest.FAIR,
        check=True,
        stdout=subprocess.PIPE,
    )
    return json.loads(done.stdout.splitlines()[-1])


def measured(
    row: str,
    contenders: Sequence[contest.Contender],
    best: dict[str, Any],
    options: argparse.Namespace,
    against: str = "",
) -> list[dict[str, Any]]:
    """The lines of one row, with the tables' cells; none where it is refused."""
    try:
        entries = contest.contest(contenders, windows=options.windows, seconds=options.seconds)
        contest.check(entries)
    except contest.Refused as error:
        print(f"{row} is refused: {error}", file=sys.stderr)
        return []
    flops, highest = 2 * entries[0].facts["macs"], best["bfloat16" if gpu() else "float32"]
    busy, others = contest.disturbance(entries)
    common = {"row": row, "busy_before": busy, "taken_by_others": others}
    return [
        common | line | _cells(line)
        for line in contest.rows(entries, against=against, flops=flops, peak=highest)
    ]


def _cells(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "batch": line["facts"]["batch"],
        "images/s": number(line["median_images_per_second"]),
        "min": number(line["min_images_per_second"]),
        "max": number(line["max_images_per_second"]),
        "× torch": f"{line['ratio']:.2f}",
        "of the best": f"{line['ratio']:.0%}",
        "kcnn is ×": f"{line['ours_against_it']:.2f}",
        "GFLOP/s": number(line["gflops"]),
        "of peak": f"{line['share_of_peak']:.0%}",
    }


def throughput(options: argparse.Namespace) -> None:
    """All contenders in batches of one size."""
    best, lines = peak.peak(), []
    for row in options.rows:
        batch = answer("batch", row)
        made = [contender(kind, row, kind, batch) for kind in _CONTENDERS]
        lines += measured(row, made, best, options, against="torch")
    columns = [
        "row", "contender", "batch", "images/s", "min", "max", "× torch", "kcnn is ×", "GFLOP/s",
        "of peak",
    ]  # fmt: skip
    notes = (
        f"{peak.in_words(best)} {contest.THREADS} threads each; {options.windows} windows each, "
        f"in turn. Torch: the faster of its two layouts."
    )
    report("inference", "Inference", columns, lines, notes=notes, peak=best)


def by_batch_size(options: argparse.Namespace) -> None:
    """kcnn against itself: a quarter of the batch size that it chooses, to four times."""
    best, lines = peak.peak(), []
    for row in options.rows:
        chosen = answer("batch", row)
        sizes = [size for power in range(-4, 3) if (size := int(chosen * 2.0**power))]
        made = [contender(f"batch {size}", row, "kcnn", size) for size in sizes]
        for line in measured(row, made, best, options):
            lines.append(line | {"chosen": "yes" if line["batch"] == chosen else ""})
    columns = ["row", "batch", "chosen", "images/s", "min", "max", "of the best"]
    report("inference-batches", "Inference by batch size", columns, lines, peak=best)


def break_even(options: argparse.Namespace) -> None:
    """What folding and tracing cost, and what a batch gains; each in processes of its own."""
    lines = []
    for row in options.rows:
        found = []
        for _ in range(options.windows):
            idle()
            found.append(answer("even", row))
        middle = {key: statistics.median(run[key] for run in found) for key in found[0]}
        times = {key: f"{value:.3f} s" for key, value in middle.items()}
        exact = {"batch": middle["batch"], "batches": f"{middle['batches']:.1f}"}
        lines.append({"row": row, "n": len(found), "processes": found} | times | exact)
    columns = ["row", "batch", "layer by layer", "folded and traced", "once", "batches", "n"]
    report("inference-break-even", "When folding and tracing pay: medians", columns, lines)


def main() -> None:
    """Measure the rows asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(_ROWS))
    parser.add_argument("--windows", type=int, default=5, help="of each contender")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a window")
    parser.add_argument("--batches", action="store_true", help="images/s by batch size")
    parser.add_argument("--break-even", action="store_true", help="when tracing pays")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(_ROWS):
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(_ROWS)}")
    options.rows = options.rows or _ROWS
    if options.batches:
        by_batch_size(options)
    elif options.break_even:
        break_even(options)
    else:
        throughput(options)


if __name__ == "__main__":
    main()
