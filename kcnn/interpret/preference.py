"""The picture that a unit would like best: activation maximisation that gives something to see.

Olah, Mordvintsev & Schubert 2017, "Feature Visualization" (distill.pub): the picture is made in
Fourier space, where each frequency f has a step in proportion to 1/f, and in colours that are not
correlated in the data; it is moved about by a few pixels in each step; a little total variation
keeps what is left of the chequerboards away. The gradient ascends the logit, not the probability.

The transform here is Hartley's: real, orthonormal, and its own inverse and transpose (Bracewell
1983). So the picture is x = range(C · H(d ⊙ w) + mean), of coefficients w, with d = 1/f; and the
gradient goes back the same way: d ⊙ H(Cᵀ · range'(·) ⊙ ∂/∂x).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.flat import Call, flat
from kcnn.interpret.gradient import gradient
from kcnn.interpret.pixels import as_images
from kcnn.startup import keras
from kcnn.weights.preprocessing import of_model

_DECAY, _SQUARES, _EPSILON = 0.9, 0.999, 1e-12  # of Adam
_BEGIN = 0.1  # standard deviation of the coefficients at first
_SAMPLE = 1000  # images of which colours are taken


@dataclass(frozen=True)
class Preferred:
    """What units prefer."""

    layer: str
    units: tuple[int, ...]
    images: np.ndarray  #: (U, H, W, C) float32, in `limits`
    limits: tuple[float, float]  #: of pixel values
    before: np.ndarray  #: (U,) float32, of the units on the noise in the beginning
    after: np.ndarray  #: (U,) float32, of the units on the pictures


@dataclass(frozen=True)
class _Colours:
    """Between free numbers z, of mean 0 and not correlated, and pixels within limits."""

    low: float
    high: float
    mean: np.ndarray  #: (C,) of the logits of pixels
    mix: np.ndarray  #: (C, C), a root of their covariance

    def pixels(self, z: np.ndarray) -> np.ndarray:
        return self.low + (self.high - self.low) / (1.0 + np.exp(-(z @ self.mix.T + self.mean)))

    def back(self, pixels: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """The gradient with respect to z, of that with respect to the pixels."""
        inside = (pixels - self.low) * (self.high - pixels) / (self.high - self.low)
        return (slope * inside) @ self.mix


def preferred(
    model: keras.Model,
    layer: str | keras.layers.Layer | None = None,
    unit: int | Sequence[int] = 0,
    *,
    images: Any = None,
    limits: tuple[float, float] | None = None,
    shape: tuple[int, int, int] | None = None,
    steps: int = 256,
    learning_rate: float = 0.1,
    jitter: int = 4,
    variation: float = 0.1,
    seed: int = 0,
) -> Preferred:
    """Pictures that units prefer, each made for itself, from noise.

    Args:
        model: Functional or sequential, nested ones too.
        layer: Whose units; of a map (N, h, w, K) the mean over the map is raised. None are the
            model's outputs, as logits.
        unit: One number, or several, from 0.
        images: Training images (N, H, W, C), N >= 2: they say the limits, and how colours go
            together. A thousand are enough.
        limits: Smallest and largest pixel value. None is what `images` say: 0 to 255 of bytes, and
            of others their extremes; without images, 0 to 255, which is checked against the
            normalisation with which the model begins.
        shape: (H, W, C) of the pictures, where neither model nor images say it.
        steps: Of Adam; 0 gives the noise with which it begins.
        learning_rate: Of Adam, on coefficients that begin with a deviation of 0.1.
        jitter: Pixels by which the picture is moved at most to each side, reflected at its border.
        variation: Weight of the total variation: the mean |difference| of neighbouring pixels, as
            if their values went from 0 to 255.
        seed: Of the noise and of the moves.

    Raises:
        InputError: No such layer or unit; limits that cannot be known; settings out of range.
    """
    if steps < 0 or jitter < 0 or learning_rate <= 0 or variation < 0:
        raise InputError(
            f"steps, jitter and variation are at least 0, learning_rate is above 0; "
            f"received {steps}, {jitter}, {variation}, {learning_rate}."
        )
    sample = None if images is None else _sample(images)
    size = shape or (None if sample is None else sample.shape[1:])
    found = flat(model, size, logits=layer is None)
    call = next(c for c in reversed(found.calls) if c.output is found.output)
    call = call if layer is None else found.find(layer)
    if None in found.input.shape[1:]:
        raise InputError(f"{model.name} takes images of any size: give shape=(H, W, C), or images.")
    if jitter >= min(found.input.shape[1:3]):
        raise InputError(
            f"jitter is less than the side of the picture, {min(found.input.shape[1:3])} pixels; "
            f"received {jitter}."
        )
    units = (unit,) if isinstance(unit, int) else tuple(unit)
    _check_units(call, units)
    colours = _colours(sample, _limits(model, images, sample, limits), found.input.shape[-1])
    network = found.model(call.output)
    # Total variation counts in bytes, so that its weight means the same in all limits.
    score = _score(network, units, jitter, variation * 255.0 / (colours.high - colours.low))
    pictures = _ascend(score, colours, (len(units), *found.input.shape[1:]), steps, learning_rate,
                       jitter, np.random.default_rng(seed))  # fmt: skip
    plain = _score(network, units, 0, 0.0)
    before, after = (
        np.asarray(keras.ops.convert_to_numpy(plain(x, np.zeros(2, "int32")))) for x in pictures
    )
    span = (colours.low, colours.high)
    return Preferred(call.name, units, pictures[1], span, before, after)


def _score(
    network: keras.Model, units: Sequence[int], jitter: int, variation: float
) -> Callable[[Any, Any], Any]:
    """The units' values, less the total variation, on pictures moved by (rows, columns)."""
    ops, number = keras.ops, np.asarray(units, "int32")

    def score(pictures: Any, move: Any) -> Any:
        edge, shape = [jitter, jitter], pictures.shape
        moved = ops.pad(pictures, [[0, 0], edge, edge, [0, 0]], mode="reflect")
        moved = ops.slice(moved, ops.stack([0, move[0], move[1], 0]), shape)
        values = ops.cast(network(moved, training=False), "float32")
        if len(values.shape) == 4:
            values = ops.mean(values, axis=(1, 2))
        down = ops.mean(ops.abs(moved[:, 1:] - moved[:, :-1]), axis=(1, 2, 3))
        across = ops.mean(ops.abs(moved[:, :, 1:] - moved[:, :, :-1]), axis=(1, 2, 3))
        own = ops.take_along_axis(values, number[:, None], axis=1)[:, 0]
        return own - variation * (down + across)

    return score


