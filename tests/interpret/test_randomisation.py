"""Weights that become random from the top, and rank correlation against SciPy's."""

import itertools

import keras
import numpy as np
import pytest
from scipy.stats import spearmanr

import kcnn
from kcnn.interpret import cascade, rank_correlation

L = keras.layers


def test_a_cascade_goes_from_the_top_down_and_leaves_the_model():
    inner = keras.Sequential([keras.Input((6, 6, 2)), L.Conv2D(3, 3, name="b"), L.ReLU()])
    model = keras.Sequential([
        keras.Input((8, 8, 1)), L.Conv2D(2, 3, name="a"), inner, L.BatchNormalization(),
        L.Flatten(), L.Dense(4, name="c"),
    ])  # fmt: skip
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(1, 2, w.shape) for w in model.get_weights()])
    before, seen = model.get_weights(), []
    for name, copy in cascade(model, seed=3):
        same = [np.array_equal(a, b) for a, b in zip(before, copy.get_weights(), strict=True)]
        seen.append((name, same, copy.get_weights()))
    kept = {"c": 8, "b": 2, "a": 0}  # weights from the bottom: a, b, four of BatchNorm, c
    assert [name for name, *_ in seen] == list(kept)
    for name, same, _ in seen:
        assert same == [True] * kept[name] + [False] * (10 - kept[name]), name
    for (*_, upper), (*_, lower) in itertools.pairwise(seen):
        np.testing.assert_array_equal(upper[8], lower[8])  # what is random stays as it is
    last = seen[-1][2]
    for value, weight in zip([0, 0, 1, 0, 0, 1, 0], [last[k] for k in (1, 3, 4, 5, 6, 7, 9)],
                             strict=True):  # fmt: skip
        assert (weight == value).all()
    assert 0.5 < last[0].std() / np.sqrt(2 / 9) < 1.5
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for (*_, first), (_, again) in zip(seen[-1:], list(cascade(model, seed=3))[-1:], strict=True):
        np.testing.assert_array_equal(first[8], again.get_weights()[8])
    flat = keras.Sequential([keras.Input((4, 4, 1)), L.Flatten(), L.ReLU()])
    with pytest.raises(kcnn.InputError, match="no layer with a kernel"):
        next(cascade(flat))


def test_rank_correlation_is_scipys():
    random = np.random.default_rng(0)
    first, second = random.integers(0, 5, (2, 6, 4, 7)).astype(float)
    second[0] = first[0] ** 3  # the same order
    expected = [
        spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(rank_correlation(first, second), expected, atol=1e-12)
    assert expected[0] == pytest.approx(1.0)
    assert np.isnan(rank_correlation(first[:1], np.ones((1, 4, 7)))[0])
    with pytest.raises(kcnn.InputError, match="same on both sides"):
        rank_correlation(first, second[:2])
