"""Where a loss that is not finite came from: step, rate, and the first layer of such values."""

from __future__ import annotations

import time
from typing import Any

from kcnn.callbacks.checkpoint.files import newest
from kcnn.callbacks.checkpoint.variables import Snapshot
from kcnn.errors import NonFiniteError
from kcnn.runs.directory import RunDirectory
from kcnn.training import diagnosis
from kcnn.training.attempt import Attempt, begun
from kcnn.training.retry import RateScale
from kcnn.training.setup import Setup

_PATIENCE = 120.0  # seconds of training that are repeated to find the first layer


def explain(
    setup: Setup,
    directory: RunDirectory,
    attempt: Attempt,
    rate: RateScale,
    error: NonFiniteError,
) -> str:
    """Step, rate and first layer of a loss that was not finite, in words."""
    done = error.step - 1
    now = attempt.engine.update.rate(done)
    text = f"{error} (epoch {done // setup.steps + 1}), at learning rate {now:.3g}"
    _, found = newest(directory.checkpoints)
    start = found["step"] if found else 0
    seconds = _seconds_to_repeat(attempt, done, start)
    if seconds > _PATIENCE:
        return (
            f"{text}. (Which layer it was is not looked for: the {done - start:,} steps since the "
            f"last checkpoint would take {seconds:,.0f} s again.)"
        )
    layer = _first_layer(setup, attempt, rate, done, found)
    return f"{text}; the first layer that gave such values is {layer!r}." if layer else f"{text}."


def _seconds_to_repeat(attempt: Attempt, done: int, start: int) -> float:
    """How long the steps from `start` to `done` take, by how long those of the attempt took."""
    taken = max(done - attempt.checkpoint_step, 1)
    return (time.monotonic() - attempt.started) * (done - start) / taken


def _first_layer(
    setup: Setup, attempt: Attempt, rate: RateScale, done: int, found: dict[str, Any] | None
) -> str | None:
    """Repeat the training up to `done` steps, and look at what the layers give in the next.

    It is repeated from the checkpoint that was found, else from the beginning.
    """
    engine, start = attempt.engine, found["step"] if found else 0
    if engine.copy is None and not found:  # the weights that a model of the user's own had are gone
        return None
    again = begun(setup, start) if engine.copy else engine
    again.feed = setup.feed(start)
    again.steps.step, again.steps.resident = start, again.feed.resident
    rate.begin(again.update, start)
    if found:
        variables = {kind: v for kind, v in found["variables"].items() if kind != "metrics"}
        Snapshot.restore(again.model, variables)
    again.model.reset_metrics()
    elements = iter(again.feed.steps)
    try:
        while again.steps.step < done:
            left = done - again.steps.step
            again.steps.run(elements, min(left, setup.recipe.steps_per_execution))
    except NonFiniteError:  # callbacks that acted meanwhile were not repeated
        return None
    images = again.feed.batch(next(elements), again.feed.resident)[0]
    return diagnosis.first_layer_not_finite(again.model, images)
