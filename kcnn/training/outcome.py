"""What comes of a training that has ended: its result, and the files of its networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import IO, Any

from kcnn.callbacks.records.tensorboard import write_pictures, write_scalars
from kcnn.devices.names import device_name
from kcnn.figures import LOSS, Figure, of_split
from kcnn.runs.directory import RunDirectory
from kcnn.startup import keras, tf
from kcnn.storage.files import replace
from kcnn.tasks.task import Evaluation, Task, ranking
from kcnn.training.attempt import Attempt
from kcnn.training.loop.compiled import compile_model, further_metrics
from kcnn.training.network import twin
from kcnn.training.setup import Setup


@dataclass(frozen=True)
class Report:
    """What the kept weights are worth on the split that reports: test, where there is one."""

    part: str
    evaluation: Evaluation

    @classmethod
    def of(cls, setup: Setup, model: keras.Model) -> Report | None:
        """Evaluated now; None: without a test split, figures on validation are there already."""
        if setup.problem.sizes["test"]:
            return cls("test", setup.task.evaluate(model, setup.evaluation("test")))
        if not setup.task.whole:
            return None
        return cls("validation", setup.task.evaluate(model, setup.evaluation("validation")))

    @property
    def test(self) -> Evaluation | None:
        """On the test split."""
        return self.evaluation if self.part == "test" else None

    def details(self, class_names: Sequence[str]) -> dict[str, Any]:
        """What the task's evaluation adds to a result, by its name there."""
        found = self.evaluation.details(class_names)
        return {f"{self.part}_{name}": value for name, value in found.items()}

    def pictures(self, setup: Setup, model: keras.Model) -> Mapping[str, bytes]:
        """PNGs by name."""
        return setup.task.pictures(model, setup.problem, self.part, self.evaluation)


def result_of(
    setup: Setup, attempt: Attempt, model: keras.Model, steps: int, report: Report | None
) -> dict[str, Any]:
    """What `result.json` holds.

    Args:
        setup: What was trained.
        attempt: The one that came to the end.
        model: With the weights that are kept.
        steps: Steps that were done.
        report: On the split that reports.
    """
    epochs, meter = len(attempt.history["loss"]), attempt.watchers.meter
    speeds = attempt.history["images_per_second"]
    validation, kept_epoch = _on_validation(setup, attempt, model)
    result = {
        **_of_test(setup, report.test if report else None),
        **validation,
        **_handed_over(setup, model),
        "monitor": f"validation_{setup.monitor.name}",
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
    return result | (report.details(setup.problem.class_names) if report else {})


def _handed_over(setup: Setup, model: keras.Model) -> dict[str, float]:
    """Figures of the kept weights by a loss and metrics that were handed over, as Keras counts."""
    recipe = setup.recipe
    if not recipe.compiled.keys() & {"loss", "metrics"}:
        return {}
    names = further_metrics(recipe, setup.task)
    names += ["loss"] if "loss" in recipe.compiled else []
    counting = twin(model)
    if counting is not model:  # a class of the user's own is compiled already
        compile_model(setup.task, counting, recipe, setup.targets)
    found = dict[str, float]()
    for part in ("validation", "test"):
        if setup.problem.sizes[part]:
            batches = setup.evaluation(part)
            values = setup.task.validate(counting, batches, keras.callbacks.CallbackList())
            found |= {f"{part}_{name}": float(values[name]) for name in names}
    return found


def _of_test(setup: Setup, test: Evaluation | None) -> dict[str, float | None]:
    if test is None:
        return {f"test_{figure.name}": None for figure in _figures(setup)}
    return dict(of_split("test", test.loss, test.figures))


def _on_validation(
    setup: Setup, attempt: Attempt, model: keras.Model
) -> tuple[dict[str, float], int]:
    """Figures on validation of the weights that are kept, and of which epoch those are."""
    history, best = attempt.history, attempt.watchers.best
    figures, kept_epoch = best.logs, best.epoch
    if attempt.averaged:
        found = setup.task.evaluate(model, setup.evaluation("validation"))
        figures, name = dict(found.figures), setup.monitor.name
        if name not in (*figures, LOSS.name):  # one beside the task's own
            figures[name] = found.details(setup.problem.class_names)[name]
        return of_split("validation", found.loss, figures), len(history["loss"])
    if setup.recipe.select == "last":
        figures = {name: values[-1] for name, values in history.items()}
        kept_epoch = len(history["loss"])
    names = [figure.name for figure in _figures(setup)]
    return {f"validation_{name}": figures[f"val_{name}"] for name in names}, kept_epoch


def _figures(setup: Setup) -> tuple[Figure, ...]:
    """Of which a result has numbers on each split."""
    return ranking(setup.task, monitor=setup.recipe.monitor)


def save(
    directory: RunDirectory,
    task: Task,
    attempt: Attempt,
    model: keras.Model,
    result: Mapping[str, Any],
    save_model: bool,
    warn: Callable[[str], None],
    pictures: Mapping[str, bytes],
    inside: Mapping[str, bytes],
) -> None:
    """Write models, figures of the kept weights, pictures, result; the run is complete then."""
    if save_model:
        _save_models(directory, attempt, model)
    try:
        figures = {
            f"kept/{name}": float(value)
            for name, value in result.items()
            if name.startswith(("validation_", "test_")) and isinstance(value, Real)
        }
        write_scalars(directory.path, figures)
        for name, png in pictures.items():
            replace(directory.path / f"{name}.png", partial(_written, png))
        kept = {f"kept/{name}": png for name, png in pictures.items()}
        for shown, step in ((kept, 0), (inside, result["epochs"])):  # `kcnn inspect` makes files
            if shown:
                write_pictures(directory.path, shown, step)
    except (OSError, tf.errors.OpError) as error:
        warn(f"TensorBoard does not get the figures of the kept weights ({error}).")
    directory.write_result(dict(result))


def _written(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


def _save_models(directory: RunDirectory, attempt: Attempt, model: keras.Model) -> None:
    if attempt.averaged and attempt.watchers.swa:
        kept = model.get_weights()
        model.set_weights(attempt.watchers.swa.raw_weights)
        directory.write_model(model, "model-raw.keras")
        model.set_weights(kept)
    directory.write_model(model)
