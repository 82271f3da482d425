"""Families of networks, a row each: how one is trained by default, and what is worth searching.

A row is given to `kcnn.register`. Names in a search space are fields of `kcnn.Recipe` or options of
the network; `swa` alone is neither: it switches weight averaging. Rates and decays of MLPs, LeNet,
VGG and ResNets, and the rates of U-Net, FCN and FCOS, were chosen by `benchmarks.defaults`, on
validation alone: of the rates within chance of the best the nearest to what was the default, with
the decay that is best at it.
"""

from __future__ import annotations

import math
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


#: VGG-19 with ImageNet's weights is at chance at its family's rate, and best at a tenth of it.
BEGUN = 0.1


@dataclass(frozen=True)
class Family:
    """A row of the table.

    Args:
        name: Of the family.
        optimizer: The default of a training.
        learning_rate: Its peak.
        weight_decay: Decoupled: with momentum m, a paper's L2 coefficient w is w / (1 - m) here.
        warmup: Epochs of warm-up.
        space: The search space.
        notes: What its cards say of all its networks, one line each.
        few: Times the weight decay below 5,000 images, whose batches are small.
        unnormalised: The largest rate without BatchNorm, where it is there by default.
        begun: Part of the rate at which a network is trained that begins with weights.
    """

    name: str
    optimizer: str
    learning_rate: float
    weight_decay: float
    warmup: float
    space: Mapping[str, Domain | Scaled]
    notes: tuple[str, ...] = ()
    few: float = 3.0
    unnormalised: float = math.inf
    begun: float = BEGUN
    batch_size: int | None = None  #: of a training; None goes by the number of images
    epochs: int | None = None  #: of a training; None goes by the data


#: What every family's search space ends with.
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

MLP = Family(
    "mlp",
    optimizer="adamw",
    learning_rate=3e-3,
    weight_decay=1e-1,
    warmup=1.0,
    space={
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
)
LENET = Family(
    "lenet",
    optimizer="adamw",
    learning_rate=5e-3,
    weight_decay=1e-2,
    warmup=1.0,
    space={
        "optimizer": Choice(("adamw", "nesterov")),
        **_RATES,
        "batch_size": Choice((32, 64, 128)),
        "dropout": Choice((0.0, 0.2, 0.5)),
        "batchnorm": Choice((False, True)),
        "augment": Choice(("none", "crop")),
        "label_smoothing": Choice((0.0, 0.1)),
        **_AVERAGING,
    },
)
#: At a quarter of its width 3e-3 is best (`benchmarks.defaults`); the best rate of Adam falls as
#: networks get wider (Yang et al. 2022).
ALEXNET = Family(
    "alexnet",
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    warmup=2.0,
    space={
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
)
VGG = Family(
    "vgg",
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    warmup=2.0,
    space={
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
)
#: Searched with 600, 9,000 and 27,000 images (`benchmarks.defaults`). With 9,000 a rate of 0.3 is
#: better for ResNet-20, and worse for ResNet-56 in eight epochs. Without BatchNorm 0.01 diverges on
#: 86 photographs, whose warm-up is three steps. For ImageNet's million the paper takes 0.1 and, in
#: these units, 1e-3 in batches of 256.
RESNET = Family(
    "resnet",
    optimizer="nesterov",
    learning_rate=0.1,
    weight_decay=2e-2,
    warmup=1.0,
    few=1.0,
    unnormalised=3e-3,
    begun=1.0,
    space={
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
)
#: Of segmentation: a batch holds as many labels as pixels, so few images make one.
_SEGMENTATION: Mapping[str, Domain] = {
    "optimizer": Choice(("adamw", "nesterov")),
    **_RATES,
    "batch_size": Choice((4, 8, 16)),
    "augment": Choice(("none", "flip", "crop-flip")),
}

UNET = Family(
    "unet",
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    warmup=1.0,
    batch_size=8,
    space={
        **_SEGMENTATION,
        "width": Choice((16, 32, 64)),
        "dropout": Choice((0.0, 0.2, 0.5)),
        "batchnorm": Choice((False, True)),
        **_AVERAGING,
    },
)
FCN = Family(
    "fcn",
    optimizer="adamw",
    learning_rate=3e-4,
    weight_decay=1e-2,
    warmup=1.0,
    batch_size=8,
    space={
        **_SEGMENTATION,
        "learning_rate": Range(3e-5, 3e-2, "log"),
        "width": Choice((16, 32, 64)),
        "hidden": Scaled((0.125, 0.5, 1.0)),
        "dropout": Choice((0.2, 0.35, 0.5)),
        "batchnorm": Choice((False, True)),
        **_AVERAGING,
    },
)
FCOS = Family(
    "fcos",
    optimizer="adamw",
    learning_rate=3e-3,
    weight_decay=1e-2,
    warmup=1.0,
    batch_size=4,
    space={
        "optimizer": Choice(("adamw", "nesterov")),
        **_RATES,
        "batch_size": Choice((4, 8, 16)),
        "width": Choice((16, 32, 64)),
        "channels": Choice((32, 64, 128)),
        "depth": Range(1, 4),
        "dropout": Choice((0.0, 0.2)),
        "augment": Choice(("none", "flip", "crop-flip")),
        **_AVERAGING,
    },
)
#: For networks of the user's own: what every network has.
OTHERS = Family(
    "other",
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    warmup=0.0,
    space={
        "optimizer": Choice(("adamw", "nesterov")),
        **_RATES,
        "batch_size": Choice((32, 64, 128)),
        "label_smoothing": Choice((0.0, 0.1)),
        **_AVERAGING,
    },
)

#: A row counts only where another one has one of these values.
CONDITIONS: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "momentum": ("optimizer", ("momentum", "nesterov", "rmsprop")),
    "swa_start": ("swa", (True,)),
    "swa_learning_rate": ("swa", (True,)),
    "swa_every": ("swa", (True,)),
    "plateau_factor": ("schedule", ("plateau",)),
    "plateau_patience": ("schedule", ("plateau",)),
}

#: Fields that belong to the search, not to a trial.
NOT_SEARCHED = (
    "model", "data", "epochs", "seed", "validation", "ignore", "deduplicate", "monitor", "name",
    "logs", "options", "compiled", "rates",
)  # fmt: skip
