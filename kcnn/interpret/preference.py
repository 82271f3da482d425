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
from kcnn.interpret.colours import Colours, colours_of, limits_of, sample_of
from kcnn.interpret.gradient import gradient
from kcnn.startup import keras

_DECAY, _SQUARES, _EPSILON = 0.9, 0.999, 1e-12  # of Adam
_BEGIN = 0.1  # standard deviation of the coefficients at first


@dataclass(frozen=True)
class Preferred:
    """What units prefer."""

    layer: str
    units: tuple[int, ...]
    images: np.ndarray  #: (U, H, W, C) float32, in `limits`
    limits: tuple[float, float]  #: of pixel values
    before: np.ndarray  #: (U,) float32, of the units on the noise in the beginning
    after: np.ndarray  #: (U,) float32, of the units on the pictures


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
    units = (unit,) if isinstance(unit, int) else tuple(unit)
    return preferred_each(
        model, [(layer, units)], images=images, limits=limits, shape=shape, steps=steps,
        learning_rate=learning_rate, jitter=jitter, variation=variation, seed=seed,
    )[0]  # fmt: skip


def preferred_each(
    model: keras.Model,
    wanted: Sequence[tuple[str | keras.layers.Layer | None, Sequence[int]]],
    *,
    images: Any = None,
    limits: tuple[float, float] | None = None,
    shape: tuple[int, int, int] | None = None,
    steps: int = 256,
    learning_rate: float = 0.1,
    jitter: int = 4,
    variation: float = 0.1,
    seed: int = 0,
) -> list[Preferred]:
    """Pictures that units of several layers prefer, made in one pass; see `preferred`.

    Args:
        model: Functional or sequential, nested ones too.
        wanted: Layers, and units of each; None are the model's outputs, as logits.
        images: As all that follows, of `preferred`.
        limits: Smallest and largest pixel value.
        shape: (H, W, C) of the pictures.
        steps: Of Adam.
        learning_rate: Of Adam.
        jitter: Pixels.
        variation: Weight of the total variation.
        seed: Of the noise and of the moves.

    Raises:
        InputError: As `preferred`; nothing is wanted.
    """
    if steps < 0 or jitter < 0 or learning_rate <= 0 or variation < 0:
        raise InputError(
            f"steps, jitter and variation are at least 0, learning_rate is above 0; "
            f"received {steps}, {jitter}, {variation}, {learning_rate}."
        )
    if not wanted:
        raise InputError("wanted is layers with units of each; received none.")
    sample = None if images is None else sample_of(images)
    size = shape or (None if sample is None else sample.shape[1:])
    found = flat(model, size, logits=any(layer is None for layer, _ in wanted))
    end = next(c for c in reversed(found.calls) if c.output is found.output)
    groups = [(end if layer is None else found.find(layer), tuple(own)) for layer, own in wanted]
    if None in found.input.shape[1:]:
        raise InputError(f"{model.name} takes images of any size: give shape=(H, W, C), or images.")
    if jitter >= min(found.input.shape[1:3]):
        raise InputError(
            f"jitter is less than the side of the picture, {min(found.input.shape[1:3])} pixels; "
            f"received {jitter}."
        )
    for call, units in groups:
        _check_units(call, units)
    colours = colours_of(sample, limits_of(model, images, sample, limits), found.input.shape[-1])
    network = found.model([call.output for call, _ in groups])
    of_units = [units for _, units in groups]
    # Total variation counts in bytes, so that its weight means the same in all limits.
    score = _score(network, of_units, jitter, variation * 255.0 / (colours.high - colours.low))
    count = sum(map(len, of_units))
    pictures = _ascend(score, colours, (count, *found.input.shape[1:]), steps, learning_rate,
                       jitter, np.random.default_rng(seed))  # fmt: skip
    plain = _score(network, of_units, 0, 0.0)
    before, after = (
        np.asarray(keras.ops.convert_to_numpy(plain(x, np.zeros(2, "int32")))) for x in pictures
    )
    span, made, begin = (colours.low, colours.high), list[Preferred](), 0
    for call, units in groups:
        own = slice(begin, begin + len(units))
        made.append(Preferred(call.name, units, pictures[1][own], span, before[own], after[own]))
        begin += len(units)
    return made


def _score(
    network: keras.Model, units: Sequence[Sequence[int]], jitter: int, variation: float
) -> Callable[[Any, Any], Any]:
    """The units' values, less the total variation, on pictures moved by (rows, columns).

    The first pictures are for the units of the network's first output, and so on.
    """
    ops = keras.ops

    def score(pictures: Any, move: Any) -> Any:
        edge, shape = [jitter, jitter], pictures.shape
        moved = ops.pad(pictures, [[0, 0], edge, edge, [0, 0]], mode="reflect")
        moved = ops.slice(moved, ops.stack([0, move[0], move[1], 0]), shape)
        own, begin = [], 0
        outputs = keras.tree.flatten(network(moved, training=False))
        for output, of_layer in zip(outputs, units, strict=True):
            number = np.asarray(of_layer, "int32")[:, None]
            values = ops.cast(output[begin : begin + len(number)], "float32")
            if len(values.shape) == 4:
                values = ops.mean(values, axis=(1, 2))
            own.append(ops.take_along_axis(values, number, axis=1)[:, 0])
            begin += len(number)
        down = ops.mean(ops.abs(moved[:, 1:] - moved[:, :-1]), axis=(1, 2, 3))
        across = ops.mean(ops.abs(moved[:, :, 1:] - moved[:, :, :-1]), axis=(1, 2, 3))
        return ops.concatenate(own) - variation * (down + across)

    return score


def _ascend(
    score: Callable[[Any, Any], Any],
    colours: Colours,
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
