"""Commands that look: what filters find in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from kcnn.cli.command import Command


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
