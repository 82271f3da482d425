"""Commands about finished runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from kcnn.cli.command import Command

if TYPE_CHECKING:
    from rich.console import Console

    from kcnn.runs.directory import Run

#: Predictions whose lines have their columns below each other.
_LINES = 256


@dataclass(frozen=True)
class Evaluate(Command):
    """Evaluate a run on the test split, of its own data or of other data."""

    run_directory: Positional[Path]
    """A folder below logs; a file of `kcnn export`; or a network's name, for published weights."""
    data: str | None = None
    """Other data than the run's own: a name, a .npz file or a folder."""
    out: Path | None = None
    """A folder for all figures, tables, pictures, and predictions.csv."""
    batch_size: int | None = None
    """Images that the network takes at once; by default as many as its memory suggests."""
    trust: str | None = None
    """The Python file or module of a task of your own, whose code may run here."""

    def run(self) -> None:
        """Print the task's figures."""
        from kcnn.runs.evaluation import write_evaluation
        from kcnn.runs.inference import evaluated
        from kcnn.runs.published import run_of
        from kcnn.tasks.show import print_evaluation
        from kcnn.terminal import console, styled

        run, terminal = run_of(self.run_directory, self.trust), console()
        found = evaluated(run, self.data, batch_size=self.batch_size, console=terminal)
        print_evaluation(terminal, run.task, found.evaluation, run.class_names)
        if "loss" in run.recipe.compiled:  # of which its result.json is
            terminal.print(styled(f"The loss is that of {run.task.name}; the run has its own."))
        if self.out is not None:
            for path in write_evaluation(self.out, run, found, terminal):
                terminal.print(styled(f"→ {path}"), soft_wrap=True)


@dataclass(frozen=True)
class Predict(Command):
    """Say what image files show; of pictures with masks or boxes, write them as files, too.

    Files that cannot be read are named and skipped; the exit status is 1 then.
    """

    run_directory: Positional[Path]
    """A folder below logs; a file of `kcnn export`; or a network's name, for published weights."""
    images: Positional[tuple[Path, ...]]
    """Image files, folders of them, patterns ('photos/**/*.jpg')."""
    top: int | None = None
    """How many of the most probable classes to name (3; 5 with published weights; in a table 1)."""
    csv: Path | None = None
    """Instead of lines, a table: file, prediction, confidence; --top has columns for more."""
    output: Path | None = None
    """Where masks or boxes are written; the default is `predictions` in the run's folder."""
    batch_size: int | None = None
    """Images that the network takes at once; by default as many as its memory suggests."""
    trust: str | None = None
    """The Python file or module of a task of your own, whose code may run here."""

    def run(self) -> int:
        """Print what each shows; 1 where pictures were skipped."""
        from kcnn.errors import InputError
        from kcnn.recipes.checks import whole
        from kcnn.runs.inference import predictions
        from kcnn.runs.published import run_of
        from kcnn.runs.reading import image_paths
        from kcnn.terminal import command, console, styled

        if not self.images:
            raise InputError(
                f"What is to be predicted? Name image files, or folders of them: kcnn predict "
                f"{command(self.run_directory)} photo.jpg."
            )
        if self.top is not None:
            whole(1)("top", self.top)
        run = run_of(self.run_directory, self.trust)
        terminal, errors = console(), console(error=True)
        images, skipped = image_paths(self.images), list[Path]()

        def skip(path: Path, reason: str) -> None:
            skipped.append(path)
            errors.print(styled((f"skipped: {path}: {reason}", "yellow")), soft_wrap=True)

        found = predictions(run, images, batch_size=self.batch_size, console=terminal, skipped=skip)
        self._show(run, found, terminal)
        if skipped:
            errors.print(f"kcnn: {len(skipped)} of {len(images)} pictures could not be read.")
        return int(bool(skipped))

    def _show(self, run: Run, found: Iterator[Any], terminal: Console) -> None:
        """Write predictions as they come: as a table, files, or lines."""
        from kcnn.errors import InputError
        from kcnn.runs.predicting import write_table
        from kcnn.runs.reading import batched
        from kcnn.tasks.show import print_predictions
        from kcnn.terminal import counted, styled

        if self.csv is not None:
            count = write_table(self.csv, run, found, self.top or 1)
            terminal.print(styled(f"→ {self.csv}, {counted(count, 'picture')}"), soft_wrap=True)
            return
        top = self.top if self.top is not None else 3 if run.result else 5
        writer = run.task.writer(self.output or run.directory / "predictions", run.class_names)
        if writer is None:
            if self.output is not None:
                raise InputError(
                    f"{run.task.name} writes no files; received --output {str(self.output)!r}."
                )
            for part in batched(found, _LINES):
                print_predictions(terminal, run.task, part, top)
            return
        for one in found:
            path = writer.add(one)
            print_predictions(terminal, run.task, [one], top)
            terminal.print(styled(f"  → {path}"), soft_wrap=True)
        for path in writer.close():
            terminal.print(styled(f"→ {path}"), soft_wrap=True)
