"""The command that looks at data before anything is trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from kcnn.cli.command import Command


@dataclass(frozen=True)
class ShowData(Command):
    """Check data, say what is known of them (splits, classes, copies), write a contact sheet."""

    data: Positional[str]
    """A name, a .npz file, a .csv beside pictures, or a folder, as kcnn train --data takes it."""
    columns: str | None = None
    """Names of the columns of a table, where they are others: file=path,label=diagnosis."""
    skip_bad: bool = False
    """Go on without unreadable image files instead of listing them and stopping."""
    near: bool = True
    """Look for pictures that are nearly the same, too; reads all of them."""
    output: Path | None = None
    """The contact sheet, a PNG; the default is NAME-data.png in the folder where you are. Pictures
    that are there twice are beside it, NAME-copies.png."""
    augment: str | None = None
    """Draw sixteen pictures as they are and as a training would see them, instead: as kcnn train
    --augment takes it (crop-flip,rotation=15,erasing=0.5)."""
    image_size: tuple[int, int] | None = None
    """Height and width at which image files are augmented; the default goes by the pictures."""
    seed: int = 0
    """Of the augmentation."""

    def run(self) -> None:
        """Say it, and write the PNG."""
        from kcnn.runs.overview import show_data
        from kcnn.terminal import console, styled

        terminal = console()
        paths = show_data(
            self.data,
            columns=self.columns,
            skip_bad=self.skip_bad,
            near=self.near,
            output=self.output,
            console=terminal,
            augment=self.augment,
            image_size=self.image_size,
            seed=self.seed,
        )
        for path in paths:
            terminal.print(styled(f"→ {path}"), soft_wrap=True)
