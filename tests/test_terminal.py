"""Text from outside reaches the terminal as text; lines that are printed can be pasted."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from kcnn import terminal

NAMES = [
    "[red]x", "a[/b]", "ä ö", "-rf", "a'b\"c", "two\nlines", os.fsdecode(b"\xff\xfe raw"),
    "\x1b[31mred\x1b]0;title\x07", "$(touch owned)", "`id`", "; rm -rf *", "tab\there",
    "\u202eback", ":smile:", "",
]  # fmt: skip


def shown(renderable, **options):
    """What a terminal of 80 columns gets."""
    out = io.StringIO()
    console = terminal.Terminal(file=out, width=80, force_terminal=True, color_system=None)
    console.print(renderable, **options)
    return out.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text_in_print_and_in_tables(name):
    table = Table(name, title=name)
    table.add_row(name)
    for text in (shown(f"a {name} b"), shown(table), shown(terminal.styled("x", (name, "bold")))):
        assert "\x1b" not in text.replace("\x1b[1m", "").replace("\x1b[0m", "")
        assert "\u202e" not in text
        text.encode()  # nothing that UTF-8 does not have
    visible = terminal.printable(name)
    assert shown(f"a {visible} b") == f"a {visible} b\n"


def test_what_is_not_printable_is_an_escape():
    assert terminal.printable("a\x1b\n\udcff") == r"a\x1b\n\udcff"
    assert terminal.printable("a\nb", lines=True) == "a\nb"


@pytest.mark.parametrize("name", NAMES)
def test_a_command_can_be_pasted(name, tmp_path):
    line = terminal.command(sys.executable, "-c", "import sys; print(ascii(sys.argv[1:]))", name)
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == ascii([name]) + "\n"
    assert not list(tmp_path.iterdir())


def test_a_path_is_never_a_flag():
    assert terminal.command("kcnn", "resume", Path("-rf")) == "kcnn resume ./-rf"
    assert terminal.command("kcnn", "--trust", "-rf") == "kcnn --trust -rf"


#: Prints, and says on its own file what is left of it.
PRINTER = """
import sys
from kcnn import terminal
console = terminal.console()
for number in range(20000):
    console.print(f"line {number}")
open(sys.argv[1], "w").write("the end")
"""


@pytest.mark.parametrize("reader", ["head -n 1", "true"])
def test_work_goes_on_when_nobody_reads_any_more(reader, tmp_path):
    script, end = tmp_path / "printer.py", tmp_path / "end"
    script.write_text(PRINTER)
    line = f"{sys.executable} {script} {end} | {reader}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True)
    assert done.returncode == 0
    assert end.read_text() == "the end"
    assert done.stderr == "kcnn: nothing more is shown: Broken pipe. The work goes on.\n"


def test_work_goes_on_when_the_disk_behind_the_output_is_full(tmp_path):
    script, end = tmp_path / "printer.py", tmp_path / "end"
    script.write_text(PRINTER)
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, script, end], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 0
    assert end.read_text() == "the end"
    assert b"No space left on device" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("count", "what", "text"),
    [(0, "box", "0 boxes"), (1, "box", "1 box"), (2804, "trial", "2,804 trials")],
)
def test_counts_are_written_as_people_say_them(count, what, text):
    assert terminal.counted(count, what) == text
