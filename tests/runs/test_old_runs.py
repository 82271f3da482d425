"""Run directories that former versions wrote go on, and end as they would have ended then."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import kcnn
from kcnn.runs.inference import evaluate_run

OLD = Path(__file__).parent / "old"  # a run killed in its third epoch, and its twin's last weights
#: Of a folder, at 1994959: killed behind its second epoch; figures and weights of its twin.
PHOTOGRAPHS = Path(__file__).parent / "old_photographs"


@pytest.fixture(params=sorted(path.name for path in OLD.iterdir()))
def version(request, tmp_path):
    shutil.copytree(OLD / request.param / "run", tmp_path / "run")
    return OLD / request.param


def test_they_go_on(version, tmp_path):
    run = kcnn.resume(tmp_path / "run", verbose=False)
    assert len(run.history["loss"]) == 4
    assert run.result["averaged_snapshots"] == 2
    with np.load(version / "whole.npz") as whole:
        for ours, theirs in zip(run.model.get_weights(), whole.values(), strict=True):
            # Bits are promised on one machine with one version of TensorFlow; these travel.
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_field_that_came_later_repeats_what_was_done_before(version, tmp_path):
    """Also one whose default is other than None."""
    path = tmp_path / "run" / "recipe.json"
    content = json.loads(path.read_text())
    del content["recipe"]["swa_anneal"]
    path.write_text(json.dumps(content))
    assert kcnn.resume(tmp_path / "run", verbose=False).recipe.swa_anneal == 1.0


def test_another_recipe_is_refused_by_name(version, tmp_path):
    path = tmp_path / "run" / "recipe.json"
    content = json.loads(path.read_text())
    content["recipe"]["learning_rate"] = 0.5
    path.write_text(json.dumps(content))
    with pytest.raises(kcnn.InputError, match=r"learning_rate: .* there, 0\.5 here"):
        kcnn.resume(tmp_path / "run", verbose=False)


def test_a_field_of_the_future_is_refused_in_a_sentence(version, tmp_path):
    path = tmp_path / "run" / "recipe.json"
    content = json.loads(path.read_text())
    content["recipe"]["telepathy"] = True
    path.write_text(json.dumps(content))
    with pytest.raises(kcnn.InputError, match="A recipe has no field telepathy"):
        kcnn.resume(tmp_path / "run", verbose=False)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """The run and its images, in the folder where it is resumed."""
    shutil.copytree(PHOTOGRAPHS / "run", tmp_path / "run")
    shutil.unpack_archive(PHOTOGRAPHS / "images.zip", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_of_photographs_goes_on(photographs):
    """Evaluated at the scale of then, on a folder that was known by names and sizes."""
    run = kcnn.resume("run", verbose=False)
    with (PHOTOGRAPHS / "whole.csv").open(encoding="utf-8") as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(run.history["val_loss"], losses, rtol=1e-4)
    with np.load(PHOTOGRAPHS / "whole.npz") as whole:
        for ours, theirs in zip(run.model.get_weights(), whole.values(), strict=True):
            # Normalisation was a layer with weights, which stays in its checkpoints.
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert run.recipe.evaluation_scale == 1.0
    again = evaluate_run(kcnn.load_run("run"))
    assert again.loss == pytest.approx(run.result["test_loss"], rel=1e-5)
    assert again.loss == pytest.approx(0.3196856581410228, rel=1e-3)  # of the twin


def test_of_photographs_on_another_folder_is_refused(photographs):
    """A file of another size; what a run of then cannot tell is another file of the same."""
    path = photographs / "images" / "dark" / "3.png"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(kcnn.InputError, match=r"fingerprint: 'sha256:.*' there, 'sha256-files:"):
        kcnn.resume("run", verbose=False)
