"""What people see: HParams read back from the event files, tables, figures."""

import copy
import dataclasses
import json

import numpy as np
import pytest
from oracles.searches import DATA, RATES
from rich.console import Console
from tensorboard.backend.event_processing import event_file_loader
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.util.tensor_util import make_ndarray

from kcnn import terminal
from kcnn.callbacks.records.hparams import HParams
from kcnn.figures import Figure
from kcnn.recipes.domains import Choice, Range
from kcnn.tasks.task import find, ranking
from kcnn.tuning import Options, space_of, tune
from kcnn.tuning.records import Trial
from kcnn.tuning.space import Space
from kcnn.tuning.views.figures import (
    _best_so_far,
    _importance,
    _scores,
    draw,
)
from kcnn.tuning.views.importance import importance
from kcnn.tuning.views.report import View, space_table, trials_table

RANKING = ranking(find("classification"))

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    rows = (*RATES[2:], "optimizer=adamw,nesterov", "width=4,8")
    options = Options(
        model="mlp", trials=3, epochs=1, name="search", space=rows,
        logs=str(tmp_path_factory.mktemp("dashboard")),
    )  # fmt: skip
    return tune(options, data=DATA, verbose=False)


def hparams(directory):
    """HParams' records of a directory's own event files, by tag: one of each."""
    records = {}
    for path in sorted(directory.glob("events*")):
        for event in event_file_loader.EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == metadata.PLUGIN_NAME:
                    assert value.tag not in records, "two writers: one of them is not shown"
                    records[value.tag] = value.metadata.plugin_data.content
    return records


class TestHParams:
    def test_each_trial_and_the_winner_have_a_row_of_their_own(self, found):
        groups = set()
        runs = [path.parent for path in found.directory.glob("*/recipe.json")]
        assert len(runs) == 4
        for directory in runs:
            records = hparams(directory)
            assert metadata.EXPERIMENT_TAG not in records  # of one, all runs would have the columns
            recipe = json.loads((directory / "recipe.json").read_text())["recipe"]
            start = metadata.parse_session_start_info_plugin_data(
                records[metadata.SESSION_START_INFO_TAG]
            )
            groups.add(start.group_name)
            assert start.hparams["learning_rate"].number_value == recipe["learning_rate"]
            assert start.hparams["width"].number_value == recipe["options"]["width"]
            assert start.hparams["model"].string_value == "mlp"
            assert ("momentum" in start.hparams) == (recipe["optimizer"] == "nesterov")
        assert len(groups) == len(runs)

    def test_figures_are_those_of_the_weights_that_were_kept(self, found):
        winner = dataclasses.replace(found.trials[0], number=-1)
        for trial in (*found.trials, winner):
            name = f"trial-{trial.number:04d}" if trial.number >= 0 else found.run.directory.name
            tags = {}
            for path in sorted((found.directory / name).rglob("events*")):
                for event in event_file_loader.EventFileLoader(str(path)).Load():
                    for value in event.summary.value:
                        if value.metadata.plugin_data.plugin_name != metadata.PLUGIN_NAME:
                            tags[value.tag] = value.tensor
            for figure in ("accuracy", "loss"):
                kept = float(make_ndarray(tags[f"kept/validation_{figure}"]))
                assert kept == pytest.approx(trial.figures[figure])
                assert {f"{figure}/train", f"{figure}/validation"} <= tags.keys()

    def test_callbacks_can_be_copied_deeply(self, tmp_path):
        """KerasTuner copies the callbacks that it is handed."""
        row = HParams(tmp_path, {"width": 64, "optimizer": "adamw"})
        copy.deepcopy(row).on_train_begin()
        ended = hparams(tmp_path)[metadata.SESSION_END_INFO_TAG]
        running = metadata.parse_session_end_info_plugin_data(ended)
        assert running.status == api_pb2.STATUS_RUNNING
        assert not running.end_time_secs
        content = hparams(tmp_path)[metadata.SESSION_START_INFO_TAG]
        assert "width" in metadata.parse_session_start_info_plugin_data(content).hparams
        view = View(Console(quiet=True), Options(), RANKING)
        copy.copy(view.epochs()).on_epoch_end(0, {"val_accuracy": 0.5})
        assert "50.00%" in view._epoch


