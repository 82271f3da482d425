"""Pictures that are there twice, in a training: said, recorded, left out, evaluated without."""

import json
import shutil

import numpy as np
import pytest
from oracles.images import write_image
from rich.console import Console

import kcnn
from kcnn.runs.directory import load_run
from kcnn.runs.inference import evaluate_run
from kcnn.tasks.task import find
from kcnn.training.setup import decide
from kcnn.tuning.splits import whole, without_test


def recipe(tmp_path, **fields):
    given = {"model": "mlp", "epochs": 1, "batch_size": 8, "logs": str(tmp_path / "logs")}
    return kcnn.Recipe(**given | fields)


@pytest.fixture
def leak():
    """Of twelve test pictures three are in training, of eight for validation one."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8, 1)).astype("uint8")
    labels = np.arange(60) % 2
    parts = {"train": np.arange(40), "validation": np.arange(40, 48), "test": np.arange(48, 60)}
    parts["test"][:3], parts["validation"][0] = (1, 5, 9), 11
    return {part: (images[held], labels[held]) for part, held in parts.items()}


def sizes(setup):
    return tuple(setup.problem.sizes.values())


def test_copies_are_counted_and_left_out_of_training(leak, tmp_path):
    console = Console(quiet=True)
    as_it_is = decide(recipe(tmp_path), data=leak, console=console).problem
    assert as_it_is.duplicates["exact"] == dict.fromkeys(as_it_is.duplicates["exact"], 0) | {
        "train_test": 3,
        "train_validation": 1,
    }
    setup = decide(recipe(tmp_path, deduplicate="exact"), data=leak, console=console)
    assert sizes(setup) == (36, 8, 12)
    setup = decide(recipe(tmp_path, deduplicate="near"), data=leak, console=console)
    assert sizes(setup) == (36, 8, 12)


def test_the_table_is_shown_and_recorded(leak, tmp_path, capsys):
    run = kcnn.train(recipe(tmp_path), data=leak, save_model=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "test pictures that are in training 3" in said
    assert "--deduplicate exact leaves them out" in said
    content = json.loads((run.directory / "recipe.json").read_text())
    assert content["data"]["duplicates"]["exact"]["train_test"] == 3
    assert content["recipe"]["deduplicate"] == "no"


@pytest.mark.slow
def test_a_run_goes_on_and_is_evaluated_without_them(tmp_path):
    for number in range(24):
        part = "test" if number >= 16 else "train"
        path = tmp_path / "pictures" / part / "ab"[number % 2] / f"{number}.png"
        write_image(path, (10 * number, 9, 99), size=(8, 8))
    shutil.copy(tmp_path / "pictures/test/a/18.png", tmp_path / "pictures/test/a/again.png")
    fields = {"data": str(tmp_path / "pictures"), "image_size": (8, 8), "validation": 4}
    run = kcnn.train(recipe(tmp_path, deduplicate="exact", **fields), verbose=False)
    assert run.data["images"]["test"] == 8
    assert evaluate_run(load_run(run.directory)).images == 8
    assert kcnn.resume(run.directory, epochs=2, verbose=False).result["epochs"] == 2


def test_a_search_leaves_them_out_once_with_the_test_split_in_view(leak, tmp_path):
    base = recipe(tmp_path, deduplicate="exact")
    trials = without_test(whole(leak, base, find("classification")))
    assert (len(trials.train), len(trials.test)) == (36, 0)
    setup = decide(base, data=trials, console=Console(quiet=True))
    assert sizes(setup) == (36, 8, 0)
    assert setup.problem.duplicates["dropped"]["train"] == 4
