"""Loss and figures of a class for each pixel, beside NumPy by hand, scikit-learn and PyTorch."""

import keras
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from kcnn.data.sets.masks import IGNORED
from kcnn.tasks import pixels

K = 4


def sample(seed=0, shape=(3, 7, 9)):
    """Truth with ignored pixels, and logits."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, shape).astype("uint8")
    truth[rng.random(shape) < 0.2] = IGNORED
    return truth, rng.normal(size=(*shape, K)).astype("float32")


def softmax(logits):
    e = np.exp(logits.astype("float64") - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def by_hand(truth, logits, weights=None, dice=0.0):
    found = []
    for true, p in zip(truth, softmax(logits), strict=True):
        counted = true != IGNORED
        if not counted.any():
            found.append(0.0)
            continue
        right = p[counted, true[counted]]
        w = np.ones(K) if weights is None else np.asarray(weights)
        w = w[true[counted]]
        entropy = (-np.log(right) * w).sum() / w.sum()
        scores = []
        for k in np.unique(true[counted]):
            t = (true == k) & counted
            q = p[..., k] * counted
            scores.append(2 * (q * t).sum() / ((q**2).sum() + t.sum()))
        found.append((1 - dice) * entropy + dice * (1 - np.mean(scores)))
    return np.array(found)


@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize(
    ("weights", "dice"),
    [(None, 0.0), ((1, 0.5, 2, 0), 0.0), (None, 0.3), ((1, 2, 3, 4), 0.5), (None, 1.0)],
)
def test_loss(logits, weights, dice):
    truth, values = sample()
    given = values if logits else softmax(values).astype("float32")
    found = pixels.PixelLoss(logits, weights, dice, reduction="none")(truth, given)
    np.testing.assert_allclose(found, by_hand(truth, values, weights, dice), rtol=1e-4)
    mean = pixels.PixelLoss(logits, weights, dice)(truth, given)
    assert float(mean) == pytest.approx(by_hand(truth, values, weights, dice).mean(), rel=1e-4)


def test_loss_of_pytorch():
    torch = pytest.importorskip("torch")
    truth, values = sample(1)
    weights = [1.0, 0.5, 2.0, 3.0]
    expected = [
        torch.nn.functional.cross_entropy(
            torch.tensor(v).permute(2, 0, 1)[None], torch.tensor(t.astype("int64"))[None],
            weight=torch.tensor(weights), ignore_index=IGNORED,
        ).item()
        for t, v in zip(truth, values, strict=True)
    ]  # fmt: skip
    found = pixels.picture_loss(truth, values, True, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("logits", [True, False])
def test_one_output_is_the_second_of_two(logits):
    truth, values = sample(2)
    truth = np.where(truth == IGNORED, IGNORED, truth % 2)
    one = values[..., :1]
    two = np.concatenate([np.zeros_like(one), one], axis=-1)
    given = one if logits else (1 / (1 + np.exp(-one))).astype("float32")
    for dice in (0.0, 0.4):
        found = pixels.picture_loss(truth, given, logits, None, dice)
        np.testing.assert_allclose(found, pixels.picture_loss(truth, two, True, None, dice),
                                   rtol=1e-4)  # fmt: skip
    np.testing.assert_array_equal(pixels.class_numbers(given, logits), two.argmax(axis=-1))
    np.testing.assert_allclose(pixels.shares(given, logits), softmax(two), atol=1e-6)


def test_nothing_counts_in_a_picture():
    """No number, no gradient: not NaN."""
    import tensorflow as tf

    truth, values = sample(3)
    truth[0] = IGNORED
    with tf.GradientTape() as tape:
        x = tf.constant(values)
        tape.watch(x)
        loss = pixels.PixelLoss(True, None, 0.5)(truth, x)
    gradient = tape.gradient(loss, x).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[0].any()
    assert not gradient[truth == IGNORED].any()
    assert gradient[truth != IGNORED].any(axis=-1).all()


def test_figures_of_scikit_learn():
    truth, values = sample(4, (5, 20, 20))
    predicted, counted = values.argmax(axis=-1), truth != IGNORED
    confusion = pixels.confusion_of(truth, predicted, K)
    t, p = truth[counted], predicted[counted]
    np.testing.assert_array_equal(confusion, confusion_matrix(t, p))
    figures = pixels.of_confusion(confusion)
    assert figures["mean_iou"] == pytest.approx(jaccard_score(t, p, average="macro"))
    assert figures["dice"] == pytest.approx(f1_score(t, p, average="macro"))
    assert figures["pixel_accuracy"] == pytest.approx((t == p).mean())
    np.testing.assert_allclose(pixels.iou_per_class(confusion), jaccard_score(t, p, average=None))


def test_by_hand():
    """Truth 0 0 1 1, prediction 0 1 1 1: IoU 1/2 and 2/3; class 2 is nowhere."""
    truth, said = np.array([0, 0, 1, 1, IGNORED]), np.array([0, 1, 1, 1, 2])
    figures = pixels.of_confusion(pixels.confusion_of(truth, said, 3))
    assert figures["mean_iou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert figures["pixel_accuracy"] == 0.75
    assert figures["dice"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    # What is nowhere, and is seen: wrong.
    seen = pixels.of_confusion(pixels.confusion_of(truth, np.array([0, 2, 1, 1, 0]), 3))
    assert seen["mean_iou"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    perfect = pixels.of_confusion(pixels.confusion_of(truth, np.minimum(truth, 2), 3))
    assert set(perfect.values()) == {1.0}


def test_it_is_one_matrix_over_all_batches_not_a_mean_of_means():
    batches = [sample(seed, (2, 5, 6)) for seed in range(4)]
    batches[1][0][:] = 0
    confusion = sum(pixels.confusion_of(t, v.argmax(axis=-1), K) for t, v in batches)
    for name, expected in pixels.of_confusion(confusion).items():
        metric = pixels.PixelFigure(name, K, True)
        for truth, values in batches:
            metric.update_state(truth, values)
        assert float(metric.result()) == pytest.approx(expected, abs=1e-6), name
        means = [
            pixels.of_confusion(pixels.confusion_of(t, v.argmax(axis=-1), K)) for t, v in batches
        ]
        assert abs(np.mean([m[name] for m in means]) - expected) > 1e-3
        metric.reset_state()
        assert float(metric.result()) == 0.0


def test_it_counts_beyond_float32():
    metric = pixels.PixelFigure("pixel_accuracy", 2)
    metric.confusion.assign([2**25, 0, 0, 2**25])
    metric.update_state(np.zeros((1, 1, 1)), np.array([[[[0.0, 1.0]]]]))
    assert int(np.asarray(metric.confusion)[1]) == 1
    assert int(np.asarray(metric.confusion)[0]) == 2**25


def test_agrees_with_keras():
    truth, values = sample(6)
    theirs = keras.metrics.MeanIoU(K, ignore_class=IGNORED, sparse_y_pred=False)
    theirs.update_state(truth, values)
    ours = pixels.PixelFigure("mean_iou", K, True)
    ours.update_state(truth, values)
    assert float(ours.result()) == pytest.approx(float(theirs.result()), rel=1e-5)


@pytest.mark.parametrize(
    "one", [pixels.PixelLoss(True, (1.0, 2.0), 0.25), pixels.PixelFigure("dice", 3, True)]
)
def test_configs(one):
    twin = type(one).from_config(one.get_config())
    assert twin.get_config() == one.get_config()
    assert twin.logits is True
