"""Where what a run names lies: its recipe names it as it was named, from another folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

#: Fields of a recipe that may be paths, beside its data.
FIELDS = ("weights", "backbone_weights", "cache")


def whole_paths(recipe: Mapping[str, Any]) -> dict[str, str]:
    """By field: the absolute paths of what a recipe names from here, of what is there."""
    given = {name: recipe.get(name) for name in FIELDS}
    texts = {name: os.path.expanduser(text) for name, text in given.items() if text}
    return {n: os.path.abspath(text) for n, text in texts.items() if os.path.exists(text)}


def found_again(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What a `recipe.json` holds, with what was given by a relative path named by where it is.

    A run records the whole path beside what was given. It counts where the given one leads
    elsewhere from here; where nothing is there any more (the data were moved, the run is of
    another machine), what was given counts, from here. Other data of the same name are told by
    their fingerprint. "named" has the fields that were changed, as they were given: a checkpoint
    knows weights by that.
    """
    content = _data_found_again(recorded)
    recipe, paths = content.get("recipe"), recorded.get("paths")
    if not isinstance(recipe, Mapping) or not isinstance(paths, Mapping):
        return content
    named = {}
    for name in FIELDS:
        given, path = recipe.get(name), paths.get(name)
        if isinstance(given, str) and isinstance(path, str) and _lies_elsewhere(given, path):
            named[name] = given
    places = {name: paths[name] for name in named}
    return {**content, "recipe": {**recipe, **places}, "named": named}


def _lies_elsewhere(given: str, path: str) -> bool:
    """Whether something is at the whole path, and what was given is not that from here."""
    return os.path.exists(path) and os.path.abspath(os.path.expanduser(given)) != path


def _data_found_again(recorded: Mapping[str, Any]) -> dict[str, Any]:
    content, data = dict(recorded), recorded.get("data")
    if not isinstance(data, Mapping):
        return content
    given, path = data.get("source"), recorded.get("data_path")
    if not isinstance(given, str) or not isinstance(path, str) or not _lies_elsewhere(given, path):
        return content
    content["data"] = {**data, "source": path}
    recipe = content.get("recipe")
    if isinstance(recipe, Mapping) and recipe.get("data") == given:
        content["recipe"] = {**recipe, "data": path}
    return content
