"""Figures of errors, against scikit-learn, SciPy, and numbers from books."""

import numpy as np
import pytest
from scipy import stats
from sklearn import calibration as theirs
from sklearn import metrics

import kcnn
from kcnn.interpret import (
    Answers,
    Pair,
    balanced_accuracy,
    best_temperature,
    by_class,
    calibration_curve,
    confusion,
    macro_f1,
    mcnemar,
    most_confident_mistakes,
    negative_log_likelihood,
    risk_coverage,
    thresholds,
    wilson,
)
from kcnn.interpret.calibration import softmax

CLASSES, IMAGES = 7, 500


@pytest.fixture
def logits():
    """Of a classifier that is often right, and twice as sure as it should be."""
    rng = np.random.default_rng(3)
    return 4.0 * rng.normal(size=(IMAGES, CLASSES))


@pytest.fixture
def truth(logits):
    """Drawn as the logits at half their size say; nothing is of the last class but one."""
    rng, shares = np.random.default_rng(4), softmax(logits, 2.0)
    shares[:, -2] = 0.0
    shares /= shares.sum(axis=1, keepdims=True)
    return np.array([rng.choice(CLASSES, p=row) for row in shares])


@pytest.fixture
def answers(truth, logits):
    return Answers(truth, softmax(logits))


class TestCounts:
    def test_confusion(self, answers):
        expected = metrics.confusion_matrix(
            answers.truth, answers.said, labels=np.arange(answers.classes)
        )
        found = confusion(answers.truth, answers.said, answers.classes)
        np.testing.assert_array_equal(found, expected)

    def test_by_class(self, answers):
        found = by_class(confusion(answers.truth, answers.said, answers.classes))
        precision, recall, f1, images = metrics.precision_recall_fscore_support(
            answers.truth, answers.said, labels=np.arange(CLASSES), zero_division=np.nan
        )
        np.testing.assert_array_equal(found.images, images)
        assert images[-2] == 0
        np.testing.assert_allclose(found.precision, precision)
        np.testing.assert_allclose(found.recall, recall)
        np.testing.assert_allclose(found.f1[images > 0], f1[images > 0])

    def test_means_over_classes(self, answers):
        counts = confusion(answers.truth, answers.said, answers.classes)
        with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
            expected = metrics.balanced_accuracy_score(answers.truth, answers.said)
        assert balanced_accuracy(counts) == pytest.approx(expected)
        expected = metrics.f1_score(answers.truth, answers.said, average="macro")
        assert macro_f1(counts) == pytest.approx(expected)

    def test_a_class_that_is_nowhere_counts_for_nothing(self):
        truth, said = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
        small, large = (confusion(truth, said, classes) for classes in (2, 4))
        assert balanced_accuracy(small) == balanced_accuracy(large) == 0.75
        assert macro_f1(small) == macro_f1(large)
        assert np.isnan(by_class(large).precision[2:]).all()
        with pytest.raises(kcnn.InputError, match="no image"):
            balanced_accuracy(np.zeros((3, 3), int))

    @pytest.mark.parametrize(("right", "total"), [(0, 10), (1, 10), (7, 10), (10, 10), (470, 500)])
    @pytest.mark.parametrize("level", [0.9, 0.95])
    def test_wilson(self, right, total, level):
        expected = stats.binomtest(right, total).proportion_ci(level, method="wilson")
        assert np.array(wilson(right, total, level)) == pytest.approx(np.array(expected), abs=1e-9)

    def test_intervals_of_classes(self, answers):
        found = by_class(confusion(answers.truth, answers.said, answers.classes))
        expected = stats.binomtest(int(found.right[1]), int(found.said[1]))
        np.testing.assert_allclose(
            found.precision_interval[1], expected.proportion_ci(method="wilson")
        )
        assert np.isnan(found.recall_interval[-2]).all()

    def test_top(self, answers):
        for k in (1, 2, 5):
            expected = metrics.top_k_accuracy_score(
                answers.truth, answers.probabilities, k=k, labels=np.arange(CLASSES)
            )
            assert answers.top(k) == pytest.approx(expected)

    def test_equal_probabilities_rank_as_they_are_said(self):
        equal = Answers(np.array([0, 1, 2]), np.full((3, 3), 1 / 3))
        np.testing.assert_array_equal(equal.rank, [0, 1, 2])
        assert equal.top(1) == equal.right.mean() == pytest.approx(1 / 3)

    def test_most_confident_mistakes(self, answers):
        found = most_confident_mistakes(answers, 10)
        expected = sorted(
            (
                (-row.max(), index, true, row.argmax())
                for index, (row, true) in enumerate(
                    zip(answers.probabilities, answers.truth, strict=True)
                )
                if row.argmax() != true
            )
        )[:10]
        assert found.indices.tolist() == [index for _, index, _, _ in expected]
        assert found.truth.tolist() == [true for _, _, true, _ in expected]
        assert found.said.tolist() == [said for _, _, _, said in expected]
        np.testing.assert_allclose(found.confidence, [-c for c, _, _, _ in expected])
        perfect = Answers(np.array([1, 0]), np.array([[0.1, 0.9], [0.8, 0.2]]))
        assert len(most_confident_mistakes(perfect)) == 0

    @pytest.mark.parametrize(
        ("truth", "probabilities", "message"),
        [
            ([0, 1], [[0.5], [0.5]], "of one class"),
            ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "from 0 to 1; received 0 to 2"),
            ([0.0, 1.0], [[0.5, 0.5], [0.5, 0.5]], "integers; received float64"),
            ([0], [[0.5, 0.5], [0.5, 0.5]], r"class numbers \(2,\)"),
            ([0, 1], [[0.5, np.nan], [0.5, 0.5]], "finite"),
            ([], np.zeros((0, 2)), "N at least 1"),
        ],
    )
    def test_what_are_no_answers(self, truth, probabilities, message):
        with pytest.raises(kcnn.InputError, match=message):
            Answers(np.array(truth), np.array(probabilities))


