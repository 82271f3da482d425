"""Predictions for image files by a trained run; its test split evaluated again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from kcnn.data import Data, load_data, load_image, preflight
from kcnn.data.batches.views import viewed
from kcnn.data.sets.decoding import decode
from kcnn.data.sets.duplicates import without_duplicates
from kcnn.errors import InputError
from kcnn.graph.forward import forward, progress
from kcnn.runs.directory import Run
from kcnn.runs.reading import Skipped, batched, read_ahead
from kcnn.runs.resuming import as_recorded
from kcnn.runs.suitable import batch_size_of, refuse_batches, refuse_bytes, refuse_other_pixels
from kcnn.startup import keras
from kcnn.tasks.pictures import PictureProblem, whole_of
from kcnn.tasks.problem import Problem
from kcnn.tasks.task import Evaluation
from kcnn.terminal import command, shape_text, styled

#: Pictures that are decoded before the network asks for them.
_AHEAD = 4


def predict(
    run: Run,
    images: Sequence[str | Path],
    *,
    batch_size: int | None = None,
    console: Console | None = None,
) -> list[Any]:
    """What the run says of image files, read as in training; `predictions`, all at once."""
    found = predictions(run, images, batch_size=batch_size, console=console)
    return list(found)


def predictions(
    run: Run,
    images: Sequence[str | Path],
    *,
    batch_size: int | None = None,
    console: Console | None = None,
    skipped: Skipped | None = None,
) -> Iterator[Any]:
    """What the run says of image files, read as in training, one after the other.

    The next batch is decoded while the network works on one. Where the task takes pictures whole,
    each goes in by itself.

    Args:
        run: A finished run.
        images: Paths.
        batch_size: Images that the network takes at once; None chooses by its memory.
        console: A terminal there shows how far it is.
        skipped: Is told of files that cannot be read, which are left out; None: they are errors.

    Yields:
        The task's predictions, such as `kcnn.tasks.classification.Prediction`, one an image.

    Raises:
        InputError: The first file that is missing or no image; a batch size below 1.
    """
    refuse_bytes(run)
    network, paths = run.network, [Path(image) for image in images]
    if run.task.whole:
        refuse_batches(batch_size)
        yield from _of_whole(run, network, paths, console, skipped)
        return
    size = batch_size_of(network, batch_size)
    batches = -(-len(paths) // size)
    outputs, scale = forward(network, batches), run.recipe.evaluation_scale
    read = partial(load_image, shape=network.input_shape[1:], scale=scale)
    pictures = batched(read_ahead(paths, read, size + 1, skipped), size)
    for batch in progress(pictures, "predicting", batches, console):
        of_batch, images_of = zip(*batch, strict=True)
        found = outputs(np.stack(images_of))
        yield from run.task.predictions(network, found, of_batch, run.class_names)


def _of_whole(
    run: Run,
    network: keras.Model,
    paths: Sequence[Path],
    console: Console | None,
    skipped: Skipped | None,
) -> Iterator[Any]:
    """Pictures of any size, each by itself."""
    outputs, whole = forward(network, len(paths)), whole_of(network, run.recipe)
    read = partial(decode, channels=network.input_shape[3])
    pictures = read_ahead(paths, read, _AHEAD, skipped)
    for path, image in progress(pictures, "predicting", len(paths), console):
        view = whole.view((image.shape[0], image.shape[1]))
        found = outputs(viewed(image, view)[np.newaxis])
        yield from run.task.predictions(network, found, [path], run.class_names, [view])


def evaluate_run(
    run: Run,
    data: Any = None,
    *,
    batch_size: int | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Evaluate a run on the test split of its own data, or on other `data`, all of them.

    Args:
        run: A finished run.
        data: A name or path, arrays, or a `kcnn.Data` (see `kcnn.data.sets.handed`): the test split
            that they name, else all. Classes go by name, and may be some of the run's.
        batch_size: Images that the network takes at once; None chooses by its memory.
        console: A terminal there shows how far it is.

    Raises:
        InputError: The run's own data has changed; other data has classes that the run does not
            know, images of another size, or pixels of another scale; the run was trained on data
            in memory and none is given; a batch size below 1.
    """
    return evaluated(run, data, batch_size=batch_size, console=console).evaluation


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluated:
    """An evaluation, and of what."""

    evaluation: Evaluation
    network: keras.Model
    problem: Problem
    part: str  #: which split of the problem: "test" or "validation"


