"""What a training shows to scripts: nothing, or a line of JSON for each epoch and the result."""

import json

import pytest

import kcnn

#: Seconds each; everybody's tests are to be short.
pytestmark = pytest.mark.slow

TRAIN = ["train", "mlp", "--options", "width", "4", "--name", "run"]


def lines(out):
    return [json.loads(line) for line in out.splitlines()]


def test_a_line_of_json_for_each_epoch_and_the_result(outcome, tmp_path):
    status, out, err = outcome(*TRAIN, "--logs", tmp_path, "--epochs", 2, "--json")
    assert (status, err) == (0, "")
    first, second, last = lines(out)
    run = kcnn.load_run(tmp_path / "run")
    assert [first["epoch"], second["epoch"]] == [1, 2]
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        assert [first[name], second[name]] == pytest.approx(run.history[name])
    assert last == {"run": str(tmp_path / "run"), "result": run.result}

    status, out, err = outcome("resume", tmp_path / "run", "--epochs", 3, "--json")
    assert (status, err) == (0, "")
    third, last = lines(out)
    assert third["epoch"] == 3
    assert last["result"]["epochs"] == 3


def test_nothing(outcome, tmp_path):
    status, out, err = outcome(*TRAIN, "--logs", tmp_path, "--epochs", 1, "--quiet")
    assert (status, out, err) == (0, "", "")
    assert (tmp_path / "run" / "result.json").is_file()
    assert outcome("resume", tmp_path / "run", "--quiet") == (0, "", "")
    status, out, err = outcome(*TRAIN, "--logs", tmp_path, "--epochs", 1, "--quiet")
    assert (status, out) == (2, "")
    assert "There is a run" in err


def test_one_of_them(outcome, tmp_path):
    status, out, err = outcome(*TRAIN, "--logs", tmp_path, "--quiet", "--json")
    assert (status, out) == (2, "")
    assert "leave one of them out" in err
    assert not list(tmp_path.iterdir())


def test_what_is_not_finite_is_null(capsys):
    from kcnn.callbacks.records.progress import write_json_line

    write_json_line({"loss": float("nan"), "by_class": {"a": [1.0, float("inf")]}})
    assert lines(capsys.readouterr().out) == [{"loss": None, "by_class": {"a": [1.0, None]}}]


def test_elsewhere_than_on_a_terminal_there_is_a_line_an_epoch(outcome, tmp_path):
    status, out, _ = outcome(*TRAIN, "--logs", tmp_path, "--epochs", 3)
    assert status == 0
    epochs = [line.split()[0] for line in out.splitlines() if "/3 " in line]
    assert epochs == ["1/3", "2/3", "3/3"]
    assert "\r" not in out
    assert "\x1b" not in out
