"""How a training is doing inside: how far weights move, gradients, silent ReLUs, BatchNorm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from kcnn.callbacks.averaging.mean import values
from kcnn.errors import InputError
from kcnn.interpret.health import Looking, drift, kernels, statistics, update_ratio
from kcnn.startup import keras
from kcnn.terminal import styled

Logs = dict[str, Any] | None
Statistics = dict[str, tuple[np.ndarray, np.ndarray]]

#: What logs are called; TensorBoard makes a section of what stands before a slash.
PREFIX = "health/"
#: By figure, a column of the table: its heading, and how a value is written.
_COLUMNS = {
    "update_ratio": ("update / weight", "{:.1e}"),
    "gradient_norm": ("gradient norm", "{:.1e}"),
    "dead_relus": ("dead ReLUs", "{:.1%}"),
    "batchnorm_drift": ("BatchNorm's drift", "{:.3f} σ"),
}


class Health(keras.callbacks.Callback):
    """Add to each epoch's logs how the network is inside; by layer in `layers` and `table`.

    | In the logs              | What it is                                                      |
    |--------------------------|-----------------------------------------------------------------|
    | `health/update_ratio`    | median over the kernels: how far one moved in a step, as a      |
    |                          | share of its length, in the first call of the epoch; of several |
    |                          | steps in a graph call their way as a whole, divided by them     |
    | `health/gradient_norm`   | of the loss on `images`, in inference mode, over all weights    |
    | `health/dead_relus`      | share of the channels with a ReLU that are 0 on all of `images` |
    | `health/batchnorm_drift` | how far moving means went in the epoch, in standard deviations: |
    |                          | mean over the layers                                            |

    Put it before the callbacks that write logs. It changes no bit of a training, and one that
    `kcnn.train` resumes logs what it would have. On backends other than TensorFlow there are no
    gradients.

    Args:
        images: (N, ...) as the network takes them, always the same: some 32 are enough.
        targets: (N, ...) as the loss takes them (one-hot rows in `kcnn.train`); None: no gradients.
        every: Look behind every so many epochs, the first among them.
        by_layer: Add the figures of each layer to the logs, too, as `health/FIGURE/LAYER`.
        console: The table is shown there when training ends.

    Attributes:
        layers: By figure, of the last epoch that was looked at: by path or name of the layer.
        steps: How many steps the update ratio was taken over.

    Raises:
        InputError: `every` is less than 1; no image, or other numbers of images and targets.
    """

    def __init__(
        self,
        images: Any,
        targets: Any = None,
        *,
        every: int = 1,
        by_layer: bool = False,
        console: Console | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise InputError(f"every is a whole number of epochs from 1 up; received {every}.")
        if not len(images) or (targets is not None and len(targets) != len(images)):
            found = "none" if targets is None else len(targets)
            raise InputError(
                f"Health looks at a batch of images and their targets, as many; received "
                f"{len(images)} images and {found} targets."
            )
        self.images, self.targets = images, targets
        self.every, self.by_layer, self.console = every, by_layer, console
        self.layers: dict[str, dict[str, float]] = {}
        self.steps = 0
        self._ratios: dict[str, float] = {}  # of this epoch
        self._statistics: Statistics = {}  # when this epoch began
        self._before: dict[int, Any] | None = None  # weights by id at the begin of a call
        self._begin = 0
        self._look: Looking | None = None
        self._looking = False

    def get_state(self) -> dict[str, Any]:
        """What was found in this epoch already."""
        return {
            "ratios": dict(self._ratios),
            "steps": self.steps,
            "statistics": {name: list(pair) for name, pair in self._statistics.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on within the epoch."""
        self._ratios, self.steps = dict(state["ratios"]), int(state["steps"])
        self._statistics = {
            name: (np.array(mean), np.array(variance))
            for name, (mean, variance) in state["statistics"].items()
        }

    def on_train_begin(self, logs: Logs = None) -> None:
        self._look = Looking(self.model)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._looking = epoch % self.every == 0
        self._ratios, self._before = {}, None
        self._statistics = statistics(self.model) if self._looking else {}

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if self._looking and not self._ratios:
            # All: which of them are frozen may be set with the step.
            held = [weight for weight in self.model.variables if len(weight.shape) > 1]
            self._before = dict(zip(map(id, held), values(held), strict=True))
            self._begin = batch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self._before is None:
            return
        before, self._before = self._before, None
        last = min(batch, (self.params.get("steps") or math.inf) - 1)
        self.steps = int(last) - self._begin + 1
        self._ratios = {
            weight.path: update_ratio(
                before[id(weight)], keras.ops.convert_to_tensor(weight), self.steps
            )
            for weight in kernels(self.model)
        }

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if not self._looking:
            return
        assert self._look is not None, "on_train_begin was not called"
        # By the number of the epoch, so that a resumed training sees the same bits.
        seen = self._look(self.images, self.targets, traced=epoch > 0)
        now = statistics(self.model)
        self.layers = {
            "update_ratio": self._ratios,
            "gradient_norm": seen.gradients,
            "dead_relus": {name: float(dead.mean()) for name, dead in seen.dead.items()},
            "batchnorm_drift": {
                name: drift(self._statistics[name], pair)[0]
                for name, pair in now.items()
                if name in self._statistics
            },
        }
        if logs is not None:
            units = sum(dead.size for dead in seen.dead.values())
            silent = sum(int(dead.sum()) for dead in seen.dead.values())
            logs.update(self._figures(silent / units if units else None))

    def on_train_end(self, logs: Logs = None) -> None:
        if self.console is not None and self.layers:
            self.console.print(self.table())

    def _figures(self, dead: float | None) -> dict[str, float]:
        """For the logs: one for all layers; those of each where they are asked for."""
        ratios, norms, _, drifts = (list(rows.values()) for rows in self.layers.values())
        found = {
            "update_ratio": float(np.nanmedian(ratios)) if _known(ratios) else None,
            "gradient_norm": math.hypot(*norms) if norms else None,
            "dead_relus": dead,
            "batchnorm_drift": float(np.mean(drifts)) if drifts else None,
        }
        named = {f"{PREFIX}{name}": value for name, value in found.items() if value is not None}
        if self.by_layer:
            named |= {
                f"{PREFIX}{figure}/{name}": value
                for figure, rows in self.layers.items()
                for name, value in rows.items()
            }
        return named

    def table(self) -> Table:
        """The last epoch that was looked at, a row for each layer or weight."""
        table = Table(title=f"Health; updates over {self.steps} steps", title_justify="left")
        table.add_column("layer", overflow="fold")
        shown = {name: column for name, column in _COLUMNS.items() if self.layers.get(name)}
        for heading, _ in shown.values():
            table.add_column(heading, justify="right")
        names = dict.fromkeys(name for rows in self.layers.values() for name in rows)
        for name in names:
            cells = [
                form.format(self.layers[figure][name]) if name in self.layers[figure] else ""
                for figure, (_, form) in shown.items()
            ]
            table.add_row(styled(name), *cells)
        return table


def _known(ratios: list[float]) -> bool:
    return bool(ratios) and not np.isnan(ratios).all()
