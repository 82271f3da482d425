"""What a training begins with: weights of somebody, and the preprocessing that belongs to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcnn.errors import InputError
from kcnn.startup import keras
from kcnn.weights import preprocessing
from kcnn.weights.arrays import is_foreign
from kcnn.weights.download import fetch
from kcnn.weights.load import load_weights
from kcnn.weights.preprocessing import Normalisation
from kcnn.weights.published import find, is_tag
from kcnn.weights.transfer import classifier


@dataclass(frozen=True)
class Origin:
    """Weights for the layers of one network.

    Args:
        path: Of the file, or of a run.
        network: The registered name of the network that they are of.
        family: Of that network, by name.
        normalisation: With which they were trained; None where nobody knows.
        options: Of the builder, that they need.
        bytes: Whether they were trained on photographs, 0 to 255.
    """

    path: Path
    network: str
    family: str
    normalisation: Normalisation | None
    options: Mapping[str, Any]
    bytes: bool

    def load(self, model: keras.Model, keep: Collection[str], *, part: bool = False) -> list[str]:
        """Fill the layers of `model` but those that `keep` names; what was adapted.

        Raises:
            InputError: They are of another network.
        """
        return load_weights(
            model,
            self.path,
            keep,
            family=self.family,
            new_head=True,
            flip=self.normalisation is not None and self.normalisation.flipped,
            part=part,
        )


def origin(
    weights: str,
    network: str,
    family: str,
    options: Mapping[str, Any],
    said: str | None,
    *,
    top: bool,
) -> Origin:
    """What `weights` of a recipe names, for a network.

    Args:
        weights: A tag, or a path.
        network: A registered name.
        family: Of it, by name.
        options: Of the builder, as the recipe has them.
        said: The preprocessing that the user names.
        top: Whether the network has the weights' classifier, too.

    Raises:
        InputError: It is nothing of that, or cannot be had; a file of which nobody says how it was
            trained.
    """
    named = None if said is None else preprocessing.named(said)
    if is_tag(weights):
        row = find(network, weights, options)
        normalisation = named or preprocessing.named(row.preprocessing)
        return Origin(fetch(row, top=top), network, family, normalisation, row.options, True)
    path = Path(weights)
    if path.is_dir() or path.suffix == ".keras":
        own = named or preprocessing.of_model(classifier(path))
        return Origin(path, network, family, own, {}, named is not None)
    if named is None and is_foreign(path):
        raise InputError(
            f"{weights!r} does not say how its weights were trained. Name it: preprocessing is "
            f"torch (PyTorch, timm), caffe (VGG and ResNet of keras.applications) or tf."
        )
    return Origin(path, network, family, named, {}, named is not None)
