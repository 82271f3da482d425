"""What is missed and invented: boxes against COCO's own matching, and by hand; masks by hand."""

import numpy as np
import pytest

import kcnn
from kcnn.interpret import mask_errors, missed_and_invented, worst_pictures
from kcnn.interpret.boxes import ALONE, UNCOUNTED


def found(*rows):
    """[x_min, y_min, x_max, y_max, class, confidence] as boxes, confidences, classes."""
    table = np.array(rows, "float64").reshape(-1, 6)
    return table[:, :4], table[:, 5], table[:, 4].astype(int)


def test_by_hand():
    truth = np.array([
        [0, 0, 10, 10, 0, 0],  # found twice
        [20, 0, 30, 10, 1, 0],  # named 2
        [40, 0, 50, 10, 2, 0],  # missed: overlap 1/3
        [60, 0, 90, 10, 1, 1],  # a crowd
        [-1, -1, -1, -1, -1, -1],
    ])  # fmt: skip
    said = found(
        [0, 0, 10, 8, 0, 0.6],  # the second time: invented
        [0, 0, 10, 9, 0, 0.9],
        [20, 0, 30, 10, 2, 0.8],
        [45, 0, 55, 10, 2, 0.7],  # invented
        [60, 0, 70, 10, 1, 0.9],  # in the crowd, as all of it is
        [80, 0, 90, 10, 1, 0.8],
        [60, 0, 70, 10, 0, 0.5],  # in a crowd of another class: invented
        [40, 0, 50, 10, 2, 0.2],  # not certain
    )
    errors = missed_and_invented([truth], [said], 3, confidence=0.3)
    expected = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [2, 0, 1, 0]]
    np.testing.assert_array_equal(errors.counts, expected)
    np.testing.assert_array_equal(errors.partners[0], [1, 2, ALONE, UNCOUNTED, UNCOUNTED])
    outside = UNCOUNTED
    np.testing.assert_array_equal(
        errors.objects[0], [ALONE, 0, 1, ALONE, outside, outside, ALONE, outside]
    )
    for name, values in [("right", [1, 0, 0]), ("missed", [0, 0, 1]), ("invented", [2, 0, 1]),
                         ("confused", [0, 1, 0])]:  # fmt: skip
        np.testing.assert_array_equal(getattr(errors, name), values)
    assert errors.f1 == pytest.approx([2 * 1 / (3 + 5)])
    assert missed_and_invented([truth[4:]], [found()], 3).f1 == [1.0]


