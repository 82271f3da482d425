"""Where a measurement was made, and how it is written down."""

import importlib.metadata
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, cores, and versions of what was measured."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    packages = ("kcnn", "keras", "tensorflow", "numpy")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        **{package: importlib.metadata.version(package) for package in packages},
    }


def report(name: str, title: str, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """Print `rows` as a table and write them, with the machine, to `results/NAME.json`."""
    where = machine()
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    console = Console(width=110)
    console.print(table)
    console.print(
        f"{where['processor']}, {where['cores']} cores; Python {where['python']}, Keras "
        f"{where['keras']}, TensorFlow {where['tensorflow']}"
    )
    RESULTS.mkdir(exist_ok=True)
    content = {"machine": where, "rows": rows}
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


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
