"""Searches: deterministic, resumable, on validation data only."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
from oracles.bits import assert_same
from oracles.searches import DATA, RATES, arrays, digits, outcomes
from sklearn.metrics import f1_score

import kcnn
from kcnn.errors import NonFiniteError
from kcnn.figures import LOSS
from kcnn.recipes.domains import Choice, Range
from kcnn.runs.directory import load_run
from kcnn.training.loop import engine
from kcnn.tuning import Options, feasibility, tune
from kcnn.tuning import trials as trials_module
from kcnn.tuning.records import trial_seed
from kcnn.tuning.space import Space
from kcnn.tuning.views.report import chance

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")


HERE = Path(__file__).parent


def search(logs, *rows, data=None, callbacks=tuple, **fields):
    options = {"model": "mlp", "trials": 4, "epochs": 2, "winner": False, "name": "search"}
    options |= {"space": (*RATES, *rows), "logs": str(logs), "save_models": True} | fields
    return tune(Options(**options), data=data or DATA, callbacks=callbacks, verbose=False)


class Break(keras.callbacks.Callback):
    """Raise in the n-th epoch of a whole search."""

    left = math.inf

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def on_epoch_end(self, epoch, logs=None):
        Break.left -= 1
        if Break.left == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return search(tmp_path_factory.mktemp("whole"), callbacks=lambda: [Break()])


@pytest.mark.slow
class TestDeterminism:
    @pytest.mark.parametrize("epoch", [1, 4, 7])
    def test_broken_off_anywhere_it_ends_the_same(self, epoch, whole, tmp_path):
        Break.left = epoch
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path, callbacks=lambda: [Break()])
        Break.left = math.inf
        found = search(tmp_path, callbacks=lambda: [Break()])
        assert outcomes(found) == outcomes(whole)
        assert found.best == whole.best
        for trial in whole.trials:
            runs = [f.directory / f"trial-{trial.number:04d}" for f in (found, whole)]
            weights = [keras.saving.load_model(r / "model.keras").get_weights() for r in runs]
            assert_same(*weights)

    def test_seeds_are_seeds_and_zero_is_one(self, whole, tmp_path):
        assert whole.best.split_seed == 0
        assert whole.best.seed == trial_seed(0, whole.trials[0].number)
        again = search(tmp_path, name="again", callbacks=lambda: [Break()])
        assert outcomes(again) == outcomes(whole)
        other = search(tmp_path, name="other", seed=1)
        rates = [{t.values["learning_rate"] for t in f.trials} for f in (whole, other)]
        assert not rates[0] & rates[1]

    def test_neighbouring_seeds_share_no_draws(self, tmp_path):
        """KerasTuner draws row d of trial t by seed + t·D + d."""
        from kcnn.tuning.oracles import oracle
        from kcnn.tuning.overrides import space_of

        seen = set()
        for seed in range(4):
            asked = oracle(Options(seed=seed), LOSS, space_of("lenet5"), lambda values: None, 1)
            asked._set_project_dir(tmp_path, str(seed))  # KerasTuner 1.4.8 needs one to save in
            for _ in range(5):
                rate = asked.create_trial(f"t{len(seen)}").hyperparameters.values["learning_rate"]
                assert rate not in seen
                seen.add(rate)

    def test_seeds_of_trials_differ_and_depend_on_both(self):
        seeds = {trial_seed(seed, number) for seed in range(20) for number in range(20)}
        assert len(seeds) == 400

    def test_more_trials_extend_it(self, whole, tmp_path):
        shutil.copytree(whole.directory, tmp_path / "search")
        found = search(tmp_path, trials=12, callbacks=lambda: [Break()])
        assert len(found.trials) == 12
        assert {t[0]: t for t in outcomes(whole)}.items() <= {
            t[0]: t for t in outcomes(found)
        }.items()

    def test_killed(self, tmp_path):
        """kill -9 in the second trial; then to the end."""
        expected = digits(tmp_path / "whole")
        arguments = [str(tmp_path / "killed"), str(HERE.parent)]
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments])
        wait_for(tmp_path / "killed" / "search" / "trial-0001" / "metrics.csv", process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        found = digits(tmp_path / "killed")
        assert outcomes(found) == outcomes(expected)
        assert found.best == expected.best
        assert found.run.result["test_accuracy"] == expected.run.result["test_accuracy"]


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[2])
from oracles import searches
searches.digits(sys.argv[1])
"""


