"""Weights from one network, or its file, into another; and those that others have published."""

from kcnn.weights.published import PUBLISHED, Published


def list(pattern: str = "*") -> tuple[Published, ...]:
    """Published weights of the networks that match a pattern, such as `resnet*`."""
    from fnmatch import fnmatchcase

    return tuple(row for row in PUBLISHED if fnmatchcase(row.network, pattern))
