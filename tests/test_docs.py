"""Pages for contributors: the paths that they name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("docs/architecture.md", "CONTRIBUTING.md", "README.md")
TOP = ("kcnn", "tests", "benchmarks", "tools", "docs", "tuning")


@pytest.mark.parametrize("page", PAGES)
def test_paths_are_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(rf"`((?:{'|'.join(TOP)})/[\w./-]+)`", text))
    named |= set(re.findall(r"`([A-Z]+\.md)`", text))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    assert page != "docs/architecture.md" or len(named) > 40


def test_every_room_is_in_the_picture():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {p.name for p in (ROOT / "kcnn").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert {room for room in rooms if f"`kcnn/{room}/" not in text} == set()
