"""`kcnn evaluate RUN --out FOLDER`: what the files hold, against scikit-learn."""

import csv
import dataclasses
import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

import kcnn
from kcnn.cli.main import main
from kcnn.draw import errors as draw
from kcnn.runs.evaluation import chosen_on_validation, write_evaluation
from kcnn.runs.inference import evaluated
from kcnn.terminal import Terminal

#: Seconds each; everybody's tests are to be short.
pytestmark = pytest.mark.slow

NAMES = ("[red]x", 'a,b"c\n', "$x$ ü 猫")


def noisy(labels, seed=0, shape=(10, 10, 3), noise=90):
    """Images that a small network confuses now and then."""
    rng = np.random.default_rng(seed)
    images = 60 * labels[:, None, None, None] + rng.integers(0, noise, (len(labels), 1, 1, 1))
    return (images + rng.integers(0, 30, (len(labels), *shape))).astype("uint8")


def trained(tmp_path, data, **fields):
    """A run on a path, or on arrays."""
    named = {"data": data} if isinstance(data, str) else {}
    recipe = kcnn.Recipe(model="mlp", options={"width": 8}, epochs=8, batch_size=16, seed=1,
                         logs=str(tmp_path), **named, **fields)  # fmt: skip
    return kcnn.train(recipe, data=None if named else data, verbose=False)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive of three classes whose names are anybody's."""
    path, labels = tmp_path_factory.mktemp("data") / "noisy.npz", np.arange(240) % 3
    np.savez(path, x_train=noisy(labels), y_train=labels, x_test=noisy(labels[:90], 1),
             y_test=labels[:90], class_names=NAMES)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def run(archive, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("logs"), str(archive))


@pytest.fixture(scope="module")
def out(run, tmp_path_factory):
    """What the command writes."""
    folder = tmp_path_factory.mktemp("out") / "new" / "folder"
    assert main(["evaluate", str(run.directory), "--out", str(folder)]) == 0
    return folder


def rows(path):
    return list(csv.DictReader(io.StringIO(os.fsdecode(path.read_bytes()), newline="")))


def test_a_training_keeps_the_figures(run, archive):
    with np.load(archive) as data:
        said = run.model.predict(data["x_test"], verbose=0)
        truth = data["y_test"]
    result = json.loads((run.directory / "result.json").read_text())
    assert 0.5 < result["test_accuracy"] < 1.0  # something to tell apart
    assert result["test_balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(truth, said.argmax(axis=1))
    )
    assert result["test_macro_f1"] == pytest.approx(
        metrics.f1_score(truth, said.argmax(axis=1), average="macro")
    )
    for name in ("recall", "precision", "f1"):
        assert list(result[f"test_{name}_per_class"]) == list(NAMES)
    assert sum(sum(row.values()) for row in result["test_confusion"].values()) == 90


def test_figures(run, out):
    found = json.loads((out / "figures.json").read_text())
    for name in ("accuracy", "loss", "balanced_accuracy", "macro_f1", "calibration_error"):
        assert found[name] == pytest.approx(run.result[f"test_{name}"], rel=1e-5)
    assert found["images"] == 90
    assert found["calibration_bins"] == 15
    assert found["temperature"] > 0


def test_predictions(run, out, archive):
    found = rows(out / "predictions.csv")
    with np.load(archive) as data:
        said = run.model.predict(data["x_test"], verbose=0)
        truth = data["y_test"]
    assert [row["index"] for row in found] == [str(k) for k in range(90)]
    assert [row["label"] for row in found] == [NAMES[k] for k in truth]
    assert [row["prediction"] for row in found] == [NAMES[k] for k in said.argmax(axis=1)]
    confidences = [float(row["confidence"]) for row in found]
    np.testing.assert_allclose(confidences, said.max(axis=1), rtol=1e-4)


def test_tables(out):
    found = rows(out / "predictions.csv")
    truth, said = ([row[name] for row in found] for name in ("label", "prediction"))
    precision, recall, f1, images = metrics.precision_recall_fscore_support(
        truth, said, labels=NAMES, zero_division=np.nan
    )
    for k, row in enumerate(rows(out / "by_class.csv")):
        assert (row["class"], int(row["images"])) == (NAMES[k], images[k])
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            assert float(row[name]) == pytest.approx(values[k], rel=1e-4)
        assert float(row["recall_low"]) < recall[k] <= float(row["recall_high"])
    counts = metrics.confusion_matrix(truth, said, labels=NAMES)
    for k, row in enumerate(rows(out / "confusion.csv")):
        assert [int(row[name]) for name in NAMES] == counts[k].tolist()


