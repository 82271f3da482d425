"""Average precision by hand, and against pycocotools."""

import builtins
import contextlib
import io
import math

import numpy as np
import pytest

from kcnn.errors import InputError
from kcnn.tasks.average_precision import RECALLS, average_precision

pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval (extra `detection`)")

NAMES = ["red", "white", "never"]


def random_case(seed, images=12):
    """Truths with crowds and small boxes; detections near them, elsewhere, and of other classes."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for image in range(images):
        low = rng.uniform(0, 200, (rng.integers(0, 9) if image else 0, 2))
        side = rng.uniform(4, 130, low.shape)
        number, crowd = rng.integers(0, 2, len(low)), rng.random(len(low)) < 0.15
        truths.append(np.column_stack([low, low + side, number, crowd]).astype("float32"))
        near = np.repeat(truths[-1], 2, axis=0)
        boxes = near[:, :4] + rng.normal(scale=4, size=(len(near), 4))
        extra = rng.uniform(0, 200, (rng.integers(0, 90), 2))
        boxes = np.concatenate([boxes, np.column_stack([extra, extra + 25])])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        numbers = np.concatenate([near[:, 4], rng.integers(0, 3, len(extra))]).astype(int)
        scores = rng.random(len(boxes)).round(2)  # ties among them
        detections.append((boxes.astype("float32"), scores.astype("float32"), numbers))
    return truths, detections


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_as_pycocotools(seed):
    pytest.importorskip("pycocotools", reason="needs pycocotools (extra `oracle`)")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, detections = random_case(seed)
    coco, rows = COCO(), []
    annotations = [
        {"id": 0, "image_id": image, "category_id": int(number), "iscrowd": int(crowd)}
        | {"bbox": [x, y, right - x, bottom - y], "area": (right - x) * (bottom - y)}
        for image, found in enumerate(truths)
        for x, y, right, bottom, number, crowd in found.astype("float64").tolist()
    ]
    for index, annotation in enumerate(annotations):
        annotation["id"] = index + 1
    for image, (boxes, scores, numbers) in enumerate(detections):
        for (x, y, right, bottom), score, number in zip(
            boxes.astype("float64").tolist(), scores.tolist(), numbers.tolist(), strict=True
        ):
            row = {"image_id": image, "category_id": number, "score": score}
            rows.append(row | {"bbox": [x, y, right - x, bottom - y]})
    with contextlib.redirect_stdout(io.StringIO()):
        coco.dataset = {
            "images": [{"id": image} for image in range(len(truths))],
            "categories": [{"id": k} for k in range(3)],
            "annotations": annotations,
        }
        coco.createIndex()
        theirs = COCOeval(coco, coco.loadRes(rows), "bbox")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    ours = average_precision(truths, detections, NAMES)
    found = (ours.ap, ours.ap50, ours.ap75, ours.ap_small, ours.ap_medium, ours.ap_large, ours.ar)
    found = [-1 if value is None else value for value in found]  # as theirs are
    np.testing.assert_allclose(found, theirs.stats[[0, 1, 2, 3, 4, 5, 8]], atol=1e-6)
    assert 0.02 < ours.ap < 0.9
    for k in (0, 1):
        precision = theirs.eval["precision"][:, :, k, 0, 2]
        np.testing.assert_allclose(ours.ap_per_class[NAMES[k]], precision.mean(), atol=1e-6)
        np.testing.assert_allclose(ours.curves[NAMES[k]], precision[0], atol=1e-6)
    assert ours.ap_per_class["never"] is None


def test_perfect_detections_are_worth_one():
    truths, _ = random_case(3)
    perfect = [
        (rows[:, :4], np.linspace(1, 0.5, len(rows)), rows[:, 4].astype(int))
        for rows in (truth[truth[:, 5] == 0] for truth in truths)
    ]
    found = average_precision(truths, perfect, NAMES)
    for value in (found.ap, found.ap50, found.ap75, found.ar, found.ap_medium, found.ap_large):
        assert math.isclose(value, 1)
    assert found.ap50_per_class == pytest.approx({"red": 1, "white": 1, "never": None})
    np.testing.assert_allclose(found.curves["red"], np.ones(101))


def test_a_case_that_one_can_count():
    """Two boxes; the surest detection is wrong, the second finds one: at IoU 0.8, up to .80.

    Precision is 1/2 up to recall 1/2, of 101 recalls the first 51; 7 of 10 IoUs count it.
    """
    truths = [np.array([[0, 0, 100, 100, 0, 0], [200, 0, 300, 100, 0, 0]])]
    boxes = np.array([[500, 0, 600, 100], [0, 0, 100, 80]])
    found = average_precision(truths, [(boxes, [0.9, 0.8], [0, 0])], ["one"])
    assert found.ap50 == pytest.approx(0.5 * 51 / 101)
    assert found.ap == pytest.approx(0.5 * 51 / 101 * 0.7)
    assert found.ar == pytest.approx(0.5 * 0.7)
    assert found.ap_large == pytest.approx(found.ap)
    assert found.ap_small is None
    assert found.ap_medium is None
    assert found.ap_per_class == {"one": found.ap}
    assert found.ap50_per_class == {"one": found.ap50}
    np.testing.assert_allclose(found.curves["one"], np.where(RECALLS <= 0.5, 0.5, 0))


def test_a_detection_in_a_crowd_is_neither_right_nor_wrong():
    box, crowd = [0, 0, 50, 50, 0, 0], [100, 100, 300, 300, 0, 1]
    inside = [150, 150, 180, 180]
    detections = [(np.array([inside, box[:4]]), [0.9, 0.8], [0, 0])]
    assert average_precision([np.array([box, crowd])], detections, ["a"]).ap == pytest.approx(1)
    assert average_precision([np.array([box])], detections, ["a"]).ap == pytest.approx(0.5)


def test_one_of_two_on_the_same_box_is_wrong():
    truths = [np.array([[0, 0, 50, 50, 0, 0], [100, 0, 150, 50, 0, 0]])]
    twice = np.array([[0, 0, 50, 50], [0, 0, 50, 50], [100, 0, 150, 50]])
    found = average_precision(truths, [(twice, [0.9, 0.8, 0.7], [0, 0, 0])], ["a"])
    assert found.ap == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_hundred_detections_of_an_image_count():
    truths = [np.array([[0, 0, 50, 50, 0, 0]])]
    boxes = np.tile([500, 500, 550, 550], (100, 1))
    last = np.concatenate([boxes, [[0, 0, 50, 50]]])
    found = average_precision(truths, [(last, np.linspace(0.9, 0.1, 101), [0] * 101)], ["a"])
    assert found.ap == found.ar == 0


NOTHING = (np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))


def test_no_detections_are_worth_nothing():
    truths, _ = random_case(4)
    found = average_precision(truths, [NOTHING] * len(truths), NAMES)
    assert (found.ap, found.ap50, found.ar) == (0, 0, 0)
    assert found.ap_per_class == {"red": 0, "white": 0, "never": None}
    assert not found.curves["white"].any()
    assert found.curves["never"] is None


@pytest.mark.parametrize("truth", [np.zeros((0, 6)), -np.ones((3, 6)), [[0, 0, 9, 9, 0, 1]]])
def test_no_boxes_to_be_found_have_no_precision(truth):
    detections = [(np.array([[0, 0, 9, 9]]), [0.5], [1])]
    for found in (
        average_precision([truth], detections, NAMES),
        average_precision([truth], [NOTHING], NAMES),
    ):
        assert (found.ap, found.ap50, found.ap_small, found.ar) == (None,) * 4
        assert set(found.ap_per_class.values()) == set(found.curves.values()) == {None}


def test_no_images():
    assert average_precision([], [], NAMES).ap is None


def test_rows_that_fill_up_do_not_count():
    truths, detections = random_case(5)
    filled = [np.concatenate([rows, -np.ones((3, 6))]) for rows in truths]
    assert average_precision(filled, detections, NAMES).ap == (
        average_precision(truths, detections, NAMES).ap
    )


def test_nothing_is_printed(capfd):
    average_precision(*random_case(6), NAMES)
    assert capfd.readouterr() == ("", "")


def test_as_many_images_on_both_sides():
    with pytest.raises(InputError, match="received 1 and 2"):
        average_precision([np.zeros((0, 6))], [NOTHING] * 2, NAMES)


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("faster_coco_eval"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install 'kcnn\[detection\]'"):
        average_precision([], [], NAMES)
