"""What a card says of a network follows its options, and so does what it refuses."""

import pytest

import kcnn
from kcnn.models.registry import list_models, lookup


def notes(name, **options):
    return " ".join(kcnn.card(name, **options).notes)


@pytest.mark.parametrize(
    ("name", "options", "phrase"),
    [
        # (options of which the phrase is said), and others of which it is not
        ("alexnet", ({}, {"groups": 2}), "One tower"),
        ("alexnet", ({"groups": 2}, {}), "Two towers"),
        ("alexnet", ({}, {"lrn": True}), "No local response normalisation"),
        ("vgg16", ({}, {"depths": (1, 1), "widths": (8, 8)}), "Column D"),
        ("vgg16", ({"batchnorm": True}, {}), "Without the biases"),
        ("vgg16", ({"batchnorm": True}, {"batchnorm": True, "conv_bias": True}), "Without the bia"),
        ("vgg16", ({"residual": True}, {}), "not the paper's"),
        ("resnet18", ({}, {"shortcut": "A"}), "option B"),
        ("resnet18", ({"shortcut": "A"}, {}), "option A"),
        ("resnet18", ({"shortcut": "C"}, {}), "option C"),
        ("resnet18", ({"residual": False}, {}), "plain network"),
        ("resnet18", ({}, {"residual": False}), "option B"),
        ("resnet50", ({}, {"stride_in": "1x1"}), "v1.5"),
        ("resnet50", ({"stride_in": "3x3"}, {"stride_in": "1x1"}), "v1.5"),
        ("resnet20", ({}, {"depths": (1, 1, 1)}), "6n + 2"),
        ("resnet20", ({"preact": True}, {}), "He et al. 2016"),
        ("lenet5_1998", ({}, {"head": "dense"}), "RBF"),
        ("mlp", ({}, {"activation": "sigmoid"}), "ReLU units"),
        ("fcn", ({}, {"stride": 16}), "FCN-8s"),
        ("fcn", ({"stride": 32}, {}), "FCN-32s on VGG-16."),
        ("unet", ({}, {"padding": "valid", "input_shape": (572, 572, 1)}), "Convolutions pad"),
    ],
)
def test_notes_follow_the_options(name, options, phrase):
    said, not_said = options
    assert phrase in notes(name, **said)
    assert phrase not in notes(name, **not_said)


@pytest.mark.parametrize("name", list_models())
def test_notes_depend_on_options_that_there_are(name):
    entry = lookup(name)
    for note in entry.notes:
        assert isinstance(note, str) or note.only.keys() <= entry.options.keys()
    assert all(line.endswith(".") for line in entry.notes_with({}))


NINE = {"depths": (1,) * 9, "widths": (4,) * 9, "hidden": ()}


@pytest.mark.slow
def test_a_vanishing_image_is_told_a_size_that_is_enough():
    """Nine halvings need 512 pixels, more than the 224 of the paper."""
    with pytest.raises(kcnn.InputError) as caught:
        kcnn.card("vgg16", input_shape=(224, 224, 3), **NINE)
    assert "takes images from 512×512 pixels up" in str(caught.value)
    assert "received 224×224" in str(caught.value)
    assert "kcnn train --image-size 512 512 does so" in str(caught.value)
    assert kcnn.card("vgg16", input_shape=(512, 512, 3), **NINE).parameters
    with pytest.raises(kcnn.InputError, match="512×512"):
        kcnn.card("vgg16", input_shape=(511, 512, 3), **NINE)


def test_a_vanishing_image_below_the_papers_size_is_enlarged_by_itself():
    with pytest.raises(kcnn.InputError) as caught:
        kcnn.card("vgg16", input_shape=(16, 16, 3))
    assert "takes images from 32×32 pixels up" in str(caught.value)
    assert "(kcnn train does so inside the model)" in str(caught.value)


def test_a_network_for_no_image_says_so():
    deep = {"depths": (1,) * 14, "widths": (2,) * 14, "hidden": ()}
    with pytest.raises(kcnn.InputError, match="takes no images of up to 8192 pixels"):
        kcnn.card("vgg16", **deep)
