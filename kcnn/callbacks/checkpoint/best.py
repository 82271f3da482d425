"""The weights of the epoch that was best on validation."""

import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.figures import LOSS, Figure
from kcnn.startup import keras
from kcnn.storage import files

Logs = dict[str, Any] | None

#: The file is at most a second behind, or nine times as long as writing it takes.
_SECONDS, _SHARE = 1.0, 9


class BestWeights(keras.callbacks.Callback):
    """Keep the weights of the epoch to choose by validation, in the file `path` and in memory.

    That is the epoch with the best figure on validation. Of a share of the images, it is the
    latest epoch that lies within one standard error of the best one: among shares that close the
    differences are chance (the rule of Breiman et al. 1984, section 3.4.3), and the later weights
    are trained longer, at a smaller learning rate: on small validation splits the very best
    figure belongs to some epoch by luck. An epoch whose figure, loss or weights are not finite is
    never chosen.

    Where epochs are short the file follows behind, so that writing takes no more than a tenth of
    the time; it is up to date when training ends, and after `write`.

    Args:
        path: A file named `*.weights.h5`, replaced in one step; None for memory alone. Where it
            cannot be written the weights stay in memory, with a warning.
        images: Images of the validation split.
        figure: What decides; by default the loss.

    Attributes:
        raises: Let what cannot be written end the training, with an OSError.
        epoch: Number of the epoch kept, from 1; 0 before the first.
        logs: The logs of that epoch.
    """

    def __init__(self, path: str | Path | None, images: int, figure: Figure = LOSS) -> None:
        super().__init__()
        self.path = None if path is None else Path(path)
        self.images, self.figure = images, figure
        self.raises = False
        self.epoch = 0
        self.logs: dict[str, float] = {}
        self._best: float | None = None
        self._weights: list[np.ndarray] = []
        self._behind = False  # the file, behind the weights in memory
        self._next_write = 0.0  # not before
        self._warned = False

    def get_state(self) -> dict[str, Any]:
        """Epoch, its logs and weights, and the best figure so far."""
        state = {"epoch": self.epoch, "logs": self.logs, "best": self._best}
        return state | {"weights": self._weights}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what `get_state` gave; the file may be of another epoch, and is behind."""
        self.epoch, self.logs = state["epoch"], state["logs"]
        self._best = state["best"] if "best" in state else state["highest"]  # of kcnn before tasks
        self._weights = state["weights"]
        self._behind = bool(self.epoch)

    def on_train_begin(self, logs: Logs = None) -> None:
        self.epoch, self.logs, self._best, self._weights = 0, {}, None, []
        self._behind = False
        self._next_write = time.perf_counter() + _SECONDS

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs, figure = logs or {}, self.figure
        needed = [f"val_{name}" for name in (figure.name, "loss")]
        if missing := [name for name in needed if name not in logs]:
            self._warn_of(missing[0], logs)
            return
        value = logs[f"val_{figure.name}"]
        if not (math.isfinite(logs["val_loss"]) and math.isfinite(value)):
            return
        self._best = figure.best(self._best, value)
        if figure.key(value) > figure.key(self._best) + figure.margin(self._best, self.images):
            return
        weights = self.model.get_weights()
        # Kernels that make zero of what is no number can hide it from the loss.
        if not all(np.isfinite(w).all() for w in weights if w.dtype.kind not in "iub"):
            return
        self._weights = weights
        self.epoch, self.logs, self._behind = epoch + 1, dict(logs), True
        if time.perf_counter() >= self._next_write:
            self._follow()

    def on_train_end(self, logs: Logs = None) -> None:
        self._follow()

    def _follow(self) -> None:
        """Write; in a program of somebody else's a folder that cannot be written ends nothing."""
        try:
            self.write()
        except OSError as error:
            if self.raises:
                raise
            warnings.warn(
                f"BestWeights cannot write {str(self.path)!r} ({error}); the best weights stay in "
                f"memory: restore() puts them into the model.",
                stacklevel=2,
            )
            self.path = None

    def _warn_of(self, missing: str, logs: Mapping[str, Any]) -> None:
        """Once: the training is the user's, and goes on."""
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"BestWeights goes by {missing}, which the epoch does not have: it has "
                f"{', '.join(logs) or 'nothing'}. Give fit validation_data, or the metric. No "
                f"weights are kept.",
                stacklevel=2,
            )

    def write(self) -> None:
        """Bring the file up to date.

        Raises:
            OSError: The disk is full; the weights of the epoch before stay.
        """
        if not self._behind or self.path is None:
            return
        started, present = time.perf_counter(), self.model.get_weights()
        files.check_space(self.path, 4 * self.model.count_params())
        files.beside(self.path).unlink(missing_ok=True)  # also where it is a link
        self.model.set_weights(self._weights)
        try:
            _without_optimizer(self.model).save_weights(files.beside(self.path))
        finally:
            self.model.set_weights(present)
        files.put_in_place(self.path)
        self._behind, ended = False, time.perf_counter()
        self._next_write = ended + max(_SECONDS, _SHARE * (ended - started))

    def restore(self) -> None:
        """Put the best weights into the model; without a best epoch, leave it alone."""
        if self.epoch:
            self.model.set_weights(self._weights)


def _without_optimizer(model: keras.Model) -> keras.Model:
    """The same layers, where that is possible, without the state of training beside them."""
    if type(model).__name__ != "Functional":
        return model
    return keras.Model(model.input, model.output, name=model.name)
