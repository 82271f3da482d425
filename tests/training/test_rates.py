"""`kcnn resume --learning-rate`: on record, heeded from its step on, and kept to the same bits."""

import json
import math
import shutil

import keras
import numpy as np
import pytest
from oracles.bits import assert_same_runs
from oracles.broken import DATA, Break

import kcnn
from kcnn.callbacks.checkpoint.files import files_in, newest
from kcnn.cli.main import main
from kcnn.runs.resuming import rates

STEPS, BROKEN, OTHER = 4, 7, 0.02  # of an epoch; the seventh call does none: a checkpoint is at 6


def plateau():
    return keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=10.0)


@pytest.fixture(scope="module", params=["cosine", pytest.param("constant", marks=pytest.mark.slow)])
def broken(request, tmp_path_factory):
    """A run that was broken off behind step 6, its schedule and its further callbacks."""
    logs, kind = tmp_path_factory.mktemp("rates"), request.param
    recipe = kcnn.Recipe(
        model="mlp", options={"width": 4}, epochs=3, batch_size=6, schedule=kind, warmup=0.0,
        learning_rate=0.1, optimizer="sgd", weight_decay=0.0, checkpoint_every="2", augment="none",
        steps_per_execution=1, logs=str(logs), name="broken", select="last",
    )  # fmt: skip
    more = [plateau] if kind == "constant" else []
    with pytest.raises(ZeroDivisionError):
        kcnn.train(
            recipe, data=DATA, callbacks=[Break(BROKEN), *(m() for m in more)], verbose=False
        )
    return logs / "broken", kind, more


def copied(broken, tmp_path, name):
    shutil.copytree(broken[0], tmp_path / name)
    return tmp_path / name


def resumed(path, more, step=None, **options):
    callbacks = [Break(step), *(m() for m in more)]
    return kcnn.resume(path, data=DATA, callbacks=callbacks, verbose=False, **options)


@pytest.mark.slow
def test_it_is_heeded_recorded_and_kept(broken, tmp_path):
    _, kind, more = broken
    whole = copied(broken, tmp_path, "whole")
    run = resumed(whole, more, learning_rate=OTHER)
    if kind == "cosine":  # what the schedule makes of it at the last step of epoch 2, read behind
        expected = OTHER * 0.5 * (1 + math.cos(math.pi * 8 / 12))
        assert run.history["learning_rate"][1] == pytest.approx(expected, rel=1e-5)
    else:  # from where ReduceLROnPlateau goes on
        assert run.history["learning_rate"][1:] == pytest.approx([OTHER, OTHER / 2])
    assert run.recipe.learning_rate == 0.1
    assert run.recipe.rates == ((6, OTHER),)
    # Broken off again, right behind the change, behind a later checkpoint, and with the newest
    # checkpoint lost.
    for name, step, lost in (("early", 2, 0), ("late", 5, 0), ("lost", 1, 1)):
        again = copied(broken, tmp_path, name)
        with pytest.raises(ZeroDivisionError):
            resumed(again, more, step, learning_rate=OTHER)
        there = files_in(again / "checkpoints")
        for _, path in there[len(there) - lost :]:
            path.unlink()
        resumed(again, more)
        assert_same_runs(again, whole)


def test_weights_stay_where_the_rate_is_next_to_nothing(broken, tmp_path):
    path = copied(broken, tmp_path, "still")
    before = newest(path / "checkpoints")[1]["variables"]["model"]
    run = resumed(path, broken[2], learning_rate=1e-12)
    trained = [w for w in before if w.ndim == 2]
    kernels = [w for w in run.model.get_weights() if w.ndim == 2]
    for one, other in zip(trained, kernels, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_where_it_makes_no_sense_it_is_refused(broken, tmp_path, capsys):
    path, more = copied(broken, tmp_path, "done"), broken[2]
    with pytest.raises(kcnn.InputError, match="learning_rate is a number above 0"):
        resumed(path, more, learning_rate=-1.0)
    resumed(path, more, learning_rate=OTHER)
    text = (path / "recipe.json").read_text()
    with pytest.raises(kcnn.InputError, match=r"no step is left for learning_rate=0\.5"):
        resumed(path, more, learning_rate=0.5)
    assert (path / "recipe.json").read_text() == text
    run = resumed(path, more, learning_rate=0.5, epochs=4)
    assert run.recipe.rates == ((6, OTHER), (12, 0.5))
    capsys.readouterr()
    assert main(["show", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "0.1, then 0.02 from step 6 on, 0.5 from step 12 on" in shown


def test_what_was_changed_for_steps_that_were_lost_is_changed_anew(broken, tmp_path):
    path, found = broken[0], kcnn.named_recipe(broken[0] / "recipe.json")
    changed = kcnn.Recipe(**found.to_dict() | {"rates": [[2, 0.5], [6, 0.3], [9, 0.2]]})
    assert rates(path, changed, 0.05) == ((2, 0.5), (6, 0.05))
    assert rates(path, changed, None) == changed.rates
    assert rates(path, found, 0.1) == ()  # it is that already


def test_the_step_of_a_rate_is_in_the_record(broken, tmp_path):
    path = copied(broken, tmp_path, "record")
    content = json.loads((path / "recipe.json").read_text())
    for bad in ([[3, 0.1], [1, 0.2]], [[1]], "1,2", [[-1, 0.1]], [[1, 0.0]]):
        content["recipe"]["rates"] = bad
        (path / "recipe.json").write_text(json.dumps(content))
        with pytest.raises(kcnn.InputError, match=r"recipe\.json.*rates are pairs"):
            resumed(path, broken[2])
