"""`kcnn filters`: a PNG of what the lecture's filters find."""

import numpy as np
from PIL import Image


def test_filters_of_a_photograph(outcome, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros((60, 1200, 3), "uint8")
    pixels[:, 600:] = 255
    Image.fromarray(pixels).save(tmp_path / "a [red] photo.jpg")
    status, out, err = outcome("filters", tmp_path / "a [red] photo.jpg")
    assert (status, err) == (0, "")
    assert out == "a [red] photo.jpg, looked at as 18×352×3 → a [red] photo_filters.png\n"
    page = np.asarray(Image.open(tmp_path / "a [red] photo_filters.png").convert("RGB")).astype(int)
    assert page.shape[1] == 24 + 3 * 352 + 12
    blue = (page[..., 2] - page[..., 0] > 80).sum(axis=0)
    assert blue[380:720].max() > 5  # dark left of bright: below 0, in the map of vertical edges
    assert blue[740:].max() == 0


def test_refusals(outcome, tmp_path):
    Image.fromarray(np.zeros((9, 9), "uint8")).save(tmp_path / "a.png")
    for arguments, message in [
        ((tmp_path / "b.png",), "b.png"),
        ((tmp_path / "a.png", "--output", tmp_path / "c.jpg"), "A PNG is written"),
        ((tmp_path / "a.png", "--size", 0), "at least 1 pixel"),
        ((tmp_path / "a.png", "--size", 2), "at least 3×3"),
    ]:
        status, out, err = outcome("filters", *arguments)
        assert (status, out) == (2, "")
        assert message in err
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]
