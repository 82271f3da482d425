"""`search.json`: what makes a search the one it is, so that another one cannot go on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kcnn.devices import memory as device
from kcnn.errors import InputError
from kcnn.runs.directory import versions
from kcnn.storage import files

_NAME = "search.json"


def check_or_write(directory: Path, identity: Mapping[str, Any], memory: int) -> int:
    """Compare a search with the one in `directory`; write it where there is none to read.

    A damaged file is written anew: each trial's record holds the trial's own values, and those
    are compared, too.

    Args:
        directory: Of the search.
        identity: What makes it the one it is.
        memory: Bytes that a training may take now.

    Returns:
        What it may take in this search: what it could when the search began, so that the same
        combinations are tried.

    Raises:
        InputError: The directory holds another search; with all differences.
    """
    ours = json.loads(json.dumps(dict(identity)))
    try:
        content = files.read_json(directory / _NAME)
        theirs = content["search"]
    except (OSError, ValueError, KeyError):
        write(directory, ours, memory)
        return memory
    found = list(_differences(theirs, ours, ""))
    if found:
        listed = "\n".join(f"  {line}" for line in found)
        raise InputError(
            f"{str(directory)!r} holds another search:\n{listed}\nNothing was changed. Choose "
            f"another folder by --name, or repeat its first command."
        )
    began = content.get("memory", device.memory())  # searches of before went by all that there is
    return began if isinstance(began, int) and began > 0 else memory


def write(directory: Path, identity: Mapping[str, Any], memory: int) -> None:
    """Write the file."""
    content = {"search": dict(identity), "memory": memory, "versions": versions()}
    files.write_json(directory / _NAME, content)


def _differences(theirs: Any, ours: Any, where: str) -> Any:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in theirs.keys() | ours.keys():
            inside = f"{where}.{name}" if where else name
            yield from _differences(theirs.get(name), ours.get(name), inside)
    elif theirs != ours:
        yield f"{where}: {theirs!r} there, {ours!r} now"
