"""Where a picture is wrong: pixels in red, boxes in the colours of what is wrong with them."""

import numpy as np
import pytest

from kcnn.draw.boxes import Box, cut_out
from kcnn.draw.pictures import wrong as wrong_pixels
from kcnn.tasks import box_errors
from kcnn.tasks.fcos import Detections


def test_wrong_pixels_are_red_and_ignored_ones_are_not():
    image = np.full((2, 3, 1), 100, np.uint8)
    truth, said = np.array([[0, 1, 255], [2, 2, 2]]), np.array([[0, 0, 1], [2, 1, 2]])
    shown = wrong_pixels(image, truth, said).astype(int)
    red = shown[..., 0] > shown[..., 1] + 60
    np.testing.assert_array_equal(red, [[False, True, False], [False, True, False]])
    assert (shown[~red] == 150).all()


def test_boxes_have_the_colour_of_what_is_wrong():
    image = np.zeros((64, 64, 3), np.uint8)
    truth = np.array([[2, 2, 20, 20, 0, 0], [40, 2, 60, 20, 1, 0], [2, 40, 20, 60, 1, 0]])
    found = Detections(
        np.array([[2, 2, 20, 20], [40, 40, 60, 60], [2, 40, 20, 60]], "float32"),
        np.array([0.9, 0.8, 0.7], "float32"),
        np.array([0, 1, 0], "int32"),
    )
    errors = box_errors.errors([truth], [found], 2)
    pair = (errors.partners[0], errors.objects[0])
    drawn = box_errors.wrong(image, truth, found, pair, ["a", "<b>"])
    times = len(drawn) // 64
    for (column, row), colour in {
        (2, 10): box_errors.WHITE, (40, 10): box_errors.MISSED, (40, 50): box_errors.INVENTED,
        (2, 50): box_errors.CONFUSED, (30, 30): (0, 0, 0),
    }.items():  # fmt: skip
        assert tuple(drawn[row * times, column * times]) == colour


@pytest.mark.parametrize(
    ("sides", "size"),
    [((40, 10, 60, 20), (30, 40)), ((-5, 0, 3, 4), (12, 11)), ((90, 90, 95, 95), (1, 2))],
)
def test_what_is_cut_out_has_its_neighbourhood(sides, size):
    """Half of the longer side around it, 8 pixels at least, within the picture of 64 by 84."""
    image = np.zeros((64, 84, 3), np.uint8)
    cut = cut_out(image, Box(sides, "", (255, 0, 0)), side=1)
    assert cut.shape == (*size, 3)
