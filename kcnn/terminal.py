"""The terminal: consoles, units, bars, and the one way in for text from outside.

Names of classes, files and folders come from anywhere. Here they are text: never markup, never
an escape sequence, and in a command that is printed one word of a shell.
"""

from __future__ import annotations

import importlib.util
import os
import select
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console
from rich.text import Text


class Terminal(Console):
    """A console that shows strings as they are; styles come by `style=` and `styled`.

    It is a log, too: where nobody reads it any more (`| head`, a full disk behind it), that is said
    on the standard error output, once, and work goes on.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    @property
    def file(self) -> IO[str]:
        """Where it writes; what cannot be written any more is let go."""
        return cast(IO[str], _Forgiving(super().file, self._lost))

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def _lost(self, error: Exception) -> None:
        if self.quiet:
            return
        self.quiet = True
        _to_nowhere(super().file)
        with suppress(OSError, ValueError, AttributeError):
            reason = getattr(error, "strerror", None) or str(error)
            sys.stderr.write(f"kcnn: nothing more is shown: {reason}. The work goes on.\n")
            sys.stderr.flush()

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as rich takes it, in print and in tables: what is not printable is escaped."""
        return super().render_str(printable(text, lines=True), **options)


def let_go(file: IO[str] | None) -> bool:
    """Whether nobody reads a file any more, a pipe behind `| head`; nothing goes there then."""
    try:
        poll = select.poll()
        poll.register(file.fileno(), 0)  # type: ignore[union-attr] # None has none
        if not poll.poll(0):  # asked for nothing, it gives errors alone
            return False
    except (OSError, ValueError, AttributeError):
        return False
    _to_nowhere(file)
    return True


def _to_nowhere(file: IO[str] | None) -> None:
    """What is in its buffer would be tried again when the process ends."""
    with suppress(OSError, ValueError, AttributeError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, file.fileno())  # type: ignore[union-attr] # None is suppressed
        os.close(devnull)


class _Forgiving:
    """A file of text whose errors go to `lost`."""

    def __init__(self, file: IO[str], lost: Callable[[Exception], None]) -> None:
        self._file, self._lost = file, lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write, or say that it cannot be."""
        with self._guarded():
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or say that it cannot be."""
        with self._guarded():
            self._file.flush()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except UnicodeError:
            raise
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self._lost(error)


def console(*, quiet: bool = False, error: bool = False) -> Console:
    """The terminal, or standard error; 100 columns where that goes to a file or a pipe."""
    terminal = Terminal(quiet=quiet, stderr=error)
    return terminal if terminal.is_terminal else Terminal(quiet=quiet, stderr=error, width=100)


def printable(text: str, *, lines: bool = False) -> str:
    r"""Text with escapes such as `\n`, `\x1b` or `\udcff` for what is not printable in it.

    Args:
        text: Of anybody.
        lines: Leave the ends of lines as they are.
    """
    if text.isprintable():
        return text
    kept = "\n" if lines else ""
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def styled(*parts: str | tuple[str, str]) -> Text:
    """Parts of a line, printable; those that are a pair have a style."""
    pairs = [(part, "") if isinstance(part, str) else part for part in parts]
    return Text.assemble(*((printable(text, lines=True), style) for text, style in pairs))


def command(*words: str | Path) -> str:
    """A line for a shell; paths among the words are never taken for flags."""
    return " ".join(_word(word) for word in words)


def _word(word: str | Path) -> str:
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)
    # What is not printable, and bytes that are no text: $'...' of bash, zsh and POSIX.1-2024.
    plain = {byte for byte in range(32, 127)} - set(b"'\\")
    quoted = (chr(b) if b in plain else f"\\x{b:02x}" for b in os.fsencode(text))
    return f"$'{''.join(quoted)}'"


def si(number: float) -> str:
    """A number to three digits, with k, M, G or T."""
    for unit in ("", " k", " M", " G"):
        if abs(number) < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} T"


def counted(count: int, what: str) -> str:
    """`1 box`, `2,804 boxes`."""
    plural = "es" if what.endswith("x") else "s"
    return f"{count:,} {what}{'' if count == 1 else plural}"


def memory_text(size: int) -> str:
    """Bytes to three digits, in B, kB, MB, GB or TB (powers of 1000)."""
    text = si(size)
    return f"{text}B" if " " in text else f"{text} B"


def shape_text(shape: tuple[int | None, ...]) -> str:
    """A shape without its batch axis: 32×32×3."""
    return "×".join("?" if side is None else str(side) for side in shape)


def shows_bars(console: Console) -> bool:
    """Whether a bar moves there: on a terminal, and in a notebook that has the widgets for it.

    Elsewhere lines remain, and so in a notebook without ipywidgets, of which rich would warn.
    """
    if console.is_jupyter:
        return bool(importlib.util.find_spec("ipywidgets"))
    return console.is_terminal


@contextmanager
def files_bar(
    console: Console, doing: str, total: int, what: str = "image files"
) -> Iterator[Callable[[int], None]]:
    """A progress bar for work on image files; yields what is told how many are done."""
    # Loaded here: `kcnn list` has no bars, and answers at once.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn(f"{doing} {what}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not shows_bars(console),
    )
    with bar:
        task = bar.add_task("files", total=total)
        yield lambda done: bar.update(task, completed=done)