def test_pictures(out):
    names = ("confusion", "calibration", "risk_by_coverage")
    for name in names:
        with Image.open(out / f"{name}.png") as image:
            assert min(image.size) > 300
            assert len(np.unique(np.asarray(image.convert("L")))) > 20
    assert {path.stem for path in out.glob("*.png")} == set(names)


def test_temperature_and_threshold_come_from_validation(tmp_path):
    labels = np.arange(400) % 2
    np.savez(tmp_path / "two.npz", x_train=noisy(labels), y_train=labels,
             x_test=noisy(labels[:100], 2), y_test=labels[:100])  # fmt: skip
    run = trained(tmp_path, str(tmp_path / "two.npz"), validation=0.3)
    found, terminal = evaluated(run), Terminal(file=io.StringIO())
    write_evaluation(tmp_path / "out", run, found, terminal)
    content = json.loads((tmp_path / "out/figures.json").read_text())
    validation = evaluated(run, part="validation").evaluation.answers
    score, truth = validation.positive, validation.truth
    best = max(metrics.f1_score(truth, score >= at) for at in np.unique(score))
    chosen = content["threshold"]["value"]
    assert metrics.f1_score(truth, score >= chosen) == pytest.approx(best)
    answers = found.evaluation.answers
    said = answers.positive >= chosen
    assert content["threshold"] == pytest.approx(
        {
            "value": chosen,
            "accuracy": metrics.accuracy_score(answers.truth, said),
            "recall": metrics.recall_score(answers.truth, said),
            "precision": metrics.precision_score(answers.truth, said),
        }
    )
    assert content["roc_auc"] == pytest.approx(
        metrics.roc_auc_score(answers.truth, answers.positive)
    )
    losses = {
        T: metrics.log_loss(truth, 1 / (1 + np.exp(-np.log(score / (1 - score)) / T)))
        for T in content["temperature"] * np.linspace(0.8, 1.25, 46)
    }
    assert min(losses, key=losses.get) == pytest.approx(content["temperature"], rel=0.02)
    assert (tmp_path / "out/two_classes.png").is_file()


def test_files_are_named(run, tmp_path):
    labels, raw = np.arange(12) % 3, os.fsdecode(b"\xff")
    for k, image in enumerate(noisy(labels)):
        path = tmp_path / "data" / NAMES[labels[k]] / f"{k:02}{raw}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    write_evaluation(tmp_path / "out", run, evaluated(run, tmp_path / "data"))
    listed = rows(tmp_path / "out/predictions.csv")
    assert len(listed) == 12
    for row in listed:
        assert os.path.isfile(row["file"])
        assert os.path.basename(os.path.dirname(row["file"])) == row["label"]
    right = np.mean([row["label"] == row["prediction"] for row in listed])
    assert json.loads((tmp_path / "out/figures.json").read_text())["accuracy"] == right


def test_data_in_memory_have_no_temperature_and_it_is_said(run, tmp_path):
    forgotten = dataclasses.replace(run, data=run.data | {"source": None})
    assert "data of the caller's own" in chosen_on_validation(forgotten).why_not
    terminal, labels = Terminal(file=io.StringIO(), width=200), np.arange(120) % 3
    found = evaluated(forgotten, (noisy(labels, 3), labels))
    write_evaluation(tmp_path / "out", forgotten, found, terminal)
    assert "no temperature scaling: The run was trained on data of" in terminal.file.getvalue()
    assert "temperature" not in json.loads((tmp_path / "out/figures.json").read_text())


def test_a_folder_that_cannot_be_made(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["evaluate", str(run.directory), "--out", str(tmp_path / "file")]) == 2
    assert "Choose another folder with --out" in capsys.readouterr().err


@pytest.mark.parametrize("classes", [2, 10, 30, 100])
def test_a_matrix_of_any_size_is_drawn(classes):
    counts = np.random.default_rng(0).integers(0, 2000, (classes, classes))
    png = draw.confusion_matrix(counts, [f"$cl_{k}$ \x1b" for k in range(classes)])
    with Image.open(io.BytesIO(png)) as image:
        assert max(image.size) < 2000
