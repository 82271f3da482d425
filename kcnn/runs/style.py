"""Style transfer of two image files: what is said, shown on the way, and written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from PIL import Image
from rich.console import Console

from kcnn.data.sets.decoding import BadImage, is_transparent
from kcnn.devices.memory import spare
from kcnn.errors import InputError
from kcnn.interpret.style import Options, Stylised, Transfer
from kcnn.interpret.style_losses import Losses
from kcnn.interpret.style_scale import Step
from kcnn.storage import files
from kcnn.terminal import memory_text, shows_bars, styled

#: By ending: the format, and how it is written.
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 92, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 92, "subsampling": 0}),
}
#: Seconds between two previews.
_PREVIEW = 2.0


def stylise(
    content: Path,
    style: Path,
    *,
    output: Path | None = None,
    console: Console,
    **options: Unpack[Options],
) -> Path:
    """Write the picture that has the content of one file and the style of another.

    Beside the output a preview, NAME.preview.png, is written anew every two seconds, of the size
    of the result; it stays where the work is interrupted.

    Args:
        content: An image file.
        style: Another.
        output: A .png or .jpg; by default CONTENT-STYLE.png in the working directory.
        console: Is told size, memory and steps before the work begins, and what came of it.
        **options: Of `kcnn.interpret.style_transfer`.

    Returns:
        The file that was written.

    Raises:
        InputError: As `kcnn.interpret.style_transfer`; an output that is no picture, is one of the
            two files, or whose folder is not there.
        OSError: The output cannot be written.
    """
    path = _output(content, style, output)
    transfer = Transfer(content, style, **options)
    for what, file in (("content", content), ("style", style)):
        with contextlib.suppress(BadImage):  # it was read
            if is_transparent(file):
                console.print(styled(f"The {what} has transparent parts: they become white."))
    preview = path.with_name(f"{path.stem}.preview.png")
    console.print(
        styled(
            f"{transfer.width}×{transfer.height} pixels"
            f"{_from_coarse(transfer)}, {transfer.steps} steps each; about "
            f"{memory_text(transfer.memory)} of memory, {memory_text(spare())} are free.\n"
            f"Preview: {preview}"
        ),
        soft_wrap=True,
    )
    with _Shown(console, transfer, preview) as shown:
        found = transfer.run(shown)
    _write(path, found.picture)
    preview.unlink(missing_ok=True)
    console.print(styled(f"{_said(found)}  → {path}"), soft_wrap=True)
    return path


def _output(content: Path, style: Path, output: Path | None) -> Path:
    path = output if output is not None else Path(f"{content.stem}-{style.stem}.png")
    path = path.expanduser()
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"The output is a picture, {', '.join(_FORMATS)}; received {str(path)!r}.")
    if path.is_dir() or not path.parent.is_dir():
        why = "is a folder" if path.is_dir() else "is in a folder that is not there"
        raise InputError(f"The output {str(path)!r} {why}.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"The output's folder, {str(path.parent)!r}, may not be written.")
    for file in (content, style):
        if path.exists() and file.exists() and path.samefile(file):
            raise InputError(
                f"The output would replace {str(file)!r}, of which it is made. Name another."
            )
    return path


def _from_coarse(transfer: Transfer) -> str:
    height, width = transfer.sizes[0]
    return f", from {width}×{height} up" if len(transfer.sizes) > 1 else ""


def _said(found: Stylised) -> str:
    text = f"content {found.losses.mean_content:.3g}, {found.seconds:.0f} s"
    return f"style {_fraction(found.losses, found.beginning)} of the content's, {text}"


def _fraction(losses: Losses, beginning: Losses) -> str:
    left = losses.mean_style
    return f"1/{beginning.mean_style / left:.3g}" if left > 0.0 else "0"


def _write(path: Path, pixels: np.ndarray) -> None:
    form, how = _FORMATS[path.suffix.lower()]
    files.replace(path, lambda file: Image.fromarray(pixels).save(file, form, **how))


class _Shown:
    """Shows the steps: a bar on a terminal, a line for each size that is done; and the preview."""

    def __init__(self, console: Console, transfer: Transfer, preview: Path) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._console, self._preview = console, preview
        self._size, self._last = (transfer.width, transfer.height), list[Step]()
        self._written = -_PREVIEW
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not shows_bars(console),
        )
        self._task = self._bar.add_task("", total=1.0, figures="")

    def __call__(self, step: Step) -> None:
        if self._last and self._last[0].height != step.height:
            self._line()
        self._last[:] = [step]
        sides, figures = f"{step.width}×{step.height}", _figures(step)
        self._bar.update(self._task, completed=step.share, description=sides, figures=figures)
        if step.seconds - self._written >= _PREVIEW:
            self._written = step.seconds
            image = Image.fromarray(step.picture()).resize(self._size, Image.Resampling.BICUBIC)
            with contextlib.suppress(OSError):  # the result is what matters
                _write(self._preview, np.asarray(image))

    def __enter__(self) -> _Shown:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        if kind is None and self._last:
            self._line()
        elif self._preview.exists():
            self._console.print(styled(f"The last picture is {self._preview}."), soft_wrap=True)

    def _line(self) -> None:
        step = self._last[0]
        text = f"{step.width}×{step.height}  {_figures(step)}, {step.seconds:.1f} s"
        self._console.print(styled(text))


def _figures(step: Step) -> str:
    return f"style {_fraction(step.losses, step.beginning)}, content {step.losses.mean_content:.3g}"
