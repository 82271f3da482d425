"""The exceptions that kcnn raises for bad input, and what their messages suggest."""

import difflib
from collections.abc import Iterable

#: From which similarity on (0 to 1, of `difflib`) a name is suggested.
_NEAR = 0.5


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


def did_you_mean(received: str, known: Iterable[str]) -> str:
    """A sentence that suggests a known name, to be put behind another one; "" if none is near.

    Of names that differ by their number it is the one whose number is nearest: resnet35 is
    resnet34, not resnet56.
    """
    text = received.lower()
    stem, number = _parted(text)
    matcher = difflib.SequenceMatcher()
    matcher.set_seq2(text)

    def rank(name: str) -> tuple[bool, float]:
        matcher.set_seq1(name)
        its, its_number = _parted(name)
        return (False, abs(its_number - number)) if its == stem else (True, -matcher.ratio())

    best = min(known, key=rank, default="")
    matcher.set_seq1(best)
    return f" Did you mean {best!r}?" if best and matcher.ratio() >= _NEAR else ""


def _parted(name: str) -> tuple[str, int]:
    """What stands before the number at a name's end, and the number."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :][:9] or 0)
