"""Classes of image files by a trained run; its test split evaluated again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data import Data, load_data, load_image
from kcnn.errors import InputError
from kcnn.training.evaluate import Evaluation, evaluate_model
from kcnn.training.inputs import as_problem
from kcnn.training.objective import probabilities
from kcnn.training.run import Run

_BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """What a run says of one image."""

    path: Path
    class_name: str  #: the most probable
    probability: float  #: of that class
    probabilities: dict[str, float]  #: of every class, the most probable first


def predict(run: Run, images: Sequence[str | Path]) -> list[Prediction]:
    """Classify image files, read and resized as in training.

    Raises:
        InputError: A file that is missing or no image; every such file is named.
    """
    shape = run.model.input_shape[1:]
    batch, predictions = [], []
    for path in images:
        batch.append(load_image(path, shape))
        if len(batch) == _BATCH:
            predictions.append(_probabilities(run, batch))
            batch = []
    if batch:
        predictions.append(_probabilities(run, batch))
    rows = np.concatenate(predictions) if predictions else []
    return [_prediction(Path(p), row, run) for p, row in zip(images, rows, strict=True)]


def evaluate_run(run: Run, data: str | Data | None = None) -> Evaluation:
    """Evaluate a run on the test split of its own data, or of other `data`.

    Raises:
        InputError: The run's own data has changed; other data has other classes; the run was
            trained on data in memory and none is given.
    """
    if data is None:
        data = _own_data(run)
    elif isinstance(data, str):
        data = load_data(data, seed=run.recipe.seed)
    problem = as_problem(data, run.recipe)
    if problem.class_names != run.class_names:
        raise InputError(
            f"The run knows the classes {', '.join(run.class_names)}; the data "
            f"{problem.name!r} has {', '.join(problem.class_names)}."
        )
    model = run.model
    size, outputs = model.input_shape[1:3], model.output_shape[-1]
    return evaluate_model(model, problem.evaluation("test", _BATCH, size, outputs))


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
        seed=recipe.seed,
        skip_bad=recipe.skip_bad,
    )
    if data.fingerprint != recorded["fingerprint"]:
        raise InputError(
            f"The data {recorded['source']!r} has changed since the run: fingerprint "
            f"{data.fingerprint[:19]}…, then {recorded['fingerprint'][:19]}…. Name it as data "
            f"(--data {recorded['source']}) to evaluate on it all the same."
        )
    return data


def _probabilities(run: Run, batch: list[np.ndarray]) -> np.ndarray:
    images = np.stack(batch).astype("float32")
    return probabilities(run.model, run.model(images, training=False))


def _prediction(path: Path, row: Any, run: Run) -> Prediction:
    order = np.argsort(-row, kind="stable")
    ranked = {run.class_names[index]: float(row[index]) for index in order}
    best = run.class_names[order[0]]
    return Prediction(path, best, ranked[best], ranked)