def test_the_right_name_goes_before_the_surer_one():
    """A surer detection of another class does not take the object away from the right one."""
    truth = [np.array([[0, 0, 10, 10, 0]])]
    said = [found([0, 0, 10, 10, 1, 0.9], [0, 0, 10, 9, 0, 0.4])]
    np.testing.assert_array_equal(
        missed_and_invented(truth, said, 2).counts, [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    )


@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_coco_matches_the_same(iou):
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    rng = np.random.default_rng(0)
    truths, said, true, dets = [], [], [], []
    for image in range(1, 25):
        count = rng.integers(0, 7)
        corners = rng.integers(0, 30, (count, 2))
        boxes = np.concatenate([corners, corners + rng.integers(4, 20, (count, 2))], axis=1)
        kinds, crowds = rng.integers(0, 3, count), rng.random(count) < 0.15
        truths.append(np.column_stack([boxes, kinds, crowds]))
        near = np.concatenate([boxes, boxes, boxes[:2]]) + rng.integers(
            -2, 3, (2 * count + len(boxes[:2]), 4)
        )
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        names = np.where(rng.random(len(near)) < 0.5, np.resize(kinds, len(near)), 2)
        scores = rng.permutation(len(near)) / 100 + 0.1
        said.append((near, scores, names))
        for box, kind, crowd in zip(boxes, kinds, crowds, strict=True):
            x, y, right, bottom = map(int, box)
            true.append({"id": len(true) + 1, "image_id": image, "category_id": int(kind) + 1,
                         "bbox": [x, y, right - x, bottom - y], "iscrowd": int(crowd),
                         "area": (right - x) * (bottom - y)})  # fmt: skip
        for box, score, kind in zip(near, scores, names, strict=True):
            x, y, right, bottom = map(int, box)
            dets.append({"image_id": image, "category_id": int(kind) + 1, "score": float(score),
                         "bbox": [x, y, right - x, bottom - y]})  # fmt: skip
    data = coco.COCO()
    data.dataset = {"info": {}, "images": [{"id": k} for k in range(1, 25)], "annotations": true,
                    "categories": [{"id": k} for k in (1, 2, 3)]}  # fmt: skip
    data.createIndex()
    theirs = evaluation.COCOeval(data, data.loadRes(dets), "bbox")
    theirs.params.iouThrs, theirs.params.areaRng = np.array([iou]), [[0, 1e9]]
    theirs.params.areaRngLbl = ["all"]
    theirs.evaluate()
    right, missed, invented = np.zeros(3, int), np.zeros(3, int), np.zeros(3, int)
    for one in filter(None, theirs.evalImgs):
        k, counted = one["category_id"] - 1, one["gtIgnore"] == 0
        right[k] += ((one["gtMatches"][0] > 0) & counted).sum()
        missed[k] += ((one["gtMatches"][0] == 0) & counted).sum()
        invented[k] += ((one["dtMatches"][0] == 0) & ~one["dtIgnore"][0].astype(bool)).sum()
    ours = missed_and_invented(truths, said, 3, iou=iou)
    wrong = ours.counts[:3, :3] - np.diag(ours.right)
    np.testing.assert_array_equal(ours.right, right)
    # COCO knows no wrong names: there they are missed, and invented.
    np.testing.assert_array_equal(ours.missed + wrong.sum(axis=1), missed)
    np.testing.assert_array_equal(ours.invented + wrong.sum(axis=0), invented)
    assert min(right.sum(), missed.sum(), invented.sum(), wrong.sum()) > 3


def test_masks_by_hand():
    truth = [np.array([[0, 0], [1, 1]]), np.array([[2, 255, 2]]), np.array([[255]])]
    said = [np.array([[0, 1], [1, 1]]), np.array([[1, 0, 2]]), np.array([[0]])]
    errors = mask_errors(truth, said, 4)
    np.testing.assert_array_equal(
        errors.confusion, [[1, 1, 0, 0], [0, 2, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    )
    np.testing.assert_allclose(errors.iou, [(1 / 2 + 2 / 3) / 2, (0 + 1 / 2) / 2, np.nan])
    np.testing.assert_allclose(errors.missed, [1 / 2, 0, 1 / 2, np.nan])
    np.testing.assert_allclose(errors.invented, [0, 1 / 2, 0, np.nan])
    np.testing.assert_array_equal(worst_pictures(errors.iou), [1, 0])
    np.testing.assert_array_equal(worst_pictures(np.array([0.5, 0.1, 0.5, 0.1]), 3), [1, 3, 0])


BOX = np.array([[0, 0, 1, 1, 0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: missed_and_invented([BOX], [], 1), "received 1 and 0"),
        (lambda: missed_and_invented([BOX], [found()], 1, iou=0), "received 0, 0.0"),
        (lambda: missed_and_invented([BOX[:, :4]], [found()], 1), r"that of picture 0 is \(1, 4\)"),
        (lambda: missed_and_invented([BOX + 1], [found()], 1), "picture 0 has 1 to 1"),
        (lambda: missed_and_invented([BOX], [found([0, 0, 1, 1, 3, 1])], 1), "said to have 3"),
        (lambda: missed_and_invented([BOX], [(BOX[:, :4], [1, 1], [0])], 1), r"\(2,\)"),
        (lambda: mask_errors([BOX], [], 1), "one mask that was said"),
        (lambda: mask_errors([BOX], [BOX[:, :4]], 2), "of the same size"),
        (lambda: mask_errors([BOX], [BOX + 1], 2), "received 1 to 2"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(kcnn.InputError, match=message):
        call()
