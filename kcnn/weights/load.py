"""The weights that `kcnn.build` is given: a file's of kcnn, of Keras, or of another library."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from kcnn.errors import InputError
from kcnn.graph.walk import leaves
from kcnn.startup import keras
from kcnn.storage.budget import same_types
from kcnn.storage.files import open_regular
from kcnn.storage.keras_file import check_weights
from kcnn.weights.arrays import is_foreign, read_arrays, refuse_pickle
from kcnn.weights.place import begin_at_zero, place
from kcnn.weights.preprocessing import of_model
from kcnn.weights.transfer import classifier, transfer

_HEAD = "predictions"


def load_weights(
    model: keras.Model,
    weights: str | Path,
    keep: Collection[str] = (),
    *,
    family: str = "",
    new_head: bool = False,
    flip: bool = False,
    part: bool = False,
) -> list[str]:
    """Fill `model` from a file, or a run's directory.

    Bare weights (`.weights.h5`) are of the very same network. Out of a saved network (a run, a
    `.keras` file) they go by the names of layers, except into those that `keep` names; it may have
    more layers than `model`, not fewer. Those of other libraries (`.safetensors`, `.npz`, `.h5`)
    go by `kcnn.weights.scheme`.

    Args:
        model: As it was built.
        weights: The path.
        keep: Names of layers that stay as they are.
        family: Of the network, by name.
        new_head: The layer `predictions` begins at zero where the file has other classes.
        flip: A file's first kernel reads blue, green, red.
        part: The network ends before that of a file of another library.

    Returns:
        What was adapted or taken for granted, a sentence each.

    Raises:
        InputError: There is no such file; it is damaged; it holds not all weights of `model`.
    """
    path = Path(weights)
    refuse_pickle(path)
    if path.name.endswith(".weights.h5") and path.is_file():
        _load_bare(model, path)
        return []
    if path.is_dir() or (path.name.endswith(".keras") and path.exists()):
        return _load_by_name(model, path, keep, new_head)
    if is_foreign(path) and path.exists():
        arrays = read_arrays(path)
        try:
            return place(
                model, arrays, family=family, keep=keep, new_head=new_head, flip=flip, part=part
            )
        except InputError as error:
            raise InputError(f"{str(path)!r} does not go onto {model.name}: {error}") from error
    raise InputError(
        f"weights is None, the directory of a run, the path of a .keras file, of a .weights.h5 "
        f"file that Keras' save_weights wrote, or of another library's .safetensors, .npz or .h5; "
        f"received {str(weights)!r}, which is {'none of them' if path.exists() else 'not there'}."
    )


def _load_bare(model: keras.Model, path: Path) -> None:
    try:
        with open_regular(path) as file:
            check_weights(cast(BinaryIO, file))
    except InputError as error:
        raise InputError(
            f"{str(path)!r} does not hold the weights of this {model.name}: {error}"
        ) from error
    try:
        with warnings.catch_warnings(), same_types():
            warnings.simplefilter("error", UserWarning)  # what Keras would skip, it warns of
            model.load_weights(path)
    except (OSError, ValueError, UserWarning) as error:
        raise InputError(
            f"{str(path)!r} does not hold the weights of this {model.name}. Build it with the "
            f"options, classes and channels of the network that was saved."
        ) from error


def _load_by_name(
    model: keras.Model, path: Path, keep: Collection[str], new_head: bool
) -> list[str]:
    saved, notes = classifier(path), list[str]()
    inside = of_model(saved)
    if inside is not None and not keep:
        # Weights alone: what they were trained on has to be said, or figures are wrong in silence.
        notes.append(
            f"images are normalised in {str(path)!r} and not in this network: mean "
            f"{_numbers(inside.mean)}, deviation {_numbers(inside.deviation)}; "
            f"kcnn.load_run(RUN).backbone() has it inside"
        )
    classes = _other_classes(saved, model) if new_head else None
    if classes:
        keep = [*keep, _HEAD]
        notes.append(f"{_HEAD} is new: {model.output_shape[-1]} classes, in the file {classes}")
    try:
        moved = transfer(saved, model, keep=keep)
    except InputError as error:
        raise InputError(
            f"{str(path)!r} does not hold the weights of this {model.name}: {error} For other "
            f"classes leave the network's end away, which depends on them: include_top=False."
        ) from error
    if moved.missing:
        raise InputError(
            f"{str(path)!r} holds weights for {len(moved.filled)} layers of this {model.name}, "
            f"and none for {', '.join(moved.missing)}. With include_top=False a network ends "
            f"before its classifier; kcnn.weights.transfer.transfer(source, target) takes over "
            f"what fits, and says what did not."
        )
    if classes:
        begin_at_zero(next(layer for layer in leaves(model) if layer.name == _HEAD))
    return notes


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _other_classes(saved: keras.Model, model: keras.Model) -> int | None:
    """The classes of a saved network where they are not those of `model`."""
    theirs, ours = (
        next((one for one in leaves(m) if one.name == _HEAD and one.weights), None)
        for m in (saved, model)
    )
    if theirs is None or ours is None or type(theirs) is not type(ours):
        return None
    classes = theirs.weights[0].shape[-1]
    return None if classes == ours.weights[0].shape[-1] else int(classes)
