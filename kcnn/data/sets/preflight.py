"""Image files checked before anything is trained on them."""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from kcnn.data.sets.decoding import BROKEN, BadImage, load_pixels, open_image
from kcnn.data.sets.splits import Data, Split
from kcnn.errors import InputError

_SHOWN = 20  # bad files that a message lists


def check_files(
    paths: Iterable[str | os.PathLike], *, progress: Callable[[int], None] | None = None
) -> list[tuple[Path, str]]:
    """Find every file that training could not read, without decoding the good ones.

    The header gives format and size. That a file is complete is seen cheaply by how its format
    ends (PNG: by its checksums); a file without that sign is decoded to find out.

    Args:
        paths: the files; checked in a pool of threads.
        progress: called with the number of files done so far, after each, from any thread.

    Returns:
        (path, reason) of the bad files, in the order of `paths`.
    """
    done, lock = 0, threading.Lock()

    def check(path: str | os.PathLike) -> tuple[Path, str] | None:
        nonlocal done
        reason = _fault(Path(path))
        if progress is not None:
            with lock:
                done += 1
                progress(done)
        return None if reason is None else (Path(path), reason)

    # An oversize header is a warning in Pillow. Filters belong to the process, so they are set
    # once around the pool, never in its threads; other warnings about a header are no fault.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(32, 2 * (os.cpu_count() or 1))) as pool:
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return [bad for bad in pool.map(check, paths) if bad is not None]


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
    splits = {name: getattr(data, name) for name in ("train", "validation", "test")}
    files = [s.files for s in splits.values() if s.files is not None]
    if not files:
        return data
    bad = check_files((path for part in files for path in part), progress=progress)
    if not bad:
        return data
    if not skip_bad:
        raise InputError(_bad_files_message(bad, sum(map(len, files))))
    removed = {path for path, _ in bad}  # paths as ImageFiles gives them
    kept = {name: _without(split, removed) for name, split in splits.items()}
    _check_remaining(data, kept)
    return replace(
        data,
        train=kept["train"],
        validation=kept["validation"],
        test=kept["test"],
        provenance=f"{data.provenance}; {len(bad)} bad files left out",
        fingerprint=_fingerprint_without(data.fingerprint, removed),
    )


def _fault(path: Path) -> str | None:
    try:
        with open_image(path) as image:
            kind = image.format
            if kind == "PNG":
                _verify(image)  # checksums of all chunks, up to the end marker
            elif not _looks_complete(path, kind):
                load_pixels(image)
    except BadImage as error:
        return str(error)
    return None


def _verify(image: Image.Image) -> None:
    try:
        image.verify()
    except Exception as error:  # SyntaxError, OSError, struct.error, ...
        raise BadImage(f"{BROKEN}: {error}") from error


def _looks_complete(path: Path, kind: str | None) -> bool:
    """Whether a file ends as its format does. JPEG's marker FF D9 never occurs within a scan."""
    if kind == "WEBP":
        return True  # opening has read it all: a part is refused there
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 2, 0))
        tail = file.read(2)
    if kind in ("JPEG", "MPO"):
        return tail == b"\xff\xd9"
    return kind == "GIF" and tail.endswith(b"\x3b")  # BMP: decoding is a copy


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
    return replace(split, images=files[keep], labels=split.labels[keep])


def _check_remaining(data: Data, kept: dict[str, Split]) -> None:
    for name, split in kept.items():
        if not len(split) and len(getattr(data, name)):
            raise InputError(f"Without the bad files the {name} split of {data.name} is empty.")
    counts = np.bincount(kept["train"].labels, minlength=data.classes)
    had = np.bincount(data.train.labels, minlength=data.classes)
    lost = [data.class_names[k] for k in np.flatnonzero((counts == 0) & (had > 0))]
    if lost:
        raise InputError(
            f"Without the bad files no training image is left of {', '.join(lost)}. Repair the "
            "files, or remove the class folders."
        )


def _fingerprint_without(fingerprint: str, removed: set[Path]) -> str:
    names = sorted(os.fsencode("/".join(path.parts[-2:])) for path in removed)  # CLASS/FILE
    digest = hashlib.sha256(b"\0".join([fingerprint.encode(), *names]))
    return f"sha256:{digest.hexdigest()}"
