"""The same picture more than once: counted against a comparison of all, and left out by rule."""

import shutil
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from oracles.images import write_image

from kcnn.data import load_data, preflight
from kcnn.data.sets.duplicates import ORDER, duplicates, without_duplicates
from kcnn.data.sets.splits import from_arrays
from kcnn.errors import InputError


def data_of(**parts):
    """Arrays of 4×4, each picture known by one number: {"train": [(number, label), ...]}."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 4, 4, 1)).astype("uint8")
    splits = {
        part: (np.stack([noise[n] for n, _ in given]), np.array([label for _, label in given]))
        for part, given in parts.items()
    }
    return from_arrays(**splits)


def kept(data, how="exact"):
    return {
        p: len(getattr(without_duplicates(data, how), p)) for p in ("train", "validation", "test")
    }


def test_counts_are_those_of_a_comparison_of_all():
    rng = np.random.default_rng(2)
    sizes = {"train": 90, "validation": 30, "test": 40}
    parts = {
        part: [
            (int(n), int(n % 3 if rng.random() < 0.9 else 2)) for n in rng.integers(0, 120, size)
        ]
        for part, size in sizes.items()
    }
    numbers = {part: [n for n, _ in given] for part, given in parts.items()}
    labels = {}
    for n, label in chain(*parts.values()):
        labels.setdefault(n, set()).add(label)
    expected = {
        "train_test": sum(n in numbers["train"] for n in numbers["test"]),
        "train_validation": sum(n in numbers["train"] for n in numbers["validation"]),
        "validation_test": sum(n in numbers["validation"] for n in numbers["test"]),
        "two_labels": sum(len(labels[n]) > 1 for n in chain(*numbers.values())),
        **{part: len(own) - len(set(own)) for part, own in numbers.items()},
    }
    assert min(expected.values()) > 0
    assert duplicates(data_of(**parts)).counts() == {"exact": expected}


def test_a_copy_stays_in_test_before_validation_before_training():
    train = [(n, n % 2) for n in range(10)] + [(0, 0)]
    data = data_of(
        train=train, validation=[(1, 1), (20, 0)], test=[(1, 1), (2, 0), (30, 1), (30, 1)]
    )
    left = without_duplicates(data, "exact")
    assert (len(left.train), len(left.validation), len(left.test)) == (8, 1, 3)
    whole, without = data.train.array.tolist(), left.train.array.tolist()
    assert without == [whole[n] for n in (0, 3, 4, 5, 6, 7, 8, 9)]
    assert left.duplicates["dropped"] == {"train": 3, "validation": 1, "test": 1}
    assert "exact copies left out: 3 of train, 1 of validation, 1 of test" in left.provenance
    assert left.fingerprint == data.fingerprint  # it is of what was handed over
    assert without_duplicates(left, "exact") is left  # a search asks for each trial


def test_of_one_picture_under_two_labels_none_stays():
    train = [(n, n % 2) for n in range(8)] + [(0, 1)]
    data = data_of(train=train, validation=[(9, 0)], test=[(0, 0), (10, 1)])
    assert kept(data) == {"train": 7, "validation": 1, "test": 1}
    assert without_duplicates(data, "no").duplicates["exact"]["two_labels"] == 3


def test_nothing_is_left_out_unless_it_is_asked_for():
    data = data_of(train=[(0, 0), (0, 0), (1, 1)], validation=[(0, 0)], test=[(1, 1)])
    assert kept(data, "no") == {"train": 3, "validation": 1, "test": 1}
    with pytest.raises(InputError, match="the train split of arrays is empty"):
        without_duplicates(data, "exact")
    data = data_of(train=[(0, 0), (3, 1), (1, 1)], validation=[(0, 0)], test=[(4, 1)])
    with pytest.raises(InputError, match="no training picture is left of 0"):
        without_duplicates(data, "exact")


@pytest.mark.parametrize("how", ["exact", "near"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_split_may_be_empty(how, dtype):
    """A search has no test split."""
    data = data_of(train=[(n % 5, n % 2) for n in (0, 1, 2, 3, 4, 10)], validation=[(9, 0)])
    parts = {p: getattr(data, p).array.astype(dtype) for p in ("train", "validation", "test")}
    splits = {p: replace(getattr(data, p), images=images) for p, images in parts.items()}
    splits["test"] = splits["test"].take(np.arange(0))
    left = without_duplicates(replace(data, **splits), how)
    assert len(left.test) == 0


def test_near_copies_go_where_their_label_is_the_same(monkeypatch):
    """Pairs 0-1 of one label, 1-2 of one label, 3-4 of two; in training from the third on."""
    data = data_of(
        train=[(n, label) for n, label in ((2, 0), (3, 0), (4, 1), (5, 1))],
        validation=[(1, 0)],
        test=[(0, 0)],
    )
    pairs = np.array([[0, 1], [1, 2], [3, 4]])
    monkeypatch.setattr("kcnn.data.sets.duplicates.near_pairs", lambda *both: pairs)
    near = duplicates(data, near=True)
    assert near.counts()["near"] == {
        "train_test": 0, "train_validation": 1, "validation_test": 1, "two_labels": 2,
        "train": 1, "validation": 0, "test": 0,
    }  # fmt: skip
    # 1 goes for 0; 2 stays, for it is near to one that went; 3 and 4 have two labels.
    assert near.kept().tolist() == [True, False, True, True, True, True]


def test_files_of_the_same_bytes(tmp_path):
    for number in range(12):
        part = "test" if number in (4, 5) else "train"
        path = tmp_path / part / "ab"[number % 2] / f"{number}.png"
        write_image(path, (20 * number, 9, 99), size=(9, 9))
    shutil.copy(tmp_path / "train/a/0.png", tmp_path / "test/a/again.png")
    shutil.copy(tmp_path / "train/b/1.png", tmp_path / "train/a/other.png")
    data = preflight(load_data(tmp_path, validation=2))
    exact = without_duplicates(data, "no").duplicates["exact"]
    assert exact["train_test"] + exact["validation_test"] == 1
    assert exact["two_labels"] == 2
    left = without_duplicates(data, "exact")
    names = [path.name for part in (left.train, left.validation, left.test) for path in part.files]
    assert sorted(names) == sorted(["again.png", *(f"{number}.png" for number in range(2, 12))])


def test_real_data_have_the_copies_that_are_known(real_data):
    """A photograph of the test split of cat_vs_noncat is in training."""
    data = load_data(real_data / "cat_vs_noncat.npz")
    exact = duplicates(data).counts()["exact"]
    pixels = [{image.tobytes() for image in split.array} for split in (data.train, data.test)]
    held = {image.tobytes() for image in data.validation.array}
    assert exact["train_test"] == len(pixels[0] & pixels[1])
    assert (
        exact["train_test"] + exact["validation_test"] == len((pixels[0] | held) & pixels[1]) == 1
    )


@pytest.mark.slow
def test_the_five_known_pairs_of_pets(real_data):
    data = preflight(load_data(real_data / "pets"))
    known = {(11, 177), (122, 172), (24, 56), (40, 63), (5, 87)}
    files = [path.stem for part in ORDER for path in getattr(data, part).files]
    numbers = [int(name.rpartition("_")[2]) for name in files]
    near = duplicates(data, near=True).near.tolist()
    assert all(files[i].startswith("Abyssinian") for pair in near for i in pair)
    pairs = {tuple(sorted((numbers[i], numbers[j]))) for i, j in near}
    assert pairs == known | {(99, 151)}  # which nobody had noticed
