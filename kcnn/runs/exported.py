"""Networks in files of other runtimes, used as runs are: `kcnn predict model.onnx photo.jpg`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from kcnn.errors import InputError
from kcnn.graph.export import form_of
from kcnn.graph.notes import read
from kcnn.graph.outputs import gives_logits
from kcnn.graph.runtimes import as_model
from kcnn.runs.directory import Run, recipe_of, task_of, versions
from kcnn.runs.record import Recorded
from kcnn.startup import keras
from kcnn.storage import schema
from kcnn.weights.preprocessing import of_model

_Side = Annotated[int, Field(ge=1)] | None


class _Notes(Recorded):
    """What a file says of the run that it is of."""

    input_shape: Annotated[list[_Side], Field(min_length=3, max_length=3)]
    output_shape: Annotated[list[_Side], Field(min_length=1, max_length=3)]


def notes_of(run: Run, network: keras.Model) -> dict[str, Any]:
    """What a file is to say of a run's network: of no folder of this machine, and no user.

    Args:
        run: A finished one.
        network: What the file holds.
    """
    recipe = run.recipe.to_dict()
    source = run.data.get("source")
    named = source is not None and not any(sign in source for sign in "/\\")
    paths = {
        name: Path(recipe[name]).name
        for name in ("weights", "backbone_weights", "cache", "model")
        if isinstance(recipe.get(name), str)
    }
    data = run.data if named else run.data | {
        "source": None, "provenance": "data of the run", "name": Path(run.data["name"]).name,
    }  # fmt: skip
    recorded = {
        "recipe": recipe | paths | {"data": data["name"], "name": None, "logs": "logs"},
        "task": run.task.name,
        "outputs": _meaning(run),
        "data": data,
        "versions": versions(),
        "device": "",
        "input_shape": list(network.input_shape[1:]),
        "output_shape": list(network.output_shape[1:]),
    }
    found = {
        "class_names": list(run.class_names),
        "images": "(N, H, W, C) float32, in the range of the training images; normalised inside",
        "range": run.data.get("pixels", {}).get("range"),
        "task": run.task.name,
        "kcnn": versions()["kcnn"],
        "run": recorded,
    }
    normalisation = of_model(run.network)
    if normalisation is not None:
        found |= {"mean": normalisation.mean, "deviation": normalisation.deviation}
    return found


def _meaning(run: Run) -> str | None:
    """What outputs are, where the task asks: a file in another format has no graph that tells."""
    if not hasattr(run.task, "logits"):
        return None
    logits = gives_logits(run.network) if run.task.logits is None else run.task.logits
    return "logits" if logits else "probabilities"


def is_exported(path: Path) -> bool:
    """Whether a path is of a file, or a SavedModel, rather than of a run's directory."""
    return path.is_file() or (path / "saved_model.pb").is_file()


def exported_run(path: Path) -> Run:
    """The network in a file that `kcnn export` wrote, run by its own runtime, as a run.

    Args:
        path: Of the file, or the folder of a SavedModel.

    Returns:
        Without history and result.

    Raises:
        InputError: The runtime is not installed; the file is of no known format, is not kcnn's, or
            is damaged.
    """
    form = form_of(path, "savedmodel" if path.is_dir() else None)
    content = read(path, form).get("run")
    if content is None:
        raise InputError(
            f"{str(path)!r} does not say what its classes are and which pictures it takes: kcnn "
            f"export RUN writes files that do."
        )
    schema.check(path, content, _Notes)
    task: Any = task_of(content)
    if hasattr(task, "decoded"):  # boxes are decoded in the file, but for Keras' own
        decoded = None if form == "keras" else len(content["data"]["class_names"])
        task = dataclasses.replace(task, decoded=decoded)
    model = as_model(path, form, content["input_shape"], content["output_shape"], path.name)
    return Run(path, recipe_of(path, content), {}, model, {}, content["data"], task)


def leaving_network(run: Run) -> keras.Model:
    """What of a run's model leaves: pictures of any size are padded inside, none is scaled."""
    return run.model if run.task.whole else run.network
