"""Make the pictures of README.md anew: make pictures

`docs/terminal.png`, `docs/tensorboard.png` and `docs/report.png` are of small trainings on digits,
and need Chromium. `--out FOLDER` writes elsewhere, names make some of them. Look at them before
they are committed. Those of photographs (pets, cells, style) need data and minutes of training, and
are not made here; those in `benchmarks/results/` are made by their benchmarks.
"""

from __future__ import annotations

import argparse
import io
import re
import tempfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from unittest import mock

from browser import Browser
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

_EPOCHS = 12
#: Keeps the few colours of small things.
_QUANTISE = Image.Quantize.MAXCOVERAGE
#: Pixels of the report's width.
_PAGE = 1100


def terminal(browser: Browser) -> bytes:
    """What `kcnn train` prints, as rich draws it."""
    from kcnn import terminal as ours
    from kcnn.cli.main import main

    words = ["train", "lenet5", "--data", "digits", "--epochs", str(_EPOCHS)]
    recorder = ours.Terminal(record=True, width=100, file=io.StringIO())
    recorder.print(f"$ kcnn {' '.join(words)}")
    with mock.patch.object(ours, "console", return_value=recorder):
        main(words)
    recorder.print("$")
    svg = recorder.export_svg(title="kcnn train lenet5 --data digits", unique_id="kcnn")
    # Its fonts are asked of the web; the machine's own do.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    left, top, width, height = (float(v) for v in svg.split('viewBox="')[1].split('"')[0].split())
    assert (left, top) == (0, 0)
    page = browser.page(round(width), round(height))
    page.go(_file("terminal.html", f"<!DOCTYPE html><body style='margin:0'>{svg}"))
    return page.screenshot((0, 0, round(width), round(height)))


def tensorboard(browser: Browser) -> bytes:
    """Curves of three trainings in the real TensorBoard, and the names of all tabs."""
    from tensorboard import program

    import kcnn

    for name, more in {
        "lenet5": {}, "lenet5-momentum": {"optimizer": "momentum"}, "mlp": {"model": "mlp"},
    }.items():  # fmt: skip
        recipe = kcnn.Recipe(
            data="digits", epochs=_EPOCHS, images_every=_EPOCHS, name=name, logs="board", **more
        )  # pictures, so that there are tabs of them
        kcnn.train(recipe, verbose=False)
    board = program.TensorBoard()
    board.configure(argv=["tensorboard", "--logdir", "board", "--port", "0", "--load_fast=false"])
    page = browser.page(1250, 766)  # all tabs, two charts abreast, and one group of them
    tags = "tagFilter=%5E(accuracy%7Closs)%2F&_smoothingWeight=0"
    page.go(f"{board.launch()}#scalars&{tags}")
    page.wait_text("lenet5-momentum", "loss/validation", seconds=60)
    page.call("Page.reload")  # by now it has found out that there is a projector
    page.script("new Promise(done => setTimeout(done, 2000))")
    page.wait_text("lenet5-momentum", "loss/validation", seconds=60)
    drawn = f"(e.getAttribute('d') || '').split('L').length === {_EPOCHS}"
    for _ in range(300):
        if sum(page.each("path.line", drawn)) >= 12:  # three lines on each of four charts
            break
        page.script("new Promise(done => setTimeout(done, 200))")
    page.script("new Promise(done => setTimeout(done, 2000))")  # they move to their places
    return page.screenshot()


def report(browser: Browser) -> bytes:
    """The top of the report of `kcnn inspect`, and where the evidence lies."""
    import kcnn
    from kcnn.cli.main import main

    recipe = kcnn.Recipe(data="digits", epochs=_EPOCHS, name="lenet5", logs="logs")
    run = kcnn.train(recipe, verbose=False).directory
    main(["inspect", str(run)])
    page = browser.page(_PAGE, 900)
    page.go((Path(run) / "inspect" / "report.html").resolve().as_uri())
    rect = "(b => [b.top, b.height])(e.getBoundingClientRect())"
    boxes = dict(zip(page.each("h2", "e.innerText"), page.each("section", rect), strict=True))
    (first, tall), evidence = boxes["The training"], boxes["Where the evidence lies"]
    parts = [  # whole sections: nothing is cut through
        Image.open(io.BytesIO(page.screenshot((0, top, _PAGE, height))))
        for top, height in ((0, first + tall), evidence)
    ]
    gap = 24  # as the page has between sections
    whole = Image.new("RGB", (_PAGE, sum(part.height + gap for part in parts)))
    whole.paste(parts[0].getpixel((0, 0)), (0, 0, *whole.size))
    whole.paste(parts[0])
    whole.paste(parts[1], (0, parts[0].height + gap))
    file = io.BytesIO()
    whole.save(file, "PNG", optimize=True)
    return file.getvalue()


def _file(name: str, content: str) -> str:
    path = Path(name).resolve()
    path.write_text(content, encoding="utf-8")
    return path.as_uri()


PICTURES: dict[str, Callable[[Browser], bytes]] = {
    "terminal": terminal, "tensorboard": tensorboard, "report": report,
}  # fmt: skip


def main() -> None:
    """Make them, each in an empty folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    given = parser.parse_args()
    if unknown := set(given.names) - set(PICTURES):
        parser.error(f"pictures are {', '.join(PICTURES)}; received {', '.join(sorted(unknown))}")
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with Browser() as browser:
        for name in given.names or PICTURES:
            with tempfile.TemporaryDirectory() as folder, chdir(folder):
                png = PICTURES[name](browser)
            with Image.open(io.BytesIO(png)) as image:  # a third of the bytes, and no eye sees it
                few = image.convert("RGB").quantize(method=_QUANTISE, dither=Image.Dither.NONE)
                few.save(out / f"{name}.png", optimize=True)
            print(out / f"{name}.png")


if __name__ == "__main__":
    main()
