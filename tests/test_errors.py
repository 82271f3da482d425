"""Which name a message suggests."""

import pytest

from kcnn.errors import did_you_mean
from kcnn.models.registry import list_models


@pytest.mark.parametrize(
    ("received", "meant"),
    [
        ("resnet35", "resnet34"),
        ("resnet33", "resnet32"),  # as near as 34, and named first
        ("resnet108", "resnet110"),
        ("vgg17", "vgg16"),
        ("ResNet50", "resnet50"),
        ("lenet", "lenet5"),
        ("alexnet2", "alexnet"),
    ],
)
def test_the_nearest_name_and_of_those_the_nearest_number(received, meant):
    assert did_you_mean(received, list_models()) == f" Did you mean {meant!r}?"


@pytest.mark.parametrize("received", ["xyzzy", "", "1", "12"])
def test_nothing_near_is_nothing_said(received):
    assert did_you_mean(received, list_models()) == ""
    assert did_you_mean(received, []) == ""
