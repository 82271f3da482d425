"""What cannot go on to the same bits: refused when training begins."""

from __future__ import annotations

from collections.abc import Sequence

from kcnn.callbacks.checkpoint.variables import other_optimizers
from kcnn.errors import InputError
from kcnn.graph.fit_data import fit_data
from kcnn.startup import keras


def swapping(model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Whether Keras' `SwapEMAWeights` swaps around validation, which rounds the raw weights.

    Args:
        model: Whose `fit` is running.
        callbacks: Those that are known; those of `fit` are looked at, too.

    Raises:
        InputError: It has averages in the model when an epoch begins.
    """
    running, kind = fit_data(model), keras.callbacks.SwapEMAWeights
    known = [*callbacks, *(running.others if running else ())]
    swaps = [callback for callback in known if isinstance(callback, kind)]
    if any(callback.swap_on_epoch for callback in swaps):
        raise InputError(
            "SwapEMAWeights(swap_on_epoch=True) leaves the averages in the model where a "
            "checkpoint is saved, and a training would go on from them. Use "
            "kcnn.callbacks.EvaluateEMA(), which puts the raw weights back; or "
            "swap_on_epoch=False."
        )
    return bool(swaps)


def refuse_unbuilt(model: keras.Model) -> None:
    """Refuse to go on where an optimiser has no variables yet to which values could be given."""
    for name, optimizer in other_optimizers(model).items():
        if not optimizer.built:
            raise InputError(
                f"The checkpoint has the state of the optimizer {name!r}, which has no variables "
                f"yet. Call its build with the variables that it trains before fit: "
                f"model.{name}.build(model.generator.trainable_variables), say."
            )