def evaluated(
    run: Run,
    data: Any = None,
    *,
    part: str = "test",
    batch_size: int | None = None,
    console: Console | None = None,
) -> Evaluated:
    """As `evaluate_run`, with the images beside it.

    Args:
        run: A finished run.
        data: Other data than the run's own.
        part: The split; of other data all are "test".
        batch_size: Images that the network takes at once; None chooses by its memory.
        console: A terminal there shows how far it is.

    Raises:
        InputError: As `evaluate_run`.
    """
    model, own = run.network, data is None
    images = batch_size_of(model, batch_size)
    given = _own_data(run) if own else run.task.handed(data, run.class_names, run.recipe)
    problem = run.task.problem(given, run.recipe, model)
    if own and not problem.sizes[part]:
        raise InputError(
            f"The data {problem.name!r} have no {part} split. Name what to evaluate on: --data."
        )
    if isinstance(problem, PictureProblem):
        problem = dataclasses.replace(problem, whole=whole_of(model, run.recipe))
        images = batch_size or run.recipe.batch_size
    if isinstance(given, Data) and not own:
        _refuse_other_images(run, model, given)
        if console is not None:
            console.print(styled(f"evaluated on {given.provenance}"))
    targets = run.task.targets(problem, model.output_shape[-1])
    size, scale = model.input_shape[1:3], run.recipe.evaluation_scale
    batches = problem.evaluation(part, images, size, targets, scale)
    return Evaluated(run.task.evaluate(model, batches, console), model, problem, part)


def split_batches(run: Run, part: str) -> Iterator[tuple[Any, Any]]:
    """Images as the run's network gets them, and their targets, of a split of its own data.

    Args:
        run: A finished one.
        part: "train", "validation" or "test".

    Yields:
        Batches (B, H, W, C), and what the task learns from them; in stored order.

    Raises:
        InputError: The data are not there, or have changed.
    """
    model = run.network
    problem = run.task.problem(_own_data(run), run.recipe, model)
    images = batch_size_of(model, None)
    if isinstance(problem, PictureProblem):
        problem = dataclasses.replace(problem, whole=whole_of(model, run.recipe))
        images = 1
    targets = run.task.targets(problem, model.output_shape[-1])
    size, scale = model.input_shape[1:3], run.recipe.evaluation_scale
    yield from problem.evaluation(part, min(images, 64), size, targets, scale)


def _refuse_other_images(run: Run, network: keras.Model, data: Data) -> None:
    """Refuse images that are not what the network was trained on."""
    if data.is_files:
        refuse_bytes(run)
        return
    expected, images = network.input_shape[1:], data.test.array
    if data.task != "classification":  # pictures of any size
        expected = (None, None, expected[2])
    if any(a and a != b for a, b in zip(expected, images.shape[1:], strict=True)):
        raise InputError(
            f"Images of {data.name!r} are {shape_text(images.shape[1:])}; the run takes "
            f"{shape_text(expected)}. Resize them, or give a folder of image files, which are fit."
        )
    refuse_other_pixels(run, images, f"{data.name!r}")


def _own_data(run: Run) -> Data:
    recipe, recorded = run.recipe, run.data
    if recorded["source"] is None:
        raise InputError(
            f"The run was trained on data of the caller's own ({recorded['provenance']}); say "
            f"what to evaluate on with data."
        )
    data = load_data(
        recorded["source"],
        validation=recipe.validation_size,
        seed=recipe.seed_of_split,
        skip_bad=recipe.skip_bad,
        task=run.task.name,
        ignore=recipe.ignore,
        columns=recipe.columns,
    )
    if data.train.annotations is not None and not recipe.skip_bad:
        data = preflight(data)
    data = as_recorded(recorded["fingerprint"], data)
    if recipe.deduplicate != "no":
        data = without_duplicates(data, recipe.deduplicate)
    if data.fingerprint != recorded["fingerprint"]:
        raise InputError(
            f"The data {recorded['source']!r} has changed since the run: fingerprint "
            f"{data.fingerprint[:19]}…, then {recorded['fingerprint'][:19]}…. Name it as data "
            f"({command('--data', Path(recorded['source']))}) to evaluate on it all the same."
        )
    return data