class TestCalibration:
    def test_the_curve(self, answers):
        found = calibration_curve(answers.confidence, answers.right, bins=15)
        accuracy, confidence = theirs.calibration_curve(
            answers.right, answers.confidence, n_bins=15, strategy="uniform"
        )
        held = found.images > 0
        np.testing.assert_allclose(found.accuracy[held], accuracy)
        np.testing.assert_allclose(found.confidence[held], confidence)
        assert found.images.sum() == IMAGES
        gaps = np.abs(accuracy - confidence)
        assert found.error == pytest.approx((gaps * found.images[held]).sum() / IMAGES)
        assert found.largest_error == pytest.approx(gaps.max())

    def test_a_confidence_on_an_edge_is_in_the_bin_below(self):
        found = calibration_curve(np.array([0.0, 0.5, 1.0]), np.array([True, True, False]), 2)
        assert found.images.tolist() == [2, 1]
        assert found.error == pytest.approx((2 * 0.75 + 1.0) / 3)

    def test_the_temperature_that_was_put_in(self, logits):
        """Truth drawn at logits / 2: of 5,000 images the temperature is found to 5 %."""
        rng = np.random.default_rng(0)
        many = np.tile(logits, (10, 1))
        truth = np.array([rng.choice(CLASSES, p=row) for row in softmax(many, 2.0)])
        assert best_temperature(truth, many) == pytest.approx(2.0, rel=0.05)
        said = many.argmax(axis=1) == truth
        before = calibration_curve(softmax(many).max(axis=1), said).error
        after = calibration_curve(softmax(many, 2.0).max(axis=1), said).error
        assert after < 0.03 < 0.1 < before

    @pytest.mark.slow
    def test_it_is_the_minimum(self, truth, logits):
        found = best_temperature(truth, logits)
        grid = np.linspace(0.5, 1.5, 1001) * found
        losses = [metrics.log_loss(truth, softmax(logits, T), labels=range(CLASSES)) for T in grid]
        assert grid[np.argmin(losses)] == pytest.approx(found, rel=2e-3)
        assert negative_log_likelihood(truth, logits, found) == pytest.approx(min(losses), rel=1e-5)

    def test_of_probabilities_as_of_logits(self, truth, logits):
        held = Answers(truth, softmax(logits).astype(np.float32))
        expected = best_temperature(truth, logits)
        assert best_temperature(truth, held.log_probabilities) == pytest.approx(expected, rel=1e-4)
        one = np.random.default_rng(0).normal(size=IMAGES) * 3
        said = (np.random.default_rng(1).uniform(size=IMAGES) < 1 / (1 + np.exp(-one / 3))).astype(
            int
        )
        of_two = 1 / (1 + np.exp(-one))
        held = Answers(said, np.stack([1 - of_two, of_two], axis=1).astype(np.float32))
        expected = best_temperature(said, np.stack([0 * one, one], axis=1))
        assert best_temperature(said, held.log_probabilities) == pytest.approx(expected, rel=1e-4)

    def test_where_none_is_best(self, logits):
        with pytest.raises(kcnn.InputError, match="the sharper the better"):
            best_temperature(logits.argmax(axis=1), logits)
        with pytest.raises(kcnn.InputError, match="the flatter the better"):
            best_temperature(logits.argmin(axis=1), logits)

    def test_risk_by_coverage(self, answers):
        found = risk_coverage(answers.confidence, answers.right)
        for index in (0, 10, len(found.risk) - 1):
            answered = answers.confidence >= found.threshold[index]
            assert found.coverage[index] == pytest.approx(answered.mean())
            assert found.risk[index] == pytest.approx(1 - answers.right[answered].mean())
        assert found.coverage[-1] == 1.0
        order = np.argsort(-answers.confidence)
        risks = np.cumsum(~answers.right[order]) / np.arange(1, IMAGES + 1)
        assert found.area == pytest.approx(risks.mean())  # no two have one confidence
        assert found.coverage_at(risks[-1]) == 1.0
        assert found.coverage_at(-1.0) == 0.0

    def test_images_of_one_confidence_are_answered_together(self):
        found = risk_coverage(np.array([0.5, 0.9, 0.5, 0.5]), np.array([True, True, False, False]))
        assert found.coverage.tolist() == [0.25, 1.0]
        assert found.risk.tolist() == [0.0, 0.5]
        assert found.area == pytest.approx(0.75 * 0.5)

    def test_what_is_no_confidence(self):
        for values in ([1.5], [np.nan], [-0.1]):
            with pytest.raises(kcnn.InputError, match="from 0 to 1"):
                calibration_curve(np.array(values), np.array([True]))
        with pytest.raises(kcnn.InputError, match="right is bool"):
            risk_coverage(np.array([0.5]), np.array([1]))


