"""How a network in training is: gradients and silent ReLUs on a few pictures, moves of its weights.

Looking leaves nothing behind: statistics, seeds and metrics are afterwards what they were.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.graph.walk import operations
from kcnn.startup import keras, tf


@dataclass(frozen=True, eq=False)
class Seen:
    """What `look` saw.

    Attributes:
        dead: By name of a layer with ReLU, (C,) bool: channels that are 0 everywhere, in all
            pictures.
        gradients: By path of a trainable weight, the Euclidean norm of the loss' gradient.
    """

    dead: dict[str, np.ndarray]
    gradients: dict[str, float]


def look(model: keras.Model, images: Any, targets: Any = None) -> Seen:
    """Run a network on a batch, in inference mode, and look at ReLUs and gradients.

    Gradients are of `model.compute_loss`, as it is compiled, by TensorFlow's tape; with another
    backend, or without targets, there are none. Layers that nothing reaches are left out.

    Args:
        model: Built, of any kind; with `targets` compiled.
        images: (N, ...) of what it takes.
        targets: (N, ...) of what its loss takes.
    """
    return Looking(model)(images, targets)


class Looking:
    """Looks at the same network again and again, quicker where that is traced.

    Operation by operation, starting them takes longer than computing them. A trace takes as long as
    some such looks; it serves until layers are frozen or set free. Its figures may differ from
    those without in the last bits. What Keras is to run eagerly is not traced.

    Args:
        model: As for `look`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._traced: Callable[..., Any] | None = None
        self._trained = list[int]()  # ids of the weights that it gives gradients of

    def __call__(self, images: Any, targets: Any = None, *, traced: bool = False) -> Seen:
        """What `look` gives."""
        tensors = [keras.ops.convert_to_tensor(x) for x in (images, targets) if x is not None]
        run = self._graph() if traced and _is_traceable(self._model) else self._once
        with _left_as_it_was(self._model):
            highest, norms = run(*tensors)
        read = keras.ops.convert_to_numpy
        return Seen(
            {name: read(values) <= 0.0 for name, values in highest.items()},
            {path: float(norm) for path, norm in norms.items()},
        )

    def _graph(self) -> Callable[..., Any]:
        trained = [id(weight) for weight in self._model.trainable_variables]
        if self._traced is None or trained != self._trained:
            self._traced, self._trained = tf.function(self._once, autograph=False), trained
        return self._traced

    def _once(self, images: Any, targets: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Tensors: highest values (C,) by layer, and norms by path of a weight."""
        with _watched(rectifiers(self._model)) as outputs:
            if targets is None or keras.backend.backend() != "tensorflow":
                self._model(images, training=False)
                norms = {}
            else:
                norms = _gradients(self._model, images, targets)
        names = _names([operation for operation, found in outputs if found])
        held = [found for _, found in outputs if found]
        return {name: _highest(found) for name, found in zip(names, held, strict=True)}, norms


def rectifiers(model: keras.Model) -> list[keras.Operation]:
    """The layers and operations in a model that end with a ReLU, nested ones too.

    Those with a slope below 0 are none: they are never silent.
    """
    inside = [*operations(model), *model._flatten_layers()]  # also into layers that are no models
    return [one for one in {id(one): one for one in inside}.values() if _rectifies(one)]


def statistics(model: keras.Model) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By path of a BatchNorm layer, its moving mean and variance (C,)."""
    kind = keras.layers.BatchNormalization
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, kind)]
    read = keras.ops.convert_to_numpy
    return {
        layer.moving_mean.path.rpartition("/")[0]: (
            np.array(read(layer.moving_mean), np.float64),
            np.array(read(layer.moving_variance), np.float64),
        )
        for layer in layers
        if layer.built
    }


def drift(
    before: tuple[np.ndarray, np.ndarray], now: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float]:
    """How far moving statistics went, on average over the channels.

    Args:
        before: Mean and variance (C,).
        now: As well.

    Returns:
        Of the mean, in standard deviations as they were before; of the deviation, as a factor
        (1.1 is a tenth up or down).
    """
    (mean, variance), (later, other) = before, now
    tiny = np.finfo(np.float32).tiny
    moved = np.abs(later - mean) / np.sqrt(np.maximum(variance, tiny))
    factor = 0.5 * np.abs(np.log(np.maximum(other, tiny) / np.maximum(variance, tiny)))
    return float(moved.mean()), float(np.exp(factor.mean()))


