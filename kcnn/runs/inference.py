"""Predictions for image files by a trained run; its test split evaluated again."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from kcnn.data import Data, load_data, load_image, preflight
from kcnn.data.batches.views import viewed
from kcnn.data.sets.arrays import check_reach, ends
from kcnn.data.sets.decoding import decode
from kcnn.data.sets.duplicates import without_duplicates
from kcnn.data.sets.filetypes import SUFFIXES
from kcnn.data.sets.folders import images_below
from kcnn.errors import InputError
from kcnn.graph.forward import batch_size_for, forward, progress
from kcnn.runs.directory import Run
from kcnn.runs.resuming import as_recorded
from kcnn.startup import keras
from kcnn.tasks.pictures import PictureProblem, whole_of
from kcnn.tasks.problem import Problem
from kcnn.tasks.task import Evaluation
from kcnn.terminal import command, shape_text, styled

#: The largest value of a mask; the least that floats in the range of bytes reach in a training set.
_MASK, _BRIGHT = 2, 100
#: Pictures that are decoded before the network asks for them.
_AHEAD = 4


def image_paths(given: Sequence[str | Path]) -> list[Path]:
    """Image files as they are, and those below the folders among them.

    Raises:
        InputError: A folder without image files.
    """
    found = list[Path]()
    for path in map(Path, given):
        if not path.is_dir():
            found.append(path)
            continue
        names = images_below(path, "")
        if not names:
            raise InputError(
                f"The folder {str(path)!r} has no image files ({', '.join(SUFFIXES)})."
            )
        found += [path / name for name in names]
    return found


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
) -> Iterator[Any]:
    """What the run says of image files, read as in training, one after the other.

    The next batch is decoded while the network works on one. Where the task takes pictures whole,
    each goes in by itself.

    Args:
        run: A finished run.
        images: Paths.
        batch_size: Images that the network takes at once; None chooses by its memory.
        console: A terminal there shows how far it is.

    Yields:
        The task's predictions, such as `kcnn.tasks.classification.Prediction`, one an image.

    Raises:
        InputError: The first file that is missing or no image; a batch size below 1.
    """
    _refuse_bytes(run)
    network, paths = run.network, [Path(image) for image in images]
    if run.task.whole:
        if batch_size not in (None, 1):
            raise InputError(
                f"Pictures of any size go in one by one: batch_size is 1; received {batch_size}."
            )
        yield from _of_whole(run, network, paths, console)
        return
    size = _batch_size(network, batch_size)
    batches = -(-len(paths) // size)
    outputs = forward(network, batches)
    done = 0
    decoded = _decoded(paths, network.input_shape[1:], size, run.recipe.evaluation_scale)
    for batch in progress(decoded, "predicting", batches, console):
        of_batch = paths[done : done + len(batch)]
        yield from run.task.predictions(network, outputs(batch), of_batch, run.class_names)
        done += len(batch)


def _of_whole(
    run: Run, network: keras.Model, paths: Sequence[Path], console: Console | None
) -> Iterator[Any]:
    """Pictures of any size, each by itself; threads decode the next ones."""
    outputs, whole = forward(network, len(paths)), whole_of(network, run.recipe)
    channels = network.input_shape[3]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            ahead: deque[Future] = deque()
            left = iter(paths)
            for path in progress(paths, "predicting", len(paths), console):
                while len(ahead) < _AHEAD and (following := next(left, None)) is not None:
                    ahead.append(threads.submit(decode, following, channels))
                image = ahead.popleft().result()
                view = whole.view((image.shape[0], image.shape[1]))
                found = outputs(viewed(image, view)[np.newaxis])
                yield from run.task.predictions(network, found, [path], run.class_names, [view])
        finally:
            threads.shutdown(cancel_futures=True)  # after an error or Ctrl-C


def _decoded(
    paths: Sequence[str | Path], shape: tuple[int, int, int], size: int, scale: float = 1.0
) -> Iterator[np.ndarray]:
    """Batches (B, H, W, C) uint8; threads are one batch ahead."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:

        def begin(first: int) -> list[Future]:
            chunk = paths[first : first + size]
            return [threads.submit(load_image, path, shape, scale) for path in chunk]

        ahead = begin(0)
        try:
            for first in range(size, len(paths) + size, size):
                now, ahead = ahead, begin(first)
                yield np.stack([image.result() for image in now])
        finally:
            threads.shutdown(cancel_futures=True)  # after an error or Ctrl-C


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
    images = _batch_size(model, batch_size)
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
    images = _batch_size(model, None)
    if isinstance(problem, PictureProblem):
        problem = dataclasses.replace(problem, whole=whole_of(model, run.recipe))
        images = 1
    targets = run.task.targets(problem, model.output_shape[-1])
    size, scale = model.input_shape[1:3], run.recipe.evaluation_scale
    yield from problem.evaluation(part, min(images, 64), size, targets, scale)


def _refuse_other_images(run: Run, network: keras.Model, data: Data) -> None:
    """Refuse images that are not what the network was trained on."""
    if data.is_files:
        _refuse_bytes(run)
        return
    expected, images = network.input_shape[1:], data.test.array
    if data.task != "classification":  # pictures of any size
        expected = (None, None, expected[2])
    if any(a and a != b for a, b in zip(expected, images.shape[1:], strict=True)):
        raise InputError(
            f"Images of {data.name!r} are {shape_text(images.shape[1:])}; the run takes "
            f"{shape_text(expected)}. Resize them, or give a folder of image files, which are fit."
        )
    trained = run.data.get("pixels")
    if trained is None:  # a run of before
        return
    if images.dtype == np.uint8 and trained["dtype"] != "uint8":
        _refuse_bytes(run)
    low, high = ends(images)
    if low < 0 <= trained["range"][0]:
        raise InputError(
            f"Values of {data.name!r} begin at {low:.4g}, those of train at "
            f"{trained['range'][0]:.4g}: bring them to the scale of the training."
        )
    check_reach(max(-low, high, 1e-9), max(map(abs, trained["range"])), f"{data.name!r}")


def _refuse_bytes(run: Run) -> None:
    """Refuse pixels that are bytes, 0 to 255, for a network of floats of another range."""
    trained = run.data.get("pixels")
    if trained is None or trained["dtype"] == "uint8":  # masks of 0 and 1 are no photographs
        low, high = trained["range"] if trained else (0, 255)
        fits = high > _MASK
    else:
        low, high = trained["range"]
        fits = low >= 0 and _BRIGHT <= high <= 255
    if not fits:
        raise InputError(
            f"The run was trained on values from {low:.4g} to {high:.4g}; image files hold bytes, "
            f"0 to 255. Train on bytes (uint8), which the network normalises by itself; or hand "
            f"over arrays in the range of the training."
        )


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


def _batch_size(network: keras.Model, given: int | None) -> int:
    if given is None:
        return batch_size_for(network)
    if given < 1:
        raise InputError(f"batch_size is a whole number from 1 up; received {given}.")
    return given
