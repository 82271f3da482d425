"""The command that searches."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from kcnn.cli.command import Command
from kcnn.tuning.options import Options


@dataclass(frozen=True, kw_only=True)
class Tune(Options, Command):
    """Search for the recipe that does best on the validation split, and train it."""

    def run(self) -> None:
        """Search; the same command goes on where it was ended."""
        from kcnn.tuning.search import tune

        names = [f.name for f in dataclasses.fields(Options)]
        tune(Options(**{name: getattr(self, name) for name in names}))