def text(renderable, width=100):
    console = Console(width=width, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(renderable)
        return console.export_text()


class TestTables:
    TRIALS = (
        Trial(0, {"learning_rate": 0.01}, 1, 0, "completed", {"accuracy": 0.9, "loss": 0.4}, 1.0),
        Trial(1, {"learning_rate": 0.02}, 1, 0, "completed", {"accuracy": 0.95, "loss": 0.2}, 1.0),
        Trial(2, {"learning_rate": 0.03}, 1, 0, "failed", reason="no"),
    )

    @pytest.mark.parametrize("width", [60, 100, 240])
    def test_ranks_and_failures(self, width):
        shown = text(trials_table(self.TRIALS, space_of("lenet5"), RANKING, None, width), width)
        lines = [line.split() for line in shown.splitlines() if "0.0" in line]
        assert [line[:3] for line in lines[:2]] == [["1", "1", "95.00%"], ["2", "0", "90.00%"]]
        assert lines[2][:2] == ["2", "failed"]
        assert max(map(len, shown.splitlines())) <= width

    def test_the_space_says_scales_and_conditions(self):
        shown = " ".join(text(space_table(space_of("lenet5")), 140).split())
        assert "learning_rate 0.0001 to 0.1 logarithmic" in shown
        assert "logarithmic in 1 - value optimizer is momentum or nesterov" in shown

    def test_reasons_that_differ_in_numbers_are_one(self, capsys):
        View(terminal.console(), Options(), RANKING).refused(
            {"share=0.643 is too late.": 2, "share=1e-05 is too late.": 1, "No room.": 1}
        )
        assert capsys.readouterr().out.splitlines() == [
            "Not tried, 3 times, such as: share=0.643 is too late.",
            "Not tried, once: No room.",
        ]

    def test_a_search_in_a_pipe_is_a_line_for_each_trial(self, capsys, found, tmp_path):
        options = Options(
            model="mlp", trials=2, epochs=1, winner=False, name="shown", logs=str(tmp_path),
            space=(*RATES, "momentum=0.9"),
        )  # fmt: skip
        tune(options, data=DATA)
        shown = capsys.readouterr().out
        assert [shown.count(f"trial {number}  ") for number in range(2)] == [1, 1]
        assert "Search space" in shown
        assert "with probability" in shown
        assert "kcnn train --recipe" in shown


def trials(count, failed=0):
    """Their score goes by the learning rate alone."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        rate = 10 ** rng.uniform(-4, -1)
        error = 0.02 + 0.1 * abs(np.log10(rate) + 2)
        values = {
            "learning_rate": rate, "optimizer": ("adamw", "nesterov")[number % 2], "swa": False,
            "batch_size": int(rng.choice([32, 64, 128])), "weight_decay": 10 ** rng.uniform(-4, 0),
        }  # fmt: skip
        figures = {"accuracy": 1 - error, "loss": error}
        made.append(Trial(number, values, 1, 0, "completed", figures, 1.0))
    for number in range(count, count + failed):
        made.append(Trial(number, dict(made[0].values), 1, 0, "failed", reason="no"))
    return made


class TestFigures:
    @pytest.mark.slow
    def test_written_as_png(self, tmp_path):
        paths = draw(tmp_path, space_of("lenet5"), trials(12, 2), RANKING)
        assert [path.name for path in paths] == ["scores.png", "best_so_far.png", "importance.png"]
        assert all(path.read_bytes()[:4] == b"\x89PNG" for path in paths)
        few = draw(tmp_path, space_of("lenet5"), trials(3), RANKING[::-1])
        assert [path.name for path in few] == ["scores.png", "best_so_far.png"]

    def test_importance_finds_the_one_that_counts(self):
        found = importance(space_of("lenet5"), trials(40), RANKING)
        means = {name: mean for name, (mean, _) in found.by_name.items()}
        assert max(means, key=means.get) == "learning_rate"
        assert means["learning_rate"] > 5 * found.noise > 0
        assert all(mean < found.noise for name, mean in means.items() if name != "learning_rate")
        assert found.score > 0.5

    def test_a_child_does_not_carry_the_importance_of_its_parent(self):
        """`swa` decides, `swa_learning_rate` counts where it is on, and is noise."""
        rng, made = np.random.default_rng(1), []
        for number in range(60):
            swa = number % 2 == 0
            values = {"swa": swa, "learning_rate": 10 ** rng.uniform(-4, -1)}
            values |= {"swa_learning_rate": 10 ** rng.uniform(-3, -1)} if swa else {}
            error = (0.05 if swa else 0.2) + 0.01 * rng.uniform()
            figures = {"accuracy": 1 - error, "loss": error}
            made.append(Trial(number, values, 1, 0, "completed", figures, 1.0))
        space = Space({
            "swa": Choice((False, True)), "learning_rate": Range(1e-4, 1e-1, "log"),
            "swa_learning_rate": Range(1e-3, 1e-1, "log"),
        })  # fmt: skip
        found = importance(space, made, RANKING)
        means = {name: mean for name, (mean, _) in found.by_name.items()}
        assert means["swa"] > 0.5
        assert means["swa_learning_rate"] < means["swa"] / 20

    @pytest.mark.parametrize(("count", "said"), [(12, "a hint"), (40, "trust it")])
    @pytest.mark.slow
    def test_few_trials_are_not_to_be_trusted(self, count, said):
        """Even where the forest fits them, as it does here."""
        space, made = space_of("lenet5", ["batch_size=32"]), trials(count)
        assert importance(space, made, RANKING).score > 0.5
        assert said in _importance(space, made, RANKING).axes[0].get_title()

    @pytest.mark.slow
    def test_what_no_trial_has_is_left_out(self):
        space, made = space_of("lenet5"), trials(12)
        figure = _scores(space, made, RANKING)
        shown = {axes.get_xlabel() for axes in figure.axes if axes.get_visible()}
        assert shown == {"learning_rate", "optimizer", "swa", "batch_size", "weight_decay"}
        by_name = importance(space, made, RANKING).by_name
        assert by_name.keys() == shown - {"swa"}  # which is the same for all

    def test_a_search_leaves_them(self, found):
        assert (found.directory / "scores.png").is_file()
        content = json.loads((found.directory / "best.json").read_text())
        assert content["recipe"]["learning_rate"] == found.trials[0].values["learning_rate"]


def test_a_figure_without_bounds_is_drawn_as_it_is():
    """One that is above 1, higher the better, has costs below 0: no logarithm of them."""
    gain = Figure("gain")
    made = [Trial(n, {"width": 4 + n}, 1, 0, "completed", {"gain": n - 1.0}, 1.0) for n in range(5)]
    axes = _best_so_far(made, (gain,)).axes[0]
    assert axes.get_yscale() == "linear"
    assert list(axes.collections[0].get_offsets()[:, 1]) == [2.0, 1.0, 0.0, -1.0, -2.0]
    assert _best_so_far(trials(12), RANKING).axes[0].get_yscale() == "log"


@pytest.mark.parametrize("count", [3, 12, 100])
def test_the_best_so_far_counts_from_the_first_trial(count):
    axes = _best_so_far(trials(count), RANKING).axes[0]
    line = axes.lines[0].get_xdata()
    assert list(line) == list(range(1, count + 1))
    left, right = axes.get_xlim()
    assert 0 < left < 1 < count < right
    assert all(tick >= 1 for tick in axes.get_xticks() if left <= tick <= right)
