"""Fields that would change nothing are refused where a training begins, and nowhere else."""

import json

import pytest

import kcnn
from kcnn.recipes.defaults import ResolvedRecipe


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"swa_every": 2}, "swa_every=2 is of stochastic weight averaging, which is off"),
        ({"swa_anneal": 3.0}, "swa_anneal=3 is of stochastic weight averaging, which is off"),
        ({"swa_anneal": 0.5, "swa_start": 0.5}, "swa_anneal=0.5 is the way to swa_learning_rate"),
        (
            {"plateau_patience": 3},
            "plateau_patience=3 is of schedule plateau; received",
        ),
        ({"skip_bad": True}, "the data 'digits' are no files"),
    ],
)
def test_they_are_refused_in_a_sentence_and_nothing_is_written(fields, said, tmp_path):
    recipe = kcnn.Recipe(model="mlp", logs=str(tmp_path / "logs"), epochs=4, **fields)
    with pytest.raises(kcnn.InputError, match=said):
        kcnn.train(recipe, verbose=False)
    assert not (tmp_path / "logs").exists()


def test_on_the_command_line(outcome_of_train):
    status, _, err = outcome_of_train("--swa-every", 3)
    assert status == 2
    assert err == (
        "kcnn: swa_every=3 is of stochastic weight averaging, which is off. Give swa_start, such "
        "as 0.75, or leave swa_every out.\n"
    )
    assert outcome_of_train("--skip-bad")[0] == 2


@pytest.fixture
def outcome_of_train(capfd, tmp_path):
    from kcnn.cli.main import main

    def call(*arguments):
        capfd.readouterr()
        status = main(["train", "mlp", "--logs", str(tmp_path), *map(str, arguments)])
        return status, *capfd.readouterr()

    return call


@pytest.mark.slow
def test_a_run_that_has_one_on_record_goes_on(digits_run, tmp_path):
    recorded = json.loads((digits_run.directory / "recipe.json").read_text())["recipe"]
    recipe = ResolvedRecipe.recorded(recorded | {"swa_every": 2, "skip_bad": True})
    assert (recipe.swa_start, recipe.swa_every, recipe.skip_bad) == (None, 2, True)


@pytest.mark.slow
def test_they_count_where_they_change_something(tmp_path):
    fields = {"swa_start": 0.5, "swa_every": 2, "swa_learning_rate": 1e-3, "swa_anneal": 2.0}
    recipe = kcnn.Recipe(model="mlp", logs=str(tmp_path), epochs=8, options={"width": 4}, **fields)
    assert kcnn.train(recipe, verbose=False).result["averaged_snapshots"] == 2


def test_the_help_of_select_says_the_rule():
    """Of `kcnn.callbacks.BestWeights`: tests of its own hold it to that."""
    assert "the latest epoch within one standard error of the best" in (kcnn.Recipe.__doc__ or "")
