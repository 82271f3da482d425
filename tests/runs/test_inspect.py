"""What a run has learned, as a page that opens from disk: made, safe, whole."""

from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.cli.main import main
from kcnn.draw.page import Grid, Part, Picture, page
from kcnn.draw.pictures import figure, png
from kcnn.runs import looking_inside
from kcnn.runs.looking_inside import affordable

NASTY = "<script>alert(1)</script>"


class Tags(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


def check_safe(content):
    """No script, no handler, nothing from elsewhere."""
    found = Tags(content)
    names = {tag for tag, _ in found.tags}
    assert not names & {"script", "iframe", "object", "embed", "link", "base", "form"}
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")]
        source = attributes.get("src") or attributes.get("href") or "#"
        assert source.startswith(("data:image/png;base64,", "#")), (tag, source[:60])
    policy = [a["content"] for tag, a in found.tags if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    return found


def test_text_of_strangers_is_text():
    drawn = png(figure(1.0, 1.0))
    quoted = """a"b'c&d <i>"""
    parts = [
        Part(NASTY, quoted, [Picture(drawn, quoted), Grid([(NASTY, quoted)], (NASTY,))], NASTY)
    ]
    content = page(NASTY, quoted, [(NASTY, quoted)], parts)
    found = check_safe(content)
    assert found.text.count(NASTY) >= 5
    assert [a["alt"] for tag, a in found.tags if tag == "img"] == [quoted]
    assert {tag for tag, _ in found.tags}.isdisjoint({"i"})


def test_large_networks_get_fewer_pictures_and_steps():
    """By arithmetic: three layers of so many units, twice as many classes, a pass of each step."""
    assert affordable(3, 10, kcnn.card("resnet20").macs) == (5, 64)
    assert affordable(3, 10, 8_000_000_000) == (5, 20)  # 4e12 / (25 × 8e9)
    assert affordable(3, 10, kcnn.card("vgg19").macs) == (2, 20)  # 10 pictures × 19.6e9
    assert affordable(3, 2, 16_000_000_000) == (4, 17)  # 14 pictures; of 17 it would be 14 steps
    assert affordable(3, 10, 10**12) == (1, 16)
    assert affordable(0, 0, 0) == (5, 64)


@pytest.fixture(scope="module")
def nasty_run(tmp_path_factory):
    """Classes with the names of strangers, in a folder with quotes."""
    root = tmp_path_factory.mktemp("data") / "a \"b' [red]"
    rng = np.random.default_rng(0)
    for part, count in (("train", 16), ("test", 8)):
        for k, name in enumerate(("<script>alert(1)<", "b&b")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 120, (16, 16, 3), np.uint8)
                pixels[4:12, 4:12, k] += 100
                Image.fromarray(pixels).save(folder / f"{index}.png")
    recipe = kcnn.Recipe(model="resnet20", data=str(root), epochs=1, batch_size=8, name="run <b>",
                         logs=str(root.parent / "logs"), options={"depths": (1, 1, 1)},
                         image_size=(16, 16))  # fmt: skip
    return kcnn.train(recipe, verbose=False)


@pytest.mark.slow
def test_a_classifier(nasty_run, tmp_path, capsys):
    assert main(["inspect", str(nasty_run.directory)]) == 0
    folder = nasty_run.directory / "inspect"
    said = capsys.readouterr().out
    assert "report.html" in said
    content = (folder / "report.html").read_text(encoding="utf-8")
    found = check_safe(content)
    assert "Not shown" not in content
    text = " ".join(found.text)
    assert "<script>alert(1)<" in text
    headings = [a["id"] for tag, a in found.tags if tag == "h2"]
    assert len(headings) == 10
    files = sorted(path.name for path in folder.glob("*.png"))
    assert sum(tag == "img" for tag, _ in found.tags) == len(files)
    assert len(files) >= 12
    accuracy = nasty_run.result["test_accuracy"]
    assert f"{accuracy:.2%}" in text
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 50
    assert "On 16 images (test)" in text
    assert "made from noise in 64 steps" in text
    assert "The network is large" not in text


@pytest.mark.slow
def test_pictures_of_the_user_by_a_network_that_is_large(nasty_run, tmp_path, monkeypatch):
    monkeypatch.setattr(looking_inside, "_WORK", 1)
    Image.fromarray(np.full((40, 30, 3), 90, np.uint8)).save(tmp_path / "<mine>.png")
    out = tmp_path / "out"
    command = ["inspect", str(nasty_run.directory), str(tmp_path / "<mine>.png"), "--out", str(out)]
    assert main(command) == 0
    assert (out / "where-the-evidence-lies.png").is_file()
    text = " ".join(check_safe((out / "report.html").read_text(encoding="utf-8")).text)
    assert "made from noise in 16 steps" in text
    assert "The network is large" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nothing.png"], "nothing.png"), (["--out", "{file}"], "Cannot write to")],
)
def test_what_cannot_be_done(arguments, said, digits_run, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    given = [one.format(file=tmp_path / "file" / "in") for one in arguments]
    assert main(["inspect", str(digits_run.directory), *given]) == 2
    assert said in capsys.readouterr().err
    assert not (digits_run.directory / "inspect" / "report.html").exists()
