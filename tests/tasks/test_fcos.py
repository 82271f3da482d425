"""FCOS' targets, loss and detections, against NumPy by hand and torchvision."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kcnn.tasks.fcos import FCOSLoss, assign, decode, focal_loss, giou, iou, losses

INF = float("inf")


# --------------------------------------------------------------------------- by hand


def grid(height, width, strides=(8, 16, 32)):
    """Points (P, 2) and strides (P,) as the paper lays them."""
    rows = [
        (s / 2 + s * column, s / 2 + s * row, s)
        for s in strides
        for row in range(height // s)
        for column in range(width // s)
    ]
    rows = np.array(rows, "float32")
    return rows[:, :2], rows[:, 2]


def iou_by_hand(a, b):
    """IoU and GIoU of two boxes."""

    def area(box):
        return (box[2] - box[0]) * (box[3] - box[1])

    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = area(a) + area(b) - width * height
    hull = area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    value = width * height / union
    return value, value - (hull - union) / hull


def assigned_by_hand(points, strides, rows, radius):
    """Of one image, point by point: class, box, centerness, weight."""
    levels = sorted(set(strides.tolist()))
    found = []
    for (x, y), stride in zip(points.tolist(), strides.tolist(), strict=True):
        level = levels.index(stride)
        low = 0 if level == 0 else 8 * levels[level - 1]
        high = INF if level == len(levels) - 1 else 8 * stride
        best, in_crowd, in_other = None, False, False
        for x0, y0, x1, y1, number, crowd in rows.tolist():
            sides = (x - x0, y - y0, x1 - x, y1 - y)
            if number < 0 or min(sides) <= 0:
                continue
            in_crowd, in_other = in_crowd or bool(crowd), in_other or not crowd
            off = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2))
            far = radius is not None and off >= radius * stride
            if crowd or far or not low < max(sides) <= high:
                continue
            area = (x1 - x0) * (y1 - y0)
            if best is None or area < best[0]:
                left, top, right, bottom = sides
                ratio = min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)
                best = (area, int(number), (x0, y0, x1, y1), ratio**0.5)
        weight = 0.0 if in_crowd and not in_other else 1.0
        found.append((*(best[1:] if best else (-1, (0, 0, 0, 0), 0.0)), weight))
    classes, boxes, centerness, weights = zip(*found, strict=True)
    return np.array(classes), np.array(boxes), np.array(centerness), np.array(weights)


def losses_by_hand(truth, outputs, radius=1.5, alpha=0.25, gamma=2.0):
    """The three terms of equation 2 over a batch, in float64, from logarithms as they stand."""

    def sigmoid(value):
        return 1 / (1 + np.exp(-value))

    sums, positives = np.zeros(3), 0
    for rows, image in zip(truth, outputs.astype("float64"), strict=True):
        targets = assigned_by_hand(image[:, 5:7], image[:, 7], rows, radius)
        for number, box, centre, weight, row in zip(*targets, image, strict=True):
            for k, p in enumerate(sigmoid(row[8:])):
                if k == number:
                    sums[0] -= weight * alpha * (1 - p) ** gamma * np.log(p)
                else:
                    sums[0] -= weight * (1 - alpha) * p**gamma * np.log(1 - p)
            if number >= 0:
                positives += 1
                sums[1] += centre * (1 - iou_by_hand(row[:4], box)[1])
                p = sigmoid(row[4])
                sums[2] -= centre * np.log(p) + (1 - centre) * np.log(1 - p)
    return sums / max(positives, 1)


def random_truth(rng, images=3, most=6, size=96, classes=3):
    """Boxes of all sizes, some of them crowds, some images with fewer than `most`."""
    truth = -np.ones((images, most, 6), "float32")
    for image in range(images):
        for row in range(most - image):
            low, side = rng.uniform(-4, size - 8, 2), rng.uniform(4, size, 2)
            number, crowd = rng.integers(classes), rng.random() < 0.2
            truth[image, row] = [*low, *(low + side), number, crowd]
    return truth


def random_outputs(rng, images=3, size=96, classes=3):
    points, strides = grid(size, size)
    outputs = rng.normal(size=(images, len(points), 8 + classes)).astype("float32")
    outputs[..., 5:7], outputs[..., 7] = points, strides
    away = np.exp(rng.normal(size=(images, len(points), 4)) * 0.7) * strides[:, None]
    outputs[..., :2], outputs[..., 2:4] = points - away[..., :2], points + away[..., 2:]
    return outputs


# --------------------------------------------------------------------------- overlaps


def random_boxes(rng, count=200):
    low = rng.uniform(0, 50, (count, 2))
    return np.concatenate([low, low + rng.uniform(1, 40, (count, 2))], 1).astype("float32")


def test_overlaps_by_hand():
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng), random_boxes(rng)
    expected = np.array([iou_by_hand(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)])
    np.testing.assert_allclose(iou(a, b), expected[:, 0], atol=1e-6)
    np.testing.assert_allclose(giou(a, b), expected[:, 1], atol=1e-6)
    assert (expected[:, 0] == 0).any()
    assert (expected[:, 0] > 0.3).any()


def test_overlaps_of_boxes_that_one_can_count():
    a = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1], [3, 3, 3, 3]], "float32")
    b = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [2, 0, 3, 1], [3, 3, 3, 3]], "float32")
    np.testing.assert_allclose(iou(a, b), [1 / 7, 1, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(giou(a, b), [1 / 7 - 2 / 9, 1, -1 / 3, 0], rtol=1e-6)


@pytest.mark.parametrize("function", [iou, giou])
def test_gradients_of_overlaps_are_finite_where_boxes_are_empty(function):
    a = tf.Variable([[0.0, 0, 0, 0], [1, 1, 1, 3], [0, 0, 2, 2]])
    with tf.GradientTape() as tape:
        value = function(a, tf.constant([[0.0, 0, 0, 0], [4, 4, 4, 4], [5, 5, 5, 5]]))
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, a)).all()


# --------------------------------------------------------------------------- targets


@pytest.mark.parametrize("radius", [1.5, None, 0.7])
def test_targets_by_hand(radius):
    rng = np.random.default_rng(1)
    points, strides = grid(96, 96)
    truth = random_truth(rng, images=6, most=8)
    targets = assign(points, strides, truth, radius=radius)
    expected = [assigned_by_hand(points, strides, rows, radius) for rows in truth]
    for index, found in enumerate(targets):
        right = np.stack([image[index] for image in expected])
        np.testing.assert_allclose(found, right, atol=1e-6)
    assert {-1, 0, 1, 2} == set(np.unique(targets.classes))
    assert set(np.unique(targets.weights)) == {0, 1}


def one(*rows, size=(128, 128), strides=(8, 16, 32), radius=None):
    """Classes of each level of an image with these rows: {stride: (h, w)}."""
    points, per_point = grid(*size, strides)
    targets = assign(
        points, per_point, np.array([rows], "float32").reshape(1, -1, 6), radius=radius
    )
    classes, weights = np.array(targets.classes[0]), np.array(targets.weights[0])
    shapes = {s: (size[0] // s, size[1] // s) for s in strides}
    return (
        {s: classes[per_point == s].reshape(shape) for s, shape in shapes.items()},
        {s: weights[per_point == s].reshape(shape) for s, shape in shapes.items()},
    )


def test_levels_take_objects_by_the_farthest_side():
    """Of a box of 100 pixels the middle is at most 64 from each side, the rest is not."""
    classes, _ = one([10, 10, 110, 110, 1, 0])
    middle = classes[8] == 1
    rows = np.flatnonzero(middle.any(axis=1))
    centres = 4 + 8 * np.array([rows[0], rows[-1]])
    assert (centres >= 110 - 64).all()
    assert (centres <= 10 + 64).all()
    assert middle.sum() == 3 * 3  # 46 <= 4 + 8 i <= 74 for i = 6, 7, 8
    assert (classes[16] == 1).sum() == 6 * 6 - 2 * 2
    assert (classes[32] == 1).sum() == 0  # 128 and more is the last level's alone


def test_a_side_exactly_at_the_reach_is_the_finer_levels():
    inside, _ = one([4, 4, 76, 76, 0, 0], strides=(8, 16))  # from 12 it is 64 to the far side
    assert inside[8][1, 1] == 0
    outside, _ = one([3, 3, 76.01, 76.01, 0, 0], strides=(8, 16))
    assert outside[8][1, 1] == -1


def test_of_several_boxes_the_smallest_is_learned():
    small, large = [32, 32, 56, 56, 2, 0], [16, 16, 80, 80, 1, 0]
    for rows in ((small, large), (large, small)):
        classes, _ = one(*rows)
        assert (classes[8][4:7, 4:7] == 2).all()
        assert (classes[8] == 1).any()


def test_only_the_middle_with_center_sampling():
    classes, _ = one([0, 0, 56, 56, 0, 0], radius=1.5)  # the middle is a point of stride 8
    learned = np.argwhere(classes[8] == 0)
    assert learned.tolist() == [[r, c] for r in (2, 3, 4) for c in (2, 3, 4)]


def test_crowds_are_neither_learned_nor_background():
    crowd, box = [0, 0, 64, 64, 1, 1], [40, 40, 80, 80, 0, 0]
    classes, weights = one(crowd, box)
    assert 1 not in classes[8]
    assert (weights[8][:5, :5] == 0).all()  # in the crowd alone
    assert (weights[8][5:8, 5:8] == 1).all()  # in both
    assert (weights[8][8:] == 1).all()  # in none, or the box alone
    assert (weights[16][:2, :2] == 0).all()


def test_a_level_by_itself_takes_all():
    classes, _ = one([0, 0, 128, 128, 0, 0], [8, 8, 16, 16, 1, 0], strides=(4,))
    assert (classes[4] >= 0).all()
    assert (classes[4] == 1).sum() == 4


@pytest.mark.parametrize("rows", [0, 3])
def test_an_image_without_boxes_is_background(rows):
    points, strides = grid(64, 64)
    targets = assign(points, strides, -np.ones((2, rows, 6)))
    assert (np.array(targets.classes) == -1).all()
    assert not np.any(targets.boxes)
    assert not np.any(targets.centerness)
    assert np.all(targets.weights)


# --------------------------------------------------------------------------- loss


def test_focal_loss_by_hand():
    logits = np.linspace(-8, 8, 33)
    p = 1 / (1 + np.exp(-logits))
    for alpha, gamma in ((0.25, 2.0), (0.5, 0.0), (0.9, 1.5)):
        options = {"alpha": alpha, "gamma": gamma}
        one_ = focal_loss(np.ones(33, "float32"), logits.astype("float32"), **options)
        np.testing.assert_allclose(one_, -alpha * (1 - p) ** gamma * np.log(p), rtol=1e-4)
        zero = focal_loss(np.zeros(33, "float32"), logits.astype("float32"), **options)
        np.testing.assert_allclose(zero, -(1 - alpha) * p**gamma * np.log(1 - p), rtol=1e-4)


def test_focal_loss_of_far_logits_is_finite():
    logits = tf.Variable([-1e4, -100.0, 0.0, 100.0, 1e4] * 2)
    with tf.GradientTape() as tape:
        value = focal_loss(tf.constant([0.0] * 5 + [1.0] * 5), logits)
    np.testing.assert_allclose(value[4], 0.75 * 1e4)
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, logits)).all()


@pytest.mark.parametrize("options", [{}, {"radius": None, "alpha": 0.5, "gamma": 1.0}])
def test_losses_by_hand(options):
    rng = np.random.default_rng(2)
    truth, outputs = random_truth(rng), random_outputs(rng)
    terms = losses(truth, outputs, **options)
    assert [term.shape for term in terms] == [(3,)] * 3
    expected = losses_by_hand(truth, outputs, **options)
    assert (expected > 0.01).all()
    np.testing.assert_allclose([np.mean(term) for term in terms], expected, rtol=1e-4)
    loss = FCOSLoss(**options)
    np.testing.assert_allclose(loss(truth, outputs), expected.sum(), rtol=1e-4)
    np.testing.assert_allclose(loss.call(truth, outputs), np.sum(terms, axis=0), rtol=1e-6)


def test_the_loss_in_a_graph_of_any_size_is_the_same():
    rng = np.random.default_rng(3)
    truth, outputs, loss = random_truth(rng), random_outputs(rng), FCOSLoss()
    signature = [tf.TensorSpec((None, None, 6)), tf.TensorSpec((None, None, 11))]
    graph = tf.function(loss, input_signature=signature)
    np.testing.assert_allclose(graph(truth, outputs), loss(truth, outputs), rtol=1e-5)
    np.testing.assert_allclose(graph(truth[:1, :0], outputs[:1]), loss(truth[:1, :0], outputs[:1]))


def test_the_loss_is_float32_whatever_comes():
    rng = np.random.default_rng(4)
    truth, outputs = random_truth(rng), random_outputs(rng)
    whole = np.round(outputs * 4) / 4  # exact in 16 bits
    half = FCOSLoss()(truth, tf.cast(whole, "float16"))
    assert half.dtype == tf.float32
    np.testing.assert_allclose(half, FCOSLoss()(truth, whole), rtol=1e-6)
    for term, right in zip(
        losses(truth, tf.cast(whole, "float16")), losses(truth, whole), strict=True
    ):
        np.testing.assert_allclose(term, right, rtol=1e-6)


@pytest.mark.parametrize("kind", ["without rows", "without boxes", "crowds alone", "mixed"])
def test_gradients_are_finite(kind):
    rng = np.random.default_rng(5)
    truth = random_truth(rng)
    if kind == "without rows":
        truth = truth[:, :0]
    elif kind == "without boxes":
        truth[:] = -1
    elif kind == "crowds alone":
        truth[..., 5] = 1
    outputs = tf.Variable(random_outputs(rng))
    with tf.GradientTape() as tape:
        loss = FCOSLoss()(truth, outputs)
    gradient = tape.gradient(loss, outputs).numpy()
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()
    assert gradient[..., 8:].any()
    assert gradient[..., :5].any() == (kind == "mixed")
    assert not gradient[..., 5:8].any()


def test_crowds_leave_positions_out_of_the_loss():
    rng = np.random.default_rng(6)
    outputs = random_outputs(rng, images=1)
    everywhere = np.array([[[-1000, -1000, 1000, 1000, 0, 1]]], "float32")
    assert FCOSLoss()(everywhere, outputs) == 0
    assert FCOSLoss()(-np.ones((1, 1, 6), "float32"), outputs) > 0


def test_the_loss_comes_back_from_its_config():
    loss = FCOSLoss(radius=None, alpha=0.5, gamma=1.0, name="mine")
    saved = keras.losses.serialize(loss)
    again = keras.losses.deserialize(saved)
    assert isinstance(again, FCOSLoss)
    assert again.get_config() == loss.get_config()
    assert (again.radius, again.alpha, again.gamma, again.name) == (None, 0.5, 1.0, "mine")


def test_perfect_outputs_lose_nothing_but_centerness_entropy():
    points, strides = grid(96, 96)
    truth = np.array([[[8, 8, 56, 56, 1, 0]]], "float32")
    targets = assign(points, strides, truth)
    outputs = np.zeros((1, len(points), 11), "float32")
    outputs[..., 5:7], outputs[..., 7] = points, strides
    outputs[..., :4] = targets.boxes
    outputs[..., 8:] = np.where(np.array(targets.classes)[..., None] == np.arange(3), 30, -30)
    classes, boxes, _ = losses(truth, outputs)
    np.testing.assert_allclose([classes[0], boxes[0]], 0, atol=1e-6)


# --------------------------------------------------------------------------- detections


def decoded_by_hand(image, size, threshold, overlap, per_class, most):
    """Boxes, scores and classes of one image: greedy, class by class."""
    boxes = np.clip(image[:, :4], 0, [size[1], size[0], size[1], size[0]])
    sigmoid = 1 / (1 + np.exp(-image.astype("float64")))
    kept = []
    for k in range(image.shape[1] - 8):
        scores = np.sqrt(sigmoid[:, 8 + k] * sigmoid[:, 4])
        alive = [i for i in np.argsort(-scores) if scores[i] > threshold]
        alive = [i for i in alive if (boxes[i, 2:] > boxes[i, :2]).all()]
        own = []
        for i in alive:
            if all(iou_by_hand(boxes[i], boxes[j])[0] <= overlap for j in own):
                own.append(i)
        kept += [(scores[i], k, i) for i in own[:per_class]]
    kept = sorted(kept, reverse=True)[:most]
    return (
        np.array([boxes[i] for _, _, i in kept]).reshape(-1, 4),
        np.array([score for score, _, _ in kept]),
        np.array([k for _, k, _ in kept]),
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"threshold": 0.6}, {"overlap": 0.3, "most": 17}, {"per_class": 4}, {"threshold": 0.99}],
)
def test_detections_by_hand(options):
    rng = np.random.default_rng(7)
    outputs, size = random_outputs(rng, size=64), (60, 50)
    settings = {"threshold": 0.05, "overlap": 0.6, "per_class": 100, "most": 100} | options
    found = decode(outputs, size, **options)
    assert len(found) == 3
    for image, detections in zip(outputs, found, strict=True):
        boxes, scores, classes = decoded_by_hand(image, size, **settings)
        np.testing.assert_allclose(detections.boxes, boxes, atol=1e-4)
        np.testing.assert_allclose(detections.scores, scores, atol=1e-5)
        np.testing.assert_array_equal(detections.classes, classes)
        assert detections.boxes.dtype == detections.scores.dtype == np.float32
        assert len(classes) > 3 or options.get("threshold") == 0.99


def test_each_image_of_a_batch_may_have_its_size():
    rng = np.random.default_rng(8)
    outputs = random_outputs(rng, images=2)
    sizes = [(40, 96), (96, 50)]
    together = decode(outputs, sizes)
    for image, size, detections in zip(outputs, sizes, together, strict=True):
        (alone,) = decode(image[None], size)
        np.testing.assert_array_equal(detections.boxes, alone.boxes)
        assert detections.boxes[:, 2].max() <= size[1]
        assert detections.boxes[:, 3].max() <= size[0]


def test_what_lies_outside_the_image_is_not_found():
    outputs = np.zeros((1, 2, 9), "float32")
    outputs[0, :, :4] = [[100, 10, 140, 50], [10, 10, 50, 50]]
    outputs[..., 4:5], outputs[..., 8] = 9, 9
    (found,) = decode(outputs, (64, 64))
    assert found.boxes.tolist() == [[10, 10, 50, 50]]
    assert 0 <= found.scores[0] <= 1


# --------------------------------------------------------------------------- torchvision


@pytest.fixture(scope="module")
def torchvision():
    """torchvision; where its compiled part does not fit this PyTorch, without: `compiled` says."""
    torch = pytest.importorskip("torch", reason="needs PyTorch (extra `oracle`)")
    try:
        import torchvision
    except ImportError:
        pytest.skip("needs torchvision (extra `oracle`)")
    except RuntimeError:  # no compiled part: what is in Python needs two names of it
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.kept = library  # what it defines goes with it
    return torchvision


@pytest.mark.slow
def test_overlaps_as_torchvision(torchvision):
    import torch

    rng = np.random.default_rng(9)
    a, b = random_boxes(rng), random_boxes(rng)
    theirs = [torch.from_numpy(boxes) for boxes in (a, b)]
    np.testing.assert_allclose(
        iou(a, b), torchvision.ops.box_iou(*theirs).diagonal().numpy(), atol=1e-6
    )
    loss = torchvision.ops.generalized_box_iou_loss(*theirs)
    np.testing.assert_allclose(1 - giou(a, b), loss.numpy(), atol=1e-5)


@pytest.mark.slow
def test_focal_loss_as_torchvision(torchvision):
    import torch

    rng = np.random.default_rng(10)
    logits = rng.normal(scale=3, size=(50, 3)).astype("float32")
    targets = (rng.random((50, 3)) < 0.3).astype("float32")
    theirs = torchvision.ops.sigmoid_focal_loss(torch.from_numpy(logits), torch.from_numpy(targets))
    np.testing.assert_allclose(focal_loss(targets, logits), theirs.numpy(), rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_suppression_as_torchvision(torchvision):
    import torch

    if not torchvision.extension._has_ops():
        pytest.skip("torchvision's compiled part does not fit this PyTorch")
    rng = np.random.default_rng(11)
    outputs = random_outputs(rng, images=1)
    (found,) = decode(outputs, (96, 96), most=1000, per_class=1000)
    boxes = np.clip(outputs[0, :, :4], 0, 96)
    certain = 1 / (1 + np.exp(-outputs[0].astype("float64")))
    scores = np.sqrt(certain[:, 8:] * certain[:, 4:5])
    point, number = np.nonzero((scores > 0.05) & (boxes[:, 2:] > boxes[:, :2]).all(1)[:, None])
    certain = torch.from_numpy(scores[point, number].astype("float32"))
    kept = torchvision.ops.batched_nms(
        torch.from_numpy(boxes[point]), certain, torch.from_numpy(number), 0.6
    ).numpy()
    np.testing.assert_allclose(found.boxes, boxes[point][kept], atol=1e-4)
    np.testing.assert_array_equal(found.classes, number[kept])
