"""Views of pictures: what a window shows, beside Pillow and NumPy; masks and boxes move with it."""

import numpy as np
import pytest
from PIL import Image

from kcnn.data.batches.views import (
    draws,
    fitting_view,
    middle_view,
    random_view,
    reduction,
    resized,
    viewed,
    whole_view,
)
from kcnn.data.sets.annotations import View
from kcnn.data.sets.masks import IGNORED, Masks, table_of

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 255, (20, 30, 3)).astype("uint8")


def test_draws_are_a_function_of_seed_step_and_place():
    seed = np.array([3, 7])
    first = draws(seed, 2, 4)
    np.testing.assert_array_equal(first, draws(seed, 2, 4))
    for other in (draws(seed, 3, 4), draws(np.array([3, 8]), 2, 4), draws(np.array([4, 7]), 2, 4)):
        assert not (first == other).any()
    many = np.array([draws(np.array([0, step]), 0, 4) for step in range(2000)])
    assert 0 <= many.min() < 0.01 < 0.99 < many.max() < 1
    np.testing.assert_allclose(many.mean(axis=0), 0.5, atol=0.03)
    assert abs(np.corrcoef(many.T)[np.triu_indices(4, 1)]).max() < 0.08


def test_the_first_numbers_of_a_stream_stay_as_they_are():
    """A resumed run of before sees the same windows."""
    np.testing.assert_allclose(draws(np.array([5, 4]), 1, 3), FIRST, rtol=0, atol=1e-15)


FIRST = [float(n) for n in (
    (np.random.Philox(key=np.array([5, 4], np.uint64), counter=[0, 1, 0, 0]).random_raw(3) >> 11)
    / 2.0**53
)]  # fmt: skip


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 5), (-4, -2), (15, 25)])
def test_a_window_is_a_slice_with_the_border_repeated(top, left, mirrored):
    found = viewed(IMAGE, View((20, 30), (20, 30), top, left, (16, 12), mirrored))
    wide = np.pad(IMAGE, ((50, 50), (50, 50), (0, 0)), mode="edge")
    expected = wide[50 + top : 66 + top, 50 + left : 62 + left]
    np.testing.assert_array_equal(found, expected[:, ::-1] if mirrored else expected)


def test_scaling_is_pillows():
    small = np.asarray(Image.fromarray(IMAGE).resize((15, 10), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resized(IMAGE, (10, 15)), small)
    floats = resized(IMAGE.astype("float32"), (10, 15))
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, small, atol=1.01)
    four = resized(np.concatenate([IMAGE, IMAGE[..., :1]], axis=-1), (10, 15))
    assert four.dtype == np.uint8
    np.testing.assert_allclose(four[..., :3], small, atol=1)


def test_random_windows_lie_within_and_everywhere():
    views = [
        random_view((20, 30), (8, 8), draws(np.array([0, s]), 0, 4), flip=True) for s in range(3000)
    ]
    assert {v.scaled for v in views} == {(20, 30)}
    assert {v.top for v in views} == set(range(13))
    assert {v.left for v in views} == set(range(23))
    assert 0.45 < np.mean([v.mirrored for v in views]) < 0.55
    counts = np.bincount([v.left for v in views])
    assert counts.min() > 0.6 * 3000 / 23


def test_a_smaller_picture_lies_anywhere_in_the_window():
    views = [random_view((6, 30), (8, 40), draws(np.array([0, s]), 0, 4)) for s in range(500)]
    assert {v.top for v in views} == {0, -1, -2}
    assert {v.left for v in views} == set(range(-10, 1))


def test_scales_are_even_in_their_logarithm():
    sides = [
        random_view((200, 300), (8, 8), draws(np.array([1, s]), 0, 4), scale=2.0, factor=0.5).scaled
        for s in range(2000)
    ]
    factors = np.array([h / 200 for h, _ in sides])
    assert factors.min() == pytest.approx(0.25, abs=0.01)
    assert factors.max() == pytest.approx(1.0, abs=0.01)
    assert np.median(factors) == pytest.approx(0.5, abs=0.03)
    assert all(abs(w / h - 1.5) < 0.03 for h, w in sides)


def test_whole_pictures():
    assert reduction((20, 30), 15) == 0.5
    assert reduction((20, 30), 40) == reduction((20, 30), None) == 1.0
    view = whole_view((20, 30), factor=0.5, multiple=8)
    assert view == View((20, 30), (10, 15), 0, 0, (16, 16))
    assert fitting_view((20, 30), (8, 8)) == View((20, 30), (5, 8), 0, 0, (8, 8))
    assert fitting_view((4, 4), (8, 8)).scaled == (4, 4)  # nothing is enlarged
    assert middle_view((20, 30), (8, 40)) == View((20, 30), (20, 30), 6, -5, (8, 40))


@pytest.mark.parametrize("seed", range(20))
def test_masks_go_where_pictures_go(seed):
    """A picture that is its own mask: in every view both show the same, but for padding."""
    values = np.kron(RNG.integers(0, 2, (5, 6)), np.ones((8, 8))).astype("uint8")
    image = np.repeat(200 * values[..., None], 3, axis=2).astype("uint8")
    view = random_view(
        (40, 48), (32, 32), draws(np.array([seed, 1]), 0, 4), scale=1.7, flip=True
    )  # fmt: skip
    mask = Masks(values[None], table_of([0, 1], [])[0]).target(0, view)
    seen = viewed(image, view)[..., 0]
    inside = mask != IGNORED
    agree = (seen > 100) == (mask == 1)
    assert agree[inside].mean() > 0.93  # at edges the one is blended, the other is not
    clear = ((seen < 5) | (seen > 195)) & inside
    assert clear.mean() > 0.4 * inside.mean()
    if view.scaled == (40, 48):
        assert agree[inside].all()
