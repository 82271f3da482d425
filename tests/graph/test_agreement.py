"""What int8 costs in accuracy, against counts by hand."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.graph.agreement import accuracies, comparison, middle_of, refuse_loss


def passing(activation, outputs):
    """A network that gives its pixels, (1, 1, K), through an activation."""
    inputs = keras.Input((1, 1, outputs))
    flat = keras.layers.Flatten()(inputs)
    dense = keras.layers.Dense(outputs, activation, kernel_initializer="identity")
    return keras.Model(inputs, dense(flat))


def images_of(values):
    return np.array(values, "float32").reshape(len(values), 1, 1, -1)


@pytest.mark.parametrize("labels", [
    np.array([0, 1, 2, 2]),
    np.eye(3)[[0, 1, 2, 2]],
])  # fmt: skip
@pytest.mark.parametrize("batches", [1, 2, None])
def test_accuracies(labels, batches):
    model = passing("softmax", 3)
    images = images_of([[9, 0, 0], [0, 9, 0], [0, 0, 9], [9, 0, 0]])  # the last is wrong
    parts = [np.array_split(one, batches or 1) for one in (images, labels)]
    given = iter(zip(*parts, strict=True)) if batches else (images, labels)
    assert accuracies(model, lambda x: x[:, 0, 0, ::-1], given, 0.5) == (50.0, 75.0)


@pytest.mark.parametrize(("activation", "middle"), [("sigmoid", 0.5), ("linear", 0.0)])
def test_one_output(activation, middle):
    """Of logits 0.2 and -0.2 the probabilities are 0.55 and 0.45."""
    model = passing(activation, 1)
    assert middle_of(model, None) == middle
    assert middle_of(model, "logits") == 0.0
    images, labels = images_of([0.2, -0.2, 0.2]), np.array([[1], [0], [0]])
    found = accuracies(model, lambda x: np.asarray(model(x)), (images, labels), middle)
    assert found == pytest.approx((200 / 3, 200 / 3))
    ours, theirs = np.array([[middle + 0.2]]), np.array([[middle + 0.1], [middle - 0.1]])
    apart, same = comparison(middle)([np.repeat(ours, 2, 0)], [theirs])
    assert (apart, same) == (pytest.approx(0.3 / (middle + 0.2)), 0.5)


def test_a_point_and_no_more():
    refuse_loss(98.0, 99.0)
    refuse_loss(99.5, 99.0)
    with pytest.raises(kcnn.InputError, match=r"right on 97\.90 % .* float32 on 99\.00 %"):
        refuse_loss(97.9, 99.0)


@pytest.mark.parametrize(("validation", "said"), [
    ((np.zeros((3, 1, 1, 2)), np.zeros(2)), "received 3 images and 2 labels"),
    ((np.zeros((3, 1, 1, 2)), np.zeros((3, 2, 2))), r"received outputs \(3, 2\) and labels"),
    ([], "validation has no images"),
])  # fmt: skip
def test_labels_that_are_none(validation, said):
    with pytest.raises(kcnn.InputError, match=said):
        accuracies(passing("softmax", 2), lambda x: x[:, 0, 0], validation, 0.5)
