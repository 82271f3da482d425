"""Colours of maps: signs, zeros, sizes."""

import numpy as np
import pytest

from kcnn.draw import maps


def test_signed_maps_are_symmetric_about_white():
    values = np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]])
    blue, pale, white, rose, red = maps.signed(values)[0].astype(int)
    assert white.min() > 240
    assert blue[2] > blue[0] + 50
    assert red[0] > red[2] + 50
    assert blue.sum() < pale.sum() < white.sum() > rose.sum() > red.sum()
    # The scale is that of |value|: a map that is above 0 alone has no blue.
    only = maps.signed(np.array([[0.0, 1.0]]))[0]
    np.testing.assert_array_equal(only, [white, red])
    np.testing.assert_array_equal(maps.signed(values, 4.0)[0, -1], maps.signed(values)[0, 3])
    assert (maps.signed(np.zeros((2, 2))) == white).all()


def test_heat_begins_with_black():
    dark, middle, bright = maps.heat(np.array([[0.0, 0.5, 1.0]]))[0].astype(int)
    assert dark.max() < 10
    assert dark.sum() < middle.sum() < bright.sum()
    assert (maps.heat(np.zeros((2, 2))) == maps.heat(np.zeros((1, 1)))[0, 0]).all()


def test_over_a_picture_nothing_is_the_picture_in_grey():
    picture = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype("uint8")
    values = np.zeros((6, 6))
    values[2, 3] = 5.0
    shown = maps.over(picture, values)
    grey = 0.75 * picture.mean(axis=2) + 48
    plain = np.abs(shown - grey[..., None]).max(axis=2) < 1
    assert not plain[2, 3]
    assert plain.sum() == 35
    both = maps.over(picture, values - values[:, ::-1], two_signs=True)
    assert both[2, 3, 0] > both[2, 3, 2]  # red above 0
    assert both[2, 2, 2] > both[2, 2, 0]  # blue below


@pytest.mark.parametrize(
    ("image", "limits", "expected"),
    [
        (np.array([[[0], [255]]], "uint8"), None, [0, 255]),
        (np.array([[[20.0], [60.0]]]), None, [0, 255]),
        (np.array([[[20.0], [300.0]]]), (0, 255), [20, 255]),
        (np.array([[[0.0], [0.5]]]), (-1, 1), [128, 191]),
        (np.zeros((1, 2, 5)), None, [0, 0]),
    ],
)
def test_pictures_of_any_range(image, limits, expected):
    shown = maps.as_picture(image, limits)
    assert (shown.shape, shown.dtype) == ((1, 2, 3), "uint8")
    np.testing.assert_array_equal(shown[0, :, 1], expected)
