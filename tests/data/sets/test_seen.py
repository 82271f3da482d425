"""What was seen of files holds as long as they stay as they are, and no longer."""

import hashlib
import os
import shutil

import numpy as np
import pytest
from oracles.images import write_image
from PIL import Image

from kcnn.data import load_data, preflight
from kcnn.data.sets import seen as seeing
from kcnn.data.sets.images import ImageFiles
from kcnn.data.sets.seen import NAME, Seen

NAMES = [f"{folder}/{number:02}.png" for folder in "ab" for number in range(6)]


@pytest.fixture
def root(tmp_path):
    for number, name in enumerate(NAMES):
        write_image(tmp_path / "images" / name, (number, 9, 200), size=(20, 10))
    return tmp_path / "images"


@pytest.fixture
def opened(monkeypatch):
    """Names of the files that were opened."""
    found, looked_at = [], seeing._looked_at
    monkeypatch.setattr(seeing, "_looked_at", lambda name: found.append(name) or looked_at(name))
    monkeypatch.setattr(seeing, "_TICK", 0.0)
    return found


@pytest.fixture
def many(monkeypatch, tmp_path):
    """A dozen files are many; the user's cache is a folder of the test."""
    monkeypatch.setattr(seeing, "_MANY", 12)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def names(values=NAMES):
    return np.array([os.fsencode(name) for name in values])


def replaced(path, colour=(90, 90, 90)):
    """Another picture of the same length in bytes, and the same time of change."""
    before = path.stat()
    write_image(path, colour, size=(20, 10))
    with path.open("ab") as file:
        file.write(b"\0" * (before.st_size - path.stat().st_size))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_hashes_are_those_of_the_bytes(root):
    digests, faults = Seen(root).look(names())
    expected = [hashlib.sha256((root / name).read_bytes()).digest() for name in NAMES]
    assert [row.tobytes() for row in digests] == expected
    assert faults == {}


def test_only_what_changed_is_opened_again(root, opened):
    seen = Seen(root)
    first, _ = seen.look(names())
    assert opened == [os.fsencode(root / name) for name in NAMES]
    opened.clear()
    again, _ = seen.look(names())
    assert opened == []
    np.testing.assert_array_equal(again, first)
    (root / NAMES[3]).write_bytes(b"")
    (root / NAMES[8]).unlink()
    write_image(root / "b" / "new.png")
    _, faults = seen.look(names([*NAMES, "b/new.png"]))
    assert [os.path.basename(n) for n in opened] == [b"03.png", b"02.png", b"new.png"]
    assert {i: text[:20] for i, text in faults.items()} == {
        3: "is empty",
        8: "cannot be read: No s",
    }
    opened.clear()
    write_image(root / NAMES[3])
    _, faults = seen.look(names())
    assert list(faults) == [8]
    assert len(opened) == 2  # the mended one, and the missing


def test_a_part_is_looked_at_alone(root, opened):
    seen = Seen(root)
    seen.look(names(NAMES[:4]))
    part, _ = seen.look(names(NAMES[2:6]))
    assert len(opened) == 6
    assert part[0].tobytes() == hashlib.sha256((root / NAMES[2]).read_bytes()).digest()


def test_a_file_that_has_just_changed_may_change_again(root, opened, monkeypatch):
    monkeypatch.setattr(seeing, "_TICK", 60.0)
    seen = Seen(root)
    seen.look(names())
    seen.look(names())
    assert len(opened) == 24


def test_progress_counts_on(root):
    seen, done = Seen(root), []
    seen.look(names(), done.append)
    assert done == list(range(1, 13))


