"""Run directories that former versions wrote go on, and end as they would have ended then."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import kcnn

OLD = Path(__file__).parent / "old"  # a run killed in its third epoch, and its twin's last weights


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
