"""Image files checked before anything is trained on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from kcnn.data.sets.forms import PARTS
from kcnn.data.sets.splits import Data, Split, fingerprint_of
from kcnn.errors import InputError

_SHOWN = 20  # bad files that a message lists


def preflight(
    data: Data, *, skip_bad: bool = False, progress: Callable[[int], None] | None = None
) -> Data:
    """Check the files of all three splits; data in memory pass as they are.

    Args:
        data: what `load_data` returned.
        skip_bad: leave bad files out instead of raising. The rest of each split stays as it is.
        progress: called with the number of files done so far.

    Returns:
        `data`, or a copy without the bad files, with a fingerprint and provenance of its own.

    Raises:
        InputError: bad files (the first 20 by path and reason), or, without them, a class with
            no training image or an empty split.
    """
    data = _files_checked(data, skip_bad, progress)
    return data if data.train.annotations is None else _annotations_checked(data, progress)


def _files_checked(data: Data, skip_bad: bool, progress: Callable[[int], None] | None) -> Data:
    splits = {name: getattr(data, name) for name in PARTS}
    files = [s.files for s in splits.values() if s.files is not None]
    if not files:
        return data
    bad, done = [], 0
    for part in files:
        bad += part.faults(_from(done, progress))
        done += len(part)
    if count := sum(part.several() for part in files):
        remark = f"of {count:,} files with several frames or pages the first"
        if remark not in data.provenance:  # it is checked again
            data = replace(data, provenance=f"{data.provenance}; {remark}")
    if not bad:
        return data
    if not skip_bad:
        raise InputError(_bad_files_message(bad, done))
    removed = {path for path, _ in bad}  # paths as ImageFiles gives them
    kept = {name: _without(split, removed) for name, split in splits.items()}
    _check_remaining(data, kept)
    return replace(
        data,
        train=kept["train"],
        validation=kept["validation"],
        test=kept["test"],
        provenance=f"{data.provenance}; {len(bad)} bad files left out",
        fingerprint=lambda: fingerprint_of(kept.values()),
    )


def _annotations_checked(data: Data, progress: Callable[[int], None] | None) -> Data:
    """Masks or boxes looked at beside their pictures; what was repaired is in the provenance."""
    checked, done, remarks = {}, 0, dict[str, None]()
    before = {remark for part in PARTS for remark in getattr(data, part).labels.remarks}
    for name in PARTS:
        split = getattr(data, name)
        labels = split.labels.checked(split.images, data.class_names, _from(done, progress))
        checked[name] = replace(split, labels=labels)
        remarks |= dict.fromkeys(f"{name}: {r}" for r in labels.remarks if r not in before)
        done += len(split)
    return replace(data, **checked, provenance="; ".join([data.provenance, *remarks]))


def _from(before: int, progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    return None if progress is None else lambda count: progress(before + count)


def _bad_files_message(bad: list[tuple[Path, str]], checked: int) -> str:
    lines = [f"{len(bad)} of {checked} image files cannot be used:"]
    lines += [f"  {path}: {reason}" for path, reason in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"  and {len(bad) - _SHOWN} more")
    lines.append("Repair or remove them, or leave them out with skip_bad=True (--skip-bad).")
    return "\n".join(lines)


def _without(split: Split, removed: set[Path]) -> Split:
    if (files := split.files) is None:
        return split
    keep = np.array([path not in removed for path in files], dtype=np.bool_)
    return split.take(np.flatnonzero(keep))


def _check_remaining(data: Data, kept: dict[str, Split]) -> None:
    for name, split in kept.items():
        if not len(split) and len(getattr(data, name)):
            raise InputError(f"Without the bad files the {name} split of {data.name} is empty.")
    if data.train.annotations is not None:
        return
    counts = np.bincount(kept["train"].labels, minlength=data.classes)
    had = np.bincount(data.train.labels, minlength=data.classes)
    lost = [data.class_names[k] for k in np.flatnonzero((counts == 0) & (had > 0))]
    if lost:
        raise InputError(
            f"Without the bad files no training image is left of {', '.join(lost)}. Repair the "
            "files, or remove the class folders."
        )
