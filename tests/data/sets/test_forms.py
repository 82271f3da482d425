"""Forms in which people hand over splits: which part is which, what is images and what labels."""

import numpy as np
import pytest

from kcnn.data.sets.forms import parts_of
from kcnn.data.sets.handed import handed_over
from kcnn.data.sets.splits import from_arrays
from kcnn.errors import InputError

X, Y = np.zeros((6, 4, 4, 1), "uint8"), np.arange(6) % 2
TEST = np.ones((2, 4, 4, 1), "uint8"), np.array([0, 1])
X1, Y1 = X[:1], Y[:1]
W = np.ones(6, "float32")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((X, Y), {"train": (X, Y)}),
        (((X, Y), TEST), {"train": (X, Y), "test": TEST}),  # keras.datasets
        (((X, Y), TEST, (X1, Y1)), {"train": (X, Y), "validation": TEST,
                                          "test": (X1, Y1)}),
        ({"image": X, "label": Y}, {"train": (X, Y)}),
        ({"image": X, "id": Y, "label": Y}, {"train": (X, Y)}),
        ({"label": Y, "image": X, "weight": W}, {"train": (X, Y, W)}),
        ({"train": {"image": X, "label": Y}, "test": {"images": TEST[0], "labels": TEST[1]}},
         {"train": (X, Y), "test": TEST}),  # tfds, all in one batch
        (({"x": X, "y": Y}, {"image": TEST[0], "label": TEST[1]}),
         {"train": (X, Y), "test": TEST}),
        ({"train": (X, Y), "val": TEST}, {"train": (X, Y), "validation": TEST}),
    ],
    ids=range(9),
)  # fmt: skip
def test_parts(given, expected):
    found = parts_of(given)
    assert found.keys() == expected.keys()
    for part, arrays in expected.items():
        assert len(found[part]) == len(arrays)
        assert all(one is other for one, other in zip(found[part], arrays, strict=True))


def test_mappings_are_trained_on_and_evaluated():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 4, 4, 1)).astype("uint8")
    element = {"image": images, "label": np.arange(20) % 2}
    data = from_arrays(**parts_of({"train": element, "test": element}))
    assert len(data.test) == 20
    for given in (element, {"test": element}, {"train": element, "test": element}):
        assert len(handed_over(given, ("0", "1")).test) == 20


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"image": X, "images": X, "label": Y}, "'image' and 'images'"),
        ({"image": X}, "A mapping of data has the keys"),
        ({"pictures": X, "label": Y}, "A mapping of data has the keys"),
    ],
)
def test_mappings_that_say_too_much_or_too_little(given, message):
    with pytest.raises(InputError, match=message):
        parts_of(given)
