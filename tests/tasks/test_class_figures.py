"""Figures of a classifier beside its accuracy, against scikit-learn; their tables."""

import io

import numpy as np
import pytest
from sklearn import metrics

from kcnn.interpret import Answers, confusion
from kcnn.tasks import class_figures
from kcnn.tasks.classification import TASK
from kcnn.terminal import Terminal

NAMES = ["ape", "bee", "[red]x", "\x1b[31mdog", "e", "f", "no images"]


@pytest.fixture
def answers():
    """Of seven classes; none is of the last, and the fifth is hardest."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, 300)
    scores = rng.normal(size=(300, 7)) + 3 * np.eye(7)[truth] * (truth != 4)[:, None]
    shares = np.exp(scores)
    return Answers(truth, (shares / shares.sum(axis=1, keepdims=True)).astype("float32"))


def detailed(answers, names=NAMES):
    counts = confusion(answers.truth, answers.said, answers.classes)
    return class_figures.details(answers, counts, names)


def shown(details, width=100):
    terminal = Terminal(file=io.StringIO(), width=width)
    for table in TASK.tables(details):
        terminal.print(table)
    return terminal.file.getvalue()


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_against_scikit_learn(answers):
    found, (truth, said) = detailed(answers), (answers.truth, answers.said)
    labels = range(7)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, said))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, said, average="macro"))
    assert found["top5_accuracy"] == pytest.approx(
        metrics.top_k_accuracy_score(truth, answers.probabilities, k=5, labels=labels)
    )
    precision, recall, f1, images = metrics.precision_recall_fscore_support(
        truth, said, labels=labels, zero_division=np.nan
    )
    assert list(found["recall_per_class"].values())[:6] == pytest.approx(recall[:6].tolist())
    assert list(found["precision_per_class"].values()) == pytest.approx(precision.tolist())
    assert list(found["f1_per_class"].values()) == pytest.approx(f1.tolist())
    assert images[6] == 0
    assert found["recall_per_class"]["no images"] is None
    assert "roc_auc" not in found
    counts, names = class_figures.counts_of(found["confusion"])
    assert names == NAMES
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(truth, said, labels=labels))


def test_of_two_classes():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, 200)
    score = (1 / (1 + np.exp(-rng.normal(size=200) - 2 * truth + 1))).astype("float32")
    answers = Answers(truth, np.stack([1 - score, score], axis=1))
    found = detailed(answers, ["no", "yes"])
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, score))
    assert found["average_precision"] == pytest.approx(
        metrics.average_precision_score(truth, score)
    )
    assert "top5_accuracy" not in found
    text = shown(found)
    assert "test ROC AUC" in text
    assert "looked for: yes" in text


def test_of_two_classes_of_which_one_occurs():
    found = detailed(Answers(np.zeros(4, int), np.array([[0.9, 0.1]] * 4)), ["no", "yes"])
    assert found["balanced_accuracy"] == 1.0
    assert "roc_auc" not in found
    assert "yes" not in shown(found)


def test_the_worst_class_stands_first_and_names_are_text(answers):
    found = detailed(answers)
    text = shown(found)
    assert "\x1b[31m" not in text
    assert r"\x1b[31mdog" in text
    assert "[red]x" in text
    rows = text[text.index("By class") :].splitlines()[2:]
    order = [name for name in (row.partition("  ")[0].strip() for row in rows) if name]
    assert order[0] == "e"
    ranked = sorted(
        (value, name) for name, value in found["recall_per_class"].items() if value is not None
    )
    assert order[:2] == [name for _, name in ranked[:2]]
    assert order[-1] == "no images"  # was said
    counts, _ = class_figures.counts_of(found["confusion"])
    wrong = counts[4] * (np.arange(7) != 4)
    assert rows[0].split("×")[1].split(",")[0] == str(wrong.max())
    assert max(map(len, text.splitlines())) <= 100


def test_of_many_classes_the_worst():
    truth = np.repeat(np.arange(50), 2)
    said = np.where(np.arange(100) < 8, truth + 1, truth)
    answers = Answers(truth, np.eye(50)[said])
    text = shown(detailed(answers, [f"class-{k}" for k in range(50)]))
    assert "The 20 worst of 50 classes" in text
    assert text.count("class-") == 20 + 4  # of 0 to 3 what they were taken for
    assert "class-49" not in text


def test_of_a_run_of_before():
    assert "Test accuracy by class" in shown({"accuracy": 0.5, "accuracy_per_class": {"a": 0.5}})
    assert shown({"accuracy": 0.5}) == ""
