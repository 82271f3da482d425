"""Loss and metrics, chosen by the number of outputs: 1 is binary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.startup import keras

ops = keras.ops

Batch = Callable[[Any, tuple], tuple[Any, Any]]


def compile_model(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    *,
    jit: bool = False,
    steps_per_execution: int = 1,
) -> None:
    """Compile with cross-entropy and accuracy; from 100 classes up with top-5 accuracy too."""
    outputs, logits = model.output_shape[-1], gives_logits(model)
    binary, several = keras.losses.BinaryCrossentropy, keras.losses.CategoricalCrossentropy
    loss = (binary if outputs == 1 else several)(from_logits=logits)
    metrics = [keras.metrics.MeanMetricWrapper(hits, name="accuracy", logits=logits)]
    if outputs >= 100:
        metrics.append(keras.metrics.TopKCategoricalAccuracy(5, name="top5_accuracy"))
    model.compile(
        optimizer,
        loss,
        metrics=metrics,
        jit_compile=jit,
        steps_per_execution=steps_per_execution,
    )


def build_metrics(model: keras.Model) -> None:
    """Let Keras make the variables of compiled metrics, which it does at the first batch."""
    images = ops.zeros((1, *(side or 1 for side in model.input_shape[1:])))
    outputs = ops.zeros((1, model.output_shape[-1]))
    model.compute_metrics(images, outputs, outputs)
    model.reset_metrics()


def hits(y_true: Any, y_pred: Any, logits: bool = False) -> Any:
    """Whether each prediction is right: (N, K) and (N, K) -> (N,) of 0.0 and 1.0.

    Takes soft labels, where Keras' binary accuracy compares for equality with 0 and 1.
    """
    if y_pred.shape[-1] == 1:
        threshold = 0.0 if logits else 0.5
        right = ops.equal(y_true[..., 0] > 0.5, y_pred[..., 0] > threshold)
    else:
        right = ops.equal(ops.argmax(y_true, axis=-1), ops.argmax(y_pred, axis=-1))
    return ops.cast(right, "float32")


def smoothed(batch: Batch, share: float) -> Batch:
    """`Feed.batch` with `share` of each label spread evenly among the classes.

    Done on the labels, so that the validation loss stays that of the true labels.
    """
    if not share:
        return batch

    def smooth(element: Any, resident: tuple) -> tuple[Any, Any]:
        images, labels = batch(element, resident)
        classes = max(labels.shape[-1], 2)
        return images, labels * (1.0 - share) + share / classes

    return smooth


def gives_logits(model: keras.Model) -> bool:
    """Whether the model ends without softmax or sigmoid."""
    return getattr(model.layers[-1], "activation", None) is keras.activations.linear


def probabilities(model: keras.Model, outputs: Any) -> np.ndarray:
    """Class probabilities (N, classes) from the model's outputs (N, K); K = 1 gives two."""
    outputs = ops.cast(outputs, "float32")
    if outputs.shape[-1] == 1:
        positive = ops.sigmoid(outputs) if gives_logits(model) else outputs
        outputs = ops.concatenate([1.0 - positive, positive], axis=-1)
    elif gives_logits(model):
        outputs = ops.softmax(outputs, axis=-1)
    return ops.convert_to_numpy(outputs)


def cross_entropy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Summed cross-entropy in nats of probabilities (N, classes), clipped as Keras clips."""
    clipped = np.clip(predicted.astype("float64"), keras.config.epsilon(), 1.0)
    return float(-(truth * np.log(clipped)).sum())


@dataclass(frozen=True)
class Prediction:
    """What a run says of one image."""

    path: Path
    class_name: str  #: the most probable
    probability: float  #: of that class
    probabilities: dict[str, float]  #: of every class, the most probable first
