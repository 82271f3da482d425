"""Refusals that several families share: what was received, what is allowed."""

from __future__ import annotations

from collections.abc import Sequence

from kcnn.errors import InputError


def lengths(**rows: Sequence[int]) -> None:
    """Refuse lists of numbers that must go together and have different lengths."""
    if len({len(row) for row in rows.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(row)}" for name, row in rows.items())
        raise InputError(f"One entry each is needed: {lengths}.")
