"""Networks with published weights, used as runs are: `kcnn predict vgg16 photo.jpg`."""

from __future__ import annotations

from pathlib import Path

from kcnn.errors import InputError
from kcnn.models import registry
from kcnn.models.build import build
from kcnn.recipes.defaults import resolve
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.trust import Trust
from kcnn.runs.directory import Run, load_run
from kcnn.runs.exported import exported_run, is_exported
from kcnn.tasks.task import find
from kcnn.weights.download import class_names

#: ImageNet's training images, and to how many times the input a picture is fit: 256 / 224.
_IMAGES, _SCALE = 1_281_167, 256 / 224


def run_of(name: str | Path, trust: Trust = None) -> Run:
    """The run in a directory, the network in a file, or one with its published weights.

    Raises:
        InputError: It is none of them; the weights are not there and cannot be had.
    """
    path = Path(name)
    if is_exported(path):
        return exported_run(path)
    if path.is_dir() or str(name) not in registry.list_models():
        return load_run(path, trust=trust)
    return published_run(str(name))


def published_run(network: str, tag: str = "imagenet") -> Run:
    """A network with published weights in the form of a run without a history.

    Args:
        network: A registered name.
        tag: As `kcnn.build` takes it.

    Raises:
        InputError: There are no such weights, or they cannot be had.
    """
    entry = registry.lookup(network)
    if entry.task_name != "classification":
        raise InputError(
            f"{network} is for {entry.task_name}, and has no published weights. Train it: kcnn "
            f"train {network} --data ..., and name the run's folder."
        )
    model, names = build(network, weights=tag), class_names()
    recipe = resolve(
        Recipe(model=network, data="imagenet", evaluation_scale=_SCALE),
        family=entry.family,
        images=_IMAGES,
        image_shape=(None, None, 3),
    )
    data = {
        "name": "imagenet",
        "source": None,
        "provenance": f"published weights {tag}",
        "class_names": list(names),
        "pixels": {"dtype": "uint8", "range": [0, 255]},
    }
    task = find("classification").knowing("probabilities")
    return Run(Path(network), recipe, {}, model, {}, data, task)
