"""`kcnn.predict`: what a network says of pictures, of whatever form both have; and as a table."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from kcnn.data.batches.views import viewed
from kcnn.data.sets.arrays import as_images
from kcnn.errors import InputError
from kcnn.graph.forward import forward
from kcnn.recipes.defaults import resolve
from kcnn.recipes.families import OTHERS
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.trust import Trust
from kcnn.runs.directory import Run
from kcnn.runs.evaluation import csv_bytes
from kcnn.runs.inference import predictions
from kcnn.runs.published import run_of
from kcnn.runs.reading import batched, image_paths
from kcnn.runs.suitable import batch_size_of, refuse_batches, refuse_other_pixels
from kcnn.startup import keras
from kcnn.storage import files
from kcnn.tasks.pictures import whole_of
from kcnn.tasks.task import Task, find
from kcnn.terminal import shape_text

#: What a model of the user's own is for, by the axes of its outputs, where nobody says.
_TASKS = {2: "classification", 4: "segmentation"}
#: Kinds of NumPy's and pandas' types that paths have.
_TEXT = "OSTU"
#: Rows of a table that are written at a time.
_ROWS = 256


def predict(
    run_or_model: Run | keras.Model | str | os.PathLike,
    images: Any,
    *,
    batch_size: int | None = None,
    class_names: Sequence[str] | None = None,
    task: str | Task | None = None,
    skip_bad: bool = False,
    trust: Trust = None,
) -> list[Any]:
    """What a network says of pictures, one answer a picture, in their order.

    Args:
        run_or_model: A run; the path of its directory, or of a file of `kcnn export`; the name of a
            network with published weights; or a model: images (N, H, W, C) in, functional or
            sequential, which sees values as they are.
        images: Files, folders of them or patterns, a path or several, read as in training. Or
            arrays (N, H, W, C), or a list of (H, W, C), in the range of the training; of a network
            that was trained on photographs, of any size.
        batch_size: Images that the network takes at once; None chooses by its memory.
        class_names: Of a model, in the order of its outputs; the default is "0", "1", ....
        task: Of a model; None goes by the shape of its outputs.
        skip_bad: Leave files out that cannot be read, with a warning, instead of raising: each
            answer has its `path`.
        trust: As `kcnn.load_run`.

    Returns:
        Of classification, answers with `class_name`, `probability`, and `probabilities` of every
        class, the most probable first; of segmentation with `mask` (H, W) of class numbers; of
        detection with `boxes`, `confidences`, `classes`. `path` is None for arrays.

    Raises:
        InputError: No run, file or network; files that cannot be read; arrays of other sizes or
            another range than the network takes.
        FloatingPointError: The network gives what is no number.
    """
    if isinstance(run_or_model, keras.Model):
        run = _of_model(run_or_model, class_names, task)
    elif class_names is not None or task is not None:
        raise InputError(
            "class_names and task are of a model; a run knows its own. Leave them out."
        )
    else:
        run = _run_of(run_or_model, trust)
    if (arrays := _arrays(images)) is not None:
        return _of_arrays(run, arrays, batch_size)
    bad = list[str]()
    skipped = (lambda path, reason: bad.append(f"  {path}: {reason}")) if skip_bad else None
    paths = image_paths(_paths(images))
    found = list(predictions(run, paths, batch_size=batch_size, skipped=skipped))
    if bad:
        listed = "\n".join(bad)
        warnings.warn(f"Left out, since they cannot be read:\n{listed}", stacklevel=2)
    return found


def _run_of(given: Run | str | os.PathLike, trust: Trust) -> Run:
    return given if isinstance(given, Run) else run_of(Path(given), trust)


def _paths(images: Any) -> list[str | Path]:
    if isinstance(images, (str, os.PathLike)):
        return [Path(images)]
    if isinstance(images, Iterable) and not isinstance(images, (bytes, Mapping)):
        paths = list(images)
        if all(isinstance(path, (str, os.PathLike)) for path in paths):
            return paths
    raise InputError(
        f"images are paths of files or folders, or arrays (N, H, W, C); received "
        f"{type(images).__name__}."
    )


def _arrays(images: Any) -> list[np.ndarray] | None:
    """Arrays (N, H, W, C), one or several; None where they are none."""
    kind = getattr(getattr(images, "dtype", None), "kind", "f")
    if hasattr(images, "shape") and kind not in _TEXT:
        return [as_images(_in_numpy(images), "images")]
    if not isinstance(images, (list, tuple)) or not images or not hasattr(images[0], "shape"):
        return None
    if isinstance(images[0], str):  # NumPy's
        return None
    found = [_in_numpy(image) for image in images]
    if wrong := next((image.shape for image in found if image.ndim != 3), None):
        raise InputError(f"A list of images has arrays (H, W, C); received {wrong}.")
    if len({(image.shape, image.dtype) for image in found}) == 1:
        found = [np.stack(found)]
    else:
        found = [image[np.newaxis] for image in found]
    return [as_images(array, "images") for array in found]


def _in_numpy(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else keras.ops.convert_to_numpy(array)


def _of_arrays(run: Run, arrays: Sequence[np.ndarray], batch_size: int | None) -> list[Any]:
    for array in arrays:
        if len(array):
            refuse_other_pixels(run, array, "images")
    if run.task.whole:
        refuse_batches(batch_size)
        return _of_whole_arrays(run, arrays)
    # A network of photographs fits them by itself, whatever their size; else the two are one.
    model, found = run.model, list[Any]()
    size = batch_size_of(run.network, batch_size)
    outputs = forward(model, sum(-(-len(array) // size) for array in arrays))
    for array in arrays:
        _refuse_other_size(model, array.shape)
    for array in arrays:
        for first in range(0, len(array), size):
            part = array[first : first + size]
            of_part = [None] * len(part)
            found += run.task.predictions(run.network, outputs(part), of_part, run.class_names)
    return found


def _of_whole_arrays(run: Run, arrays: Sequence[np.ndarray]) -> list[Any]:
    network, found = run.network, list[Any]()
    whole, outputs = whole_of(network, run.recipe), forward(network, sum(map(len, arrays)))
    for array in arrays:
        _refuse_other_size(network, (None, None, None, array.shape[3]))
        view = whole.view((array.shape[1], array.shape[2]))
        for image in array:
            out = outputs(viewed(image, view)[np.newaxis])
            found += run.task.predictions(network, out, [None], run.class_names, [view])
    return found


def _refuse_other_size(model: keras.Model, shape: Sequence[int | None]) -> None:
    pairs = zip(model.input_shape[1:], shape[1:], strict=True)
    if any(a and b and a != b for a, b in pairs):
        raise InputError(
            f"images are {shape_text(tuple(shape[1:]))}; the network takes "
            f"{shape_text(model.input_shape[1:])}. Resize them, or give image files, which are fit."
        )


def _of_model(
    model: keras.Model, class_names: Sequence[str] | None, task: str | Task | None
) -> Run:
    """A model of the user's own in the form of a run without a history."""
    shape = model.input_shape if getattr(model, "inputs", None) else None
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] is None:
        raise InputError(
            f"A model to predict with takes images (N, H, W, C), and is functional or sequential; "
            f"received {type(model).__name__} {model.name!r}, which takes {shape}."
        )
    outputs = model.output_shape
    known = _TASKS.get(len(outputs)) if isinstance(outputs, tuple) else None
    if task is None and known is None:
        raise InputError(f"What is a model for that gives {outputs}? Say so: task='detection'.")
    solved = find(task or known)
    if class_names is None:
        if solved.name not in _TASKS.values():
            raise InputError(f"A model of {solved.name} needs class_names, of all its classes.")
        class_names = [str(number) for number in range(max(outputs[-1], 2))]
    recipe = resolve(
        Recipe(model=f"own: {model.name}", data="own", augment="none"),
        family=OTHERS,
        images=1,
        image_shape=shape[1:],
        pictures=solved.whole,
    )
    data = {"name": "own", "source": None, "provenance": "", "class_names": list(class_names)}
    return Run(Path(model.name), recipe, {}, model, {}, data, solved)


