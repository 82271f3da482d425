"""Whether evidence depends on what was learned: weights become random from the top, step by step.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3: the cascade. A method whose maps
stay as they are while weights go shows edges of pictures, and not what the network knows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.flat import check
from kcnn.graph.walk import leaves
from kcnn.startup import keras


def cascade(model: keras.Model, seed: int = 0) -> Iterator[tuple[str, keras.Model]]:
    """A copy of `model` whose weights become random from its outputs down, layer by layer.

    Kernels become those of He et al. 2015; what is no kernel (biases, BatchNorm's) becomes what it
    is before a training, together with the kernel in front of it.

    Args:
        model: Functional or sequential, built, of one input and one output; it stays as it is.
        seed: Of the kernels.

    Yields:
        The layer that was the last to become random, and the copy: the same one at each step,
        changed, so look at it before the next.

    Raises:
        InputError: It has no graph; no layer has a kernel.
    """
    check(model)
    copy = keras.models.clone_model(model)
    pairs = list(zip(leaves(copy), leaves(model), strict=True))
    untrained = [layer.get_weights() for layer, _ in pairs]
    for layer, trained in pairs:
        layer.set_weights(trained.get_weights())
    if not any(_kernels(layer) for layer, _ in pairs):
        raise InputError(f"{model.name} has no layer with a kernel: nothing can become random.")
    waiting = list[tuple[keras.layers.Layer, list[np.ndarray]]]()
    for number in reversed(range(len(pairs))):
        layer = pairs[number][0]
        waiting.append((layer, untrained[number]))
        if not _kernels(layer):
            continue
        for index, (one, weights) in enumerate(waiting):
            one.set_weights([
                _random(w.shape, seed + 1000 * number + 10 * index + k) if w.ndim > 1 else w
                for k, w in enumerate(weights)
            ])  # fmt: skip
        waiting.clear()
        yield layer.name, copy


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's ρ of each pair of maps; equals share their mean rank.

    Args:
        first: (N, ...) values.
        second: Of the same shape.

    Returns:
        (N,) float64 in -1..1; NaN where one of the two is the same everywhere.

    Raises:
        InputError: Of different shapes.
    """
    if first.shape != second.shape or first.ndim < 2:
        raise InputError(
            f"Maps are (N, ...), the same on both sides; received {first.shape} and {second.shape}."
        )
    found = []
    for one, other in zip(first, second, strict=True):
        a, b = _ranks(one.ravel()), _ranks(other.ravel())
        a, b = a - a.mean(), b - b.mean()
        length = np.sqrt((a @ a) * (b @ b))
        found.append(a @ b / length if length > 0 else np.nan)
    return np.array(found)


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[place.reshape(-1)]


def _kernels(layer: keras.layers.Layer) -> bool:
    return any(len(weight.shape) > 1 for weight in layer.weights)


def _random(shape: tuple[int, ...], seed: int) -> np.ndarray:
    drawn = keras.initializers.HeNormal(seed)(shape)
    return np.asarray(keras.ops.convert_to_numpy(drawn))
