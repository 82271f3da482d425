"""The gradient of a function of a picture, by TensorFlow's tape: Keras has none of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kcnn.startup import tf

#: A picture (1, H, W, 3) to the sum (), its terms (T,), and the gradient (1, H, W, 3).
Evaluate = Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]


def with_gradient(function: Callable[[Any], tuple[Any, Any]]) -> Evaluate:
    """`function` and the gradient of what it gives first, traced once for each shape.

    Args:
        function: A picture (1, H, W, 3) float32 to a sum () and its terms (T,).
    """

    @tf.function(autograph=False)
    def both(picture: Any) -> tuple[Any, Any, Any]:
        # Nothing but the picture is watched: no weight has a gradient, which would be half as much
        # work again.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(picture)
            total, terms = function(picture)
        return total, terms, tape.gradient(total, picture)

    def evaluate(picture: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        total, terms, gradient = both(tf.convert_to_tensor(picture, tf.float32))
        return float(total), terms.numpy(), gradient.numpy()

    return evaluate
