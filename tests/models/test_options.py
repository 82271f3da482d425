"""What options take: the same refusals, in one sentence, on every road that leads to a network."""

import json
import re

import numpy as np
import pytest

import kcnn
from kcnn.cli.main import main
from kcnn.models.registry import lookup

#: Network, option, value as the command line takes it, and what the refusal says.
REFUSED = [
    ("vgg11", "widths", "5", "widths are whole numbers from 1 up"),
    ("vgg11", "hidden", "abc", "hidden are whole numbers from 1 up"),
    ("vgg11", "widths", "8.5", "widths are whole numbers from 1 up"),
    ("alexnet", "padding", "abc", "padding is a whole number from 0 up"),
    ("mlp", "activation", "['relu']", "activation is an activation of Keras"),
    ("lenet5", "classes", "5", "classes is no option of a network"),
    ("lenet5", "input_shape", "5", "input_shape is no option of a network"),
    ("vgg11", "depths", "0,0,0,0,0", "depths are whole numbers from 1 up"),
    ("resnet18", "depths", "-1", "depths are whole numbers from 1 up"),
    ("mlp", "width", "True", "width is a whole number from 1 up"),
    ("vgg11", "conv_bias", "yes", "conv_bias is True or False"),
    ("mlp", "width", "{[]:1}", "width is a whole number from 1 up"),
    ("resnet18", "block", "wide", "block is one of basic, bottleneck"),
    ("resnet18", "output_stride", "9", "output_stride is one of 8, 16, 32"),
    ("lenet5", "dropout", "1.5", "dropout is a rate from 0 up to, not including, 1"),
]


def values(text):
    from kcnn.cli.models import values

    return values({"name": text})["name"]


def status(*arguments):
    """Of the command; what does not even parse ends it at once."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(("model", "option", "text", "said"), REFUSED)
class TestRefusals:
    def test_build_and_card(self, model, option, text, said):
        if option in ("classes", "input_shape"):
            pytest.skip("an argument of build")
        for make in (kcnn.build, kcnn.card):
            with pytest.raises(kcnn.InputError, match=f"^{re.escape(said)}.*received") as error:
                make(model, **{option: values(text)})
            assert "\n" not in str(error.value)

    @pytest.mark.parametrize("command", ["show", "train", "tune"])
    def test_commands(self, command, model, option, text, said, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        given = ["--options", option, text]
        if command == "tune":
            given = ["--space", f"{option}={text}", "learning_rate=1e-3:1e-2", "--trials", "1"]
            if option in ("classes", "input_shape", "depths", "widths", "hidden", "padding") or (
                ":" in text
            ):
                pytest.skip("tuning's own syntax says what it takes")
        assert status(command, model, *given) == 2
        assert said in " ".join(re.sub("[│╭╰╮╯─]", "", capsys.readouterr().err).split())
        assert not list(tmp_path.rglob("recipe.json"))

    def test_a_recipe_file(self, model, option, text, said, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        value = values(text)
        value = list(value) if isinstance(value, tuple) else value
        fields = {"recipe": {"model": model, "options": {option: value}}}
        (tmp_path / "recipe.json").write_text(json.dumps(fields))
        assert status("train", "--recipe", "recipe.json") == 2
        assert said in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / "logs").exists()


def test_numpy_numbers_are_taken():
    model = kcnn.build(
        "mlp", classes=np.int64(5), width=np.int32(7), dropout=np.float32(0.5),
        batchnorm=np.bool_(True), input_shape=np.array([4, 4, 1]),
    )  # fmt: skip
    assert model.output_shape == (None, 5)
    json.dumps(model.get_config())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"include_top": False}, "include_top"),
        ({"classifier_activation": "relu"}, "classifier_activation"),
        ({"classifier_activation": "sigmoid"}, "classifier_activation"),
    ],
)
def test_what_a_training_cannot_honour_is_refused_before_a_run_is_begun(options, said, tmp_path):
    recipe = kcnn.Recipe(options=options, logs=str(tmp_path / "logs"))
    with pytest.raises(kcnn.InputError, match=f"^{said}="):
        kcnn.train(recipe, verbose=False)
    assert not (tmp_path / "logs").exists()


def test_types_of_a_builder_of_ones_own():
    @kcnn.register("own", input_shape=(8, 8, 1), classes=3)
    def own(input_shape, classes, width: int = 4, slope=0.1, kind: "str" = "a", **top):
        raise AssertionError

    entry = lookup("own")
    assert entry.accepted({"width": 3, "slope": 1, "kind": "b"}) == {
        "width": 3, "slope": 1, "kind": "b",
    }  # fmt: skip
    for wrong in ({"width": 2.5}, {"slope": "steep"}, {"kind": 4}, {"pooling": "sum"}):
        with pytest.raises(kcnn.InputError, match=rf"^{next(iter(wrong))} is"):
            entry.accepted(wrong)


@pytest.mark.parametrize("name", kcnn.list_models())
def test_every_option_of_ours_has_a_type(name):
    """A parameter without one would take anything."""
    from kcnn.models.options import table

    entry = lookup(name)
    for option, declared in table(entry.builder).items():
        with pytest.raises(kcnn.InputError, match=f"^{option} "):
            declared.value(option, object())


def test_a_family_that_is_forgotten():
    from kcnn.recipes.families import OTHERS

    families = {name: lookup(name).family for name in kcnn.list_models()}
    assert [name for name, family in families.items() if family is OTHERS] == []


def test_the_name_of_a_file_decides_nothing(tmp_path):
    """`lenet.py:mine` is no LeNet, unless it says so."""
    from kcnn.recipes.families import LENET, OTHERS

    (tmp_path / "lenet.py").write_text(
        "import keras, kcnn\n"
        "from kcnn.recipes.families import LENET\n"
        "def net(input_shape, classes=10):\n    return keras.Sequential()\n"
        "kcnn.register('mine', input_shape=(8, 8, 1))(net)\n"
        "kcnn.register('said', input_shape=(8, 8, 1), family=LENET)(net)\n"
    )
    assert lookup(f"{tmp_path}/lenet.py:mine").family is OTHERS
    assert lookup("said").family is LENET
