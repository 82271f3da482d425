"""The weights that `kcnn.build` is given: bare ones, or those of a saved network."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, cast

from kcnn.errors import InputError
from kcnn.startup import keras
from kcnn.storage.budget import same_types
from kcnn.storage.files import open_regular
from kcnn.storage.keras_file import check_weights
from kcnn.weights.transfer import classifier, transfer


def load_weights(model: keras.Model, weights: str | Path, keep: Collection[str] = ()) -> None:
    """Fill `model` from a `.weights.h5` file, a run's directory or a `.keras` file.

    Bare weights are of the very same network. Out of a saved network they go by the names of
    layers, except into those that `keep` names; it may have more layers than `model`, not fewer.

    Raises:
        InputError: There is no such file; it is damaged; it holds not all weights of `model`.
    """
    path = Path(weights)
    bare = path.name.endswith(".weights.h5") and path.is_file()
    if bare:
        _load_bare(model, path)
    elif path.is_dir() or (path.name.endswith(".keras") and path.exists()):
        _load_by_name(model, path, keep)
    else:
        raise InputError(
            f"weights is None, the directory of a run, the path of a .keras file, or that of a "
            f".weights.h5 file that Keras' save_weights wrote; received {str(weights)!r}, which is "
            f"{'none of them' if path.exists() else 'not there'}."
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


def _load_by_name(model: keras.Model, path: Path, keep: Collection[str]) -> None:
    saved = classifier(path)
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
