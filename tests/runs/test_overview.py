"""What is said of data before a training, and the contact sheet beside it."""

import io

import numpy as np
import pytest
from oracles.images import write_image
from PIL import Image
from rich.console import Console

from kcnn.data import load_data
from kcnn.data.sets.splits import from_arrays
from kcnn.errors import InputError
from kcnn.recipes.recipe import Recipe
from kcnn.runs import examples
from kcnn.runs.overview import contact_sheet, overview, show_data


def said(name, output, **options):
    stream = io.StringIO()
    console = Console(file=stream, width=140)
    given = {"columns": None, "skip_bad": False} | options
    path, *copies = show_data(str(name), output=output, console=console, **given)
    return stream.getvalue(), path, *copies


@pytest.fixture
def table(tmp_path):
    """Nine cats and three dogs of different sizes; two of the cats are for the test."""
    lines = ["file,label,split"]
    for i in range(12):
        write_image(tmp_path / f"{i}.png", (20 * i, 90, 30), size=(20 + i, 10 + 2 * i))
        lines.append(
            f"{i}.png,{'dog' if i % 4 == 3 else 'cat'},{'test' if i in (0, 1) else 'train'}"
        )
    (tmp_path / "pets.csv").write_text("\n".join(lines))
    return tmp_path / "pets.csv"


def test_splits_classes_and_sizes(table, tmp_path):
    text, path, *_ = said(table, tmp_path / "sheet.png")
    assert "9 train, 1 validation, 2 test" in text
    data = load_data(table)
    counts = np.bincount(data.train.labels, minlength=2)
    assert f"the largest class has {counts.max() / counts.min():.3g} times" in text
    assert "10 to 32 pixels high, 20 to 31 wide; the middle ones 21×26" in text
    rows = [line.split()[:4] for line in text.splitlines() if line.startswith(("cat", "dog"))]
    held = (data.train, data.validation, data.test)
    by_part = [np.bincount(split.labels, minlength=2) for split in held]
    assert rows == [
        [name, *(str(part[k]) for part in by_part)] for k, name in enumerate(("cat", "dog"))
    ]
    with Image.open(path) as image:
        assert image.size[0] > 300


def test_the_sheet_shows_pictures_of_each_class():
    images = np.zeros((20, 4, 4, 3), "uint8")
    labels = np.repeat([0, 1], 10)
    images[:10] = (250, 0, 0)
    images[10:] = (0, 0, 250)
    sheet = Image.open(io.BytesIO(contact_sheet(from_arrays((images, labels)))))
    seen = np.asarray(sheet.convert("RGB")).reshape(-1, 3).astype(int)
    for colour in ((250, 0, 0), (0, 0, 250)):
        assert (np.abs(seen - colour).max(axis=1) < 3).sum() > 1000


def test_values_of_arrays():
    images = np.random.default_rng(0).normal(size=(20, 4, 4, 1))
    images[3, 0, 0, 0], images[4, 0, 0, 0] = 7.5, -6
    pair = images, np.arange(20) % 4 // 3
    found = overview(from_arrays(pair, pair, pair))
    assert (found.sizes, found.values) == ("4×4×1", "float32, -6 to 7.5")
    assert found.balance == 3


def tiles_of(monkeypatch, data, **fields):
    """What the sheet of augmented pictures shows: as they are, and as a training sees them."""
    seen = []
    monkeypatch.setattr(examples, "strips", lambda shown, **sizes: seen.extend(shown) or b"")
    said = examples.augmented_sheet(data, Recipe(**fields))[1]
    return seen[0].tiles, seen[1].tiles, said


def test_each_of_sixteen_stands_above_itself_augmented(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (60, 12, 12, 1), "uint8")
    data = from_arrays((images, np.arange(60) // 20))
    before, after, words = tiles_of(monkeypatch, data, augment="erasing=1,colour=0", seed=3)
    assert (len(before), words) == (16, "erasing=1")
    labels = [data.train.labels[(data.train.array == b[..., :1]).all((1, 2, 3))] for b in before]
    assert sorted(np.bincount(np.concatenate(labels))) == [5, 5, 6]
    kept = [(a == b).all(axis=2).mean() for a, b in zip(before, after, strict=True)]
    assert min(kept) > 0.5
    assert max(kept) < 1
    floats = from_arrays((images.astype("float32") / 255, np.arange(60) // 20))
    assert tiles_of(monkeypatch, floats, augment="colour")[2] == "colour=0.2"
    with pytest.raises(InputError, match="randaugment is of images from 0 to 255 as uint8"):
        tiles_of(monkeypatch, floats, augment="randaugment")


def test_augmented_files(table, tmp_path, monkeypatch):
    data = load_data(table)
    before, after, words = tiles_of(monkeypatch, data, augment="auto")
    assert (len(before), words) == (9, "crop-flip")
    for one, other in zip(before, after, strict=True):  # each is of one colour
        np.testing.assert_allclose(one.mean((0, 1)), other.mean((0, 1)), atol=2)
    monkeypatch.undo()
    text, path = said(table, tmp_path / "augmented.png", augment="auto,rotation=15")
    assert "augmented: crop-flip,rotation=15" in text
    with Image.open(path) as sheet:
        assert sheet.size[0] > 600
    with pytest.raises(InputError, match="give augment, too"):
        said(table, tmp_path / "sheet.png", image_size=(8, 8))


def test_refused_before_it_begins(table, tmp_path):
    with pytest.raises(InputError, match="A PNG is written"):
        said(table, tmp_path / "sheet.jpg")
    (tmp_path / "5.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"5\.png"):
        said(table, tmp_path / "sheet.png")
    text, *_ = said(table, tmp_path / "sheet.png", skip_bad=True)
    assert "1 bad files left out" in text


def test_copies_are_counted_and_shown_in_pairs(tmp_path):
    noise = np.random.default_rng(0).integers(0, 250, (13, 16, 16, 3)).astype("uint8")
    parts = {"train": noise[:10].copy(), "val": noise[10:11], "test": noise[[3, 11, 12]]}
    parts["train"][9] = noise[12] + np.uint8(3)
    labels = {"train": np.arange(10) % 2, "val": np.array([0]), "test": np.array([1, 0, 0])}
    arrays = {f"x_{part}": images for part, images in parts.items()}
    np.savez(tmp_path / "leak.npz", **arrays, **{f"y_{p}": each for p, each in labels.items()})
    text, _, copies = said(tmp_path / "leak.npz", tmp_path / "leak-data.png")
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "test pictures that are in training 1 1" in rows
    assert "pictures under two labels 0 2" in rows
    assert "--deduplicate exact|near leaves them out" in text
    assert copies.name == "leak-copies.png"
    with Image.open(copies) as sheet:
        seen = np.asarray(sheet.convert("RGB"))
    cell = (960 - 2 * 12 - 3 * 6) // 4  # of the first pair, which is exact
    one, other = (seen[60:120, left : left + cell] for left in (12, 12 + cell + 6))
    assert np.array_equal(one, other)
    assert one.std() > 20
    text, *written = said(tmp_path / "leak.npz", tmp_path / "leak-data.png", near=False)
    assert "test pictures that are in training 1" in [
        " ".join(r.split()) for r in text.splitlines()
    ]
    assert len(written) == 2


def test_no_copies_no_sheet(table, tmp_path):
    text, *written = said(table, tmp_path / "sheet.png", near=False)
    assert "No picture is there twice" in text
    assert [path.name for path in written] == ["sheet.png"]
