"""What all commands have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kcnn.errors import InputError

if TYPE_CHECKING:
    from kcnn.runs.directory import Run


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its fields are its flags, and `run` does it."""

    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> int | None:
        """Do it; the exit status, where that is not 0."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a training shows."""

    quiet: bool = False
    """Show nothing but errors."""
    json: bool = False
    """For scripts: on standard output a line of JSON for each epoch, and one for the result."""

    @property
    def verbose(self) -> bool | Literal["json"]:
        """As `kcnn.train` takes it."""
        if self.quiet and self.json:
            raise InputError("--quiet shows nothing, --json lines of JSON: leave one of them out.")
        return "json" if self.json else not self.quiet

    def show_result(self, run: Run) -> None:
        """The last line of JSON, where there are such."""
        if self.json:
            from kcnn.callbacks.records.progress import write_json_line

            write_json_line({"run": str(run.directory), "result": run.result})
