"""Weights of one network into another, layer by layer, by name: of a classifier into a backbone."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kcnn.errors import InputError
from kcnn.graph.walk import leaves
from kcnn.startup import keras
from kcnn.storage.load_model import load_model

#: Of a layer's weights: the name and the shape of each, in order.
_Form = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Transferred:
    """Names of the target's layers that have weights, in the order of its graph."""

    filled: tuple[str, ...]  #: these have the source's
    missing: tuple[str, ...]  #: these are as they were: the source has none of that name and kind


def transfer(
    source: keras.Model, target: keras.Model, *, keep: Collection[str] = ()
) -> Transferred:
    """Give layers of `target` the weights of the layers of `source` of the same name and kind.

    Layers of nested models count as their own, whatever the model is called. Of another kind is
    the dense layer `predictions` of a classifier, which U-Net's convolution `predictions` is not.

    Args:
        source: Is left as it is.
        target: Its weights are assigned, all of them or, where something is refused, none.
        keep: Names of layers of `target` that are left as they are and not named in the result,
            such as preprocessing.

    Raises:
        InputError: No layer fits; a layer has weights of other names or shapes in `source`, with
            both; or two layers of one model have one name.
    """
    sources, targets = _by_name(source), _by_name(target)
    targets = {name: layer for name, layer in targets.items() if name not in keep}
    filled = [name for name in targets if _kind(targets[name]) == _kind(sources.get(name))]
    for name in filled:
        theirs, ours = _form(sources[name]), _form(targets[name])
        if theirs != ours:
            raise InputError(
                f"Layer {name!r} has other weights in {source.name} than in {target.name}: "
                f"{_text(theirs)} there, {_text(ours)} here. Build both with the same options, "
                f"classes and channels."
            )
    if not filled:
        raise InputError(
            f"No layer of {target.name} has name and kind of one of {source.name} with weights: "
            f"{_some(targets)} here, {_some(sources)} there. The two are of different families, "
            f"or one has not been built."
        )
    for name in filled:
        targets[name].set_weights(sources[name].get_weights())
        if isinstance(targets[name], keras.layers.Normalization):
            targets[name].finalize_state()  # it computes with what it made of its weights once
    return Transferred(tuple(filled), tuple(name for name in targets if name not in filled))


def classifier(path: str | os.PathLike[str]) -> keras.Model:
    """The network in a run's directory (its `model.keras`), or in a `.keras` file.

    No code from the file is run (`kcnn.storage.load_model`).

    Raises:
        InputError: `path` is neither, or what is there cannot be loaded; with what it is.
    """
    if isinstance(path, (str, os.PathLike)):
        folder = Path(os.fsdecode(path))
        if _is_directory(folder):
            if not (folder / "model.keras").exists():
                raise InputError(
                    f"{str(folder)!r} is a directory without model.keras: not a run's, or that of "
                    f"one whose network was not saved. Pass a run's directory, or a .keras file."
                )
            path = folder / "model.keras"
    return load_model(path)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except ValueError:  # a null byte
        return False


def _by_name(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers that have weights."""
    found: dict[str, keras.layers.Layer] = {}
    for layer in leaves(model):
        if layer.weights and found.setdefault(layer.name, layer) is not layer:
            raise InputError(
                f"Two layers of {model.name} are called {layer.name!r}: weights cannot go by name."
            )
    return found


def _kind(layer: keras.layers.Layer | None) -> str:
    """By name: a faster class of kcnn's has that of Keras' own."""
    return "" if layer is None else type(layer).__name__


def _form(layer: keras.layers.Layer) -> _Form:
    return tuple((weight.name, tuple(weight.shape)) for weight in layer.weights)


def _text(form: _Form) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in form)


def _some(layers: Collection[str]) -> str:
    """Names, the first few."""
    names = list(layers)
    return ", ".join(names[:4]) + ", ..." * (len(names) > 4) if names else "none"
