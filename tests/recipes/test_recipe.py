"""The recipe: ranges, defaults, and the way to JSON and back."""

import dataclasses
import json

import pytest

from kcnn.errors import InputError
from kcnn.recipes.defaults import resolve
from kcnn.recipes.recipe import Recipe

GREY = (8, 8, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", True),
        ("batch_size", 0),
        ("optimizer", "lion"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("schedule", "linear"),
        ("warmup", -1.0),
        ("momentum", 1.0),
        ("weight_decay", -0.1),
        ("label_smoothing", 1.0),
        ("mixup", -0.2),
        ("cutmix", float("inf")),
        ("augment", "rotate"),
        ("validation", 0.0),
        ("validation", 1.5),
        ("validation", -0.1),
        ("seed", -1),
        ("seed", 2**31),
        ("precision", "float8"),
        ("early_stopping", 0),
        ("select", "worst"),
        ("image_size", (32,)),
        ("image_size", (0, 32)),
        ("dropout", 1.0),
        ("stem", "none"),
        ("name", "../elsewhere"),
        ("name", ""),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(InputError, match=field) as error:
        Recipe(**{field: value})
    assert repr(value) in str(error.value)


def test_json_round_trip():
    recipe = Recipe(model="mlp", image_size=(16, 16), options={"width": 8}, batchnorm=True)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_an_unknown_field_in_a_file_is_named():
    with pytest.raises(InputError, match="epoch_count"):
        Recipe.from_dict({"epoch_count": 3})


def test_a_recipe_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Recipe().epochs = 3


def test_a_switch_given_twice_is_refused():
    with pytest.raises(InputError, match="batchnorm"):
        _ = Recipe(batchnorm=True, options={"batchnorm": False}).model_options


def test_defaults_leave_nothing_open_and_keep_what_was_given():
    given = Recipe(model="resnet20", optimizer="sgd", epochs=3)
    full = resolve(given, family="resnet", images=50_000, image_shape=(32, 32, 3))
    assert (full.optimizer, full.epochs) == ("sgd", 3)
    open_fields = ("batch_size", "learning_rate", "schedule", "warmup", "weight_decay")
    assert all(getattr(full, name) is not None for name in open_fields)
    assert full.augment == "crop-flip"
    assert resolve(given, family="resnet", images=1300, image_shape=GREY).augment == "none"


def test_augmentation_by_the_images():
    def augment(shape):
        return resolve(Recipe(), family="vgg", images=100, image_shape=shape).augment

    assert augment((32, 32, 3)) == augment((None, None, 3)) == "crop-flip"
    assert augment((32, 32, 1)) == augment((12, 12, 3)) == "none"


def test_families_have_their_own_optimisers():
    lenet = resolve(Recipe(), family="lenet", images=1000, image_shape=GREY)
    resnet = resolve(Recipe(), family="resnet", images=1000, image_shape=GREY)
    assert lenet.optimizer != resnet.optimizer
    assert resnet.momentum == 0.9


def test_momentum_for_an_optimiser_without_is_refused():
    with pytest.raises(InputError, match="adam"):
        resolve(Recipe(optimizer="adam", momentum=0.9), family=None, images=100, image_shape=GREY)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(InputError, match=r"batch_size=200.*100 training images"):
        resolve(Recipe(batch_size=200), family="lenet", images=100, image_shape=GREY)


def test_the_default_batch_never_exceeds_the_data():
    assert resolve(Recipe(), family="lenet", images=7, image_shape=GREY).batch_size == 7
