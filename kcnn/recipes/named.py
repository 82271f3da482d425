"""Recipes by name, and recipes from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kcnn.errors import InputError, did_you_mean
from kcnn.recipes.places import found_again
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.trust import Trust, refuse_code
from kcnn.storage.files import read_json

#: `fast` was chosen on validation images of Fashion-MNIST alone (`benchmarks.time_to_accuracy`);
#: the rate of `transfer` by cross-validation on 800 training photographs, with VGG-19: from 3e-4 to
#: 3e-3 it makes 0.3 points with 64 pictures a class, 2.5 with eight; 0.4 and 1.1 from 1e-3 to 1e-2
#: where the features are a seventh as large.
_NAMED: Mapping[str, Mapping[str, Any]] = {
    "transfer": {
        "model": "resnet50",
        "weights": "imagenet",
        "freeze": "backbone",
        "augment": "none",
        "optimizer": "adamw",
        "learning_rate": 0.001,
        "epochs": 30,
    },
    "fast": {
        "model": "vgg11",
        "data": "fashion_mnist",
        "options": {"depths": [1, 1], "widths": [16, 32], "hidden": [128]},
        "dropout": 0.0,
        "epochs": 2,
        "batch_size": 128,
        "optimizer": "adamw",
        "learning_rate": 0.016,
        "schedule": "cosine",
        "warmup": 0.3,
        "weight_decay": 0.05,
    },
}


#: Folders that are whoever's wrote the file: nothing is written there on its word.
_NOT_REPEATED = ("name", "logs", "cache")


def named_recipe(name: str | Path, *, trust: Trust = None) -> Recipe:
    """The recipe of that name, or in that file: a run's `recipe.json`, or a recipe as JSON.

    Args:
        name: A name, or the path of a .json file.
        trust: The Python file or module that a file's recipe names, and whose code may run.

    Raises:
        InputError: No such name or file; a file that holds no recipe, or one of a network whose
            code is not trusted.
    """
    if str(name) in _NAMED:
        return Recipe(**_NAMED[str(name)])
    path = Path(name)
    if path.suffix != ".json" or not path.is_file():
        raise InputError(
            f"A recipe is {', '.join(_NAMED)} or a .json file, such as a run's recipe.json; "
            f"received {str(name)!r}, which is neither.{did_you_mean(str(name), _NAMED)}"
        )
    try:
        content = found_again(read_json(path))
        fields = dict(content.get("recipe", content))
        if "versions" in content:  # recorded, perhaps before a field was there
            fields = Recipe.whole(fields)
        recipe = Recipe.from_dict({k: v for k, v in fields.items() if k not in _NOT_REPEATED})
    except (ValueError, TypeError) as error:
        raise InputError(f"{str(path)!r} holds no recipe: {error}") from error
    refuse_code(recipe.model, trust)
    return recipe
