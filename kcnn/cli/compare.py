"""The command that puts runs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from kcnn.cli.command import Command


@dataclass(frozen=True)
class Compare(Command):
    """Compare runs: curves, what of their recipes differs, figures in pairs, pictures."""

    runs: Positional[tuple[Path, ...]]
    """Two folders below logs, or more; the others are compared with the first."""
    data: str | None = None
    """Evaluate all of them on these data: a name, a .npz file or a folder."""
    out: Path | None = None
    """Where files are written; the default is `comparison` in the first run's folder."""
    trust: str | None = None
    """The Python file or module of a task of your own, whose code may run here."""

    def run(self) -> None:
        """Print the tables, and write the files."""
        from kcnn.runs.compare import compare, default_folder
        from kcnn.runs.compare_files import tables, write_comparison
        from kcnn.runs.published import run_of
        from kcnn.terminal import console, styled

        runs, terminal = [run_of(path, self.trust) for path in self.runs], console()
        found = compare(runs, self.data, terminal)
        for table in tables(found):
            terminal.print()
            terminal.print(table)
        terminal.print()
        for path in write_comparison(self.out or default_folder(runs), found):
            terminal.print(styled(f"→ {path}"), soft_wrap=True)
