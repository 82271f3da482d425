"""The run directory: everything about one training, and nothing elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcnn.data.sets.sources import whole_path
from kcnn.devices.names import device_name
from kcnn.errors import InputError
from kcnn.graph.features import body
from kcnn.graph.modes import settle
from kcnn.graph.photographs import without_fitting
from kcnn.graph.whole import without_padding
from kcnn.models import registry
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.recipes.places import whole_paths
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.trust import Trust, refuse_code, words
from kcnn.runs.record import read_history, read_recorded, read_result
from kcnn.startup import keras
from kcnn.storage import files
from kcnn.storage.files import write_json
from kcnn.storage.load_model import load_model
from kcnn.tasks.task import Task, find, ranking
from kcnn.terminal import command
from kcnn.weights.published import is_tag


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
        """`model`, without what fits or pads pictures in front: the same layers."""
        return without_padding(without_fitting(self.model))

    def backbone(self, features: Sequence[int] | None = None) -> keras.Model:
        """The network without its classifier, its resizing and normalisation in front.

        The layers are those of `model`: to train one is to train the other.

        Args:
            features: Strides in pixels of the feature maps (N, H / stride, W / stride, C) that it
                gives, a list; None gives the last map alone.

        Raises:
            InputError: It has no such map.
        """
        return body(self.network, features)

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
        if recipe.name and path.is_dir() and not _is_left_over(path):
            with files.Lock(path):  # says so where it is being written
                pass
            done = (path / "result.json").is_file()
            go_on = "" if done else f"go on with it by {resume_command(path, recipe)}, "
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
    def is_begun(self) -> bool:
        """Whether there is something that could go on."""
        return (self.path / "recipe.json").is_file()

    def remove_unless_begun(self) -> None:
        """Take away the folders of a run that did not begin; nothing else."""
        if not self.is_begun:
            with contextlib.suppress(OSError):
                self.checkpoints.rmdir()
                self.path.rmdir()

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
        self,
        recipe: Recipe,
        task: str,
        data: dict[str, Any],
        meaning: str | None = None,
        named: Mapping[str, Any] | None = None,
    ) -> None:
        """Write what repeats the run: recipe, task, what outputs mean, data and versions.

        Args:
            recipe: Of the training.
            task: By name.
            data: As the problem describes them.
            meaning: Of the outputs.
            named: Fields of the recipe as they were given, where `found_again` has changed them.
        """
        write_json(
            self.path / "recipe.json",
            {
                "recipe": recipe.to_dict() | dict(named or {}),
                "task": task,
                "outputs": meaning,
                "data": data,
                "data_path": whole_path(data["source"]),  # of this machine: not in what leaves it
                "paths": _paths(recipe),  # nor these
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
        files.beside(path).unlink(missing_ok=True)  # also where it is a link
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


def load_run(
    directory: str | Path,
    *,
    task: str | Task | None = None,
    trust: Trust = None,
) -> Run:
    """A finished run, read back from its directory.

    Args:
        directory: Of the run.
        task: Where the run is of a task of the caller's own.
        trust: The Python file or module that the run's recipe names, where the run needs its
            code (`kcnn.recipes.trust`).

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
    recorded = read_recorded(path)
    recipe, solved = recipe_of(path, recorded), task_of(recorded, task, trust)
    model = settle(load_model(path / "model.keras"))
    refuse_no_images(path, model)
    return Run(
        directory=path,
        recipe=recipe,
        history=read_history(path),
        result=read_result(path, ranking(solved)),
        model=model,
        data=recorded["data"],
        task=solved,
    )


def refuse_no_images(path: Path, model: keras.Model) -> None:
    """Refuse a network that takes anything but images.

    Raises:
        InputError: With the shapes that it takes.
    """
    shape = model.input_shape if getattr(model, "inputs", None) else None
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] is None:
        raise InputError(
            f"The network in {str(path)!r} is none of a run: it takes {shape}, and images are "
            f"(N, H, W, C)."
        )


def recipe_of(path: Path, recorded: Mapping[str, Any]) -> ResolvedRecipe:
    """The recipe of a run that is in `path` now.

    Args:
        path: The run's directory.
        recorded: What its `recipe.json` holds.

    Raises:
        InputError: A field that no recipe has, one that is missing, a value outside its range.
    """
    place = {"name": path.name, "logs": str(path.parent)}
    try:
        return ResolvedRecipe.recorded(recorded["recipe"] | place)
    except (InputError, TypeError) as error:
        raise InputError(f"{str(path / 'recipe.json')!r} is no recipe of a run: {error}") from error


def task_of(
    recorded: Mapping[str, Any],
    given: str | Task | None = None,
    trust: Trust = None,
) -> Task:
    """The task of a run: the one given; else by its name, or by its network.

    Args:
        recorded: What `recipe.json` holds.
        given: By the caller.
        trust: The code that may be imported for it.

    Raises:
        InputError: Nothing knows it.
    """
    name, model = recorded.get("task"), recorded["recipe"]["model"]
    meaning = recorded.get("outputs")
    try:
        return find(given or name).knowing(meaning)
    except InputError:
        if given is None and not model.startswith("own: "):
            check_code(model, trust)
            with contextlib.suppress(InputError):  # what is missing is the task
                entry = registry.lookup(model)
                if entry.task_name == name:
                    return find(entry.task).knowing(meaning)
        raise


def check_code(model: str, trust: Trust) -> None:
    """Refuse to import what a run's recipe names, unless it has been, or the user says so.

    Raises:
        InputError: With how to say so.
    """
    if not registry.is_imported(model):
        refuse_code(model, trust)


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = ("kcnn", "keras", "tensorflow", "numpy", "pillow", "scikit-learn")
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def rates_text(recipe: Recipe, steps: int | None = None) -> str:
    """Peak learning rates that were asked for later, and from where on.

    Args:
        recipe: Of a run.
        steps: Of an epoch; None leaves epochs out.
    """

    def place(step: int) -> str:
        return f"step {step:,}" + (f" (in epoch {step // steps + 1})" if steps else "")

    changes = [f"{rate:g} from {place(step)} on" for step, rate in recipe.rates]
    return f"{recipe.learning_rate:g}, then {', '.join(changes)}, by kcnn resume --learning-rate"


def _paths(recipe: Recipe) -> dict[str, str]:
    """Where weights and cache are; published weights and memory are no paths."""
    found = whole_paths(recipe.to_dict())
    words = {name: str(getattr(recipe, name)) for name in found}
    return {n: path for n, path in found.items() if not (is_tag(words[n]) or words[n] == "memory")}


def _is_left_over(path: Path) -> bool:
    """Whether a directory has nothing in it but what a start that was killed leaves."""
    found = {entry.name for entry in path.iterdir()}
    return found <= {files.Lock.NAME, "checkpoints"} and not (
        "checkpoints" in found and any((path / "checkpoints").iterdir())
    )


def resume_command(path: Path, recipe: Recipe) -> str:
    """What goes on with a run of a recipe, to be pasted."""
    return command("kcnn", "resume", path, *words(recipe.model, recipe.compiled))


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
