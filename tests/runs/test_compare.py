"""Runs side by side, against what their networks say of the same images."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import kcnn
from kcnn.draw.curves import training_curves
from kcnn.draw.sheets import Section, contact_sheet
from kcnn.runs.compare import compare
from kcnn.runs.compare_files import tables, write_comparison
from kcnn.runs.inference import evaluate_run
from kcnn.terminal import Terminal

#: Seconds each; everybody's tests are to be short.
pytestmark = pytest.mark.slow

NAMES = ("[red]x", "\x1b[31m", "$x$")


def noisy(labels, seed=0):
    rng = np.random.default_rng(seed)
    images = 60 * labels[:, None, None, None] + rng.integers(0, 90, (len(labels), 1, 1, 1))
    return (images + rng.integers(0, 30, (len(labels), 10, 10, 3))).astype("uint8")


LABELS = np.arange(150) % 3
TEST = noisy(LABELS, 1), LABELS


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "noisy.npz"
    np.savez(path, x_train=noisy(LABELS), y_train=LABELS, x_test=TEST[0], y_test=LABELS,
             class_names=NAMES)  # fmt: skip
    return path


def trained(logs, archive, name, **fields):
    recipe = kcnn.Recipe(model="mlp", options={"width": 8}, batch_size=16, name=name,
                         data=str(archive), logs=str(logs), **fields)  # fmt: skip
    return kcnn.train(recipe, verbose=False)


@pytest.fixture(scope="module")
def runs(archive, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    return [
        trained(logs, archive, "short", epochs=2),
        trained(logs, archive, "[b]long\x1b[31m", epochs=6, learning_rate=0.02),
    ]


@pytest.fixture(scope="module")
def found(runs):
    return compare(runs)


def right(run, images=TEST[0], labels=LABELS):
    return run.model.predict(images, verbose=0).argmax(axis=1) == labels


def shown(found, width=120):
    terminal = Terminal(file=io.StringIO(), width=width)
    for table in tables(found):
        terminal.print(table)
    return terminal.file.getvalue()


def test_pairs(runs, found):
    one, other = map(right, runs)
    assert (one & ~other).sum() + (other & ~one).sum() > 0  # something to tell
    (paired,) = found.pairs
    pair = paired.pair
    assert (pair.first, pair.second) == ((one & ~other).sum(), (other & ~one).sum())
    assert pair.both == (one & other).sum()
    assert pair.difference == pytest.approx(other.mean() - one.mean())
    low, high = pair.interval()
    assert low < pair.difference < high
    expected = stats.binomtest(pair.first, pair.first + pair.second).pvalue
    assert pair.p_value == pytest.approx(expected)


def test_which_pictures(runs, found):
    one, other = map(right, runs)
    first, second = found.disagreements(1)
    assert set(first) == set(np.flatnonzero(one & ~other))
    assert set(second) == set(np.flatnonzero(other & ~one))
    for which, run in ((first, runs[1]), (second, runs[0])):
        sure = run.model.predict(TEST[0], verbose=0).max(axis=1)[which]
        assert (np.diff(sure) <= 1e-6).all()


def test_what_differs_and_figures(runs, found):
    assert list(found.fields) == ["epochs", "learning_rate"]
    assert found.fields["epochs"] == [2, 6]
    assert found.figures["accuracy"] == [pytest.approx(right(run).mean()) for run in runs]
    assert found.figures["macro_f1"] == [run.result["test_macro_f1"] for run in runs]
    text = shown(found)
    assert "\x1b[31m" not in text
    assert r"[b]long\x1b[31m" in text
    assert f"{right(runs[1]).mean():.2%}" in text


def test_curves(runs, found):
    panels = found.curves()
    assert list(panels) == ["loss", "accuracy"]
    for name, run in zip(found.names, runs, strict=True):
        assert panels["loss"][name] == (run.history["loss"], run.history["val_loss"])


def test_files(runs, found, tmp_path):
    paths = write_comparison(tmp_path / "new/folder", found)
    assert [path.name for path in paths] == [
        "comparison.json", "curves.png", "disagreements-2.png", "disagreements-2.csv",
    ]  # fmt: skip
    content = json.loads(paths[0].read_text())
    (pair,) = content["pairs"]
    assert pair["images"] == 150
    assert pair["difference"] == found.pairs[0].pair.difference
    assert content["differ"]["epochs"] == [2, 6]
    for path in paths[1:3]:
        with Image.open(path) as image:
            assert min(image.size) > 200
    rows = list(csv.DictReader(io.StringIO(paths[3].read_text(), newline="")))
    one, other = map(right, runs)
    assert [int(row["index"]) for row in rows] == np.flatnonzero(one != other).tolist()
    said = runs[1].model.predict(TEST[0], verbose=0).argmax(axis=1)
    for row in rows:
        assert row["label"] == NAMES[LABELS[int(row["index"])]]
        assert row[f"answer of {found.names[1]}"] == NAMES[said[int(row["index"])]]


def test_on_other_data(runs):
    labels = np.arange(30) % 3
    images = noisy(labels, 7)
    found = compare(runs, (images, labels))
    assert found.pairs[0].pair.images == 30
    expected = [right(run, images, labels).mean() for run in runs]
    assert found.figures["accuracy"] == pytest.approx(expected)
    with pytest.raises(kcnn.InputError, match="the network knows 3 classes"):
        compare(runs, (images, labels + 3))


@pytest.mark.parametrize("changed", ["a pixel", "a label", "the order"])
def test_other_test_images_make_no_pair(runs, archive, changed, tmp_path, monkeypatch):
    """Also where the run's own record says nothing of it: what was evaluated is looked at."""
    from kcnn.runs import compare as subject

    images, labels = TEST[0].copy(), LABELS.copy()
    if changed == "a pixel":
        images[3, 0, 0, 0] ^= 1
    elif changed == "a label":
        labels[3] = (labels[3] + 1) % 3
    else:
        images, labels = images[::-1], labels[::-1]
    real = subject.evaluated

    def other(run, data, **options):
        return real(run, None if run is runs[0] else (images, labels), **options)

    monkeypatch.setattr(subject, "evaluated", other)
    found = compare(runs)
    assert found.pairs[0].pair is None
    assert "the test images of short and" in found.pairs[0].why_not
    assert "no pair: the test images" in shown(found)
    assert [len(one) for one in found.disagreements(1)] == [0, 0]
    assert evaluate_run(runs[1], (images, labels)).accuracy == found.figures["accuracy"][1]


