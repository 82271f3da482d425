"""The recipe: ranges, defaults, and the way to JSON and back."""

import dataclasses
import json

import numpy as np
import pytest

from kcnn.errors import InputError
from kcnn.recipes.defaults import resolve
from kcnn.recipes.families import LENET, OTHERS, RESNET, VGG
from kcnn.recipes.recipe import Recipe

GREY = (8, 8, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", True),
        ("batch_size", 0),
        ("optimizer", "lamb"),
        ("accumulate", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("schedule", "linear"),
        ("warmup", -1.0),
        ("momentum", 1.0),
        ("weight_decay", -0.1),
        ("clip_norm", 0.0),
        ("clip_norm", float("inf")),
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
        ("jit", "yes"),
        ("batchnorm", 1),
        ("model", 5),
        ("options", [1]),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(InputError, match=field) as error:
        Recipe(**{field: value})
    assert repr(value) in str(error.value)


def test_sgdw_is_there_under_another_name():
    with pytest.raises(InputError, match=r"received 'SGDW'. SGDW is momentum .* weight_decay"):
        Recipe(optimizer="SGDW")


def test_what_is_another_training_and_what_is_the_same():
    """Declared at each field; whoever adds one decides which it is."""
    same = {"data", "columns", "name", "logs", "checkpoint_every", "on_nan", "histograms", "cache"}
    same |= {"skip_bad", "images_every", "health", "rates"}
    fields = {field.name for field in dataclasses.fields(Recipe)}
    assert Recipe().identity().keys() == fields - same - {"epochs"}


def test_numpy_numbers_are_taken_as_plain_ones():
    recipe = Recipe(
        epochs=np.int64(5), learning_rate=np.float32(0.5), jit=np.bool_(True),
        image_size=np.array([16, 24]),
    )  # fmt: skip
    assert json.loads(json.dumps(recipe.to_dict()))["image_size"] == [16, 24]
    assert (recipe.epochs, recipe.learning_rate, recipe.jit) == (5, 0.5, True)


def test_help_lists_the_fields_and_repr_what_was_given():
    text = Recipe.__doc__
    for field in dataclasses.fields(Recipe):
        assert f"\n        {field.name}: " in text, field.name
    assert "learning_rate: Peak learning rate." in text
    given = Recipe(model="mlp", epochs=3)
    assert repr(given) == "Recipe(model='mlp', data='digits', epochs=3)"


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
    full = resolve(given, family=RESNET, images=50_000, image_shape=(32, 32, 3))
    assert (full.optimizer, full.epochs) == ("sgd", 3)
    open_fields = ("batch_size", "learning_rate", "schedule", "warmup", "weight_decay")
    assert all(getattr(full, name) is not None for name in open_fields)
    assert full.augment == "crop-flip"
    assert resolve(given, family=RESNET, images=1300, image_shape=GREY).augment == "none"


def test_augmentation_by_the_images():
    def augment(shape):
        return resolve(Recipe(), family=VGG, images=100, image_shape=shape).augment

    assert augment((32, 32, 3)) == augment((None, None, 3)) == "crop-flip"
    assert augment((32, 32, 1)) == augment((12, 12, 3)) == "none"


def test_families_have_their_own_optimisers():
    lenet = resolve(Recipe(), family=LENET, images=1000, image_shape=GREY)
    resnet = resolve(Recipe(), family=RESNET, images=1000, image_shape=GREY)
    assert lenet.optimizer != resnet.optimizer
    assert resnet.momentum == 0.9


def test_few_images_have_small_batches_and_more_weight_decay():
    def chosen(images, family=RESNET, **fields):
        full = resolve(Recipe(**fields), family=family, images=images, image_shape=(32, 32, 3))
        return full.batch_size, full.learning_rate, full.weight_decay

    assert chosen(5000) == (128, 0.1, 0.02)
    assert chosen(4999) == (32, 0.1, 0.02)
    assert chosen(5000, LENET) == (128, 0.005, 0.01)
    assert chosen(4999, LENET) == (32, 0.005, pytest.approx(0.03))
    assert chosen(4999, optimizer="adamw") == chosen(5000, batch_size=32, optimizer="adamw")
    assert chosen(4999, learning_rate=0.2)[1] == 0.2


def test_resnets_without_batchnorm_have_a_smaller_rate():
    def rate(**fields):
        full = resolve(Recipe(**fields), family=RESNET, images=50_000, image_shape=(32, 32, 3))
        return full.learning_rate

    assert rate() == rate(batchnorm=True) == 0.1
    assert rate(batchnorm=False) == rate(options={"batchnorm": False}) == 0.003
    assert rate(batchnorm=False, learning_rate=0.2) == 0.2
    assert rate(batchnorm=False, optimizer="adamw") == rate(optimizer="adamw")


def test_trained_weights_move_at_a_rate_of_their_own():
    def rate(family=VGG, **fields):
        given = Recipe(weights="imagenet", **fields)
        return resolve(given, family=family, images=800, image_shape=(32, 32, 3)).learning_rate

    assert rate() == rate(freeze="backbone", unfreeze_at=0.5) == rate(until="conv4") == 1e-4
    assert rate(freeze="backbone") == rate(backbone_rate=0.1) == 1e-3
    assert rate(learning_rate=0.2) == 0.2
    assert rate(RESNET) == 0.1
    assert rate(RESNET, optimizer="adamw") == 1e-4


def test_momentum_for_an_optimiser_without_is_refused():
    with pytest.raises(InputError, match="adam"):
        resolve(Recipe(optimizer="adam", momentum=0.9), family=OTHERS, images=100, image_shape=GREY)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(InputError, match=r"batch_size=200.*100 training images"):
        resolve(Recipe(batch_size=200), family=LENET, images=100, image_shape=GREY)


def test_the_default_batch_never_exceeds_the_data():
    assert resolve(Recipe(), family=LENET, images=7, image_shape=GREY).batch_size == 7