def write_table(path: Path, run: Run, found: Iterable[Any], top: int) -> int:
    """Write `file`, `prediction`, `confidence` of each picture as CSV; how many there were.

    With `top` above 1, `prediction_2`, `confidence_2` and so on follow. Rows are written as they
    come; the file is there when the last has.

    Args:
        path: Of the file, which is replaced.
        run: Of a task whose answers are names.
        found: Its predictions.
        top: How many of the most probable classes; at most all.

    Raises:
        InputError: The task gives no names; there is no folder for the file.
    """
    if not hasattr(run.task, "ranked"):
        raise InputError(
            f"A table holds names of classes and confidences; {run.task.name} writes files of its "
            f"own. Leave --csv out; --output says where they go."
        )
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{str(path)!r} cannot be written: it is a folder, or is in none.")
    top = min(top, len(run.class_names))
    counted = [0]
    try:
        files.replace(path, partial(_write_rows, run, found, top, counted))
    except BaseException:
        files.beside(path).unlink(missing_ok=True)
        raise
    return counted[0]


def _write_rows(
    run: Run, found: Iterable[Any], top: int, counted: list[int], file: IO[bytes]
) -> None:
    ranked: Any = run.task
    more = [f"{what}_{k}" for k in range(2, top + 1) for what in ("prediction", "confidence")]
    file.write(csv_bytes([["file", "prediction", "confidence", *more]]))
    for part in batched(found, _ROWS):
        rows = [
            [str(one.path), *(cell for name, share in ranked.ranked(one, top)
                              for cell in (name, f"{share:.6g}"))]
            for one in part
        ]  # fmt: skip
        file.write(csv_bytes(rows))
        counted[0] += len(part)
