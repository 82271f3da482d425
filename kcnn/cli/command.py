"""What all commands have in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its fields are its flags, and `run` does it."""

    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        """Do it."""
        raise NotImplementedError
