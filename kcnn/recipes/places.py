"""Where the data of a run are: its recipe names them as they were named, from another folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def found_again(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What a `recipe.json` holds, with data of which a relative path was given where they are.

    A run records the whole path beside what was given. It counts where the given one leads
    elsewhere from here; where nothing is there any more (the data were moved, the run is of
    another machine), what was given counts, from here. Other data of the same name are told by
    their fingerprint.
    """
    content, data = dict(recorded), recorded.get("data")
    if not isinstance(data, Mapping):
        return content
    given, path = data.get("source"), recorded.get("data_path")
    if not isinstance(given, str) or not isinstance(path, str) or not os.path.exists(path):
        return content
    if os.path.abspath(os.path.expanduser(given)) == path:
        return content
    content["data"] = {**data, "source": path}
    recipe = content.get("recipe")
    if isinstance(recipe, Mapping) and recipe.get("data") == given:
        content["recipe"] = {**recipe, "data": path}
    return content
