"""What a recipe leaves open, filled in from the network's family and the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kcnn.errors import InputError
from kcnn.recipes.families import BEGUN, Family
from kcnn.recipes.recipe import Optimizer, Precision, Recipe, Schedule


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ResolvedRecipe(Recipe):
    """A recipe without open fields; what is open still is off, or the network's own."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    learning_rate: float
    schedule: Schedule
    warmup: float
    weight_decay: float
    evaluation_scale: float
    precision: Precision
    steps_per_execution: int
    colour: float

    @classmethod
    def recorded(cls, fields: Mapping[str, Any]) -> Self:
        """Of a run: fields that are newer than the run have the values that repeat it.

        Raises:
            InputError: A field that no recipe has: the run is of a newer kcnn. One that is
                missing, or open.
        """
        recipe = cls.from_dict(cls.whole(fields))
        needed = [name for name in cls.__annotations__ if getattr(recipe, name) is None]
        if needed:
            raise InputError(f"the recipe leaves open: {', '.join(needed)}")
        return recipe

    @property
    def slots(self) -> int:
        """Values kept for each weight: those of the method, an average, a sum of gradients."""
        kept = {"sgd": 0, "momentum": 1, "nesterov": 1, "adam": 2, "adamw": 2, "lion": 1}
        unknown = 2 if self.compiled else 1 + bool(self.momentum)  # one of the user's own; rmsprop
        own = kept.get(self.optimizer, unknown)
        return own + (self.ema is not None) + (self.accumulate > 1)


#: Sides in pixels from which on images are cropped: of 8×8 a crop leaves a half.
SMALLEST_TO_CROP = 24

#: A photograph is fit to this times the input, then cropped: 256 / 224 = 1.14.
MARGIN = 1.15

#: Of pictures with masks or boxes: see `kcnn.recipes.recipe`.
SCALE, COLOUR = 1.5, 0.2

#: Below so many images, batches are small, and weight decay is `Family.few` times as large. Three
#: times is, with the rate and decay of their families, 0.6 ± 0.8 points of validation accuracy
#: better for MLPs and 5.8 ± 3.9 for LeNet-5 (`benchmarks.defaults`, one standard error): within
#: chance.
_FEW = 5000

#: Learning rates that suit an optimiser where the family's own optimiser is not taken.
_RATES = {
    "sgd": 0.1,
    "momentum": 0.02,
    "nesterov": 0.02,
    "rmsprop": 1e-3,
    "adam": 1e-3,
    "adamw": 1e-3,
    "lion": 1e-4,  # a third to a tenth of AdamW's (Chen et al. 2023, section 5)
}

_MOMENTUM = {"momentum": 0.9, "nesterov": 0.9, "rmsprop": 0.0}


def resolve(
    recipe: Recipe,
    *,
    family: Family,
    images: int,
    image_shape: tuple[int | None, int | None, int],
    pictures: bool = False,
) -> ResolvedRecipe:
    """The recipe without open fields; precision and steps of a call are as for a small network.

    Args:
        recipe: As the user gave it.
        family: Of the network.
        images: Size of the training split.
        image_shape: (H, W, C) of the images; None where photographs differ.
        pictures: They go in whole where they are evaluated, with masks or boxes.

    Raises:
        InputError: Fields that exclude each other; a batch larger than the training split.
    """
    optimizer = recipe.optimizer or family.optimizer
    few = images < _FEW
    most = max(images // recipe.accumulate, 1)
    batch_size = recipe.batch_size or min(family.batch_size or (32 if few else 128), most)
    rate, decay = _RATES.get(optimizer), 0.0
    if optimizer == family.optimizer:
        rate, decay = family.learning_rate, family.weight_decay * (family.few if few else 1)
        if recipe.model_options.get("batchnorm") is False:
            rate = min(rate, family.unnormalised)
    if rate and _moves_trained_weights(recipe):
        rate *= family.begun if optimizer == family.optimizer else BEGUN
    if batch_size * recipe.accumulate > images >= batch_size:
        raise InputError(
            f"A step of accumulate={recipe.accumulate} batches of {batch_size} is more than the "
            f"{images} training images. Use accumulate={images // batch_size} or less."
        )
    if batch_size > images:
        raise InputError(
            f"batch_size={batch_size} is more than the {images} training images. Use "
            f"batch_size={min(32, images)} or less."
        )
    height, width, channels = image_shape
    colour = channels == 3
    epochs = recipe.epochs or family.epochs or (30 if few or colour else 12)
    _check_averaging(recipe, epochs)
    filled = {
        "precision": "float32",
        "colour": COLOUR if pictures and colour else 0.0,
        "steps_per_execution": 1,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": rate,
        "schedule": "cosine",
        "warmup": family.warmup,
        "momentum": _momentum(recipe, optimizer),
        "weight_decay": decay,
    }
    fields = recipe.to_dict()
    small = min(height or math.inf, width or math.inf) < SMALLEST_TO_CROP
    found = recipe.augmentations.without_auto("crop-flip" if colour and not small else "none")
    fields["augment"], cropped = str(found), found.crop
    filled["evaluation_scale"] = MARGIN if cropped and height is None and not pictures else 1.0
    if pictures and cropped:
        filled["scale"] = SCALE
    elif recipe.scale not in (None, 1):
        raise InputError(
            f"scale={recipe.scale:g} is of random windows, which augment={fields['augment']!r} "
            f"does not cut. Take augment='crop' or 'crop-flip', or leave scale out."
        )
    given = {name: value for name, value in fields.items() if value is not None}
    return ResolvedRecipe(**fields | filled | given)


def _moves_trained_weights(recipe: Recipe) -> bool:
    """Whether weights that the network begins with are trained at the recipe's rate."""
    kept = recipe.freeze is not None and recipe.unfreeze_at is None
    return recipe.weights is not None and recipe.backbone_rate is None and not kept


def _check_averaging(recipe: Recipe, epochs: int) -> None:
    if recipe.swa_start is None:
        return
    averaged = epochs - round(recipe.swa_start * epochs)
    if averaged // recipe.swa_every < 2:
        raise InputError(
            f"swa_start={recipe.swa_start} leaves {averaged} of {epochs} epochs to average, in "
            f"which snapshots every {recipe.swa_every} do not fit twice. Train for more epochs, "
            f"start earlier, or take more snapshots."
        )


def _momentum(recipe: Recipe, optimizer: str) -> float | None:
    if recipe.momentum is not None and optimizer not in _MOMENTUM:
        raise InputError(
            f"optimizer {optimizer!r} has no momentum; received momentum={recipe.momentum}. "
            f"Those that have: {', '.join(_MOMENTUM)}."
        )
    return _MOMENTUM.get(optimizer)
