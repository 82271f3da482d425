"""What a callback costs a training: seconds of its epochs with it, and within its own hooks."""

import time
from collections.abc import Callable, Sequence
from typing import Any

Clock = Callable[[], float]

#: Those of an epoch of Keras' `fit`.
_HOOKS = ("on_epoch_begin", "on_train_batch_begin", "on_train_batch_end", "on_epoch_end")


def seconds(
    fit: Callable[..., Any], callbacks: Sequence[Any] = (), clock: Clock = time.perf_counter
) -> list[float]:
    """Of each epoch that `fit(callbacks=...)` trains, from its begin until all callbacks are done.

    Args:
        fit: A model's.
        callbacks: What it is trained with; their work counts.
        clock: `time.process_time` on a machine that others use, too.
    """
    from kcnn.startup import keras

    begun, ended = list[float](), list[float]()

    class First(keras.callbacks.Callback):
        """Stands before the others, so that their work is behind it."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            begun.append(clock())

    class Last(keras.callbacks.Callback):
        """Stands behind the others."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            ended.append(clock())

    fit(callbacks=[First(), *callbacks, Last()])
    return [end - begin for begin, end in zip(begun, ended, strict=True)]


def inside(
    fit: Callable[..., Any], callback: Any, clock: Clock = time.perf_counter
) -> tuple[list[float], list[float]]:
    """Seconds of each epoch with a callback, and of those the seconds in its own hooks.

    Args:
        fit: A model's.
        callback: Whose hooks are timed.
        clock: As for `seconds`.
    """
    from kcnn.startup import keras

    spent = list[float]()

    class Page(keras.callbacks.Callback):
        """Turns over when an epoch begins."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            spent.append(0.0)

    def timed(hook: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **options: Any) -> None:
            begun = clock()
            hook(*args, **options)
            spent[-1] += clock() - begun

        return call

    hooks = {name: getattr(callback, name) for name in _HOOKS}
    for name, hook in hooks.items():
        if not hasattr(hook, "_is_default"):  # Keras marks those that do nothing, and skips them
            setattr(callback, name, timed(hook))
    try:
        return seconds(fit, [Page(), callback], clock), spent
    finally:
        for name in hooks:
            vars(callback).pop(name, None)
