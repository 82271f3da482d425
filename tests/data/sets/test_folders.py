"""Folders of class folders: which files count, which layouts are known, what is refused."""

import os
import shutil
import time

import numpy as np
import pytest
from oracles.images import write_image
from PIL import Image

from kcnn.data import ImageFiles, load_data, training_batches
from kcnn.errors import InputError


def names(split):
    return sorted(path.relative_to(split.images.root).as_posix() for path in split.images)


def all_names(data):
    return sorted(names(data.train) + names(data.validation) + names(data.test))


def test_a_folder_of_class_folders(make_folder):
    root = make_folder({"dog": 10, "cat": 10})
    data = load_data(root, validation=2)
    assert data.name == "images"
    assert data.class_names == ("cat", "dog")
    assert data.image_shape == (None, None, 3)
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)
    assert len(set(all_names(data))) == 20
    for split in (data.train, data.validation, data.test):
        for path, label in zip(split.images, split.labels, strict=True):
            assert path.is_file()
            assert path.parent.name == data.class_names[label]


def test_loading_opens_no_image(make_folder, monkeypatch):
    root = make_folder({"dog": 10, "cat": 10})
    monkeypatch.setattr(Image, "open", None)
    assert len(load_data(root).train) == 14


def test_order_and_fingerprint_do_not_depend_on_the_file_system(make_folder, tmp_path):
    root = make_folder({"dog": 10, "cat": 10})
    copy = tmp_path / "copy"
    for path in sorted(root.rglob("*.png"), reverse=True):
        target = copy / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    first, second = load_data(root), load_data(copy)
    assert names(first.train) == names(second.train)
    assert first.fingerprint == second.fingerprint == load_data(root, seed=3).fingerprint
    (copy / "cat" / "000.png").rename(copy / "cat" / "zzz.png")
    assert load_data(copy).fingerprint != first.fingerprint
    (root / "cat" / "000.png").write_bytes(b"longer" * 1000)
    assert load_data(root).fingerprint != first.fingerprint


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_train_and_val_make_val_the_test_split(make_folder, val):
    root = make_folder({"train/a": 10, "train/b": 10, f"{val}/a": 3, f"{val}/b": 2})
    data = load_data(root, validation=0.2)
    assert names(data.test) == sorted(f"{val}/{n}" for n in _files({"a": 3, "b": 2}))
    assert (len(data.train), len(data.validation)) == (16, 4)


def test_train_and_test(make_folder):
    root = make_folder({"train/a": 10, "train/b": 10, "test/a": 3, "test/b": 2, "docs": 1})
    data = load_data(root, validation=4)
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 5)


def test_all_three_are_taken_as_named(make_folder):
    root = make_folder({f"{s}/{c}": 3 for s in ("train", "val", "test") for c in "ab"})
    data = load_data(root)
    for split, folder in ((data.train, "train"), (data.validation, "val"), (data.test, "test")):
        assert names(split) == sorted(f"{folder}/{n}" for n in _files({"a": 3, "b": 3}))


def test_train_alone_is_divided(make_folder):
    data = load_data(make_folder({"train/a": 10, "train/b": 10}))
    assert (data.class_names, len(data.test)) == (("a", "b"), 4)


def test_a_class_may_be_called_train(make_folder):
    assert load_data(make_folder({"train": 10, "tram": 10})).class_names == ("train", "tram")


def test_hidden_empty_and_foreign_things_do_not_count(make_folder):
    root = make_folder({"a": 6, "b": 6, ".git": 2, "__MACOSX": 2, "a/.thumbs": 2})
    (root / "empty" / "deeper").mkdir(parents=True)
    (root / "notes").mkdir()
    (root / "notes" / "readme.txt").write_text("no image")
    (root / "a" / "Thumbs.db").write_bytes(b"x")
    (root / "a" / ".DS_Store").write_bytes(b"x")
    (root / "a" / "._000.png").write_bytes(b"x")
    (root / "a" / "folder.png").mkdir()
    write_image(root / "stray.png")
    data = load_data(root)
    assert data.class_names == ("a", "b")
    assert all_names(data) == _files({"a": 6, "b": 6})


