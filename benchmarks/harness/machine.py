"""Where a measurement was made, how busy the machine was, and how figures are written down."""

import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kcnn.devices.names import processor_name

RESULTS = Path(__file__).parents[1] / "results"

_PACKAGES = (
    "kcnn", "keras", "tensorflow", "jax", "torch", "keras-hub", "image-classifiers", "numpy",
    "pillow",
)  # fmt: skip
_IDLE = 0.05  # share of all cores
_PATIENCE = 15.0  # seconds


def machine() -> dict[str, Any]:
    """Processor, cores, GPU, date, and versions of what was measured."""
    where = {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "gpu": gpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load_before": os.getloadavg()[0],
    }
    for package in _PACKAGES:
        try:
            where[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            where[package] = None
    return where


def gpu() -> str | None:
    """Name of the first CUDA device; None without one."""
    if not shutil.which("nvidia-smi") or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.splitlines()[0] if found.returncode == 0 and found.stdout else None


def cpu_times() -> tuple[float, float] | None:
    """Seconds that all cores together were busy, and were there; None without /proc."""
    path = Path("/proc/stat")
    if not path.exists():
        return None
    ticks = [int(value) for value in path.read_text().splitlines()[0].split()[1:9]]
    resting = ticks[3] + ticks[4]  # idle and iowait
    per_second = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - resting) / per_second, sum(ticks) / per_second


def idle(below: float = _IDLE, patience: float = _PATIENCE) -> float | None:
    """Wait until the machine is idle, at most `patience` seconds.

    Returns:
        The share of all cores that was busy in the last 0.3 s; None without /proc.
    """
    deadline = time.monotonic() + patience
    while before := cpu_times():
        time.sleep(0.3)
        after = cpu_times()
        busy = (after[0] - before[0]) / max(after[1] - before[1], 1e-9)
        if busy < below or time.monotonic() > deadline:
            return busy
    return None


def report(
    name: str,
    title: str,
    columns: list[str],
    rows: list[dict[str, Any]],
    *,
    notes: str = "",
    **more: Any,
) -> None:
    """Print `rows` as a table and write them, with the machine, to `results/NAME.json`.

    Args:
        name: Of the file.
        title: Of the table.
        columns: Keys of the rows that the table shows.
        rows: All that was measured.
        notes: Printed below, beside machine and versions.
        **more: Written to the file as well.
    """
    where = machine()
    show(title, columns, rows)
    versions = ", ".join(f"{p} {where[p]}" for p in _PACKAGES if where[p] and p != "kcnn")
    Console(width=120).print(
        f"{where['gpu'] or where['processor']}, {where['cores']} cores; Python "
        f"{where['python']}, {versions}\n{notes}".strip(),
        highlight=False,
    )
    RESULTS.mkdir(exist_ok=True)
    content = {"machine": where, **more, "rows": rows}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def show(title: str, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """Print `columns` of `rows` as a table."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    Console(width=120).print(table)


def saved(name: str) -> list[dict[str, Any]]:
    """The rows that `report` wrote last; none before the first time."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []


def spread(values: list[float], digits: int = 2, scale: float = 1.0) -> str:
    """Mean and sample standard deviation, or the one value."""
    scaled = [value * scale for value in values]
    mean = f"{statistics.mean(scaled):.{digits}f}"
    if len(scaled) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(scaled):.{digits}f}"


def number(value: float) -> str:
    """Three significant digits, thousands by comma."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