def wait_for(path, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestTheTestSplit:
    def test_no_trial_sees_it_and_the_winner_once(self, tmp_path, monkeypatch):
        from kcnn.tasks.classification import Classification

        read = []
        evaluate = Classification.evaluate
        monkeypatch.setattr(Classification, "evaluate", lambda *a: read.append(1) or evaluate(*a))
        found = search(tmp_path)
        begun = found.directory / f"winner-of-trial-{found.trials[0].number:04d}" / "checkpoints"
        begun.mkdir(parents=True)  # killed before its first step
        assert read == []
        found = search(tmp_path, winner=True)
        assert len(read) == 1
        assert found.run.result["test_accuracy"] is not None
        for trial in found.trials:
            result = json.loads(
                (found.directory / f"trial-{trial.number:04d}" / "result.json").read_text()
            )
            assert result["test_accuracy"] is None
        again = search(tmp_path, winner=True)  # what is there is not done again
        assert len(read) == 1
        (again.run.directory / "model.keras").unlink()
        assert_same(*(s.run.model.get_weights() for s in (search(tmp_path, winner=True), found)))

    @pytest.mark.slow
    def test_best_json_repeats_the_winner_to_the_bit(self, tmp_path):
        found = digits(tmp_path)
        recipe = kcnn.named_recipe(found.directory / "best.json")
        run = kcnn.train(
            kcnn.Recipe(**recipe.to_dict() | {"logs": str(tmp_path), "name": "again"}),
            verbose=False,
        )
        assert_same(run.model.get_weights(), found.run.model.get_weights())
        assert run.result["test_accuracy"] == found.run.result["test_accuracy"]
        assert (
            run.result["validation_loss"] == found.trials[0].figures["loss"]
        )  # the trial, once more

    @pytest.mark.slow
    def test_a_trial_keeps_no_network_and_its_recipe_trains_it_again(self, tmp_path):
        found = digits(tmp_path)
        worst = found.trials[-1]
        assert not list(found.directory.glob("trial-*/**/*.keras"))
        assert not list(found.directory.glob("trial-*/**/*.h5"))
        recipe = kcnn.named_recipe(found.directory / "trials" / f"{worst.number:04d}.json")
        again = kcnn.train(kcnn.Recipe(**recipe.to_dict() | {"logs": str(tmp_path)}), verbose=False)
        assert again.result["validation_loss"] == worst.figures["loss"]


class TestAveraging:
    @pytest.mark.slow
    def test_the_score_is_that_of_the_average_and_the_model_is_the_average(self, tmp_path):
        found = search(tmp_path, "swa=true", trials=2, epochs=6)
        for trial in found.trials:
            path = found.directory / f"trial-{trial.number:04d}"
            assert (path / "model-raw.keras").is_file()
            model = keras.saving.load_model(path / "model.keras")
            images, labels = DATA["validation"]
            right = model.predict(images, verbose=0).argmax(-1) == labels
            assert right.mean() == pytest.approx(trial.figures["accuracy"])


class TestRanking:
    def test_equal_accuracies_go_by_loss(self, whole):
        keys = [(-t.figures["accuracy"], t.figures["loss"]) for t in whole.trials]
        assert keys == sorted(keys)

    @pytest.mark.slow
    def test_by_loss(self, tmp_path):
        found = search(tmp_path, objective="validation_loss")
        losses = [trial.figures["loss"] for trial in found.trials]
        assert losses == sorted(losses)

    @pytest.mark.slow
    def test_by_what_is_monitored(self, tmp_path):
        """Each trial keeps its best macro F1, and they are ranked by that; read back they are."""
        found = search(tmp_path, monitor="macro_f1", trials=3, epochs=3)
        images, labels = DATA["validation"]
        scores = []
        for trial in found.trials:
            path = found.directory / f"trial-{trial.number:04d}"
            said = keras.saving.load_model(path / "model.keras").predict(images, verbose=0)
            scores.append(f1_score(labels, said.argmax(axis=1), average="macro", zero_division=0))
            history = load_run(path).history["val_macro_f1"]
            assert trial.figures["macro_f1"] == pytest.approx(max(history))
        assert [t.figures["macro_f1"] for t in found.trials] == pytest.approx(scores)
        assert scores == sorted(scores, reverse=True)
        assert found.best.monitor == "macro_f1"
        assert outcomes(search(tmp_path, monitor="macro_f1", trials=3, epochs=3)) == outcomes(found)
        with pytest.raises(kcnn.InputError, match="monitor='macro_f1' measures it"):
            search(tmp_path, objective="validation_macro_f1")

    @pytest.mark.slow
    def test_repeats_compare_the_best_and_choose_by_their_mean(self, tmp_path):
        found = search(tmp_path, repeats=2, top=2)
        assert list(found.repeats) == [trial.number for trial in found.trials[:2]]
        means = {number: np.mean(scores) for number, scores in found.repeats.items()}
        best = max(means, key=means.get)
        assert all(len(scores) == 2 for scores in found.repeats.values())
        content = json.loads((found.directory / "best.json").read_text())
        assert content["search"]["trial"] == best

    def test_chance(self):
        """A simulation says the same as the formula."""
        best = np.random.default_rng(0).random((20_000, 14)).max(axis=1)
        assert np.mean(best > 0.95) == pytest.approx(chance(14), abs=0.01)


@pytest.mark.slow
class TestFailures:
    """A search goes on; what went wrong is on record."""

    def test_five_in_a_row(self, tmp_path, monkeypatch):
        real = trials_module.train
        errors = [
            ZeroDivisionError("boom"), MemoryError("none left"), NonFiniteError("not finite", 1),
            RuntimeError("in a callback"), kcnn.InputError("no such thing"),
        ]  # fmt: skip
        reasons = [f"{type(error).__name__}: {error}" for error in errors]

        def train(recipe, **options):
            number = int(recipe.name[-4:])
            if number < len(errors):
                raise errors[number]
            return real(recipe, **options)

        monkeypatch.setattr(trials_module, "train", train)
        found = search(tmp_path, trials=6, epochs=1)
        assert [trial.status for trial in found.trials] == ["completed"] + ["failed"] * 5
        assert [trial.reason for trial in found.trials[1:]] == reasons
        monkeypatch.undo()
        again = search(tmp_path, trials=6, epochs=1)
        assert outcomes(again) == outcomes(found)  # on record, not repeated

    def test_a_rate_that_explodes(self, tmp_path):
        rows = ("learning_rate=1e-3,1e30", "warmup=0.0")
        found = search(tmp_path, *rows, trials=6, epochs=1)
        failed = [trial for trial in found.trials if trial.status == "failed"]
        assert {trial.values["learning_rate"] for trial in failed} == {1e30}
        assert all("NonFiniteError" in trial.reason for trial in failed)

    def test_all_of_them(self, tmp_path, monkeypatch):
        monkeypatch.setattr(trials_module, "train", lambda *a, **k: 1 / 0)
        with pytest.raises(kcnn.InputError, match=r"None of the 4 trials(.|\n)*ZeroDivision"):
            search(tmp_path)

    def test_memory_held_by_former_trials_is_given_back(self, tmp_path, monkeypatch):
        real, full = trials_module.train, []

        def train(recipe, **options):
            if recipe.name == "trial-0002" and engine._engines:
                full.append(len(engine._engines))
                raise MemoryError
            return real(recipe, **options)

        monkeypatch.setattr(trials_module, "train", train)
        found = search(tmp_path)
        assert full
        assert {trial.status for trial in found.trials} == {"completed"}

    def test_a_full_disk_stops_and_the_same_call_goes_on(self, whole, tmp_path, monkeypatch):
        def full(recipe, **options):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(trials_module, "train", full)
            with pytest.raises(OSError, match="No space left"):
                search(tmp_path)
        found = search(tmp_path, callbacks=lambda: [Break()])
        assert outcomes(found) == outcomes(whole)


@pytest.mark.slow
class TestInfeasible:
    def test_geometry_is_drawn_anew_and_nothing_fails(self, tmp_path):
        found = search(
            tmp_path, model="lenet5", space=("image_size=(8,8),(32,32)", "swa=false"),
            data={p: (np.repeat(np.repeat(x, 2, 1), 2, 2), y) for p, (x, y) in DATA.items()},
            trials=3, epochs=1,
        )  # fmt: skip
        assert [trial.status for trial in found.trials] == ["completed"] * 3
        assert {trial.values["image_size"] for trial in found.trials} == {(32, 32)}
        assert [trial.number for trial in sorted(found.trials, key=lambda t: t.number)] == [0, 1, 2]

    def test_memory_by_the_estimate(self, tmp_path):
        found = search(tmp_path, "width=8,2048", memory=0.001, epochs=1)
        assert {trial.values["width"] for trial in found.trials} == {8}

    def test_averaging_that_does_not_fit_into_the_epochs(self, tmp_path):
        found = search(tmp_path, "swa=false,true", trials=3, epochs=1)
        assert {trial.values["swa"] for trial in found.trials} == {False}

    def test_nothing_can_be_trained(self, tmp_path):
        with pytest.raises(kcnn.InputError, match=r"none can be trained. The last: batch_size"):
            search(tmp_path, "batch_size=1000,2000")


@pytest.mark.slow
class TestDamage:
    @pytest.mark.parametrize(
        "name",
        ["search.json", "keras_tuner/oracle.json", "keras_tuner/tuner0.json",
         "keras_tuner/trial_1/trial.json", "trials/0001.json", "trial-0001/result.json",
         "trial-0001/recipe.json", "trial-0001/model.keras"],
    )  # fmt: skip
    @pytest.mark.parametrize("how", ["truncated", "missing"])
    def test_recovered_from_what_is_there(self, name, how, whole, tmp_path):
        shutil.copytree(whole.directory, tmp_path / "search")
        path = tmp_path / "search" / name
        assert path.is_file()
        if how == "truncated":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        else:
            path.unlink()
        found = search(tmp_path, callbacks=lambda: [Break()])
        assert outcomes(found) == outcomes(whole)
        assert found.best == whole.best

    def test_a_record_and_its_result(self, whole, tmp_path):
        """The trial is trained anew, and what was left of the old run is kept."""
        shutil.copytree(whole.directory, tmp_path / "search")
        for name in ("trials/0001.json", "trial-0001/result.json"):
            (tmp_path / "search" / name).write_text("{")
        assert outcomes(search(tmp_path, callbacks=lambda: [Break()])) == outcomes(whole)
        assert (tmp_path / "search" / "damaged-trial-0001-1" / "model.keras").is_file()

    def test_a_run_that_died_before_its_first_step(self, whole, tmp_path):
        (tmp_path / "search" / "trial-0000" / "checkpoints").mkdir(parents=True)
        assert outcomes(search(tmp_path, callbacks=lambda: [Break()])) == outcomes(whole)


class TestAnotherSearch:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"seed": 5}, "recipe.seed: 0 there, 5 now"),
            ({"epochs": 3}, "recipe.epochs: 2 there, 3 now"),
            ({"objective": "validation_loss"}, "objective"),
            ({"monitor": "macro_f1"}, "recipe.monitor: None there, 'macro_f1' now"),
            ({"method": "bayesian"}, "method"),
            ({"space": (*RATES, "learning_rate=1e-3:1e-2")}, "space.learning_rate"),
            ({"data": DATA | {"train": arrays(42, 7)}}, "images.train"),
        ],
        ids=str,
    )
    def test_is_refused_and_nothing_is_touched(self, fields, message, whole):
        before = {p: p.read_bytes() for p in whole.directory.rglob("*") if p.is_file()}
        with pytest.raises(kcnn.InputError, match=message):
            search(whole.directory.parent, **fields)
        assert {p: p.read_bytes() for p in whole.directory.rglob("*") if p.is_file()} == before

    def test_without_the_manifest_the_trials_tell(self, whole, tmp_path):
        shutil.copytree(whole.directory, tmp_path / "search")
        (tmp_path / "search" / "search.json").unlink()
        with pytest.raises(kcnn.InputError, match=r"Trial 0 of .* was another one"):
            search(tmp_path, "learning_rate=1e-3:1e-2")

    def test_two_at_once(self, whole):
        from kcnn.storage.files import Lock

        with Lock(whole.directory), pytest.raises(kcnn.InputError, match="being written"):
            search(whole.directory.parent)


