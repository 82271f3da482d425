"""Fields that would change nothing: refused where a training begins, before anyone waits for it.

A run that has them on record goes on all the same: it never heeded them.
"""

from __future__ import annotations

from kcnn.errors import InputError
from kcnn.recipes.recipe import Recipe


def refuse_idle(recipe: Recipe) -> None:
    """Refuse the details of an average, or of a schedule, that nobody asked for.

    Raises:
        InputError: With what would make them count.
    """
    default = Recipe()
    for name in ("swa_every", "swa_anneal"):
        value = getattr(recipe, name)
        if recipe.swa_start is None and value != getattr(default, name):
            raise InputError(
                f"{name}={value:g} is of stochastic weight averaging, which is off. Give "
                f"swa_start, such as 0.75, or leave {name} out."
            )
    if recipe.swa_learning_rate is None and recipe.swa_anneal != default.swa_anneal:
        raise InputError(
            f"swa_anneal={recipe.swa_anneal:g} is the way to swa_learning_rate; without one, the "
            f"schedule stays as it is. Give swa_learning_rate, or leave swa_anneal out."
        )
    for name in ("plateau_factor", "plateau_patience"):
        value = getattr(recipe, name)
        if recipe.schedule != "plateau" and value != getattr(default, name):
            raise InputError(
                f"{name}={value:g} is of schedule plateau; received "
                f"schedule={recipe.schedule or 'cosine'!r}. Give schedule='plateau', or leave "
                f"{name} out."
            )


def refuse_idle_skipping(recipe: Recipe, name: str, are_files: bool) -> None:
    """Refuse to leave files out where there are none.

    Args:
        recipe: Of the training.
        name: Of the data.
        are_files: Whether the data are image files, or have annotations, which are checked too.

    Raises:
        InputError: They are neither.
    """
    if recipe.skip_bad and not are_files:
        raise InputError(
            f"skip_bad=True leaves unreadable image files out; the data {name!r} are no files. "
            f"Leave it out."
        )


def refuse_idle_beside_optimizer(recipe: Recipe, optimizer: str) -> None:
    """Refuse what an optimiser that is handed over says itself.

    Args:
        recipe: As it was given.
        optimizer: The name of its class.

    Raises:
        InputError: A field that would not count.
    """
    names = (
        "optimizer", "learning_rate", "schedule", "warmup", "momentum", "weight_decay",
        "clip_norm", "ema", "backbone_rate", "swa_learning_rate",
    )  # fmt: skip
    given = [f"{n}={value!r}" for n in names if (value := getattr(recipe, n)) is not None]
    if given:
        raise InputError(
            f"{', '.join(given)} would not count: the optimizer that is handed over, "
            f"{optimizer}, has its own. Leave it out of the recipe, or the optimizer."
        )
