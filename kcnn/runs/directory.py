"""The run directory: everything about one training, and nothing elsewhere."""

from __future__ import annotations

import contextlib
import csv
import datetime
import importlib.metadata
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcnn.devices.names import device_name
from kcnn.errors import InputError
from kcnn.graph.modes import settle
from kcnn.graph.photographs import without_fitting
from kcnn.models import registry
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras
from kcnn.storage import files
from kcnn.storage.files import read_json, write_json
from kcnn.storage.load_model import load_model
from kcnn.tasks.task import Task, find


@dataclass(frozen=True, repr=False)
class Run:
    """A finished training."""

    directory: Path
    recipe: ResolvedRecipe
    history: dict[str, list[float]]  #: figures by name, one an epoch
    #: With the weights that were kept; takes raw images, photographs of any size.
    model: keras.Model
    result: dict[str, Any]  #: what `result.json` holds
    data: dict[str, Any]  #: what `recipe.json` says of the data
    task: Task

    def __repr__(self) -> str:
        figure, parts = self.task.figures[0], []
        for part in ("validation", "test"):
            if (value := self.result.get(f"{part}_{figure.name}")) is not None:
                parts.append(f"{part} {figure.label} {figure.text(value)}")
        recipe, figures = self.recipe, ", ".join(parts)
        return f"<Run {str(self.directory)!r}: {recipe.model} on {recipe.data}, {figures}>"

    @property
    def network(self) -> keras.Model:
        """`model`, without what fits photographs: the same layers, on inputs of one size."""
        return without_fitting(self.model)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""
        return tuple(self.data["class_names"])

    @property
    def test_metrics(self) -> dict[str, float]:
        """Loss and the task's figures on the test split."""
        names = ["loss", *(figure.name for figure in self.task.figures)]
        return {name: self.result[f"test_{name}"] for name in names}


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run directory, and what is written there."""

    path: Path

    @classmethod
    def create(cls, recipe: Recipe, data: str, model: str) -> RunDirectory:
        """Make a new directory below `recipe.logs`, by name or from data, model and time.

        Raises:
            InputError: A directory of that name holds files; the folder cannot be written.
        """
        stem = recipe.name
        if stem is None:
            stem = f"{_slug(data)}-{_slug(model)}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
        path = Path(recipe.logs) / stem
        if recipe.name and path.is_dir() and any(path.iterdir()):
            with files.Lock(path):  # says so where it is being written
                pass
            done = (path / "result.json").is_file()
            go_on = "" if done else f"go on with it by kcnn resume {shlex.quote(str(path))}, "
            raise InputError(
                f"There is a run in {str(path)!r} already: {go_on}choose another name, "
                f"or remove it."
            )
        try:
            path = _make_directory(path, reuse=recipe.name is not None)
            (path / "checkpoints").mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Cannot write runs to {str(path)!r}: {error.strerror}. Choose another folder "
                f"with --logs."
            ) from error
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def best_weights(self) -> Path:
        return self.checkpoints / "best.weights.h5"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    def write_recipe(
        self, recipe: Recipe, task: str, data: dict[str, Any], meaning: str | None = None
    ) -> None:
        """Write what repeats the run: recipe, task, what outputs mean, data and versions."""
        write_json(
            self.path / "recipe.json",
            {
                "recipe": recipe.to_dict(),
                "task": task,
                "outputs": meaning,
                "data": data,
                "versions": versions(),
                "device": device_name(),
            },
        )

    def write_model(self, model: keras.Model, name: str = "model.keras") -> None:
        """Save a model as plain Keras: the file needs none of kcnn's own objects to load."""
        path = self.path / name
        files.check_space(path, 4 * model.count_params())
        plain = model
        if type(model).__name__ == "Functional":  # made anew, a model is not compiled
            plain = keras.Model(model.input, model.output, name=model.name)
        plain.save(files.beside(path))
        files.put_in_place(path)

    def write_result(self, result: dict[str, Any]) -> None:
        """Write the result, last of all: a run with a result is complete."""
        write_json(self.path / "result.json", result)

    def set_result_aside(self, epochs: int) -> None:
        """Let the run be unfinished again; result and models of `epochs` epochs stay beside."""
        for name in ("model.keras", "model-raw.keras", "result.json"):
            path = self.path / name
            if path.is_file():
                path.rename(path.with_name(f"{path.stem}-{epochs}-epochs{path.suffix}"))


def load_run(directory: str | Path, *, task: str | Task | None = None) -> Run:
    """A finished run, read back from its directory.

    Args:
        directory: Of the run.
        task: Where the run is of a task of the caller's own.

    Raises:
        InputError: The directory is not that of a finished run, its network was not saved, or a
            file in it is damaged.
    """
    path = Path(directory)
    if not path.is_dir():
        raise InputError(f"There is no run directory {str(path)!r}.")
    if (path / "result.json").is_file() and not (path / "model.keras").is_file():
        raise InputError(
            f"{str(path)!r} has no model.keras: its network was not saved, as those of a search "
            f"are not. kcnn train --recipe trains it again; a trial, by its file below `trials`."
        )
    for name in ("recipe.json", "model.keras", "result.json"):
        if not (path / name).is_file():
            raise InputError(
                f"{str(path)!r} is not a finished run: it has no {name}. Runs are the folders "
                f"below `logs` in which a training has ended."
            )
    recorded, result = read_json(path / "recipe.json"), read_json(path / "result.json")
    model = settle(load_model(path / "model.keras"))
    return Run(
        directory=path,
        recipe=ResolvedRecipe.recorded(recorded["recipe"]),
        history=_read_history(path / "metrics.csv"),
        model=model,
        result=result,
        data=recorded["data"],
        task=task_of(recorded, task),
    )


def task_of(recorded: Mapping[str, Any], given: str | Task | None = None) -> Task:
    """The task of a run: the one given; else by its name, or by its network.

    Args:
        recorded: What `recipe.json` holds.
        given: By the caller.

    Raises:
        InputError: Nothing knows it.
    """
    name, model = recorded.get("task"), recorded["recipe"]["model"]
    meaning = recorded.get("outputs")
    try:
        return find(given or name).knowing(meaning)
    except InputError:
        if given is None and not model.startswith("own: "):
            with contextlib.suppress(InputError):  # what is missing is the task
                entry = registry.lookup(model)
                if entry.task_name == name:
                    return find(entry.task).knowing(meaning)
        raise


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = ("kcnn", "keras", "tensorflow", "numpy", "pillow", "scikit-learn")
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def _make_directory(path: Path, *, reuse: bool) -> Path:
    """Make `path`, or the next free `path`-2, `path`-3; two processes never get the same."""
    candidate, count = path, 1
    while True:
        try:
            candidate.mkdir(parents=True, exist_ok=reuse)
            return candidate
        except FileExistsError:
            if not candidate.is_dir():
                raise
            count += 1
            candidate = path.with_name(f"{path.name}-{count}")


def _slug(text: str) -> str:
    kept = [c if c.isalnum() or c in "-_." else "-" for c in Path(text).stem]
    return "".join(kept).strip("-.") or "data"


def _read_history(path: Path) -> dict[str, list[float]]:
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name != "epoch"]
    return {name: [float(row[name]) for row in rows if row[name]] for name in names}