@pytest.mark.slow
class TestOtherMethods:
    @pytest.mark.parametrize("method", ["hyperband", "bayesian"])
    def test_the_same_whether_or_not_broken_off(self, method, tmp_path):
        space = (*RATES, "momentum=0.9", "weight_decay=0.001")
        fields = {"method": method, "trials": 4, "epochs": 3, "space": space}
        expected = search(tmp_path, name="whole", callbacks=lambda: [Break()], **fields)
        Break.left = 11  # bayesian: in the first trial that is not random
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path, callbacks=lambda: [Break()], **fields)
        Break.left = math.inf
        found = search(tmp_path, callbacks=lambda: [Break()], **fields)
        assert outcomes(found) == outcomes(expected)
        if method == "hyperband":
            lengths = {trial.epochs for trial in found.trials}
            assert lengths == {1, 3}
            assert len(found.trials) > 4  # it counts by itself
            assert found.best.epochs == 3

    def test_bayesian_makes_its_own_choice_after_three(self, tmp_path):
        """Its first trials are those of random search."""
        fields = {"trials": 6, "epochs": 1, "space": (*RATES, "momentum=0.9", "weight_decay=0.001")}
        found = search(tmp_path, "learning_rate=1e-6:1e-1:log", method="bayesian", **fields)
        random = search(tmp_path, name="random", method="random", **fields)
        same = {t.values["learning_rate"] for t in random.trials}
        own = [t for t in found.trials if t.values["learning_rate"] not in same]
        assert len(own) == 3