class TestTwoClasses:
    @pytest.fixture(params=["all differ", "many are equal"])
    def scores(self, request):
        rng = np.random.default_rng(0)
        positive = rng.uniform(size=400) < 0.3
        score = rng.normal(size=400) + positive
        return positive, score if request.param == "all differ" else np.round(score)

    def test_areas(self, scores):
        found = thresholds(*scores)
        assert found.roc_auc == pytest.approx(metrics.roc_auc_score(*scores))
        assert found.average_precision == pytest.approx(metrics.average_precision_score(*scores))

    def test_curves(self, scores):
        found = thresholds(*scores)
        false, true, _ = metrics.roc_curve(*scores, drop_intermediate=False)
        np.testing.assert_allclose(found.roc, (false, true))
        precision, recall, at = metrics.precision_recall_curve(*scores)
        np.testing.assert_allclose(found.precision_recall[0], precision[:-1][::-1])
        np.testing.assert_allclose(found.precision_recall[1], recall[:-1][::-1])
        np.testing.assert_allclose(found.threshold, at[::-1])

    @pytest.mark.slow
    def test_the_best_threshold(self, scores):
        positive, score = scores
        found = thresholds(positive, score)
        for rule, figure in (
            ("f1", metrics.f1_score), ("balanced", metrics.balanced_accuracy_score),
        ):  # fmt: skip
            values = [figure(positive, score >= at) for at in np.unique(score)]
            assert figure(positive, score >= found.best(rule)) == pytest.approx(max(values))

    def test_one_class_has_no_curve(self):
        with pytest.raises(kcnn.InputError, match="0 of 3 are of the second"):
            thresholds(np.zeros(3, bool), np.arange(3.0))
        with pytest.raises(kcnn.InputError, match="there are 3"):
            _ = Answers(np.array([0]), np.ones((1, 3)) / 3).positive


class TestPairs:
    @pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 3), (5, 1), (40, 70), (900, 1000)])
    def test_mcnemar(self, first, second):
        found = Pair(100, first, second, 50)
        expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
        assert found.p_value == pytest.approx(expected)

    def test_counts(self):
        one = np.array([1, 1, 1, 0, 0, 0, 0], bool)
        other = np.array([1, 0, 0, 1, 0, 0, 0], bool)
        found = mcnemar(one, other)
        assert (found.both, found.first, found.second, found.neither) == (1, 2, 1, 3)
        assert found.difference == pytest.approx(other.mean() - one.mean())
        with pytest.raises(kcnn.InputError, match="same images"):
            mcnemar(one, other[:3])

    def test_a_number_from_a_book(self):
        """Approval of a prime minister by 1,600 people, asked twice (Agresti 2002, section 10.1):
        95 % interval of the difference (-.06, -.02), z = -4.17."""
        found = Pair(both=794, first=150, second=86, neither=570)
        assert found.difference == pytest.approx(-0.04, abs=0.0005)
        assert found.interval() == pytest.approx((-0.06, -0.02), abs=0.0025)
        assert found.p_value == pytest.approx(2 * stats.norm.sf(4.17), rel=0.25)  # exact

    def test_the_interval_holds_the_truth_as_often_as_it_says(self):
        rng, shares = np.random.default_rng(0), (0.8, 0.03, 0.07, 0.1)
        draws = rng.multinomial(150, shares, 2000)
        held = [low <= 0.04 <= high for low, high in (Pair(*row).interval() for row in draws)]
        assert 0.93 < np.mean(held) < 0.98