def test_nested_folders_suffixes_and_names_of_any_kind(make_folder):
    root = make_folder({"weiße Blüten/näher dran": 4, "Füße 足": 4}, "mes données")
    for number, suffix in enumerate((".JPG", ".jpeg", ".Bmp", ".gif", ".WEBP")):
        write_image(root / "Füße 足" / f"été {number}{suffix}")
    data = load_data(root)
    assert data.class_names == ("Füße 足", "weiße Blüten")
    assert len(all_names(data)) == 13
    batches = training_batches(data.train, 4, classes=2, seed=0, image_size=(5, 4), stop=3)
    assert sum(len(images) for images, _ in batches) == len(data.train)


def test_names_that_are_not_utf8_survive(make_folder):
    root = make_folder({"a": 5, "b": 5})
    odd = os.fsencode(root / "a") + b"/\xff\xfe.png"
    try:
        shutil.copy(os.fsencode(root / "a" / "000.png"), odd)
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    data = load_data(root)
    assert len(all_names(data)) == 11
    assert all(path.is_file() for path in data.train.images)


def test_links_inside_count_and_links_outside_do_not(make_folder, tmp_path):
    root = make_folder({"a": 5, "b": 5})
    outside = write_image(tmp_path / "elsewhere" / "x.png")
    (root / "a" / "inside.png").symlink_to(root / "b" / "000.png")
    (root / "a" / "outside.png").symlink_to(outside)
    (root / "a" / "up.png").symlink_to("../../elsewhere/x.png")
    (root / "a" / "broken.png").symlink_to("nowhere.png")
    (root / "b" / "more").symlink_to(outside.parent)
    (root / "b" / "loop").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b")
    (root / "c").symlink_to(outside.parent)
    data = load_data(root)
    assert data.class_names == ("a", "b")
    assert all_names(data) == sorted([*_files({"a": 5, "b": 5}), "a/inside.png"])
    assert "4 links that lead outside" in data.provenance


def test_a_split_folder_that_leads_outside_does_not_count(make_folder, tmp_path):
    root = make_folder({"train/a": 5, "train/b": 5})
    make_folder({"a": 2, "b": 2}, "elsewhere")
    (root / "val").symlink_to(tmp_path / "elsewhere")
    assert len(load_data(root).test) == 2


def test_the_root_may_itself_be_a_link(make_folder, tmp_path):
    root = make_folder({"a": 5, "b": 5})
    (tmp_path / "link").symlink_to(root)
    data = load_data(tmp_path / "link")
    assert (data.name, len(all_names(data))) == ("link", 10)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "no class folder with images"),
        ({"": 3}, "no class folder with images"),
        ({"a": 3}, "the one class a"),
        ({"a": 3, "b": 0}, "the one class a"),
        ({"train/a": 3, "val/a": 3}, "the one class a"),
        ({"train/a": 3, "train/b": 3, "val/c": 1, "val/a": 1}, r"test split .* lacks: c"),
        ({"train/a": 3, "train/b": 3, "test": 4}, "test split .* no class folder"),
        ({"train/a": 3, "train/b": 3, "val/a": 1, "valid/a": 1}, "val and valid"),
        ({"a": 1, "b": 1}, "must remain for training"),
    ],
)
def test_folders_that_cannot_be_divided_are_refused(make_folder, counts, message):
    with pytest.raises(InputError, match=message):
        load_data(make_folder(counts))


def test_a_folder_of_links_says_why_it_is_empty(make_folder, tmp_path):
    source = make_folder({"a": 2, "b": 2}, "source")
    root = make_folder({})
    for name in "ab":
        (root / name).symlink_to(source / name)
    with pytest.raises(InputError, match="2 links that lead outside were left out"):
        load_data(root)


def test_image_files_is_a_sequence_of_paths(tmp_path):
    files = ImageFiles(tmp_path, ["b/1.png", "a/ü.png", "a/3.png"])
    assert len(files) == 3
    assert files[1] == tmp_path / "a" / "ü.png"
    assert files[-1] == files[np.int64(2)] == tmp_path / "a" / "3.png"
    assert [p.name for p in files[np.array([2, 0])]] == ["3.png", "1.png"]
    assert [p.name for p in files[1:]] == ["ü.png", "3.png"]
    assert [p.name for p in files[np.array([True, False, False])]] == ["1.png"]
    assert len(files[np.arange(0)]) == len(ImageFiles(tmp_path, [])) == 0
    with pytest.raises(IndexError):
        files[3]


