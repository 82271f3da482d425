"""Commands that look: what a run has learned, what filters find in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from kcnn.cli.command import Command


@dataclass(frozen=True)
class Inspect(Command):
    """Show what a run has learned and how it errs: pictures, and one page that opens from disk."""

    run_directory: Positional[Path]
    """A folder below logs."""
    images: Positional[tuple[Path, ...]] = ()
    """Pictures of which the evidence is shown; none: one image of each class."""
    data: str | None = None
    """Other data than the run's own, to look at: a name, a .npz file or a folder."""
    out: Path | None = None
    """Where files are written; the default is `inspect` in the run's folder."""
    trust: str | None = None
    """The Python file or module of a task of your own, whose code may run here."""

    def run(self) -> None:
        """Write them, and say where they are."""
        from kcnn.runs.inspect import inspect_run
        from kcnn.runs.published import run_of
        from kcnn.terminal import console, styled

        run, terminal = run_of(self.run_directory, self.trust), console()
        for path in inspect_run(run, self.images, data=self.data, out=self.out, console=terminal):
            terminal.print(styled(f"→ {path}"), soft_wrap=True)


@dataclass(frozen=True)
class Filters(Command):
    """The lecture's edge filters on a picture: signed maps, as a PNG."""

    image: Positional[Path]
    """An image file: JPEG, PNG, BMP, GIF, WebP."""
    output: Path | None = None
    """The PNG; the default is NAME_filters.png in the folder where you are."""
    size: int = 352
    """Larger pictures are shrunk first, to so many pixels on the longer side."""

    def run(self) -> None:
        """Write the PNG."""
        from kcnn.data.sets.decoding import decode_within
        from kcnn.draw.inside import edges as figure
        from kcnn.errors import InputError
        from kcnn.interpret import edges
        from kcnn.storage.files import replace
        from kcnn.terminal import console, shape_text, styled

        path = self.output or Path(f"{self.image.stem}_filters.png")
        if path.suffix.lower() != ".png":
            raise InputError(f"A PNG is written: --output NAME.png; received {str(path)!r}.")
        picture = decode_within(self.image, self.size)
        drawn = figure(picture, edges(picture))
        replace(path, lambda file: file.write(drawn))
        text = f"{self.image.name}, looked at as {shape_text(picture.shape)} → {path}"
        console().print(styled(text), soft_wrap=True)
