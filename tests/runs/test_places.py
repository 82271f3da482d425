"""Data of which a relative path was given are found again from another folder."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.runs.inference import evaluate_run

#: Seconds each; everybody's tests are to be short.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with pictures and a run on them, both named as from within it."""
    root, rng = tmp_path_factory.mktemp("project"), np.random.default_rng(0)
    for number, name in enumerate(("dark", "bright")):
        (root / "pictures" / name).mkdir(parents=True)
        for index in range(12):
            pixels = rng.integers(0, 60, (8, 8, 3), dtype=np.uint8) + 180 * number
            Image.fromarray(pixels.astype(np.uint8)).save(root / "pictures" / name / f"{index}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        recipe = kcnn.Recipe(
            model="mlp", data="pictures", epochs=1, batch_size=4, name="run", image_size=(8, 8),
            options={"width": 4},
        )  # fmt: skip
        kcnn.train(recipe, verbose=False)
    return root


@pytest.fixture
def project(trained, tmp_path):
    """A copy at another place: what was recorded of the place is rewritten."""
    shutil.copytree(trained, tmp_path / "project")
    path = tmp_path / "project" / "logs" / "run" / "recipe.json"
    text = path.read_text()
    assert str(trained / "pictures") in text
    path.write_text(text.replace(str(trained), str(tmp_path / "project")))
    return tmp_path / "project"


def test_evaluated_resumed_and_repeated_from_elsewhere(project, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "pictures" / "of" / "something").mkdir(parents=True)  # another folder of that name
    monkeypatch.chdir(elsewhere)
    run = kcnn.load_run(project / "logs" / "run")
    assert run.recipe.data == str(project / "pictures")
    assert "data_path" not in run.data  # which exported files hold
    assert evaluate_run(run).loss == pytest.approx(run.result["test_loss"], rel=1e-5)
    again = kcnn.named_recipe(project / "logs" / "run" / "recipe.json")
    assert again.data == str(project / "pictures")
    longer = kcnn.resume(project / "logs" / "run", epochs=2, verbose=False)
    assert len(longer.history["loss"]) == 2


def test_weights_of_a_relative_path_are_found_again(project, tmp_path, monkeypatch):
    """Also where the recipe was recorded anew from elsewhere."""
    monkeypatch.chdir(project)
    recipe = kcnn.Recipe(
        model="mlp", data="pictures", epochs=1, batch_size=4, name="second", image_size=(8, 8),
        options={"width": 4}, weights="logs/run", cache="kept",
    )  # fmt: skip
    kcnn.train(recipe, verbose=False)
    monkeypatch.chdir(tmp_path)
    second = project / "logs" / "second"
    assert kcnn.load_run(second).recipe.weights == str(project / "logs" / "run")
    for epochs in (2, 3):
        assert len(kcnn.resume(second, epochs=epochs, verbose=False).history["loss"]) == epochs
    assert json.loads((second / "recipe.json").read_text())["recipe"]["weights"] == "logs/run"
    again = kcnn.named_recipe(second / "recipe.json")
    assert again.weights == str(project / "logs" / "run")


def test_from_where_it_was_the_name_stays(project, monkeypatch):
    monkeypatch.chdir(project)
    assert kcnn.load_run("logs/run").recipe.data == "pictures"
    recorded = json.loads((project / "logs" / "run" / "recipe.json").read_text())
    assert recorded["data"]["source"] == recorded["recipe"]["data"] == "pictures"
    assert recorded["data_path"] == str(project / "pictures")


def test_what_was_moved_together_is_found_by_its_name(project, monkeypatch):
    moved = project.with_name("moved")
    project.rename(moved)
    monkeypatch.chdir(moved)
    run = kcnn.load_run("logs/run")
    assert run.recipe.data == "pictures"
    assert evaluate_run(run).loss == pytest.approx(run.result["test_loss"], rel=1e-5)


def test_other_data_at_that_place_are_refused(project, tmp_path, monkeypatch):
    (project / "pictures" / "dark" / "0.png").unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kcnn.InputError, match="has changed since the run"):
        evaluate_run(kcnn.load_run(project / "logs" / "run"))


def test_a_run_of_before_still_loads(project, monkeypatch):
    path = project / "logs" / "run" / "recipe.json"
    content = json.loads(path.read_text())
    del content["data_path"]
    path.write_text(json.dumps(content))
    monkeypatch.chdir(project)
    assert kcnn.load_run("logs/run").recipe.data == "pictures"
    assert kcnn.named_recipe(path).data == "pictures"


def test_names_of_kcnn_are_no_paths(digits_run, tmp_path, monkeypatch):
    recorded = json.loads((digits_run.directory / "recipe.json").read_text())
    assert recorded["data_path"] is None
    assert kcnn.load_run(digits_run.directory).recipe.data == "digits"