def _files(counts):
    return sorted(f"{folder}/{i:03}.png" for folder, count in counts.items() for i in range(count))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"), ("training_set", "test_set"), ("seg_train", "seg_test"),
        ("TRAIN", "TEST"), ("train-images", "test-images"), ("train", "dev"),
    ],
)  # fmt: skip
def test_names_that_people_give_splits(make_folder, train, test):
    root = make_folder({f"{train}/a": 6, f"{train}/b": 6, f"{test}/a": 2, f"{test}/b": 3})
    data = load_data(root)
    assert data.class_names == ("a", "b")
    assert len(data.test) == 5
    assert {path.parents[1].name for path in data.test.images} == {test}
    assert {path.parents[1].name for path in data.train.images} == {train}


def test_a_folder_beside_the_splits_is_named(make_folder):
    root = make_folder({"train/a": 6, "train/b": 6, "test/a": 2, "test/b": 2, "unlabelled": 3})
    assert "beside the splits left out: unlabelled" in load_data(root).provenance


def test_splits_without_one_to_train_on(make_folder):
    with pytest.raises(InputError, match="holds test, val, and no split to train on"):
        load_data(make_folder({"test/a": 3, "test/b": 3, "val/a": 3, "val/b": 3}))


def test_classes_that_are_called_like_splits(make_folder):
    """Beside classes that are not, and without one to train on."""
    assert load_data(make_folder({"test": 6, "exam": 6})).class_names == ("exam", "test")


def test_a_wrapping_folder_points_inside(make_folder):
    root = make_folder({"flowers/daisy": 4, "flowers/rose": 4})
    with pytest.raises(InputError, match=r"one folder 'flowers', which holds folders .*daisy, rose"
                       r".* Perhaps '.*/images/flowers' is meant"):  # fmt: skip
        load_data(root)
    assert load_data(root / "flowers").class_names == ("daisy", "rose")


def test_numbers_sort_as_numbers(make_folder):
    counts = {str(k): 3 for k in (1, 2, 10, 11, 20)} | {"b10": 3, "b9": 3}
    assert load_data(make_folder(counts)).class_names == ("1", "2", "10", "11", "20", "b9", "b10")


def test_what_is_left_out_is_counted(make_folder):
    root = make_folder({"a": 6, "b": 6})
    for k in range(3):
        (root / "a" / f"{k}.dcm").write_bytes(b"x")
    (root / "b" / "photo").write_bytes(b"x")
    assert "files left out: 3 .dcm, 1 without suffix" in load_data(root).provenance


@pytest.mark.parametrize("suffix", [".dcm", ".tga", ""])
def test_a_class_that_would_vanish_is_refused(make_folder, suffix):
    """Three classes became two, without a word."""
    root = make_folder({"a": 6, "b": 6})
    (root / "c").mkdir()
    for k in range(4):
        (root / "c" / f"{k}{suffix}").write_bytes(b"x")
    kind = suffix or "without suffix"
    with pytest.raises(InputError, match=rf"folder 'c' holds no image .*4 {kind}.* no class"):
        load_data(root)


def test_a_link_to_itself_does_not_count(make_folder):
    root = make_folder({"cat": 10, "dog": 10})
    (root / "cat/loop.png").symlink_to(root / "cat/loop.png")
    (root / "loop").symlink_to(root / "loop")
    assert len(all_names(load_data(root))) == 20


def test_links_among_folders_are_walked_once(make_folder):
    """Each folder of six links to all others: 6! ways, and six folders."""
    root = make_folder({"cat": 10, "dog": 10})
    inner = [root / "cat" / f"part{number}" for number in range(9)]
    for number, folder in enumerate(inner):
        folder.mkdir()
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / "one.png")
    for folder in inner:
        for other in inner:
            if other != folder:
                (folder / f"to-{other.name}").symlink_to(other)
    started = time.monotonic()
    data = load_data(root)
    assert time.monotonic() - started < 10
    assert len(all_names(data)) == 20 + len(inner)


def test_classes_whose_names_are_no_text(make_folder):
    root = make_folder({"cat": 10, os.fsdecode(b"\xff\xfe"): 10})
    data = load_data(root)
    assert os.fsdecode(b"\xff\xfe") in data.class_names
