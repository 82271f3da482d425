"""The cache of decoded files: filled once, whole or not there, and never wrong."""

import collections
import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from kcnn.data import fill_cache, load_data, load_image, training_feed
from kcnn.data.batches import fetch as fetch_module
from kcnn.data.sets.images import ImageFiles
from kcnn.errors import InputError

SIZE = (7, 5)


@pytest.fixture
def split(make_folder):
    return load_data(make_folder({"a": 7, "b": 7}), validation=2, seed=0).train


@pytest.fixture
def decoded(monkeypatch):
    """How many files have been decoded."""
    count = collections.Counter()

    def counted(path, shape):
        count["files"] += 1
        return load_image(path, shape)

    monkeypatch.setattr(fetch_module, "load_image", counted)
    return count


@pytest.fixture(params=["memory", "folder"])
def cache(request, tmp_path):
    return "memory" if request.param == "memory" else tmp_path / "new" / "cache"


def images_of(split, cache):
    """All images of a split through the cache, in stored order."""
    return fetch_module.source(split.images, SIZE, cache=cache).read(np.arange(len(split)))


def expected(split):
    return np.stack([load_image(path, (*SIZE, 3)) for path in split.images])


def test_files_are_decoded_once(split, cache, decoded):
    for _ in range(3):
        np.testing.assert_array_equal(images_of(split, cache), expected(split))
        training_feed(split, 4, classes=2, seed=0, image_size=SIZE, cache=cache)
    assert decoded["files"] == len(split)


def test_sizes_and_margins_have_caches_of_their_own(split, cache, decoded):
    shapes = set()
    for augment, size in (("none", (20, 20)), ("crop", (20, 20)), ("none", (10, 20))):
        feed = training_feed(
            split, 4, classes=2, seed=0, image_size=size, augment=augment, cache=cache
        )
        element = next(iter(feed.steps))
        shapes.add((feed.resident or [element["images"]])[0].shape[1:3])
    assert shapes == {(20, 20), (23, 23), (10, 20)}
    assert decoded["files"] == 3 * len(split)


def test_progress_tells_what_is_decoded(split, cache):
    done = []
    fill_cache(split, SIZE, cache, progress=done.append)
    fill_cache(split, SIZE, cache, progress=done.append)
    assert done == [len(split)]


def test_memory_is_given_back_with_the_files(make_folder, decoded):
    for _ in range(2):
        split = load_data(make_folder({"a": 7, "b": 7}), validation=2, seed=0).train
        images_of(split, "memory")
    assert decoded["files"] == 2 * len(split)


def the_file(folder):
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(b"not an array of any kind"),
        lambda path: np.save(path, np.zeros((2, 7, 5, 3), np.uint8)),
        lambda path: np.save(path, np.zeros((9, 7, 5, 3), np.float32)),
        lambda path: np.save(path, np.array([None]), allow_pickle=True),
        lambda path: path.write_bytes(b"PK\x03\x04 as an .npz begins"),
        lambda path: path.rename(path.with_name(f".{path.name}")),  # never put in place
    ],
)
def test_what_is_not_whole_is_written_anew(split, tmp_path, damage, decoded):
    cache = tmp_path / "cache"
    images_of(split, cache)
    good = the_file(cache).read_bytes()
    damage(the_file(cache))
    decoded.clear()
    np.testing.assert_array_equal(images_of(split, cache), expected(split))
    assert decoded["files"] == len(split)
    assert the_file(cache).read_bytes() == good


def test_a_changed_file_is_decoded_again(split, tmp_path):
    cache = tmp_path / "cache"
    before = images_of(split, cache)
    first, second = split.images[0], split.images[1]
    shutil.copyfile(second, first)
    os.utime(first, ns=(0, 1))
    after = images_of(split, cache)
    np.testing.assert_array_equal(after, expected(split))
    assert not np.array_equal(before, after)


def test_a_missing_file_is_named(split, tmp_path):
    split.images[3].unlink()
    with pytest.raises(InputError, match=f"{split.images[3].name}: "):
        images_of(split, tmp_path / "cache")


def test_a_full_disk_is_refused_before_work(split, tmp_path, monkeypatch, decoded):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(InputError, match=r"No space left to write .* free\)\. Free some space"):
        images_of(split, tmp_path / "cache")
    assert decoded["files"] == 0


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_an_interrupted_cache_is_not_used(split, tmp_path, monkeypatch, error):
    cache = tmp_path / "cache"

    def broken(path, shape):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "load_image", broken)
        with pytest.raises((InputError, KeyboardInterrupt)):
            images_of(split, cache)
    assert the_file(cache).name.startswith(".")
    np.testing.assert_array_equal(images_of(split, cache), expected(split))
    assert not the_file(cache).name.startswith(".")


def test_a_folder_that_cannot_be_made_is_refused(split, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache cannot be written in .*file"):
        images_of(split, tmp_path / "file" / "cache")


def test_more_than_the_machine_has_is_refused(split, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 10)
    with pytest.raises(InputError, match=r"9 images of 7×5 take .*Name a folder"):
        images_of(split, "memory")


def test_processes_share_a_folder(split, tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from kcnn.data import load_data\n"
        "from kcnn.data.batches import fetch\n"
        "split = load_data(sys.argv[1], validation=2, seed=0).train\n"
        "images = fetch.source(split.images, (7, 5), cache=sys.argv[2])\n"
        "print(images.read(np.arange(len(split))).sum(dtype=np.int64))\n"
    )
    cache = tmp_path / "cache"
    arguments = [sys.executable, "-c", code, split.images.root, cache]
    processes = [subprocess.Popen(arguments, stdout=subprocess.PIPE) for _ in range(2)]
    sums = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert sums == [expected(split).sum(dtype=np.int64)] * 2
    assert the_file(cache).suffix == ".npy"


def test_the_state_of_files_follows_their_order(split):
    names = [path.relative_to(split.images.root) for path in split.images]
    first, again, turned = (
        ImageFiles(split.images.root, [str(name) for name in order])
        for order in (names, names, names[::-1])
    )
    assert first.state() == again.state() != turned.state()
