"""What a callback costs a training: seconds of an epoch with it, and within its own hooks."""

import time
from collections.abc import Callable, Sequence
from typing import Any

#: Those of an epoch of Keras' `fit`.
_HOOKS = ("on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_epoch_end")


def seconds(fit: Callable[..., Any], callbacks: Sequence[Any] = ()) -> float:
    """Of the epoch that `fit(callbacks=...)` trains, from its begin until all callbacks are done.

    Args:
        fit: A model's, for one epoch.
        callbacks: What it is trained with; their work counts.
    """
    from kcnn.startup import keras

    class Stopwatch(keras.callbacks.Callback):
        """Stands before and behind the others, so that their work is between."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.begun = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.ended = time.perf_counter()

    first, last = Stopwatch(), Stopwatch()
    fit(callbacks=[first, *callbacks, last])
    return last.ended - first.begun


def inside(epoch: Callable[[list], float], callback: Any) -> tuple[float, float]:
    """Seconds of an epoch with a callback, and of those the seconds in its own hooks.

    Args:
        epoch: Trains one with callbacks, and gives its seconds.
        callback: Whose hooks are timed.
    """
    spent = [0.0]

    def timed(hook: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **options: Any) -> None:
            begun = time.perf_counter()
            hook(*args, **options)
            spent[0] += time.perf_counter() - begun

        return call

    hooks = {name: getattr(callback, name) for name in _HOOKS}
    for name, hook in hooks.items():
        if not hasattr(hook, "_is_default"):  # Keras marks those that do nothing, and skips them
            setattr(callback, name, timed(hook))
    try:
        whole = epoch([callback])
    finally:
        for name in hooks:
            vars(callback).pop(name, None)
    return whole, spent[0]
