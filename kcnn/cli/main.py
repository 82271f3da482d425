"""The command line: each command is a dataclass whose fields are its flags."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

import tyro

from kcnn import startup
from kcnn.cli.command import Command
from kcnn.cli.compare import Compare
from kcnn.cli.completion import SHELLS, print_completion
from kcnn.cli.data import ShowData
from kcnn.cli.export import Export
from kcnn.cli.inspect import Filters, Inspect
from kcnn.cli.models import List, Show
from kcnn.cli.runs import Evaluate, Predict
from kcnn.cli.style import Style
from kcnn.cli.train import Resume, Train
from kcnn.cli.tune import Tune
from kcnn.errors import InputError, did_you_mean
from kcnn.recipes.named import named_recipe
from kcnn.recipes.recipe import Recipe
from kcnn.terminal import let_go, printable

_COMMANDS: dict[str, type[Command]] = {
    "list": List,
    "show": Show,
    "train": Train,
    "resume": Resume,
    "tune": Tune,
    "evaluate": Evaluate,
    "predict": Predict,
    "data": ShowData,
    "inspect": Inspect,
    "compare": Compare,
    "export": Export,
    "style": Style,
    "filters": Filters,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit status.

    0: done. 1: this machine could not (a full disk, no memory, a loss that is not finite), or
    pictures were skipped. 2: bad input, found before the work began. 130: Ctrl-C. 143: SIGTERM.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        status = 0
        with _reader_may_go():
            status = _run(arguments)
    except InputError as error:
        return _fail(str(error), 2, debug)
    except (FloatingPointError, MemoryError, OSError) as error:  # OSError: a full disk, say
        return _fail(str(error), 1, debug)
    except KeyboardInterrupt:
        return _fail("Interrupted.", 130, debug)
    return status


def _run(arguments: list[str]) -> int:
    first, *rest = arguments or ["--help"]
    if first == "--version":
        _version("--verbose" in rest)
    elif first.partition("=")[0] == "--print-completion":
        print_completion(first.partition("=")[2] or next(iter(rest), ""), _COMMANDS)
    elif first in ("-h", "--help"):
        tyro.extras.subcommand_cli_from_dict(
            dict(_COMMANDS), args=[first, *rest], prog="kcnn", description=_DESCRIPTION
        ).run()
    elif first in _COMMANDS:
        return _parsed(first, rest).run() or 0
    else:
        raise InputError(
            f"kcnn has no command {first!r}.{did_you_mean(first, [*_COMMANDS, *_FLAGS])} Its "
            f"commands: {', '.join(_COMMANDS)}. kcnn --help says what each is for."
        )
    return 0


@contextlib.contextmanager
def _reader_may_go() -> Iterator[None]:
    """Where nobody reads any more (`kcnn train --help | head`), a command ends, and is no fault."""
    try:
        try:
            yield
        finally:
            with contextlib.suppress(AttributeError, ValueError):  # None, closed
                sys.stdout.flush()
    except BrokenPipeError:
        if not let_go(sys.stdout):
            raise  # another pipe


def _version(verbose: bool) -> None:
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


def _parsed(command: str, arguments: list[str]) -> Any:
    """The command, with its flags as fields."""
    given: dict[str, Any] = {}
    if command == "train" and (name := _following("--recipe", arguments)):
        base = named_recipe(name, trust=_following("--trust", arguments))
        fields = {f.name: getattr(base, f.name) for f in dataclasses.fields(Recipe)}
        options = {key: str(value) for key, value in base.options.items()}
        given["default"] = Train(**fields | {"options": options})
    return tyro.cli(_COMMANDS[command], args=arguments, prog=f"kcnn {command}", **given)


def _following(flag: str, arguments: list[str]) -> str | None:
    """What follows a flag that is read before the others: it decides their defaults."""
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
        if argument == flag:
            return following
    return None


_FLAGS = ("--help", "--version", "--print-completion")
_DESCRIPTION = (
    "Classic convolutional networks in Keras: build by name, train with one command.\n\n"
    "kcnn COMMAND --help has the options of a command; kcnn --version [--verbose] what a result "
    f"depends on; kcnn --print-completion {'|'.join(SHELLS)} a shell's completion."
)


def _fail(message: str, status: int, debug: bool) -> int:
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        if debug:
            traceback.print_exc()
        print(f"kcnn: {printable(message, lines=True)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