def test_data_in_memory_are_named_or_there_is_no_pair(runs):
    memory = dataclasses.replace(runs[1], data=runs[1].data | {"source": None})
    found = compare([runs[0], memory])
    assert found.pairs[0].pair is None
    assert "cannot be evaluated again" in found.pairs[0].why_not
    assert found.figures["accuracy"][1] == runs[1].result["test_accuracy"]  # as recorded
    assert compare([runs[0], memory], TEST).pairs[0].pair.images == 150


def test_what_cannot_be_compared(runs):
    with pytest.raises(kcnn.InputError, match="Two runs at least"):
        compare(runs[:1])
    with pytest.raises(kcnn.InputError, match="more than once"):
        compare([runs[0], runs[0]])
    from kcnn.tasks.segmentation import TASK

    with pytest.raises(kcnn.InputError, match="of classification, segmentation"):
        compare([runs[0], dataclasses.replace(runs[1], task=TASK)])


def test_runs_of_another_task_have_curves_and_recorded_figures(runs):
    from kcnn.tasks.segmentation import TASK

    history = {"val_loss": [1.0, 0.5], "loss": [1.0, 0.6], "val_mean_iou": [0.1, 0.2]}
    result = {"test_mean_iou": 0.25, "test_loss": 0.5}
    masks = [dataclasses.replace(run, task=TASK, history=history, result=result) for run in runs]
    found = compare(masks)
    assert "of segmentation" in found.pairs[0].why_not
    assert found.figures["mean_iou"] == [0.25, 0.25]
    assert list(found.curves()) == ["loss", "mean IoU"]


def test_the_command(runs, outcome, tmp_path):
    folders = [run.directory for run in runs]
    status, out, err = outcome("compare", *folders, "--out", tmp_path / "[x]")
    assert (status, err) == (0, "")
    assert "McNemar" in out
    assert (tmp_path / "[x]" / "curves.png").is_file()
    assert outcome("compare", *folders)[0] == 0
    assert (folders[0] / "comparison/comparison.json").is_file()
    assert kcnn.load_run(folders[0]).result == runs[0].result
    status, _, err = outcome("compare", folders[0])
    assert status == 2
    assert "Two runs at least" in err


@pytest.fixture
def outcome(capfd):
    """Run a command: its status, output and errors."""
    from kcnn.cli.main import main

    def call(*arguments):
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return call


class TestDrawing:
    def test_a_sheet_has_room_for_any_number_and_size(self):
        pictures = [np.full((k + 1, 9, 1 + 2 * (k % 2)), 200, "uint8") for k in range(11)]
        captions = [f"$a_{k}$ \x1b\n{'x' * 60}" for k in range(11)]
        for counts in ((0, 0), (1, 0), (11, 3)):
            png = contact_sheet(
                [Section("$h$", pictures[:n], captions[:n]) for n in counts], across=8
            )
            with Image.open(io.BytesIO(png)) as image:
                assert image.width < 1400

    def test_curves_of_one_epoch(self):
        png = training_curves({"loss": {"a": ([1.0], [2.0]), "$b": ([], [1.0])}})
        with Image.open(io.BytesIO(png)) as image:
            assert min(image.size) > 300
