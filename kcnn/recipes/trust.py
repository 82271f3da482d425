"""Code that a file names is not run on the file's word.

A model may be `FILE.py:NAME` or `package.module:NAME`, and looking it up runs that code. On the
command line it is the user who says so. In a run's `recipe.json`, or in a recipe that was sent, it
is whoever wrote the file: there the user's own word is asked for, with the path.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from kcnn.errors import InputError
from kcnn.terminal import command

Trust = str | os.PathLike[str] | None


def code_of(model: str) -> str:
    """The Python file or module that a model's name stands in; "" for a registered name."""
    return "" if model.startswith("own: ") else model.rpartition(":")[0]


def modules_of(config: Any) -> Iterator[str]:
    """Modules of the classes and functions in a config of Keras' that are not Keras' or kcnn's."""
    if isinstance(config, Mapping):
        module = config.get("module")
        own = ("keras", "kcnn", "builtins")
        if "class_name" in config and module and str(module).split(".")[0] not in own:
            yield str(module)
        yield from (name for value in config.values() for name in modules_of(value))
    elif isinstance(config, (list, tuple)):
        yield from (name for value in config for name in modules_of(value))


def words(model: str, compiled: Any = None) -> tuple[str | Path, ...]:
    """What a command for a recipe of `model` needs, to have the user's word.

    Args:
        model: As the recipe has it.
        compiled: What was handed over, as the recipe has it.
    """
    modules = (name for name in modules_of(compiled) if name != "__main__")  # another one there
    code = code_of(model) or next(modules, "")
    return _words(code)


def _words(code: str) -> tuple[str | Path, ...]:
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
        f"if you trust it, say so by {command(*_words(code))}, in Python by trust={code!r}."
    )


def refuse_unknown(what: str, config: Any, error: Exception) -> NoReturn:
    """Refuse an optimiser, a loss or a metric of a recipe that Keras cannot make.

    Args:
        what: Which of them.
        config: As the recipe has it.
        error: What Keras says.

    Raises:
        InputError: With the code that would have to run, where there is such.
    """
    modules = ", ".join(dict.fromkeys(modules_of(config)))
    if not modules:
        raise InputError(
            f"The recipe's {what} cannot be made by Keras: {str(error)[:300]}"
        ) from error
    raise InputError(
        f"The recipe's {what} is of code of {modules}, which has not run here. Import it first: it "
        f"is to register its classes and functions with "
        f"@keras.saving.register_keras_serializable(). A command runs it by --trust FILE.py or "
        f"--trust MODULE, if you trust it; in Python, kcnn.resume by trust=..."
    ) from error


def _same(code: str, trusted: str) -> bool:
    """The same module; or the same file, whichever way it is written."""
    both_files = code.endswith(".py") and trusted.endswith(".py")
    return code == trusted or (both_files and os.path.realpath(code) == os.path.realpath(trusted))
