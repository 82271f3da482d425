"""Style transfer, L-BFGS against Adam: python -m benchmarks.style [ROW...] [--steps N]

A cat in the style of The Starry Night at 128×192 pixels, from 64×96 up, with VGG-19: how much of
the content's own style term is left against seconds, tracing included, loading not. At most 1/80 in
60 seconds on two cores is asked for. Needs KCNN_DATA with `style` and `vgg19_imagenet_notop.npz`;
about four minutes on two cores; rows by name keep the others as they were measured. CPU seconds are
of the process, all its threads: on a machine that others use, too, they say more than the clock's.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.harness.machine import idle, report, saved

_SIZE, _ASKED = (128, 192), 80
_DECAYS, _EPSILON = (0.9, 0.99), 1e-8
_COLUMNS = [
    "way", "weight", "gradients", "style left", "in 30 CPU s", "in 60", "1/80 in CPU s",
    "clock's s", "CPU s", "all s", "content", "variation",
]  # fmt: skip


def adam(
    slope: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    steps: int,
    *,
    rate: float,
) -> np.ndarray:
    """Adam (Kingma & Ba 2015) in the place of `kcnn.interpret.style_descent.lbfgs`.

    Args:
        rate: Pixel values that a step begins with; a cosine brings it to a tenth.
    """
    x = start.astype(np.float64)
    mean, square = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, steps + 1):
        gradient = slope(x)[1]
        mean += (1.0 - _DECAYS[0]) * (gradient - mean)
        square += (1.0 - _DECAYS[1]) * (gradient**2 - square)
        upward = mean / (1.0 - _DECAYS[0] ** step)
        size = np.sqrt(square / (1.0 - _DECAYS[1] ** step)) + _EPSILON
        share = 0.1 + 0.9 * 0.5 * (1.0 + np.cos(np.pi * step / steps))
        x = np.clip(x - rate * share * upward / size, low, high)
    return x


#: By name: the style's weight, and Adam's rate; None for L-BFGS.
ROWS: dict[str, tuple[float, float | None]] = {
    "L-BFGS": (1000.0, None),
    "Adam, rate 3": (1000.0, 3.0),
    "Adam, rate 10": (1000.0, 10.0),
    "L-BFGS, default": (50.0, None),
}


def measured(name: str, network: Any, steps: int) -> dict[str, Any]:
    """A row: one transfer."""
    from kcnn.interpret import style

    weight, rate = ROWS[name]
    descend = style.lbfgs if rate is None else partial(adam, rate=rate)
    folder = Path(os.environ["KCNN_DATA"]) / "style"
    transfer = style.Transfer(
        folder / "chelsea.jpg", folder / "starry_night.jpg", network=network, size=_SIZE,
        style_weight=weight, steps=steps,
    )  # fmt: skip
    busy, curve = idle(), list[tuple[float, float, float]]()
    begun = time.process_time()

    def progress(step: Any) -> None:
        if (step.height, step.width) == _SIZE:
            left = step.losses.mean_style / step.beginning.mean_style
            curve.append((time.process_time() - begun, step.seconds, left))

    with mock.patch.object(style, "lbfgs", descend):
        found = transfer.run(progress)
    cpu = time.process_time() - begun
    return row(name, weight, curve, found, cpu) | {
        "steps": steps,
        "busy_before": busy,
        "load": os.getloadavg()[0],
    }


def row(
    name: str, weight: float, curve: list[tuple[float, float, float]], found: Any, cpu: float
) -> dict[str, Any]:
    """A line of the table.

    Args:
        name: Of `ROWS`.
        weight: Of the style.
        curve: CPU seconds, the clock's seconds and the share of the style term that is left, of
            each gradient at the size of the result.
        found: What the transfer found.
        cpu: Seconds of all of it.
    """
    left = found.losses.mean_style / found.beginning.mean_style
    reached = next((one for one in curve if one[2] <= 1.0 / _ASKED), None)
    return {
        "way": name,
        "weight": f"{weight:g}",
        "gradients": len(curve),
        "style left": _fraction(left),
        "in 30 CPU s": _fraction(_best(curve, 30.0)),
        "in 60": _fraction(_best(curve, 60.0)),
        "1/80 in CPU s": f"{reached[0]:.0f}" if reached else "–",
        "clock's s": f"{reached[1]:.0f}" if reached else "–",
        "CPU s": f"{cpu:.0f}",
        "all s": f"{found.seconds:.0f}",
        "content": f"{found.losses.mean_content:.2f}",
        "variation": f"{found.losses.variation:.1f}",
        "left": left,
        "cpu_seconds": cpu,
        "seconds": found.seconds,
        "curve": [{"cpu_seconds": c, "seconds": s, "left": x} for c, s, x in curve],
    }


def _best(curve: list[tuple[float, float, float]], seconds: float) -> float | None:
    """The least that was left until so many CPU seconds."""
    return min((left for cpu, _, left in curve if cpu <= seconds), default=None)


def _fraction(left: float | None) -> str:
    return "–" if left is None else f"1/{1.0 / left:.0f}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help=f"by default all: {', '.join(ROWS)}")
    parser.add_argument("--steps", type=int, default=110, help="at each of the two sizes")
    options = parser.parse_args()
    if unknown := set(options.rows) - ROWS.keys():
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if not os.environ.get("KCNN_DATA"):
        parser.error("KCNN_DATA names the folder with style and vgg19_imagenet_notop.npz")
    from kcnn.interpret.style_network import vgg19

    network = vgg19(Path(os.environ["KCNN_DATA"]) / "vgg19_imagenet_notop.npz", "caffe")
    lines = {line["way"]: line for line in saved("style")}
    for name in options.rows or ROWS:
        lines[name] = measured(name, network, options.steps)
    ordered = [lines[name] for name in ROWS if name in lines]
    report(
        "style", f"Style transfer at {_SIZE[0]}×{_SIZE[1]}, VGG-19", _COLUMNS, ordered,
        notes="Gradients are those at the result's size; as many, at a quarter of the cost, come "
        "before at half of it.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
