"""The report of `kcnn inspect` in headless Chromium: at two widths, light and dark, and safe."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kcnn.draw.page import Grid, Part, Picture, page
from kcnn.draw.pictures import figure, png

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.xdist_group("browser")]

NASTY = "<script>alert(1)</script>"
WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def made_page(tmp_path_factory):
    """All that a report may hold, with the widest there is of each: no run is needed for layout."""
    folder = tmp_path_factory.mktemp("a 'quoted' folder")
    long = "a_name_without_any_space_" * 12
    wide, narrow = png(figure(14.0, 3.0)), png(figure(3.0, 2.0))
    rows = [(NASTY, long, "1,234", "99.1% (97% to 100%)")] * 3
    parts = [
        Part(NASTY, NASTY, [Grid([(NASTY, long), ("name", "value")])]),
        Part("Pictures", "text", [Picture(wide, long), Picture(narrow, NASTY)]),
        Part("Classes", "", [Grid(rows, (NASTY, "images", "recall", "precision"))]),
        Part("The recipe", "", [], f"kcnn train lenet5 --data '{NASTY}' {long}"),
    ]
    cards = [("98.89%", "test accuracy"), (NASTY, long), ("61,706", "parameters")]
    path = folder / "report.html"
    path.write_text(page(f"lenet5 on {NASTY}", str(folder), cards, parts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def real_page(chromium, digits_run):
    """The report of a training."""
    from kcnn.runs.directory import load_run
    from kcnn.runs.inspect import inspect_run
    from kcnn.terminal import console

    out = digits_run.directory / "inspect in a browser"
    written = inspect_run(load_run(digits_run.directory), out=out, console=console(quiet=True))
    return written[-1]


@pytest.fixture
def opened(chromium):
    """Open a file; it may ask for nothing, run nothing, and say no word to the console."""
    pages = []

    def open_file(path: Path, width, dark):
        shown = chromium.page(width, 844, dark=dark)
        pages.append(shown)
        shown.go(path.as_uri())
        return shown

    yield open_file
    for shown in pages:
        asked = [one["request"]["url"] for one in shown.events("Network.requestWillBeSent")]
        assert [one for one in asked if not one.startswith(("file:", "data:"))] == []
        assert sum(one.startswith("file:") for one in asked) == 1
        for nothing in ("Page.javascriptDialogOpening", "Log.entryAdded", "Runtime.exceptionThrown",
                        "Runtime.consoleAPICalled"):  # fmt: skip
            assert shown.events(nothing) == []
        shown.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("which", ["made_page", "real_page"])
def test_a_page_fits_and_can_be_read(which, width, dark, opened, request):
    shown = opened(request.getfixturevalue(which), width, dark)
    # What is wider scrolls in its own box, and the page never sideways.
    assert shown.script("document.documentElement.scrollWidth") <= width
    assert shown.script("innerWidth") == width
    out = "[...document.querySelectorAll('body > *, section > *')].map("
    out += "e => e.getBoundingClientRect().right - innerWidth).filter(over => over > .5)"
    assert shown.script(out) == []
    assert shown.script("[...document.images].filter(e => !e.naturalWidth).length") == 0
    with Image.open(io.BytesIO(shown.screenshot())) as image:
        pixels = np.asarray(image.convert("L"), int)
    background = np.bincount(pixels.ravel()).argmax()
    assert (background < 60) == dark
    # Text against it: WCAG 2.1's contrast for body text is 4.5.
    ink, paper = (luminance(shown.script(f"getComputedStyle(document.body).{name}"))
                  for name in ("color", "backgroundColor"))  # fmt: skip
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 4.5


def luminance(colour):
    """Of a CSS colour `rgb(r, g, b)`; WCAG 2.1, relative luminance."""
    values = np.array([int(v) for v in colour[4:-1].split(",")]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_text_of_strangers_is_shown_and_not_run(made_page, opened):
    shown = opened(made_page, 1280, False)
    assert shown.script("document.scripts.length") == 0
    assert shown.script("document.body.innerText").count(NASTY) >= 7
    assert shown.script("document.title") == f"lenet5 on {NASTY}"
