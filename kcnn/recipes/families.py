"""The search space of each family, as a table.

A name is a field of `kcnn.Recipe` or an option of the network. `swa` alone is neither: it switches
weight averaging.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcnn.recipes.domains import Choice, Domain, Range


@dataclass(frozen=True)
class Scaled:
    """A choice between multiples of the network's own tuple, such as its stages' widths."""

    factors: tuple[float, ...]

    def of(self, values: Sequence[int]) -> Choice:
        """The choice for a network whose own tuple is `values`."""
        return Choice(tuple(tuple(max(1, round(f * v)) for v in values) for f in self.factors))


#: What every family's table ends with.
_AVERAGING: Mapping[str, Domain] = {
    "swa": Choice((False, True)),
    "swa_start": Range(0.5, 0.9),
    "swa_learning_rate": Range(1e-4, 1e-1, "log"),
}
_RATES: Mapping[str, Domain] = {
    "learning_rate": Range(1e-4, 1e-1, "log"),
    "weight_decay": Range(1e-4, 1.0, "log"),
    "momentum": Range(0.8, 0.99, "log1m"),
}

FAMILIES: Mapping[str, Mapping[str, Domain]] = {
    "mlp": {
        "optimizer": Choice(("adamw", "nesterov")),
        **_RATES,
        "batch_size": Choice((32, 64, 128)),
        "width": Choice((64, 128, 256, 512)),
        "depth": Range(2, 5),  # fully connected layers, the last included
        "dropout": Choice((0.0, 0.2, 0.5)),
        "batchnorm": Choice((False, True)),
        "augment": Choice(("none", "crop")),
        "label_smoothing": Choice((0.0, 0.1)),
        **_AVERAGING,
    },
    "lenet": {
        "optimizer": Choice(("adamw", "nesterov")),
        **_RATES,
        "batch_size": Choice((32, 64, 128)),
        "dropout": Choice((0.0, 0.2, 0.5)),
        "batchnorm": Choice((False, True)),
        "augment": Choice(("none", "crop")),
        "label_smoothing": Choice((0.0, 0.1)),
        **_AVERAGING,
    },
    "alexnet": {
        "optimizer": Choice(("adamw", "nesterov")),
        **_RATES,
        "learning_rate": Range(3e-5, 3e-2, "log"),
        "batch_size": Choice((64, 128, 256)),
        "hidden": Scaled((0.25, 0.5, 1.0)),
        "dropout": Choice((0.2, 0.35, 0.5)),
        "batchnorm": Choice((False, True)),
        "augment": Choice(("none", "flip", "crop-flip")),
        "label_smoothing": Choice((0.0, 0.1)),
        **_AVERAGING,
    },
    "vgg": {
        "optimizer": Choice(("adamw", "nesterov")),
        **_RATES,
        "learning_rate": Range(3e-5, 3e-2, "log"),
        "batch_size": Choice((64, 128, 256)),
        "widths": Scaled((0.5, 1.0)),
        "hidden": Scaled((0.125, 0.5, 1.0)),
        "dropout": Choice((0.2, 0.35, 0.5)),
        "batchnorm": Choice((False, True)),
        "augment": Choice(("none", "flip", "crop-flip")),
        "label_smoothing": Choice((0.0, 0.1)),
        **_AVERAGING,
    },
    "resnet": {
        "optimizer": Choice(("nesterov", "adamw")),
        **_RATES,
        "learning_rate": Range(1e-4, 1.0, "log"),
        "batch_size": Choice((64, 128, 256)),
        "widths": Scaled((0.5, 1.0, 1.5)),
        "depths": Scaled((0.5, 1.0)),
        "dropout": Choice((0.0, 0.2)),
        "batchnorm": Choice((True, False)),
        "augment": Choice(("none", "flip", "crop-flip")),
        "label_smoothing": Choice((0.0, 0.1)),
        **_AVERAGING,
    },
}
#: For networks of the user's own: what every network has.
OTHERS: Mapping[str, Domain] = {
    "optimizer": Choice(("adamw", "nesterov")),
    **_RATES,
    "batch_size": Choice((32, 64, 128)),
    "label_smoothing": Choice((0.0, 0.1)),
    **_AVERAGING,
}

#: A row counts only where another one has one of these values.
CONDITIONS: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "momentum": ("optimizer", ("momentum", "nesterov", "rmsprop")),
    "swa_start": ("swa", (True,)),
    "swa_learning_rate": ("swa", (True,)),
    "swa_every": ("swa", (True,)),
}

#: Fields that belong to the search, not to a trial.
NOT_SEARCHED = ("model", "data", "epochs", "seed", "validation", "name", "logs", "options")
