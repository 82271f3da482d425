"""Figures: PNGs of the width they promise, tiles in place, names that are no mathematics."""

import numpy as np
import pytest

from kcnn.draw import inside
from kcnn.draw.strips import Strip, as_array, strips

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (3, 12, 16, 3)).astype("uint8")


@pytest.mark.slow
def test_tiles_lie_below_each_other_in_their_columns():
    red, green, blue = (np.full((4, 4, 3), c, "uint8") for c in np.eye(3) * 250)
    page = as_array(strips([Strip("one", [red, green, blue]), Strip("", [blue])], columns=2))
    assert page.shape[1] == 640
    middle = {}
    for name, channel in (("red", 0), ("green", 1), ("blue", 2)):
        rows, columns = np.nonzero(
            (page[..., channel] == 250) & (np.delete(page, channel, axis=2).max(axis=2) == 0)
        )
        middle[name] = (rows, columns)
    assert middle["red"][1].max() < middle["green"][1].min()
    assert middle["red"][0].max() < middle["blue"][0].min()
    assert middle["red"][1].min() == middle["blue"][1].min()
    assert len(middle["blue"][0]) == 2 * len(middle["red"][0]) == 2 * 305**2  # (640 - 24 - 6) / 2
    assert (page[:12] == 255).all()  # a margin
    assert (page[12:30, :80] < 128).any()  # the title


@pytest.mark.slow
def test_captions_of_some_lines_keep_to_their_tiles():
    """Names of ImageNet's folders ran into each other."""
    tile = np.full((4, 4, 3), 250, "uint8")
    shown = Strip("", [tile] * 4, ["n01440764: n01440764\nsaid: n0210204"] * 4)
    page, cell = as_array(strips([shown, Strip("", [tile])], columns=4)), (640 - 24 - 18) // 4
    bottom = 12 + cell  # of the tiles
    written = (page[bottom : bottom + 3 + 2 * 21] < 128).any(axis=2)
    for k in range(1, 4):
        gap = 12 + k * (cell + 6)
        assert not written[:, gap - 6 : gap].any()
    lines = written.any(axis=1)
    assert lines[3:22].any()
    assert lines[26:].any()  # the second
    assert np.diff(lines.astype(int)).tolist().count(1) >= 2
    once = as_array(strips([Strip("", [tile] * 4, ["one"] * 4), Strip("", [tile])], columns=4))
    assert page.shape[0] == once.shape[0] + 21


FIGURES = {
    "filters": lambda: inside.filters(RANDOM.random((10, 3, 3, 3)), "conv1"),
    "kernels": lambda: inside.kernels(RANDOM.normal(size=(3, 3, 20, 9)), "conv2"),
    "feature maps": lambda: inside.feature_maps(
        PICTURES[0], [("relu", RANDOM.random((6, 8, 5))), ("tanh", RANDOM.normal(size=(3, 4, 9)))]
    ),
    "exciting": lambda: inside.exciting([("unit 3", [PICTURES[0][:5], PICTURES[1][:, :3]])]),
    "preferred": lambda: inside.preferred([("late", PICTURES, ("cat", "dog", "<b>$x^2$"))]),
    "evidence": lambda: inside.evidence(
        PICTURES,
        {"Grad-CAM": RANDOM.random((3, 12, 16)), "occlusion": RANDOM.normal(size=(3, 12, 16))},
        ["$\\frac{", "a\x1b[31mb", "very " * 60],
    ),
    "edges": lambda: inside.edges(PICTURES[0], {"vertical": RANDOM.normal(size=(10, 14))}),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_png(name):
    data = FIGURES[name]()
    assert data.startswith(b"\x89PNG")
    page = as_array(data)
    assert page.dtype == np.uint8
    assert page.shape[1] == (24 + 2 * 352 + 6 if name == "edges" else 640)
    assert (page == 255).all(axis=2).mean() < 0.98
    assert (page[:, -10:] == 255).all()  # nothing is cut off


def test_of_kernels_what_is_left_out_is_said(monkeypatch):
    said = []
    monkeypatch.setattr(inside, "strips", lambda shown, **_: said.extend(shown))
    inside.kernels(RANDOM.normal(size=(3, 3, 20, 9)), "conv2")
    assert said[0].title == "conv2; 8 of 9 units, 8 of 20 channels"
    assert [len(strip.tiles) for strip in said] == [8] * 8


def test_one_map_has_one_scale_for_all_pictures(monkeypatch):
    """A map of two signs is blue and red over each picture, also where that has one sign alone."""
    said = []
    monkeypatch.setattr(inside, "strips", lambda shown, **_: said.extend(shown))
    values = np.zeros((2, 12, 16))
    values[0, 3, 3], values[1, 5, 5] = -1.0, 1.0
    inside.evidence(PICTURES[:2], {"occlusion": values}, ["a", "b"])
    below, above = said[0].tiles[1][3, 3].astype(int), said[1].tiles[1][5, 5].astype(int)
    assert below[2] > below[0]
    assert above[0] > above[2] + 20
