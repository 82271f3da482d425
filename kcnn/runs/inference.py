"""Predictions for image files by a trained run; its test split evaluated again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from kcnn.data import Data, load_data, load_image
from kcnn.errors import InputError
from kcnn.graph.forward import batch_size_for, forward, progress
from kcnn.runs.directory import Run
from kcnn.tasks.task import Evaluation


def predict(
    run: Run,
    images: Sequence[str | Path],
    *,
    batch_size: int | None = None,
    console: Console | None = None,
) -> list[Any]:
    """What the run says of image files, read and resized as in training.

    The next batch is decoded while the network works on one.

    Args:
        run: A finished run.
        images: Paths.
        batch_size: Images that the network takes at once; None chooses by its memory.
        console: A terminal there shows how far it is.

    Returns:
        The task's predictions, such as `kcnn.tasks.classification.Prediction`, one an image.

    Raises:
        InputError: The first file that is missing or no image; a batch size below 1.
    """
    size, paths = _batch_size(run, batch_size), [Path(image) for image in images]
    batches = -(-len(paths) // size)
    outputs = forward(run.model, batches)
    found: list[Any] = []
    decoded = _decoded(paths, run.model.input_shape[1:], size)
    for batch in progress(decoded, "predicting", batches, console):
        of_batch = paths[len(found) : len(found) + len(batch)]
        found += run.task.predictions(run.model, outputs(batch), of_batch, run.class_names)
    return found


def _decoded(
    paths: Sequence[str | Path], shape: tuple[int, int, int], size: int
) -> Iterator[np.ndarray]:
    """Batches (B, H, W, C) uint8; threads are one batch ahead."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:

        def begin(first: int) -> list[Future]:
            chunk = paths[first : first + size]
            return [threads.submit(load_image, path, shape) for path in chunk]

        ahead = begin(0)
        try:
            for first in range(size, len(paths) + size, size):
                now, ahead = ahead, begin(first)
                yield np.stack([image.result() for image in now])
        finally:
            threads.shutdown(cancel_futures=True)  # after an error or Ctrl-C


def evaluate_run(
    run: Run,
    data: str | Data | None = None,
    *,
    batch_size: int | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Evaluate a run on the test split of its own data, or of other `data`.

    Args:
        run: A finished run.
        data: What `kcnn.load_data` takes or gives.
        batch_size: Images that the network takes at once; None chooses by its memory.
        console: A terminal there shows how far it is.

    Raises:
        InputError: The run's own data has changed; other data has other classes; the run was
            trained on data in memory and none is given; a batch size below 1.
    """
    images = _batch_size(run, batch_size)
    if data is None:
        data = _own_data(run)
    elif isinstance(data, str):
        data = load_data(data, seed=run.recipe.seed_of_split)
    problem = run.task.problem(data, run.recipe, run.model)
    if problem.class_names != run.class_names:
        raise InputError(
            f"The run knows the classes {', '.join(run.class_names)}; the data "
            f"{problem.name!r} has {', '.join(problem.class_names)}."
        )
    model = run.model
    targets = run.task.targets(problem, model.output_shape[-1])
    batches = problem.evaluation("test", images, model.input_shape[1:3], targets)
    return run.task.evaluate(model, batches, console)


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
    )
    if data.fingerprint != recorded["fingerprint"]:
        raise InputError(
            f"The data {recorded['source']!r} has changed since the run: fingerprint "
            f"{data.fingerprint[:19]}…, then {recorded['fingerprint'][:19]}…. Name it as data "
            f"(--data {recorded['source']}) to evaluate on it all the same."
        )
    return data


def _batch_size(run: Run, given: int | None) -> int:
    if given is None:
        return batch_size_for(run.model)
    if given < 1:
        raise InputError(f"batch_size is a whole number from 1 up; received {given}.")
    return given
