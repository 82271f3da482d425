"""What keeps a training from being lost: to signals, and to logs that cannot be written."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from kcnn.callbacks.checkpoint.state import restore_state, state_of
from kcnn.startup import keras


def _hooks() -> tuple[str, ...]:
    return tuple(name for name in dir(keras.callbacks.Callback) if name.startswith("on_"))


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
                name = type(self.callback).__name__
                self.say(f"{name} cannot write any more ({error}); training goes on without it.")

        return call
