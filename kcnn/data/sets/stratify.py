"""Stratified splitting: a pure function of (labels, size, seed).

The order in which a class is drawn comes from sorting raw 64-bit words of PCG64, whose stream
NumPy guarantees; so splits agree between platforms and NumPy versions.
"""

import numbers

import numpy as np

from kcnn.errors import InputError


def stratified(labels: np.ndarray, size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide the indices of `labels` in two, each class in proportion.

    Shares are rounded by largest remainders, so that exactly the size asked for results. Every
    class keeps at least one index in the first part; so a class of one is never divided.

    Args:
        labels: (N,) integers from 0.
        size: of the second part: a fraction in (0, 1), or a count of at least 1.
        seed: an integer of at least 0.

    Returns:
        Two sorted int64 arrays, disjoint, together 0..N-1: the rest, and the part.

    Raises:
        InputError: `size` or `seed` out of range, or a part that would be empty or too large.
    """
    wanted = part_size(size, len(labels))
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise InputError(f"seed is {seed!r}. It must be an integer of at least 0.")
    counts = np.bincount(labels)
    largest = np.maximum(counts - 1, 0)
    if wanted > largest.sum():
        raise InputError(
            f"{wanted} of {len(labels)} images cannot be split off: one of each of the "
            f"{int((counts > 0).sum())} classes must remain for training, so {largest.sum()} is "
            "the most. Ask for less, or add images."
        )
    bits = np.random.PCG64(int(seed))
    part = []
    for label, take in enumerate(_shares(counts, largest, wanted)):
        members = np.flatnonzero(labels == label)
        order = np.argsort(bits.random_raw(len(members)), kind="stable")
        part.append(members[order[:take]])
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.concatenate(part)] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def part_size(size: float, total: int) -> int:
    """How many of `total` images `size` means: a fraction in (0, 1), or a count of at least 1.

    Raises:
        InputError: neither of the two, or a part that is empty or leaves nothing.
    """
    allowed = "Allowed: a fraction in (0, 1), or a whole number of images of at least 1."
    if isinstance(size, bool) or not isinstance(size, numbers.Real):
        raise InputError(f"The size of a split is {size!r}. {allowed}")
    is_count = isinstance(size, numbers.Integral)
    if not (size >= 1 if is_count else 0 < size < 1):
        raise InputError(f"The size of a split is {size!r}. {allowed}")
    count = int(size) if is_count else round(float(size) * total)
    if count == 0:
        raise InputError(
            f"A fraction of {size} of {total} images is no image at all. Ask for a larger "
            "fraction, or for a count; validation=0 goes without a validation split."
        )
    if count >= total:
        raise InputError(
            f"A split of {count} images leaves nothing of the {total} there are to train on. "
            "Ask for less."
        )
    return count


def _shares(counts: np.ndarray, largest: np.ndarray, wanted: int) -> np.ndarray:
    """Largest remainders: how many of each class make up `wanted`, at most `largest` each."""
    quota = counts * wanted
    shares = np.minimum(quota // counts.sum(), largest)
    # Ties go to the lower class number. A second round serves what `largest` has cut off.
    remainder = quota / counts.sum() - shares
    while shares.sum() < wanted:
        for label in np.argsort(-remainder, kind="stable"):
            if shares.sum() < wanted and shares[label] < largest[label]:
                shares[label] += 1
    return shares
