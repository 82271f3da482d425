"""Code that a file names is not run on the file's word.

A model may be `FILE.py:NAME` or `package.module:NAME`, and looking it up runs that code. On the
command line it is the user who says so. In a run's `recipe.json`, or in a recipe that was sent, it
is whoever wrote the file: there the user's own word is asked for, with the path.
"""

from __future__ import annotations

import os
from pathlib import Path

from kcnn.errors import InputError
from kcnn.terminal import command

Trust = str | os.PathLike[str] | None


def code_of(model: str) -> str:
    """The Python file or module that a model's name stands in; "" for a registered name."""
    return "" if model.startswith("own: ") else model.rpartition(":")[0]


def words(model: str) -> tuple[str | Path, ...]:
    """What a command for a recipe of `model` needs, to have the user's word."""
    code = code_of(model)
    return ("--trust", Path(code) if code.endswith(".py") else code) if code else ()


def refuse_code(model: str, trust: Trust) -> None:
    """Refuse a model of a recipe from a file whose code the user has not named.

    Args:
        model: As the recipe has it.
        trust: The file or module that may be imported; None for none.

    Raises:
        InputError: The model needs other code; with how to allow it.
    """
    code = code_of(model)
    if not code or (trust is not None and _same(code, os.fspath(trust))):
        return
    said = "" if trust is None else f"; {os.fspath(trust)!r} is another one"
    raise InputError(
        f"The recipe's network is {model!r}: Python code, which would run here{said}. Look at it; "
        f"if you trust it, say so by {command(*words(model))}, in Python by trust={code!r}."
    )


def _same(code: str, trusted: str) -> bool:
    """The same module; or the same file, whichever way it is written."""
    both_files = code.endswith(".py") and trusted.endswith(".py")
    return code == trusted or (both_files and os.path.realpath(code) == os.path.realpath(trusted))
