"""What a training reads: splits of arrays or files, or the user's own `tf.data`, as one.

Every stream gives images (B, H, W, C) and labels (B, K) float32: one-hot, or K = 1 for two
classes (the probability of the second).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from kcnn.data import (
    Data,
    Feed,
    evaluation_batches,
    fill_cache,
    from_arrays,
    statistics,
    steps_per_epoch,
    training_feed,
)
from kcnn.errors import InputError
from kcnn.recipes.recipe import Recipe
from kcnn.startup import tf
from kcnn.tasks.problem import PARTS, Problem
from kcnn.tasks.streams import from_streams


def as_problem(data: Any, recipe: Recipe, *, outputs: int | None = None) -> Problem:
    """The problem that the user's `data` poses.

    Args:
        data: `Data`; (images, labels); a mapping of "train", "validation", "test" to such
            pairs or to batched `tf.data.Dataset`s.
        recipe: For the share and the seed of splits that are to be made.
        outputs: Outputs of the user's own model, which say how many classes a stream of whole
            numbers has.

    Raises:
        InputError: Anything else, and whatever `kcnn.from_arrays` refuses.
    """
    if isinstance(data, Data):
        return _from_data(data, recipe)
    if isinstance(data, tuple) and len(data) == 2:
        data = {"train": data}
    if isinstance(data, Mapping) and "train" in data and set(data) <= set(PARTS):
        if all(isinstance(part, tf.data.Dataset) for part in data.values()):
            return from_streams(data, recipe, outputs)
        parts = dict(data)
        options = {"seed": recipe.seed_of_split, "validation_size": recipe.validation_size}
        return _from_data(from_arrays(parts.pop("train"), **parts, **options), recipe)
    raise InputError(
        f"data is a kcnn.Data, a pair (images, labels), or a mapping of 'train', 'validation' and "
        f"'test' to such pairs or to tf.data.Datasets; received {type(data).__name__}"
        f"{f' with keys {sorted(data)}' if isinstance(data, Mapping) else ''}. A tf.data.Dataset "
        f"cannot be split: pass {{'train': ..., 'validation': ...}}."
    )


def _from_data(data: Data, recipe: Recipe) -> Problem:
    if not len(data.validation):
        raise InputError(
            "The validation split is empty; epochs are chosen on it. Give a share such as "
            "validation=0.1."
        )

    files = data.image_shape[0] is None
    kept = recipe.cache if files else None

    def image_size(size: tuple[int, int]) -> tuple[int, int] | None:
        return size if files else None

    def label_options(outputs: int) -> dict[str, Any]:
        return {"classes": data.classes, "binary": outputs == 1}

    def training(recipe: Recipe, size: tuple[int, int], outputs: int, start: int) -> Feed:
        return training_feed(
            data.train,
            recipe.batch_size,
            seed=recipe.seed,
            augment=recipe.augment,
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
            image_size=image_size(size),
            start=start,
            cache=recipe.cache,
            **label_options(outputs),
        )

    def evaluation(
        part: str, batch_size: int, size: tuple[int, int], outputs: int
    ) -> tf.data.Dataset:
        return evaluation_batches(
            getattr(data, part),
            batch_size,
            image_size=image_size(size),
            cache=kept,
            **label_options(outputs),
        )

    def fill(recipe: Recipe, size: tuple[int, int], progress: Callable[[int], None]) -> None:
        done = 0
        for part in PARTS:
            split, before = getattr(data, part), done
            augment = recipe.augment if part == "train" else "none"
            if len(split):
                fill_cache(
                    split,
                    size,
                    recipe.cache,
                    augment=augment,
                    progress=lambda count, before=before: progress(before + count),
                )
            done += len(split)

    return Problem(
        name=data.name,
        image_shape=data.image_shape,
        class_names=data.class_names,
        sizes={part: len(getattr(data, part)) for part in PARTS},
        provenance=data.provenance,
        fingerprint=data.fingerprint,
        batch_size=None,
        statistics=cache(lambda size: statistics(data.train, image_size=image_size(size))),
        steps=lambda recipe: steps_per_epoch(len(data.train), recipe.batch_size),
        training=training,
        evaluation=evaluation,
        fill_cache=fill if files else None,
    )
