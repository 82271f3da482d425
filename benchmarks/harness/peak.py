"""What the machine can do at best: python -m benchmarks.harness.peak

The fastest of single convolutions and matrix products in Keras' backend and in PyTorch, on all
cores, or on the GPU; half a minute on two cores. Every table with GFLOP/s has it beside.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.harness.contest import FAIR, ROOT
from benchmarks.harness.machine import gpu, idle, number, report

#: 3×3 convolutions: (size, channels); the images of one are 16, on a GPU 256.
_CONVOLUTIONS = ((56, 64), (28, 128), (14, 256))
_MATRIX, _GPU_MATRIX = 2048, 8192
_WINDOWS, _SECONDS = 3, 0.15
_PROGRAMS = ("keras", "torch nchw", "torch nhwc")
_PRECISIONS = ("float32", "bfloat16")

Op = Callable[[], Any]


def _keras_ops(precision: str, images: int, side: int) -> tuple[dict[str, Op], Callable]:
    from kcnn.startup import keras

    def random(*shape: int) -> Any:
        return keras.random.normal(shape, dtype=precision)

    def convolution(size: int, channels: int) -> Op:
        x, w = random(images, size, size, channels), random(3, 3, channels, channels)
        return lambda: keras.ops.conv(x, w, padding="same", data_format="channels_last")

    a, b = random(side, side), random(side, side)
    ops = {_name(*row): convolution(*row) for row in _CONVOLUTIONS}
    ops["matrix product"] = lambda: keras.ops.matmul(a, b)
    return ops, lambda y: keras.ops.convert_to_numpy(keras.ops.cast(y[0, 0], "float32"))


def _torch_ops(
    precision: str, images: int, side: int, layout: str
) -> tuple[dict[str, Op], Callable]:
    import torch

    device, dtype = "cuda" if torch.cuda.is_available() else "cpu", getattr(torch, precision)
    format_ = torch.channels_last if layout == "nhwc" else torch.contiguous_format

    def random(*shape: int) -> Any:
        return torch.randn(shape, device=device).to(dtype)

    def convolution(size: int, channels: int) -> Op:
        x, w = random(images, channels, size, size), random(channels, channels, 3, 3)
        x, w = x.to(memory_format=format_), w.to(memory_format=format_)
        return lambda: torch.nn.functional.conv2d(x, w, padding=1)

    a, b = random(side, side), random(side, side)
    ops = {_name(*row): convolution(*row) for row in _CONVOLUTIONS}
    ops["matrix product"] = lambda: torch.matmul(a, b)
    return ops, lambda y: y[0, 0].float().cpu()


def _name(size: int, channels: int) -> str:
    return f"3×3 convolution, {size}×{size}×{channels}"


def _gflops(op: Op, finish: Callable, flops: float) -> list[float]:
    """GFLOP/s of each window."""
    finish(op())
    start = time.perf_counter()
    finish(op())
    count = max(1, round(_SECONDS / (time.perf_counter() - start)))
    speeds = []
    for _ in range(_WINDOWS):
        start = time.perf_counter()
        for _ in range(count):
            last = op()
        finish(last)
        speeds.append(count * flops / (time.perf_counter() - start) / 1e9)
    return speeds


def _measured(program: str) -> list[dict[str, Any]]:
    """GFLOP/s of every operation in this process."""
    images, side = (256, _GPU_MATRIX) if gpu() else (16, _MATRIX)
    work = {_name(s, c): 2 * images * s * s * 9 * c * c for s, c in _CONVOLUTIONS}
    work["matrix product"] = 2 * side**3
    found = []
    for precision in _PRECISIONS:
        if program == "keras":
            ops, finish = _keras_ops(precision, images, side)
        else:
            ops, finish = _torch_ops(precision, images, side, program.rpartition(" ")[2])
        for name, op in ops.items():
            key = {"operation": name, "precision": precision, "program": program}
            found.append(key | {"windows": _gflops(op, finish, work[name])})
    return found


def peak() -> dict[str, Any]:
    """The best GFLOP/s by precision, and every measurement; each program twice, in turn."""
    rows = []
    for program in _PROGRAMS * 2:
        idle()
        command = [sys.executable, "-m", "benchmarks.harness.peak", program]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | FAIR, capture_output=True, check=True
        )
        rows += json.loads(done.stdout.splitlines()[-1])
    best = {p: max(max(r["windows"]) for r in rows if r["precision"] == p) for p in _PRECISIONS}
    return best | {"operations": rows}


def in_words(best: dict[str, Any]) -> str:
    """One line for below a table."""
    figures = ", ".join(f"{number(best[p])} GFLOP/s in {p}" for p in _PRECISIONS)
    return f"Measured peak of single operations: {figures}."


def main() -> None:
    """Measure, print and write."""
    best = peak()
    rows = [row | {"GFLOP/s": number(max(row["windows"]))} for row in best["operations"]]
    columns = ["operation", "precision", "program", "GFLOP/s"]
    rows.sort(key=lambda row: [row[column] for column in columns[:3]])
    report("peak", f"The best of {_WINDOWS} windows", columns, rows, notes=in_words(best))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(_measured(sys.argv[1])))
    else:
        main()