class TestFingerprint:
    def test_sees_pixels(self, root):
        before = load_data(root).fingerprint
        assert before.startswith("sha256-files:")
        for name in NAMES[:3]:
            replaced(root / name)
        assert load_data(root).fingerprint != before

    def test_does_not_see_times_places_and_seeds(self, root, tmp_path):
        before = load_data(root).fingerprint
        copy = shutil.copytree(root, tmp_path / "elsewhere")
        os.utime(copy / NAMES[0], (1, 1))
        assert load_data(copy, seed=5).fingerprint == before
        assert preflight(load_data(root)).fingerprint == before

    def test_sees_names(self, root):
        before = load_data(root).fingerprint
        (root / "a" / "00.png").rename(root / "b" / "00x.png")
        assert load_data(root).fingerprint != before

    def test_by_hand(self, root):
        expected = hashlib.sha256()
        for name in sorted(NAMES):
            content = hashlib.sha256((root / name).read_bytes()).digest()
            expected.update(name.encode() + b"\0" + content)
        assert load_data(root).fingerprint == f"sha256-files:{expected.hexdigest()}"

    def test_nothing_is_read_before_it_is_asked_for(self, root, opened):
        data = load_data(root)
        assert "photographs" in repr(data)
        assert opened == []
        preflight(data)
        assert len(opened) == 12
        assert data.fingerprint
        assert len(opened) == 12


@pytest.mark.usefixtures("many")
class TestNextProcess:
    def test_is_kept_beside_the_images(self, root, opened):
        first = Seen(root).look(names())[0]
        assert (root / NAME).is_file()
        opened.clear()
        replaced(root / NAMES[5])
        again = Seen(root).look(names())[0]
        assert opened == [os.fsencode(root / NAMES[5])]
        assert [i for i in range(12) if (first[i] != again[i]).any()] == [5]
        assert load_data(root).class_names == ("a", "b")  # it is no class and no file left out
        assert "left out" not in load_data(root).provenance

    def test_a_small_part_first_loses_nothing(self, root, opened):
        Seen(root).look(names())
        opened.clear()
        seen = Seen(root)
        replaced(root / NAMES[0])
        seen.look(names(NAMES[:2]))
        assert len(opened) == 2
        digests, _ = seen.look(names())
        assert len(opened) == 2
        expected = hashlib.sha256((root / NAMES[0]).read_bytes()).digest()
        assert digests[0].tobytes() == expected

    @pytest.mark.usefixtures("opened")
    def test_which_have_several_frames_is_kept(self, root):
        red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
        red.save(root / NAMES[3], save_all=True, append_images=[blue])
        for _ in range(2):
            seen = Seen(root)
            seen.look(names())
            assert (seen.several(names()), seen.several(names(NAMES[:3]))) == (1, 0)
        write_image(root / NAMES[3], (9, 9, 9), size=(20, 10))
        seen = Seen(root)
        seen.look(names())
        assert seen.several(names()) == 0

    def test_faults_are_kept(self, root, opened):
        (root / NAMES[2]).write_bytes(b"no image")
        expected = Seen(root).look(names())[1]
        opened.clear()
        assert Seen(root).look(names())[1] == expected
        assert list(expected) == [2]
        assert opened == []

    def test_where_the_folder_cannot_be_written(self, root, opened, monkeypatch, tmp_path):
        write = seeing.archive.write

        def refuse(path, content):
            if path.parent == root:
                raise PermissionError(13, "Permission denied")
            write(path, content)

        monkeypatch.setattr(seeing.archive, "write", refuse)
        Seen(root).look(names())
        assert len(list((tmp_path / "cache" / "kcnn").iterdir())) == 1
        opened.clear()
        Seen(root).look(names())
        assert opened == []

    @pytest.mark.parametrize("damage", ["cut", "other rules", "empty", "other shapes"])
    def test_what_is_damaged_is_looked_at_anew(self, root, opened, damage, monkeypatch):
        Seen(root).look(names())
        path = root / NAME
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-40])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "other shapes":
            held = seeing.archive.read(path)
            seeing.archive.write(path, held | {"digests": held["digests"][:3]})
        else:
            monkeypatch.setattr(seeing, "_RULES", "2")
        opened.clear()
        digests, _ = Seen(root).look(names())
        assert len(opened) == 12
        assert digests[0].tobytes() == hashlib.sha256((root / NAMES[0]).read_bytes()).digest()

    def test_few_files_leave_no_file(self, root, monkeypatch):
        monkeypatch.setattr(seeing, "_MANY", 13)
        Seen(root).look(names())
        assert not (root / NAME).exists()


def test_a_subset_shares_what_was_seen(root, opened):
    files = ImageFiles(root, NAMES)
    files.faults()
    files[np.array([3, 1])].state()
    assert len(opened) == 12
