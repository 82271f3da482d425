"""Two ways down: L-BFGS within bounds (Byrd, Lu, Nocedal & Zhu 1995), as SciPy has it, and Adam
(Kingma & Ba 2015). Gatys et al. 2016 take L-BFGS (section 2.3); `python -m benchmarks.style`
measures both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

#: A picture to its loss and the gradient, both of the picture's shape.
Slope = Callable[[np.ndarray], tuple[float, np.ndarray]]

#: Pairs of steps and gradients from which L-BFGS makes up a curvature.
PAIRS = 10

#: Pixel values, root mean square, of the first step that L-BFGS tries.
_FIRST = 5.0
#: Pixel values that Adam moves by, at first and at the end.
_RATES = (6.0, 1.0)
_DECAYS, _EPSILON = (0.9, 0.99), 1e-12


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


def adam(
    slope: Slope, start: np.ndarray, low: np.ndarray, high: np.ndarray, steps: int
) -> np.ndarray:
    """The picture that Adam finds; arguments as those of `lbfgs`, the steps are exact."""
    x = start.astype(np.float64)
    mean, square = np.zeros_like(x), np.zeros_like(x)
    for step in range(1, steps + 1):
        gradient = slope(x)[1]
        mean += (1.0 - _DECAYS[0]) * (gradient - mean)
        square += (1.0 - _DECAYS[1]) * (gradient**2 - square)
        upward = mean / (1.0 - _DECAYS[0] ** step)
        size = np.sqrt(square / (1.0 - _DECAYS[1] ** step)) + _EPSILON
        rate = _RATES[1] + (_RATES[0] - _RATES[1]) * 0.5 * (1.0 + np.cos(np.pi * step / steps))
        x = np.clip(x - rate * upward / size, low, high)
    return x


METHODS: Mapping[str, Callable[..., np.ndarray]] = {"lbfgs": lbfgs, "adam": adam}
