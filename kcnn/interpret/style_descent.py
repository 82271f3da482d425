"""The way down: L-BFGS within bounds (Byrd, Lu, Nocedal & Zhu 1995), as SciPy has it.

Gatys et al. 2016 take L-BFGS (section 2.3). `python -m benchmarks.style` measures Adam beside it:
more of the style is left of as many gradients, and more noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: A picture to its loss and the gradient, both of the picture's shape.
Slope = Callable[[np.ndarray], tuple[float, np.ndarray]]

#: Pairs of steps and gradients from which L-BFGS makes up a curvature.
PAIRS = 10

#: Pixel values, root mean square, of the first step that L-BFGS tries.
_FIRST = 5.0


def lbfgs(
    slope: Slope, start: np.ndarray, low: np.ndarray, high: np.ndarray, steps: int
) -> np.ndarray:
    """The picture that L-BFGS-B finds from `start` between `low` and `high`.

    Args:
        slope: What is made small.
        start: Any shape, as are `low` and `high`.
        low: The smallest value of each pixel.
        high: The largest.
        steps: How often `slope` is asked, about: the last line search is ended.
    """
    from scipy.optimize import Bounds, minimize

    first = slope(start)
    if not (length := float(np.sqrt(np.mean(np.square(first[1], dtype=np.float64))))):
        return start
    # Within bounds SciPy's first step is the gradient: in these units it has the length we want.
    unit, known = float(np.sqrt(_FIRST / length)), [first]

    def flat(x: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = known.pop() if known else slope(unit * x.reshape(start.shape))
        return loss, unit * gradient.astype(np.float64).ravel()

    found = minimize(
        flat,
        start.astype(np.float64).ravel() / unit,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(low.ravel() / unit, high.ravel() / unit),
        options={
            "maxcor": PAIRS, "maxfun": steps, "maxiter": steps, "maxls": 20, "ftol": 0.0,
            "gtol": 0.0,
        },
    )  # fmt: skip
    return unit * found.x.reshape(start.shape)
