"""Recipes by name and from files."""

import json

import pytest

import kcnn
from kcnn.recipes import named as recipes


def test_a_name():
    for name, fields in recipes._NAMED.items():
        assert kcnn.named_recipe(name) == kcnn.Recipe(**fields)


def test_the_recipe_of_a_run_but_not_its_folder(digits_run, tmp_path):
    again = kcnn.named_recipe(digits_run.directory / "recipe.json")
    assert (again.name, again.logs) == (None, "logs")
    assert again.epochs == digits_run.recipe.epochs
    assert again.learning_rate == digits_run.recipe.learning_rate


def test_a_file_of_fields(tmp_path):
    path = tmp_path / "best.json"
    path.write_text(json.dumps({"learning_rate": 0.25, "options": {"activation": "relu"}}))
    assert kcnn.named_recipe(path) == kcnn.Recipe(
        learning_rate=0.25, options={"activation": "relu"}
    )


@pytest.mark.parametrize("content", ["", "[1]", '{"recipe": 3}', '{"learning_rat": 1}', '"fast"'])
def test_a_file_that_holds_no_recipe(tmp_path, content):
    path = tmp_path / "recipe.json"
    path.write_text(content)
    with pytest.raises(kcnn.InputError, match="recipe"):
        kcnn.named_recipe(path)


def test_neither_a_name_nor_a_file():
    with pytest.raises(kcnn.InputError, match=r"'fsat', which is neither\. Did you mean 'fast'\?"):
        kcnn.named_recipe("fsat")


def test_what_a_run_of_before_recorded_is_repeated(tmp_path):
    """A field that came later has the value of then; of a recipe by hand it is open."""
    fields = kcnn.Recipe(model="lenet5", epochs=3).to_dict()
    del fields["evaluation_scale"], fields["outputs"], fields["swa_anneal"]
    (tmp_path / "run.json").write_text(json.dumps({"recipe": fields, "versions": {}}))
    (tmp_path / "own.json").write_text(json.dumps(fields))
    assert kcnn.named_recipe(tmp_path / "run.json").evaluation_scale == 1.0
    assert kcnn.named_recipe(tmp_path / "own.json").evaluation_scale is None
