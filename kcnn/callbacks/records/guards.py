"""What keeps a training from being lost: to signals, and to logs that cannot be written."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from kcnn.callbacks.checkpoint.state import restore_state, state_of
from kcnn.startup import keras


def _hooks() -> tuple[str, ...]:
    return tuple(name for name in dir(keras.callbacks.Callback) if name.startswith("on_"))


def forgiving(errors: Callable[[], tuple[type[BaseException], ...]]) -> Callable[[type], type]:
    """A class decorator for a callback that only watches: what it cannot write ends no training.

    The first such error is a warning; from then on its hooks do nothing. Within `Tolerant`, which
    says it elsewhere, they raise: its attribute `raises` is true.

    Args:
        errors: Gives what counts, when the first one comes.
    """

    def decorate(cls: type) -> type:
        for name in ("set_model", *_hooks()):
            hook = getattr(cls, name)
            if hook is not getattr(keras.callbacks.Callback, name):
                setattr(cls, name, _forgiven(hook, errors))
        return cls

    return decorate


def _forgiven(
    hook: Callable[..., None], errors: Callable[[], tuple[type[BaseException], ...]]
) -> Callable[..., None]:
    @functools.wraps(hook)
    def call(self: Any, *args: Any, **kwargs: Any) -> None:
        if getattr(self, "_given_up", False):
            return
        try:
            hook(self, *args, **kwargs)
        except Exception as error:
            if getattr(self, "raises", False) or not isinstance(error, errors()):
                raise
            self._given_up = True
            warnings.warn(_message(self, error), stacklevel=2)

    return call


def _message(callback: keras.callbacks.Callback, error: BaseException) -> str:
    reason = str(error).strip().partition("\n")[0]
    return (
        f"{type(callback).__name__} cannot write any more ({reason}); training goes on without it."
    )


class Tolerant(keras.callbacks.Callback):
    """Let training go on when `callback`, which only writes logs, can write no more.

    The first error of its is said, once; from then on it is left alone.

    Args:
        callback: A callback whose loss harms nobody.
        errors: What counts as such an error.
        say: Gets the message; by default it becomes a warning.
    """

    def __init__(
        self,
        callback: keras.callbacks.Callback,
        errors: tuple[type[BaseException], ...] = (OSError,),
        say: Callable[[str], None] = warnings.warn,
    ) -> None:
        super().__init__()
        self.callback, self.errors, self.say = callback, errors, say
        self.failed = False
        callback.raises = True  # to here
        for hook in _hooks():
            setattr(self, hook, self._tolerant(getattr(callback, hook)))

    def set_model(self, model: keras.Model) -> None:
        """Hand on the model."""
        super().set_model(model)
        self._tolerant(self.callback.set_model)(model)

    def set_params(self, params: dict[str, Any]) -> None:
        """Hand on epochs and steps."""
        super().set_params(params)
        self.callback.set_params(params)

    def get_state(self) -> Any:
        """That of the callback."""
        return state_of(self.callback)

    def set_state(self, state: Any) -> None:
        """Hand it on."""
        self._tolerant(lambda: restore_state(self.callback, state))()

    def _tolerant(self, hook: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **kwargs: Any) -> None:
            if self.failed:
                return
            try:
                hook(*args, **kwargs)
            except self.errors as error:
                self.failed = True
                self.say(_message(self.callback, error))

        return call
