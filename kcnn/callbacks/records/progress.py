"""Progress in the terminal: a bar for the running epoch, a line for each that ended."""

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from kcnn import terminal
from kcnn.figures import LOSS, Figure
from kcnn.startup import keras

Logs = dict[str, Any] | None

_WIDTH = 9  # of a column of figures
#: What logs hold beside the figures of the model.
_OTHERS = ("loss", "learning_rate", "seconds", "images_per_second")


class Progress(keras.callbacks.Callback):
    """Show training as it goes: epoch, loss, figures, the same on validation, images per second.

    The bar appears on a terminal and in a notebook; elsewhere one line an epoch remains.

    Args:
        console: Where to write; a new console on standard output by default.
        figures: What to show beside the loss; by default the model's metrics, as the first
            epoch's logs name them.
        validated: What to show of validation alone.
        json_lines: Instead, for scripts: each epoch as a line of JSON on standard output, with its
            number "epoch", from 1, and all that its logs hold. What is not finite is null.
    """

    def __init__(
        self,
        console: Console | None = None,
        figures: Sequence[Figure] | None = None,
        *,
        validated: Sequence[Figure] = (),
        json_lines: bool = False,
    ) -> None:
        super().__init__()
        self.json_lines = json_lines
        self.console = console or terminal.console()
        self._given, self._validated = figures, list(validated)
        self._shown_of: dict[str, str] = {}  # titles by names of the logs, once they are known
        self._bars: Any = None  # of rich, in training
        self._done = 0  # epochs

    def get_state(self) -> dict[str, int]:
        """Nothing: lines that were shown stay shown."""
        return {}

    def set_state(self, state: dict[str, int]) -> None:
        """Nothing to do."""

    def on_train_begin(self, logs: Logs = None) -> None:
        epochs, steps = self.params["epochs"], self.params["steps"]
        self._started, self._shown = time.perf_counter(), 0.0
        self._shown_of = {}
        self._moves = terminal.shows_bars(self.console)
        if self._given is not None and not self.json_lines:
            self._head(self._given)
        self._bars = self._new_bars()
        self._task = self._bars.add_task("training", total=epochs * (steps or 0), figures="")
        self._bars.start()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._done = epoch
        self._bars.update(self._task, description=f"epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        now = time.perf_counter()
        if now - self._shown < 0.1 or not self._moves:
            return  # reading the logs waits for the device: ten times a second is enough
        self._shown = now
        steps = self.params["steps"] or 0
        done = self._done * steps + min(batch + 1, steps)
        self._bars.update(
            self._task, completed=done, figures=f"loss {float((logs or {}).get('loss', 0)):.4f}"
        )

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        if self.json_lines:
            write_json_line({"epoch": epoch + 1, **logs})
            return
        if not self._shown_of:
            self._head([Figure(name) for name in logs if _is_metric(name)])
        self._print(
            f"{epoch + 1}/{self.params['epochs']}",
            *(_figure(logs.get(name)) for name in self._shown_of),
            f"{logs['images_per_second']:,.0f}" if "images_per_second" in logs else "",
            f"{time.perf_counter() - self._started:.1f} s",
        )

    def on_train_end(self, logs: Logs = None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar; also after an exception, which Keras does not report."""
        if self._bars is not None:
            self._bars.stop()

    def _new_bars(self) -> Bars:
        return Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self.console,
            transient=True,
            disable=not self._moves,
        )

    def _head(self, figures: Sequence[Figure]) -> None:
        both, held_out = [LOSS, *figures], [LOSS, *figures, *self._validated]
        self._shown_of = {figure.name: figure.label for figure in both}
        self._shown_of |= {f"val_{f.name}": f"val {f.column}" for f in held_out}
        self._print("epoch", *self._shown_of.values(), "images/s", "time", style="bold")

    def _print(self, *cells: str, style: str | None = None) -> None:
        *figures, speed, clock = cells
        widths = [_WIDTH, *(max(_WIDTH, len(title)) for title in self._shown_of.values())]
        line = [f"{cell:>{width}}" for cell, width in zip(figures, widths, strict=True)]
        text = "  ".join([*line, f"{speed:>11}", f"{clock:>8}"])
        self.console.print(terminal.styled(text), style=style)  # on any console: no markup


def write_json_line(values: Mapping[str, Any]) -> None:
    """Write a line of JSON on standard output, at once; of numbers that are none, null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(name): plain(one) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(one) for one in value]
        value = value.item() if hasattr(value, "item") else value
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(plain(values), allow_nan=False), file=sys.stdout, flush=True)


def _is_metric(name: str) -> bool:
    return not name.startswith(("val_", "swa_", "health/")) and name not in _OTHERS


def _figure(value: float | None) -> str:
    return "" if value is None else f"{float(value):.4f}"
