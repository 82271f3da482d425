"""Stratified splitting: exact size, every class in proportion, the same everywhere."""

import numpy as np
import pytest

from kcnn.data.sets.stratify import stratified
from kcnn.errors import InputError


@pytest.mark.parametrize("size", [0.1, 0.25, 0.5, 1, 7, 300])
def test_parts_are_disjoint_and_of_the_size_asked_for(size):
    labels = np.random.default_rng(0).integers(0, 7, 501)
    rest, part = stratified(labels, size, seed=3)
    wanted = size if isinstance(size, int) else round(size * 501)
    assert len(part) == wanted
    assert sorted([*rest, *part]) == list(range(501))


def test_every_class_keeps_its_share_within_one_image():
    labels = np.repeat(np.arange(4), [1000, 300, 50, 7])
    _, part = stratified(labels, 0.2, seed=0)
    shares = np.bincount(labels[part], minlength=4)
    assert np.all(np.abs(shares - np.array([200, 60, 10, 1.4])) < 1)


def test_rare_classes_keep_an_image_for_training():
    labels = np.array([0] * 20 + [1] * 2 + [2])
    rest, part = stratified(labels, 20, seed=0)
    assert set(labels[rest]) == {0, 1, 2}
    assert 2 not in labels[part]


def test_seed_decides_which_images_and_only_the_seed():
    labels = np.tile(np.arange(5), 40)
    first, again, other = (stratified(labels, 0.3, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(np.bincount(labels[first]), np.bincount(labels[other]))


def test_split_is_the_same_on_every_platform():
    # Written down once: PCG64's raw stream is guaranteed, so this may never change.
    assert stratified(np.tile([0, 1], 10), 6, seed=42)[1].tolist() == [1, 2, 8, 11, 15, 16]


def test_every_image_is_held_out_equally_often():
    labels = np.repeat([0, 1], 10)
    counts = sum(np.bincount(stratified(labels, 0.5, seed)[1], minlength=20) for seed in range(400))
    # Binomial(400, 1/2): mean 200, standard deviation 10.
    assert 155 < counts.min() <= counts.max() < 245


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0.001, "no image at all"),
        (20, "leaves nothing"),
        (25, "leaves nothing"),
        (0.99, "leaves nothing"),
        (19, "one of each of the 2 classes must remain"),
        (-0.1, "Allowed"),
        (-1, "Allowed"),
        (0, "Allowed"),
        (1.0, "Allowed"),
        (1.5, "Allowed"),
        (float("nan"), "Allowed"),
        (True, "Allowed"),
        ("0.1", "Allowed"),
        (None, "Allowed"),
    ],
)
def test_impossible_sizes_are_refused(size, message):
    with pytest.raises(InputError, match=message):
        stratified(np.tile([0, 1], 10), size, seed=0)


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(InputError, match="seed"):
        stratified(np.tile([0, 1], 10), 0.5, seed)