def _ascend(
    score: Callable[[Any, Any], Any],
    colours: _Colours,
    shape: tuple[int, ...],
    steps: int,
    rate: float,
    jitter: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures at first and at last, float32, by Adam (Kingma & Ba 2015)."""
    run, scale = gradient(score, traced=True), _scale(*shape[1:3])
    free = _BEGIN * random.standard_normal(shape)
    first, second = np.zeros(shape), np.zeros(shape)
    begin = pictures = colours.pixels(hartley(scale * free))
    for step in range(1, steps + 1):
        move = random.integers(0, 2 * jitter + 1, 2).astype("int32")
        slope = run(pictures.astype("float32"), move).slope.astype("float64")
        slope = scale * hartley(colours.back(pictures, slope))
        first = _DECAY * first + (1 - _DECAY) * slope
        second = _SQUARES * second + (1 - _SQUARES) * slope**2
        mean, square = first / (1 - _DECAY**step), second / (1 - _SQUARES**step)
        free += rate * mean / (np.sqrt(square) + _EPSILON)
        pictures = colours.pixels(hartley(scale * free))
    return begin.astype("float32"), pictures.astype("float32")


def hartley(x: np.ndarray) -> np.ndarray:
    """The orthonormal Hartley transform of (N, H, W, C) over rows and columns: its own inverse."""
    spectrum = np.fft.fft2(x, axes=(1, 2), norm="ortho")
    return spectrum.real - spectrum.imag


def _scale(height: int, width: int) -> np.ndarray:
    """1/f for each frequency, (1, H, W, 1), of mean square 1; the mean as the lowest one."""
    rows, columns = np.fft.fftfreq(height)[:, np.newaxis], np.fft.fftfreq(width)
    scale = 1.0 / np.maximum(np.hypot(rows, columns), 1.0 / max(height, width))
    return (scale / np.sqrt(np.mean(scale**2)))[np.newaxis, :, :, np.newaxis]


def _sample(images: Any) -> np.ndarray:
    sample = as_images(images[:_SAMPLE])
    if len(sample) < 2:
        raise InputError("Two training images at least say how colours go together; received 1.")
    return sample


def _limits(
    model: keras.Model, images: Any, sample: np.ndarray | None, said: tuple[float, float] | None
) -> tuple[float, float]:
    if said is None and sample is not None:
        of_bytes = str(getattr(images, "dtype", "")).endswith("uint8")
        said = (0.0, 255.0) if of_bytes else (float(sample.min()), float(sample.max()))
    if said is not None:
        low, high = map(float, said)
        if not low < high:
            raise InputError(f"limits are a smaller and a larger pixel value; received {said!r}.")
        return low, high
    norm = of_model(model)
    if norm is None or min(norm.deviation) < 5.0 or not 0.0 <= min(norm.mean) <= 255.0:
        raise InputError(
            f"Which pixel values {model.name} was trained on cannot be seen: it does not begin by "
            f"normalising bytes. Give training images (images=), or limits=(0, 1), say."
        )
    return 0.0, 255.0


def _colours(sample: np.ndarray | None, limits: tuple[float, float], channels: int) -> _Colours:
    """How the channels of pixels go together; without images as those of natural ones do."""
    low, high = limits
    if sample is None:
        # Ones and a share of what is common: near what photographs have, in every limits.
        mix = np.linalg.cholesky(np.full((channels, channels), 0.9) + 0.1 * np.eye(channels))
        return _Colours(low, high, np.zeros(channels), mix)
    if sample.min() < low - 1e-6 or sample.max() > high + 1e-6:
        raise InputError(
            f"The images' values lie between {sample.min():.4g} and {sample.max():.4g}, outside "
            f"of limits={limits}."
        )
    shares = np.clip((sample.astype("float64") - low) / (high - low), 0.02, 0.98)
    logits = np.log(shares / (1.0 - shares)).reshape(-1, channels)
    covariance = np.atleast_2d(np.cov(logits.T)) + 1e-6 * np.eye(channels)
    values, axes = np.linalg.eigh(covariance)
    return _Colours(low, high, logits.mean(axis=0), axes * np.sqrt(values))


def _check_units(call: Call, units: Sequence[int]) -> None:
    shape = call.output.shape
    if len(shape) not in (2, 4):
        raise InputError(
            f"A unit is a channel of a map (N, h, w, K) or one of (N, K) values; the output of "
            f"{call.name!r} is {tuple(shape)}."
        )
    if wrong := [unit for unit in units if not 0 <= unit < shape[-1]]:
        raise InputError(
            f"{call.name!r} has units 0 to {shape[-1] - 1}; received {', '.join(map(str, wrong))}."
        )
    if not units:
        raise InputError("unit is one number, or several; received none.")
