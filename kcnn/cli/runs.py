"""Commands about finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from kcnn.cli.command import Command


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
    """Say what image files show; of pictures with masks or boxes, write them as files, too."""

    run_directory: Positional[Path]
    """A folder below logs; a file of `kcnn export`; or a network's name, for published weights."""
    images: Positional[tuple[Path, ...]]
    """Image files (JPEG, PNG, BMP, GIF, WebP), and folders of them."""
    top: int | None = None
    """How many of the most probable classes to name (3; 5 with published weights)."""
    output: Path | None = None
    """Where masks or boxes are written; the default is `predictions` in the run's folder."""
    batch_size: int | None = None
    """Images that the network takes at once; by default as many as its memory suggests."""
    trust: str | None = None
    """The Python file or module of a task of your own, whose code may run here."""

    def run(self) -> None:
        """Print what each shows."""
        from kcnn.errors import InputError
        from kcnn.recipes.checks import whole
        from kcnn.runs.inference import image_paths, predict, predictions
        from kcnn.runs.published import run_of
        from kcnn.tasks.show import print_predictions
        from kcnn.terminal import command, console, styled

        if not self.images:
            raise InputError(
                f"What is to be predicted? Name image files, or folders of them: kcnn predict "
                f"{command(self.run_directory)} photo.jpg."
            )
        if self.top is not None:
            whole(1)("top", self.top)
        run, terminal = run_of(self.run_directory, self.trust), console()
        images = image_paths(self.images)
        top = self.top if self.top is not None else 3 if run.result else 5
        writer = run.task.writer(self.output or run.directory / "predictions", run.class_names)
        if writer is None:
            if self.output is not None:
                raise InputError(
                    f"{run.task.name} writes no files; received --output {str(self.output)!r}."
                )
            found = predict(run, images, batch_size=self.batch_size, console=terminal)
            print_predictions(terminal, run.task, found, top)
            return
        for one in predictions(run, images, batch_size=self.batch_size, console=terminal):
            path = writer.add(one)
            print_predictions(terminal, run.task, [one], top)
            terminal.print(styled(f"  → {path}"), soft_wrap=True)
        for path in writer.close():
            terminal.print(styled(f"→ {path}"), soft_wrap=True)