def test_kerastuner_is_the_one_this_was_checked_on():
    """What kcnn.tuning leans on: how trials are named, and that a draw is a seed's function."""
    assert keras_tuner.__version__.startswith("1.4.")
    oracle = keras_tuner.oracles.RandomSearchOracle("val_loss", max_trials=3, seed=0)
    assert oracle.seed != 0  # the trap: kcnn hands on a seed that is never 0


def test_options_are_checked():
    for fields, message in [
        ({"trials": 0}, "trials is a whole number from 1"),
        ({"method": "grid"}, "method is one of"),
        ({"repeats": 1}, "no spread"),
        ({"memory": 0.0}, "GiB above 0"),
    ]:
        with pytest.raises(kcnn.InputError, match=message):
            Options(**fields)


@pytest.mark.slow
class TestSpace:
    """Rows are checked before the first trial; what can be counted is."""

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("optimizer=adamax", r"row optimizer .*'adamax'.*sgd, momentum"),
            ("optimizer=adam,adamax", "row optimizer .*'adamax'"),
            ("batch_size=0,32", "row batch_size .*0"),
            ("batch_size=0:64", "row batch_size .*0"),
            ("label_smoothing=0.1:1.5", "row label_smoothing .*1.5"),
            ("dropout=0.2,1.5", "row dropout"),
            ("depth=a,b", "row depth .*'a'"),
            ("width=8,", "missing"),
            ("depth=1:1000000", r"row depth=1:1000000 .*more than 8,000 layers"),
        ],
    )
    def test_values_that_no_trial_could_have(self, row, message, tmp_path):
        rows = [r for r in RATES if r.partition("=")[0] != row.partition("=")[0]]
        options = Options(model="mlp", space=(*rows, row), logs=str(tmp_path), trials=2)
        with pytest.raises(kcnn.InputError, match=message):
            tune(options, data=DATA, verbose=False)
        assert list(tmp_path.iterdir()) == []

    def test_two_combinations_are_two_trials_and_no_advice(self, tmp_path, capsys):
        rows = [*(r for r in RATES if not r.startswith("width")), "width=4,8"]
        rows += ["learning_rate=0.01", "weight_decay=0.0", "momentum=0.9"]
        options = Options(
            model="mlp", space=tuple(rows), logs=str(tmp_path), trials=5, epochs=1, winner=False
        )
        found = tune(options, data=DATA)
        assert sorted(t.values["width"] for t in found.trials) == [4, 8]
        out = capsys.readouterr().out
        assert "2 trials: all combinations of the space were tried." in out
        assert "ten more would add" not in out

    @pytest.mark.parametrize("method", ["random", "bayesian"])
    @pytest.mark.parametrize("seed", range(6))
    def test_every_combination_is_drawn(self, method, seed, tmp_path):
        """KerasTuner ends after twenty draws of what was tried: in half of these searches."""
        from kcnn.tuning.oracles import oracle

        space = Space({"width": Choice(range(1, 9)), "depth": Choice((2, 3))})
        refused = {"width": 5, "depth": 3}
        options = Options(trials=16, seed=seed, method=method)
        made = oracle(options, LOSS, space, lambda v: "too large" if v == refused else None, 1)
        made._set_project_dir(str(tmp_path), "search")
        drawn = []
        while (trial := made.create_trial("tuner")).status == "RUNNING":
            drawn.append(tuple(trial.hyperparameters.values.values()))
            made.update_trial(trial.trial_id, {"validation_loss": 0.5})
            trial.status = "COMPLETED"
            made.end_trial(trial)
        assert len(drawn) == len(set(drawn)) == 15

    def test_combinations_are_counted_where_they_count(self):
        rows = {
            "optimizer": Choice(("adam", "momentum")), "momentum": Choice((0.8, 0.9, 0.95)),
            "depth": Range(1, 3), "width": 8,
        }  # fmt: skip
        assert Space(rows).combinations == (1 + 3) * 3
        assert Space(rows | {"learning_rate": Range(0.1, 0.2)}).combinations is None

    def test_kerastuners_own_variables_are_refused(self, tmp_path, monkeypatch):
        monkeypatch.setenv("KERASTUNER_TUNER_ID", "tuner0")
        with pytest.raises(kcnn.InputError, match="unset KERASTUNER_TUNER_ID"):
            search(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_link_in_a_search_is_not_followed(self, whole, tmp_path):
        shutil.copytree(whole.directory, tmp_path / "search")
        target = tmp_path / "mine"
        target.mkdir()
        (target / "thesis.txt").write_text("years")
        shutil.rmtree(tmp_path / "search/keras_tuner")
        (tmp_path / "search/keras_tuner").symlink_to(target)
        with pytest.raises(kcnn.InputError, match="is a link to"):
            search(tmp_path, trials=5)
        assert (target / "thesis.txt").read_text() == "years"

    def test_the_memory_of_a_search_is_that_with_which_it_began(self, tmp_path, monkeypatch):
        search(tmp_path, trials=1)
        began = json.loads((tmp_path / "search/search.json").read_text())["memory"]
        monkeypatch.setattr(feasibility, "spare", lambda: 1)
        found = search(tmp_path, trials=2)
        assert len(found.trials) == 2
        assert json.loads((tmp_path / "search/search.json").read_text())["memory"] == began


DYING = """
import os, signal, sys
sys.path[:0] = sys.argv[2:]
from oracles.searches import DATA
import keras
from kcnn.tuning import Options, trials, tune
import test_search

trials._DEATHS = 2

class Die(keras.callbacks.Callback):
    def get_state(self): return {}
    def set_state(self, state): pass
    def on_train_batch_end(self, batch, logs=None):
        with open(sys.argv[1] + "/deaths", "a+") as file:
            file.seek(0)
            if len(file.read()) < 2:
                file.write("x")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)

test_search.search(sys.argv[1], trials=2, callbacks=lambda: [Die()])
"""


@pytest.mark.slow
def test_a_trial_that_ends_its_process_is_given_up(tmp_path):
    """As the kernel ends one that finds no memory: the same command goes on behind it."""
    arguments = [sys.executable, "-c", DYING, str(tmp_path), str(HERE), str(HERE.parent)]
    statuses = [subprocess.run(arguments, check=False).returncode for _ in range(3)]
    assert statuses == [-signal.SIGKILL] * 2 + [0]
    records = [
        json.loads(path.read_text()) for path in sorted((tmp_path / "search/trials").iterdir())
    ]
    assert [record["status"] for record in records] == ["failed", "completed"]
    assert "died 2 times" in records[0]["reason"]


@pytest.mark.slow
def test_breaking_a_trial_off_is_no_death(tmp_path):
    for _ in range(6):
        Break.left = 1
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path, trials=1, callbacks=lambda: [Break()])
    Break.left = math.inf
    assert search(tmp_path, trials=1, callbacks=lambda: [Break()]).trials[0].status == "completed"
