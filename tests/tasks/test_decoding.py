"""A detector's decoding in plain operations, against TensorFlow's own suppression."""

import keras
import numpy as np
import pytest

from kcnn.tasks.decoding import Decoding, compare, cut, detections
from kcnn.tasks.fcos import Detections, decode


def outputs(seed, places=60, classes=3, images=2):
    """(B, P, 8 + K) that overlap much: boxes around few centres."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(10, 60, (images, places, 2)) // 20 * 20 + rng.normal(
        0, 2, (images, places, 2)
    )
    sides = rng.uniform(8, 24, (images, places, 2))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)
    rest = rng.normal(0, 1.5, (images, places, 4 + classes))
    return np.concatenate([boxes, rest], axis=-1).astype("float32")


@pytest.mark.parametrize("options", [{}, {"threshold": 0.5}, {"overlap": 0.2}, {"most": 7}])
def test_it_chooses_as_tensorflow_does(options):
    found = outputs(1)
    pictures = np.zeros((2, 48, 64, 3), "float32")  # some boxes reach out of it
    layer = Decoding(**options)
    ours = detections(layer(found, pictures))
    more = dict(options)
    if "most" in more:
        more["per_class"] = more["most"]
    expected = decode(found, (48, 64), **more)
    for one, other in zip(ours, expected, strict=True):
        assert len(other.boxes) > 3
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-5)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
        np.testing.assert_array_equal(one.classes, other.classes)


def test_nothing_is_found():
    found = outputs(2)
    found[..., 8:] = -20.0
    rows = Decoding()(found, np.zeros((2, 48, 64, 3), "float32"))
    assert not np.asarray(rows).any()
    assert [len(one.boxes) for one in detections(rows)] == [0, 0]


def test_the_layer_is_made_again():
    layer = Decoding(threshold=0.3, overlap=0.4, most=9)
    again = Decoding.from_config(layer.get_config())
    assert (again.threshold, again.overlap, again.most) == (0.3, 0.4, 9)
    inputs = keras.Input((None, 11)), keras.Input((None, None, 3))
    assert again(*inputs).shape == (None, 9, 6)


def test_objects_are_compared_and_not_rows():
    a = np.zeros((1, 5, 6), "float32")
    a[0, 0], a[0, 1] = [1, 1, 9, 9, 0.8, 2], [20, 20, 40, 40, 0.79999, 1]
    swapped = a[:, [1, 0, 2, 3, 4]]
    assert compare([a], [swapped]) == (0.0, 1.0)
    moved = a.copy()
    moved[0, 1, 0] += 0.5
    apart, seen = compare([a], [moved])
    assert apart == pytest.approx(0.5 / 40)
    assert seen == 1.0
    other = a.copy()
    other[0, 0, 5] = 0  # another class: the same object was not seen
    assert compare([a], [other])[1] == 0.5
    missing = a.copy()
    missing[0, 1] = 0
    assert compare([a], [missing])[1] == pytest.approx(2 / 3)


def test_boxes_are_cut_to_their_picture():
    boxes = np.array([[1, 1, 30, 30], [22, 2, 30, 8]], "float32")
    found = cut(Detections(boxes, np.array([0.9, 0.8]), np.array([0, 1])), np.array([16, 20]))
    np.testing.assert_array_equal(found.boxes, [[1, 1, 20, 16]])
    np.testing.assert_array_equal(found.classes, [0])
