"""What TensorBoard shows of runs and searches in one folder, asked over its own HTTP."""

import json
import urllib.request

import pytest
from oracles.searches import DATA, RATES

import kcnn
from kcnn.tuning import Options, tune

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SMALL = {"model": "mlp", "epochs": 2, "batch_size": 32}


class Stop(kcnn.startup.keras.callbacks.Callback):
    """Break a training off."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_epoch_end(self, epoch, logs=None):
        raise self.error


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Runs of which each differs in something else, one that fails, one that is stopped; two
    searches whose trials have the same names."""
    folder = tmp_path_factory.mktemp("tensorboard") / "logs"
    for name, more in {
        "first": {}, "dropped": {"dropout": 0.3}, "smooth": {"label_smoothing": 0.1},
        "wide": {"options": {"width": 6}},
    }.items():  # fmt: skip
        options = {"width": 4} | more.pop("options", {})
        recipe = kcnn.Recipe(**SMALL, **more, options=options, name=name, logs=str(folder))
        kcnn.train(recipe, data=DATA, verbose=False)
    for name, error in (("broken", RuntimeError("no")), ("stopped", KeyboardInterrupt())):
        recipe = kcnn.Recipe(**SMALL, options={"width": 4}, name=name, logs=str(folder))
        with pytest.raises(type(error)):
            kcnn.train(recipe, data=DATA, callbacks=[Stop(error)], verbose=False)
    for seed in (1, 2):
        rows = (*RATES, "momentum=0.9", "width=4")
        options = Options(model="mlp", trials=2, epochs=1, winner=False, seed=seed, space=rows,
                          name=f"search-{seed}", logs=str(folder))  # fmt: skip
        tune(options, data=DATA, verbose=False)
    return folder


@pytest.fixture(scope="module")
def ask(logs):
    """Ask a TensorBoard over the folder."""
    from tensorboard import program

    board = program.TensorBoard()
    board.configure(argv=["tensorboard", "--logdir", str(logs), "--port", "0", "--load_fast=false"])
    url = board.launch()

    def ask(path, question=None):
        data = None if question is None else json.dumps(question).encode()
        request = urllib.request.Request(f"{url}data/{path}", data)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    for _ in range(100):
        if len(ask("runs")) == 10:
            break
    return ask


def rows(ask):
    """By run: hyperparameters, figures, and the session."""
    question = {"experimentName": "", "allowedStatuses": [
        "STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"
    ], "startIndex": 0, "sliceSize": 100}  # fmt: skip
    experiment = ask("plugin/hparams/experiment", {"experimentName": ""})
    names = [{"metric": info["name"]} for info in experiment.get("metricInfos", [])]
    found = ask("plugin/hparams/session_groups", question | {"colParams": names})
    groups = found["sessionGroups"]
    assert all(len(group["sessions"]) == 1 for group in groups)
    return {group["sessions"][0]["name"]: group for group in groups}


def test_a_training_is_one_run(ask):
    assert sorted(ask("runs")) == sorted([
        "first", "dropped", "smooth", "wide", "broken", "stopped",
        *(f"search-{seed}/trial-000{number}" for seed in (1, 2) for number in range(2)),
    ])  # fmt: skip


def test_each_run_has_a_row_and_the_columns_are_the_union(ask):
    found = rows(ask)
    assert len(found) == 10
    experiment = ask("plugin/hparams/experiment", {"experimentName": ""})
    columns = {info["name"] for info in experiment["hparamInfos"]}
    assert {"model", "data", "dropout", "label_smoothing", "width", "learning_rate"} <= columns
    assert found["dropped"]["hparams"]["dropout"] == 0.3
    assert found["smooth"]["hparams"]["label_smoothing"] == 0.1
    assert found["wide"]["hparams"]["width"] == 6
    assert all({"model", "data"} <= row["hparams"].keys() for row in found.values())


def test_rows_have_the_figures_of_the_kept_epoch_and_how_they_ended(ask, logs):
    for name, row in rows(ask).items():
        (session,) = row["sessions"]
        status, began = session["status"], session["startTimeSecs"]
        if name == "broken":
            assert status == "STATUS_FAILURE"
        elif name == "stopped":
            assert status == "STATUS_UNKNOWN"
        else:
            assert status == "STATUS_SUCCESS"
            result = json.loads((logs / name / "result.json").read_text())
            figures = {m["name"]["tag"]: m["value"] for m in row["metricValues"]}
            for figure in ("accuracy", "loss"):
                expected = pytest.approx(result[f"validation_{figure}"], rel=1e-6)
                assert figures[f"kept/validation_{figure}"] == expected
        assert session["endTimeSecs"] >= began > 1.6e9


def test_epochs_count_from_1(ask, logs):
    points = ask("plugin/scalars/scalars?run=first&tag=loss%2Fvalidation")
    assert [step for _, step, _ in points] == [1, 2]
    lines = (logs / "first/metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2"]


def test_training_and_validation_are_on_one_chart(ask):
    layout = ask("plugin/custom_scalars/layout")
    (category,) = layout["category"]
    assert {chart["title"] for chart in category["chart"]} >= {"loss", "accuracy"}
