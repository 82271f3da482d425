"""Completion of commands, options and their values for a shell, as tyro writes it."""

from __future__ import annotations

from collections.abc import Mapping

import tyro

from kcnn.cli.command import Command
from kcnn.errors import InputError, did_you_mean

#: Whose completion tyro writes.
SHELLS = ("bash", "zsh", "fish")


def print_completion(shell: str, commands: Mapping[str, type[Command]]) -> None:
    """Print a script that completes `kcnn` in a shell which sources it.

    Args:
        shell: One of `SHELLS`.
        commands: By name.

    Raises:
        InputError: Another shell.
    """
    if shell not in SHELLS:
        raise InputError(
            f"--print-completion takes a shell: {', '.join(SHELLS)}; received {shell!r}."
            f'{did_you_mean(shell, SHELLS)} Try: eval "$(kcnn --print-completion bash)"'
        )
    arguments = ["--tyro-write-completion", shell, "-"]
    try:
        tyro.extras.subcommand_cli_from_dict(dict(commands), args=arguments, prog="kcnn")
    except SystemExit as done:  # tyro ends the process behind it
        if done.code:
            raise