def kernels(model: keras.Model) -> list[keras.Variable]:
    """The trainable weights of several axes: scales, offsets and biases have one."""
    return [weight for weight in model.trainable_variables if len(weight.shape) > 1]


def update_ratio(before: Any, now: Any, steps: int = 1) -> float:
    """How far a weight moved in a step, as a share of its length: ||now - before|| / ||before||.

    About 1e-3 is usual. Of several steps it is the way from the first to the last, divided by their
    number: less than the mean of the steps where those go to and fro. NaN of a weight that was 0.
    """
    norm = keras.ops.norm
    length = float(keras.ops.convert_to_numpy(norm(keras.ops.reshape(before, (-1,)))))
    moved = float(keras.ops.convert_to_numpy(norm(keras.ops.reshape(now - before, (-1,)))))
    return moved / length / steps if length else float("nan")


def _is_traceable(model: keras.Model) -> bool:
    return keras.backend.backend() == "tensorflow" and not model.run_eagerly


def _gradients(model: keras.Model, images: Any, targets: Any) -> dict[str, Any]:
    weights = list(model.trainable_variables)
    with tf.GradientTape() as tape:
        said = model(images, training=False)
        loss = model.compute_loss(x=images, y=targets, y_pred=said, training=False)
    found = tape.gradient(loss, [weight.value for weight in weights])
    return {
        weight.path: tf.norm(tf.cast(gradient, tf.float32))
        for weight, gradient in zip(weights, found, strict=True)
        if gradient is not None
    }


def _rectifies(operation: keras.Operation) -> bool:
    if isinstance(operation, keras.layers.ReLU):
        return not operation.negative_slope
    if getattr(operation, "activation", None) is keras.activations.relu:
        return True
    return type(operation).__name__ == "Relu"  # of keras.ops


def _highest(outputs: Sequence[Any]) -> Any:
    """(C,) of all outputs of a layer, which may have been called more than once."""
    first = keras.config.image_data_format() == "channels_first"
    highest = []
    for output in outputs:
        channels = 1 if first and len(output.shape) == 4 else len(output.shape) - 1
        others = [axis for axis in range(len(output.shape)) if axis != channels]
        highest.append(keras.ops.max(output, others))
    return functools.reduce(keras.ops.maximum, highest)


def _names(found: Sequence[keras.Operation]) -> list[str]:
    """Each once: nested models may use a name again."""
    names: list[str] = []
    for operation in found:
        count = sum(name.partition(" ")[0] == operation.name for name in names)
        names.append(f"{operation.name} ({count + 1})" if count else operation.name)
    return names


@contextlib.contextmanager
def _watched(
    watched: Sequence[keras.Operation],
) -> Iterator[list[tuple[keras.Operation, list[Any]]]]:
    """For the time being, `call` of these keeps what it gives."""
    outputs: list[tuple[keras.Operation, list[Any]]] = [(one, []) for one in watched]
    own = [vars(operation).get("call") for operation in watched]
    try:
        for operation, held in outputs:
            operation.call = _keeping(operation.call, held)
        yield outputs
    finally:
        for operation, call in zip(watched, own, strict=True):
            if call is not None:
                operation.call = call
            elif "call" in vars(operation):
                del operation.call


def _keeping(call: Callable[..., Any], held: list[Any]) -> Callable[..., Any]:
    def keep(*arguments: Any, **options: Any) -> Any:
        output = call(*arguments, **options)
        held.append(output)
        return output

    return keep


@contextlib.contextmanager
def _left_as_it_was(model: keras.Model) -> Iterator[None]:
    """Behind it statistics, seeds and metrics are what they were: a training goes on unchanged."""
    variables = [*model.non_trainable_variables, *model.metrics_variables]
    kept = [keras.ops.copy(variable.value) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)
