"""Training throughput, contenders in turn: python -m benchmarks.step [ROW ...] [--windows N]

Rows: those of `benchmarks.harness.rows`; a row by name alone leaves the others as they were
measured last. About three minutes a row on two cores. On a GPU the batches are larger and everybody
computes in bfloat16; with KERAS_BACKEND=jax, or without TensorFlow, Keras' fit alone stands
against PyTorch.
"""

import argparse
import importlib.util
import os
import sys
from typing import Any

from benchmarks.harness import contest, peak
from benchmarks.harness.machine import gpu, number, report, saved
from benchmarks.harness.rows import ROWS, Row

_COLUMNS = [
    "row", "contender", "images/s", "min", "max", "× torch", "kcnn is ×", "GFLOP/s", "of peak",
    "loss",
]  # fmt: skip


def on_tensorflow() -> bool:
    """Whether Keras runs on TensorFlow, which `kcnn.train` needs."""
    wanted = os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"
    return wanted and importlib.util.find_spec("tensorflow") is not None


def contenders(name: str, row: Row, device: str | None) -> list[contest.Contender]:
    """Who trains the row's network: ours first."""
    batch, images = (row.gpu_batch, 8 * row.images) if device else (row.batch, row.images)
    images -= images % batch  # whole epochs
    sizes = [str(batch), str(images)]
    precision = "mixed_bfloat16" if device else "float32"
    backend = {"KERAS_BACKEND": "tensorflow" if on_tensorflow() else "jax"}
    ours = ["kcnn"] if on_tensorflow() else []
    peers = [*ours, "keras fit", *row.others]
    python = [sys.executable, "-m"]
    made = [
        contest.Contender(
            peer,
            [*python, "benchmarks.contenders.keras_step", name, peer, *sizes, precision],
            backend,
        )
        for peer in peers
    ]
    layouts = ("nhwc", "nchw") if row.torch else ()
    for layout in layouts:
        command = [*python, "benchmarks.contenders.torch_step", name, layout, *sizes]
        made.append(contest.Contender(f"torch {layout}", command))
    return made


def measured(
    name: str, best: dict[str, Any], device: str | None, windows: int, seconds: float
) -> list[dict[str, Any]]:
    """The lines of one row, or the one that says why it was refused."""
    row = ROWS[name]
    try:
        entries = contest.contest(contenders(name, row, device), windows=windows, seconds=seconds)
        contest.check(entries, tolerance=row.tolerance)
    except contest.Refused as error:
        print(f"{name} is refused: {error}", file=sys.stderr)
        return [{"row": name, "refused": str(error)}]
    # A training step is three forward passes: the pass itself, and two products backwards.
    flops = 3 * 2 * entries[0].facts["macs"]
    highest = best["bfloat16" if device else "float32"]
    busy, others = contest.disturbance(entries)
    common = {
        "row": name,
        "batch": entries[0].facts["batch"],
        "note": row.note,
        "parameters": entries[0].facts["parameters"],
        "peak_gflops": highest,
        "busy_before": busy,
        "taken_by_others": others,
    }
    lines = contest.rows(entries, against="torch", flops=flops, peak=highest)
    return [common | line for line in lines]


def shown(line: dict[str, Any]) -> dict[str, Any]:
    """The line with the table's cells."""
    if "refused" in line:
        return line | dict.fromkeys(_COLUMNS[1:], "") | {"contender": "refused"}
    ratio = line["ratio"]
    cells = {
        "images/s": number(line["median_images_per_second"]),
        "min": number(line["min_images_per_second"]),
        "max": number(line["max_images_per_second"]),
        "× torch": f"{ratio:.2f}" if ratio else "",
        "kcnn is ×": f"{line['ours_against_it']:.2f}",
        "GFLOP/s": number(line["gflops"]),
        "of peak": f"{line['share_of_peak']:.0%}",
        "loss": f"{line['first_loss']:.2f} → {line['last_loss']:.2f}",
    }
    return line | cells


def main() -> None:
    """Measure the rows asked for, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--windows", type=int, default=5, help="of each contender")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a window")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    device = gpu()
    name = "-".join(["step"] + ["gpu"] * bool(device) + ["jax"] * (not on_tensorflow()))
    best = peak.peak()
    kept = [line for line in saved(name) if line["row"] not in (options.rows or ROWS)]
    for row in options.rows or ROWS:
        kept += [
            shown(line) for line in measured(row, best, device, options.windows, options.seconds)
        ]
    kept.sort(key=lambda line: list(ROWS).index(line["row"]))
    columns = _COLUMNS
    if device:
        columns = [*_COLUMNS, "GPU memory"]
        kept = [line | {"GPU memory": _memory(line)} for line in kept]
    notes = (
        f"{peak.in_words(best)} Everybody: {contest.THREADS} threads, SGD with momentum 0.9, "
        f"cross-entropy, no augmentation, no dropout; {options.windows} windows each, in turn. "
        f"Torch: the faster of its two layouts."
    )
    report(name, "Training steps", columns, kept, notes=notes, peak=best)


def _memory(line: dict[str, Any]) -> str:
    windows = line.get("windows") or [{}]
    return f"{windows[-1].get('device_memory', 0) / 2**30:.1f} GiB"


if __name__ == "__main__":
    main()
