"""What comes of a training that has ended: its result, and the files of its networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from kcnn.callbacks.records.tensorboard import write_scalar
from kcnn.devices.names import device_name
from kcnn.figures import of_split
from kcnn.runs.directory import RunDirectory
from kcnn.startup import keras, tf
from kcnn.tasks.task import Evaluation, Task, ranking
from kcnn.training.attempt import Attempt
from kcnn.training.setup import Setup


def result_of(
    setup: Setup, attempt: Attempt, model: keras.Model, steps: int, test: Evaluation | None
) -> dict[str, Any]:
    """What `result.json` holds.

    Args:
        setup: What was trained.
        attempt: The one that came to the end.
        model: With the weights that are kept.
        steps: Steps that were done.
        test: On the test split, where there is one.
    """
    epochs, meter = len(attempt.history["loss"]), attempt.watchers.meter
    speeds = attempt.history["images_per_second"]
    validation, kept_epoch = _on_validation(setup, attempt, model)
    result = {
        **_of_test(setup.task, test),
        **validation,
        "epochs": epochs,
        "kept_epoch": kept_epoch,
        "steps": steps,
        "seconds": meter.total,
        "seconds_per_epoch": meter.total / epochs,
        # The first epoch traces the step.
        "images_per_second": sorted(speeds[1:] or speeds)[len(speeds[1:]) // 2],
        "parameters": sum(math.prod(w.shape) for w in model.trainable_weights),
        "device": device_name(),
    }
    if attempt.averaged and attempt.watchers.swa:
        result["averaged_snapshots"] = attempt.watchers.swa.snapshots
    if test is not None:
        details = test.details(setup.problem.class_names)
        result |= {f"test_{name}": value for name, value in details.items()}
    return result


def _of_test(task: Task, test: Evaluation | None) -> dict[str, float | None]:
    if test is None:
        return {f"test_{figure.name}": None for figure in ranking(task)}
    return dict(of_split("test", test.loss, test.figures))


def _on_validation(
    setup: Setup, attempt: Attempt, model: keras.Model
) -> tuple[dict[str, float], int]:
    """Figures on validation of the weights that are kept, and of which epoch those are."""
    history, best = attempt.history, attempt.watchers.best
    figures, kept_epoch = best.logs, best.epoch
    if attempt.averaged:
        found = setup.task.evaluate(model, setup.evaluation("validation"))
        return of_split("validation", found.loss, found.figures), len(history["loss"])
    if setup.recipe.select == "last":
        figures = {name: values[-1] for name, values in history.items()}
        kept_epoch = len(history["loss"])
    names = [figure.name for figure in ranking(setup.task)]
    return {f"validation_{name}": figures[f"val_{name}"] for name in names}, kept_epoch


def save(
    directory: RunDirectory,
    task: Task,
    attempt: Attempt,
    model: keras.Model,
    result: Mapping[str, Any],
    save_model: bool,
    warn: Callable[[str], None],
) -> None:
    """Write models, figures of the kept weights, and result; the run is complete then."""
    if save_model:
        _save_models(directory, attempt, model)
    try:
        for part in ("validation", "test"):
            for figure in ranking(task):
                if (value := result[f"{part}_{figure.name}"]) is not None:
                    write_scalar(directory.path, f"kept/{part}_{figure.name}", value)
    except (OSError, tf.errors.OpError) as error:
        warn(f"TensorBoard does not get the figures of the kept weights ({error}).")
    directory.write_result(dict(result))


def _save_models(directory: RunDirectory, attempt: Attempt, model: keras.Model) -> None:
    if attempt.averaged and attempt.watchers.swa:
        kept = model.get_weights()
        model.set_weights(attempt.watchers.swa.raw_weights)
        directory.write_model(model, "model-raw.keras")
        model.set_weights(kept)
    directory.write_model(model)
