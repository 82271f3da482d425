"""What a training reads: splits of arrays or files, or the user's own `tf.data`, as one problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcnn.data import Data, from_arrays
from kcnn.data.sets.forms import parts_of
from kcnn.errors import InputError
from kcnn.models import registry
from kcnn.recipes.recipe import Recipe
from kcnn.tasks.loaders import as_stream
from kcnn.tasks.stored import StoredProblem
from kcnn.tasks.streams import StreamProblem, surveyed

#: What data of each of kcnn's tasks are.
KINDS = {
    "classification": "images with a class each",
    "segmentation": "pictures with masks",
    "detection": "pictures with boxes",
}


def refuse_other_task(task: Any, data: Data) -> None:
    """Refuse data of another task, with the networks that take them.

    Raises:
        InputError: They are not of `task`, a `kcnn.tasks.task.Task`.
    """
    if task.name not in KINDS or data.task == task.name:
        return
    fitting = [n for n in registry.list_models() if registry.lookup(n).task_name == data.task]
    raise InputError(
        f"{data.name!r} holds {KINDS[data.task]}: data of {data.task}, not of {task.name}. "
        f"Networks that take them: {', '.join(fitting)}."
    )


def refuse_other_classes(data: Data, class_names: Sequence[str]) -> None:
    """Refuse data whose masks or boxes are not numbered as a run's classes are.

    Raises:
        InputError: With both lists.
    """
    if tuple(data.class_names) != tuple(class_names):
        raise InputError(
            f"The classes of {data.name!r} are {', '.join(data.class_names[:20])}; those of "
            f"the run {', '.join(class_names[:20])}, in that order. Hand over the folder, whose "
            f"classes go by name."
        )


def as_problem(data: Any, recipe: Recipe) -> StoredProblem | StreamProblem:
    """The problem that the user's `data` pose; a stream's has no class names yet.

    Args:
        data: `Data`; (images, labels); a tuple of such pairs, as `keras.datasets` give; a mapping
            of "train", "validation", "test" to such pairs or to streams of batches (see
            `kcnn.tasks.loaders.as_stream`). Images of train may have weights behind their labels.
        recipe: For the share and the seed of splits that are to be made.

    Raises:
        InputError: Anything else, and whatever `kcnn.from_arrays` refuses.
    """
    if isinstance(data, Data):
        return StoredProblem(data, recipe.cache)
    parts = parts_of(data)
    found = {name: as_stream(part, name) for name, part in (parts or {}).items()}
    streams = {name: pair[0] for name, pair in found.items() if pair is not None}
    if streams and len(streams) == len(found):
        kind = next(pair[1] for pair in found.values() if pair is not None)
        return StreamProblem(streams, surveyed(streams, recipe), (), kind=kind)
    if parts is not None:
        divided = from_arrays(
            **parts, seed=recipe.seed_of_split, validation_size=recipe.validation_size
        )
        return StoredProblem(divided, recipe.cache)
    raise InputError(
        f"data is a kcnn.Data, a pair (images, labels), a tuple of such pairs, a pandas frame of "
        f"files and labels, or a mapping of 'train', 'validation' and 'test' to such pairs, or to "
        f"a tf.data.Dataset, a PyDataset or a DataLoader each; received {type(data).__name__}. "
        f"Streams cannot be split: pass {{'train': ..., 'validation': ...}}."
    )
