"""How far a file is from its network: outputs side by side, and what int8 costs in accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.outputs import Meaning, gives_logits
from kcnn.graph.runtimes import Runs
from kcnn.startup import keras

#: From the model's outputs and the file's, of batches: how far apart, relative to the largest, and
#: in which share both say the same.
Compare = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], tuple[float, float]]
#: Batches of images (B, H, W, C) and their classes: numbers (B,), or rows (B, K).
Labelled = Iterable[tuple[Any, Any]]
#: Points of accuracy that int8 may cost.
MAY_COST = 1.0
_BATCH = 64


def comparison(middle: float) -> Compare:
    """How values in fixed places are compared.

    Args:
        middle: Above it, one output is the second of two classes.
    """

    def compare(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> tuple[float, float]:
        largest = max(float(np.abs(one).max()) for one in expected)
        apart, same = 0.0, list[np.ndarray]()
        for ours, theirs in zip(expected, found, strict=True):
            if ours.shape != theirs.shape:
                return np.inf, 0.0
            apart = max(apart, float(np.abs(ours - theirs.astype(np.float64)).max()))
            same.append((_classes(ours, middle) == _classes(theirs, middle)).reshape(-1))
        return apart / max(largest, 1e-30), float(np.concatenate(same).mean())

    return compare


def middle_of(model: keras.Model, outputs: Meaning | None) -> float:
    """What lies between two classes where one output tells them apart.

    Args:
        model: Functional or sequential.
        outputs: What its outputs are; None is by how it ends.
    """
    logits = gives_logits(model) if outputs is None else outputs == "logits"
    return 0.0 if logits else 0.5


def accuracies(
    model: keras.Model, run: Runs, validation: Labelled | tuple[np.ndarray, np.ndarray],
    middle: float,
) -> tuple[float, float]:  # fmt: skip
    """Per cent of labelled images that a file is right on, and that its network is.

    Args:
        model: A classifier.
        run: What runs the file.
        validation: Images (N, H, W, C) and their classes, or batches of them.
        middle: Above it, one output is the second of two classes.

    Raises:
        InputError: Labels are not as many as images, or not of one class each; there are none.
    """
    right, total = np.zeros(2), 0
    for given, truth in _batches(validation):
        images = np.ascontiguousarray(given, np.float32)
        ours = keras.ops.convert_to_numpy(model(images, training=False))
        labels = _numbers(truth, ours)
        for k, outputs in enumerate((run(images), ours)):
            right[k] += (_classes(outputs, middle) == labels).sum()
        total += len(labels)
    if not total:
        raise InputError("validation has no images.")
    file, network = 100.0 * right / total
    return float(file), float(network)


def refuse_loss(accuracy: float, before: float) -> None:
    """Refuse a file that loses more than a point of accuracy.

    Args:
        accuracy: Per cent, of the file.
        before: Of its network.
    """
    if before - accuracy > MAY_COST:
        raise InputError(
            f"In int8 the network is right on {accuracy:.2f} % of the validation images, in "
            f"float32 on {before:.2f} %: it is not kept. accept=True (--accept) keeps it all the "
            f"same; float16 costs next to nothing."
        )


def _batches(validation: Any) -> Iterator[tuple[Any, Any]]:
    if not (isinstance(validation, tuple) and len(validation) == 2):
        yield from validation
        return
    images, labels = map(np.asarray, validation)
    if len(images) != len(labels):
        raise InputError(
            f"validation is (images, labels); received {len(images)} images and {len(labels)} "
            f"labels."
        )
    for first in range(0, len(images), _BATCH):
        yield images[first : first + _BATCH], labels[first : first + _BATCH]


def _numbers(truth: Any, outputs: np.ndarray) -> np.ndarray:
    """Class numbers (B,)."""
    labels = np.asarray(truth)
    if labels.ndim == 2:
        labels = labels.argmax(axis=-1) if labels.shape[1] > 1 else labels[:, 0]
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1]:
        raise InputError(
            f"int8 is accepted by a classifier's accuracy: outputs (N, K) and a class for each "
            f"image; received outputs {outputs.shape} and labels {np.shape(truth)}. Another "
            f"network takes accept=True, and no validation."
        )
    return labels


def _classes(outputs: np.ndarray, middle: float) -> np.ndarray:
    """(..., K) to class numbers (...)."""
    if outputs.shape[-1] == 1:
        return (outputs[..., 0] > middle).astype(np.int64)
    return outputs.argmax(axis=-1)
