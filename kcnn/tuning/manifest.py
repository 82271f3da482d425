"""`search.json`: what makes a search the one it is, so that another one cannot go on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kcnn.errors import InputError
from kcnn.runs.directory import versions
from kcnn.storage import files

_NAME = "search.json"


def check_or_write(directory: Path, identity: Mapping[str, Any]) -> None:
    """Compare a search with the one in `directory`; write it where there is none to read.

    A damaged file is written anew: each trial's record holds the trial's own values, and those
    are compared, too.

    Raises:
        InputError: The directory holds another search; with all differences.
    """
    ours = json.loads(json.dumps(dict(identity)))
    try:
        theirs = json.loads((directory / _NAME).read_text(encoding="utf-8"))["search"]
    except (OSError, ValueError, KeyError, TypeError):
        write(directory, ours)
        return
    found = list(_differences(theirs, ours, ""))
    if found:
        listed = "\n".join(f"  {line}" for line in found)
        raise InputError(
            f"{str(directory)!r} holds another search:\n{listed}\nNothing was changed. Choose "
            f"another folder by --name, or repeat its first command."
        )


def write(directory: Path, identity: Mapping[str, Any]) -> None:
    """Write the file."""
    content = {"search": dict(identity), "versions": versions()}
    files.write_json(directory / _NAME, content)


def _differences(theirs: Any, ours: Any, where: str) -> Any:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in theirs.keys() | ours.keys():
            inside = f"{where}.{name}" if where else name
            yield from _differences(theirs.get(name), ours.get(name), inside)
    elif theirs != ours:
        yield f"{where}: {theirs!r} there, {ours!r} now"
