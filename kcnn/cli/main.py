"""The command line: each command is a dataclass whose fields are its flags."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import tyro

from kcnn import startup
from kcnn.cli.compare import Compare
from kcnn.cli.export import Export
from kcnn.cli.inspect import Filters, Inspect
from kcnn.cli.models import List, Show
from kcnn.cli.runs import Evaluate, Predict
from kcnn.cli.style import Style
from kcnn.cli.train import Resume, Train
from kcnn.cli.tune import Tune
from kcnn.errors import InputError
from kcnn.recipes.named import named_recipe
from kcnn.recipes.recipe import Recipe
from kcnn.terminal import printable

_COMMANDS: dict[str, Callable[..., Any]] = {
    "list": List,
    "show": Show,
    "train": Train,
    "resume": Resume,
    "tune": Tune,
    "evaluate": Evaluate,
    "predict": Predict,
    "inspect": Inspect,
    "compare": Compare,
    "export": Export,
    "style": Style,
    "filters": Filters,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if arguments[:1] == ["--version"]:
        return _version("--verbose" in arguments)
    try:
        _parsed(arguments).run()
    except InputError as error:
        return _fail(str(error), 2, debug)
    except (FloatingPointError, MemoryError, OSError) as error:  # OSError: a full disk, say
        return _fail(str(error), 1, debug)
    except KeyboardInterrupt:
        return _fail("Interrupted.", 130, debug)
    return 0


def _version(verbose: bool) -> int:
    """The version; where it is asked for, all that a result depends on."""
    print(f"kcnn {metadata.version('kcnn')}")
    if verbose:
        startup.load()
        from kcnn.devices.names import device_name, processor_name
        from kcnn.runs.directory import versions

        rows = versions() | {
            "device": device_name(),
            "processor": processor_name(),
            "system": platform.platform(),
            "backend": startup.keras.config.backend(),
        }
        width = max(map(len, rows))
        print("\n".join(f"{name.ljust(width)}  {value}" for name, value in rows.items()))
    return 0


def _parsed(arguments: list[str]) -> Any:
    """The command, with its flags as fields."""
    if arguments[:1] == ["train"] and (name := _following("--recipe", arguments)):
        base = named_recipe(name, trust=_following("--trust", arguments))
        fields = {f.name: getattr(base, f.name) for f in dataclasses.fields(Recipe)}
        options = {key: str(value) for key, value in base.options.items()}
        default = Train(**fields | {"options": options})
        return tyro.cli(Train, args=arguments[1:], prog="kcnn train", default=default)
    return tyro.extras.subcommand_cli_from_dict(
        _COMMANDS, args=arguments or ["--help"], prog="kcnn", description=_DESCRIPTION
    )


def _following(flag: str, arguments: list[str]) -> str | None:
    """What follows a flag that is read before the others: it decides their defaults."""
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
        if argument == flag:
            return following
    return None


_DESCRIPTION = "Classic convolutional networks in Keras: build by name, train with one command."


def _fail(message: str, status: int, debug: bool) -> int:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        if debug:
            traceback.print_exc()
        print(f"kcnn: {printable(message, lines=True)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
