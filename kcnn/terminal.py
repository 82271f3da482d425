"""The terminal: consoles, units, and bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console


def console() -> Console:
    """The terminal; 100 columns where the output goes to a file or a pipe."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=100)


def si(number: float) -> str:
    """A number to three digits, with k, M, G or T."""
    for unit in ("", " k", " M", " G"):
        if abs(number) < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} T"


def memory_text(size: int) -> str:
    """Bytes to three digits, in B, kB, MB, GB or TB (powers of 1000)."""
    text = si(size)
    return f"{text}B" if " " in text else f"{text} B"


def shape_text(shape: tuple[int | None, ...]) -> str:
    """A shape without its batch axis: 32×32×3."""
    return "×".join("?" if side is None else str(side) for side in shape)


@contextmanager
def files_bar(console: Console, doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar for work on image files; yields what is told how many are done."""
    # Loaded here: `kcnn list` has no bars, and answers at once.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn(f"{doing} image files"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("files", total=total)
        yield lambda done: bar.update(task, completed=done)
