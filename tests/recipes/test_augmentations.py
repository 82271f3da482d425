"""What a recipe takes for `augment`, and the one text that it holds of it."""

import pytest

from kcnn.errors import InputError
from kcnn.recipes.defaults import resolve
from kcnn.recipes.families import OTHERS
from kcnn.recipes.recipe import Recipe

ALL = "crop-flip,rotation=15,zoom=0.1,erasing=0.25,randaugment=2:9"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        *((word, word) for word in ("none", "auto", "flip", "crop", "crop-flip")),
        ("flip,crop,rotation=15,zoom=0.1,erasing=0.25,randaugment=2:9", ALL),
        (" randaugment, erasing=.25 + zoom + rotation=15.0+crop-flip", ALL),  # usual strengths
        (["flip", "crop", "rotation=15", "zoom", "erasing=0.25", "randaugment=2"], ALL),
        ({"flip": True, "crop": True, "zoom": 0.1, "rotation": 15, "erasing": 0.25,
          "randaugment": (2, 9)}, ALL),
        ({"flip": True, "crop": False, "zoom": None, "rotation": 0}, "flip"),
        ("rotation=0,erasing=0,randaugment=0", "none"),
        ([], "none"),
        ("auto,rotation=7.5", "auto,rotation=7.5"),
    ],
)  # fmt: skip
def test_one_text_for_what_is_the_same(given, text):
    recipe = Recipe(augment=given)
    assert (recipe.augment, recipe.colour) == (text, None)
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rotate=15", r"no 'rotate'. Did you mean 'rotation'\?.*rotation: degrees to either side "
                      r"from 0 \(off\) to 180;.*randaugment=N:M"),
        ("color=0.2", "Did you mean 'colour'"),
        ("rotation=181", "rotation is degrees to either side from 0 .off. to 180; received '181'"),
        ("zoom=1", "up to, not including, 1; received '1'"),
        ("erasing=-0.1", "erasing is a probability from 0 .off. to 1"),
        ("erasing=nan", "erasing is a probability"),
        ("rotation=", "rotation is degrees"),
        ("randaugment=2:11", r"N operations \(1 to 8; 0 is off\) of magnitude M, above 0 to 10"),
        ("randaugment=2.5:9", "randaugment=N:M"),
        ("randaugment=", "randaugment=N:M"),
        ("flip=0.5", "flip has no strength"),
        ("flip,crop-flip", "flip twice"),
        ("none,flip", "none, or something"),
        ("auto,flip", "auto, which chooses"),
        (15, "a text such as"),
    ],
)  # fmt: skip
def test_refused_with_what_there_is(given, message):
    with pytest.raises(InputError, match=message):
        Recipe(augment=given)


def test_colour_is_said_once():
    recipe = Recipe(augment="flip,colour=0.4")
    assert (recipe.augment, recipe.colour) == ("flip", 0.4)
    assert Recipe(augment="colour").to_dict() == Recipe(augment="none", colour=0.2).to_dict()
    assert Recipe(augment="colour=0", colour=0).colour == 0
    with pytest.raises(InputError, match=r"colour=0.4, and colour is 0.2"):
        Recipe(augment="colour=0.4", colour=0.2)


def test_auto_chooses_among_the_others():
    def resolved(shape, **options):
        recipe = Recipe(augment="auto,rotation=15,erasing=0.5")
        return resolve(recipe, family=OTHERS, images=100, image_shape=shape, **options)

    assert resolved((8, 8, 1)).augment == "rotation=15,erasing=0.5"
    assert resolved((32, 32, 3)).augment == "crop-flip,rotation=15,erasing=0.5"
    assert resolved((None, None, 3)).evaluation_scale == 1.15  # it crops
