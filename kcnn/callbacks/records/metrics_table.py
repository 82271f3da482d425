"""The figures of every epoch in a file of comma-separated values."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from kcnn.callbacks.records.guards import forgiving
from kcnn.startup import keras
from kcnn.storage.files import replace, without_links

Logs = dict[str, Any] | None


@forgiving(lambda: (OSError,))
class MetricsTable(keras.callbacks.Callback):
    """Write one row an epoch, as `keras.callbacks.CSVLogger` does, that resuming does not repeat.

    Epochs count from 1.

    A figure that a later epoch brings first gets a column of its own, empty above.

    Args:
        path: The file; replaced at the beginning of training. Where it cannot be written, a
            warning says so, and training goes on without it.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._rows: list[dict[str, float]] = []
        self._columns: list[str] = []

    def get_state(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self._rows}

    def set_state(self, state: dict[str, Any]) -> None:
        """Begin with these rows, in the file, too."""
        self._rows = state["rows"]
        if self._rows and self._rows[0]["epoch"] == 0:  # kcnn 0.1 counted from 0
            self._rows = [row | {"epoch": row["epoch"] + 1} for row in self._rows]
        self._write_all()

    def on_train_begin(self, logs: Logs = None) -> None:
        self._rows, self._columns = [], []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        self._rows.append(row)
        if len(self._rows) == 1 or not set(row) <= set(self._columns):
            self._write_all()
            return
        with open(self.path, "a", newline="", encoding="utf-8", opener=without_links) as file:
            self._writer(file).writerow(row)

    def _write_all(self) -> None:
        names = dict.fromkeys(name for row in self._rows for name in row)
        self._columns = ["epoch", *sorted(name for name in names if name != "epoch")]
        text = io.StringIO(newline="")
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(self._rows)
        replace(self.path, lambda file: file.write(text.getvalue().encode()))

    def _writer(self, file: Any) -> csv.DictWriter:
        return csv.DictWriter(file, self._columns)
