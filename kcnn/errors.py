"""The exceptions that kcnn raises for bad input."""


class InputError(ValueError):
    """Bad input, found before any long work started.

    The message says what was received, what is allowed, and what to try. The command line
    prints it without a traceback and exits with status 2.
    """


class GeometryError(InputError):
    """The network does not take images of this size."""


class TooDeepError(InputError):
    """The network has more layers than anybody trains."""


class VanishingError(GeometryError):
    """An image is smaller than the window that a layer slides over it."""


class NonFiniteError(FloatingPointError):
    """The loss of a training step, or a weight that it found, is not finite.

    Attributes:
        step: Number of that step, from 1, over all epochs.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step
