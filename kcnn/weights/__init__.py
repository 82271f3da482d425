"""Weights from one network, or its file, into another; and those that others have published."""

from typing import TYPE_CHECKING, Any

from kcnn.weights.published import PUBLISHED, Published

if TYPE_CHECKING:
    from kcnn.weights.preprocessing import Normalisation


def list(pattern: str = "*") -> tuple[Published, ...]:
    """Published weights of the networks that match a pattern, such as `resnet*`."""
    from fnmatch import fnmatchcase

    return tuple(row for row in PUBLISHED if fnmatchcase(row.network, pattern))


def normalisation(model: Any) -> "Normalisation | None":
    """Mean and deviation with which a trained `keras.Model` normalises images, by channel.

    Returns:
        In the units of the images; None where it does not, or in another way.
    """
    from kcnn.weights.preprocessing import of_model

    return of_model(model)
