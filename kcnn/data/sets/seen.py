"""What was seen of image files: whether each can be used, and a hash of its bytes.

A file is read once. As long as its size and its times of change stay as they were, what was seen
of it holds, and it is not opened again: in this process, and, of many files, in the next one, from
a hidden file beside the images or, where that folder cannot be written, below the user's cache.

The files are read one by one: a pool of threads took two to three times as long, since Pillow's
headers are Python (two cores of an AMD EPYC, 1,000 JPEG files of 8 kB: 35 µs each against 83 µs).
`python -m benchmarks.checking` has a first look at 62 µs, hash included, and another at 6 µs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from kcnn.data.sets.decoding import (
    BROKEN,
    BadImage,
    has_several,
    is_regular,
    load_pixels,
    open_image,
)
from kcnn.errors import InputError
from kcnn.storage import archive

Progress = Callable[[int], None] | None

#: Beside the class folders; hidden names are no classes.
NAME = ".kcnn-seen"

#: So many files are worth a file; fewer are looked at again in less than a tenth of a second.
_MANY = 1000
#: Seconds: a file that changed later than this before it was read may change again unnoticed,
#: within the same tick of the file system's clock.
_TICK = 0.1
#: Under which what was seen holds: other versions may judge files otherwise.
_RULES = f"3, Pillow {PIL.__version__}"

_DIGEST = hashlib.sha256().digest_size


class Seen:
    """What was seen of files below a folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root, self._inside = root, os.path.join(os.fsencode(root), b"")
        self._names = np.empty(0, "S1")  # (M,), sorted
        self._stamps = np.empty((0, 3), np.int64)  # size, time of change, of the inode's change
        self._digests = np.empty((0, _DIGEST), np.uint8)
        self._faults: dict[bytes, str] = {}
        self._several = set[bytes]()  # files of several frames or pages
        self._recalled = False

    def look(
        self, names: np.ndarray, progress: Progress = None
    ) -> tuple[np.ndarray, dict[int, str]]:
        """Look at files: at those that are new or have changed.

        Args:
            names: (N,) bytes, paths relative to the root.
            progress: Called with the number of files done so far.

        Returns:
            (N, 32) uint8, SHA-256 of the bytes of each, zeros for what cannot be read; and why
            files cannot be used, by their index.
        """
        if not self._recalled and len(names) >= _MANY:
            self._recalled = True
            self._recall()
        now, stamps = time.time_ns(), self._stamped(names)
        place, same = self._known(names, stamps)
        digests = np.zeros((len(names), _DIGEST), np.uint8)
        digests[same] = self._digests[place[same]]
        faults = {}
        if self._faults:
            held = ((i, self._faults.get(names[i])) for i in np.flatnonzero(same))
            faults = {int(i): reason for i, reason in held if reason is not None}
        new = np.flatnonzero(~same)
        done = len(names) - len(new)
        if progress is not None and done:
            progress(done)
        with _strict():
            for index in new:
                digest, reason, several = _looked_at(self._inside + names[index])
                (self._several.add if several else self._several.discard)(bytes(names[index]))
                digests[index] = np.frombuffer(digest, np.uint8)
                if reason is not None:
                    faults[int(index)] = reason
                done += 1
                if progress is not None:
                    progress(done)
        settled = new[stamps[new, 1:].max(axis=1, initial=0) < now - int(_TICK * 1e9)]
        settled = settled[stamps[settled, 0] >= 0]
        if len(settled):
            self._keep(names[settled], stamps[settled], digests[settled])
            self._faults |= {bytes(names[i]): faults[i] for i in settled.tolist() if i in faults}
            if len(names) >= _MANY:
                self._write()
        return digests, dict(sorted(faults.items()))

    def several(self, names: np.ndarray) -> int:
        """How many of the files hold several frames or pages, as they were last looked at."""
        return sum(name in self._several for name in names.tolist()) if self._several else 0

    def _stamped(self, names: np.ndarray) -> np.ndarray:
        """(N, 3); -1 for what is not there."""
        stamps = [_stamp(self._inside + name) for name in names.tolist()]
        return np.array(stamps, np.int64).reshape(-1, 3)

    def _known(self, names: np.ndarray, stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where each file is in what was seen; and whether that still holds."""
        if not len(self._names):
            return np.zeros(len(names), np.int64), np.zeros(len(names), bool)
        place = np.searchsorted(self._names, names).clip(max=len(self._names) - 1)
        same = (self._names[place] == names) & (self._stamps[place] == stamps).all(axis=1)
        return place, same

    def _keep(self, names: np.ndarray, stamps: np.ndarray, digests: np.ndarray) -> None:
        old = ~np.isin(self._names, names)
        for name in self._names[~old].tolist():
            self._faults.pop(name, None)
        merged = np.concatenate([self._names[old], names])
        order = np.argsort(merged)
        self._names = merged[order]
        self._stamps = np.concatenate([self._stamps[old], stamps])[order]
        self._digests = np.concatenate([self._digests[old], digests])[order]

    def _places(self) -> list[Path]:
        """Where it is kept: the first that can be written."""
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        key = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:24]
        return [self.root / NAME, base / "kcnn" / f"seen-{key}"]

    def _recall(self) -> None:
        """What another process saw; a file that is not whole, or of other rules, is none."""
        for place in self._places():
            with contextlib.suppress(OSError, InputError, LookupError, TypeError, ValueError):
                held = archive.read(place)
                names, stamps, digests = held["names"], held["stamps"], held["digests"]
                count = len(names)
                shapes = stamps.shape, digests.shape
                if held["rules"] != _RULES or shapes != ((count, 3), (count, _DIGEST)):
                    continue
                faults = {os.fsencode(n): str(reason) for n, reason in held["faults"].items()}
                new = ~np.isin(names.astype("S"), self._names)  # what was seen since is newer
                self._keep(names.astype("S")[new], stamps[new], digests[new])
                self._faults = faults | self._faults
                self._several |= set(held["several"].astype("S").tolist()) & set(
                    names.astype("S")[new].tolist()
                )
                return

    def _write(self) -> None:
        """Keep it for the next process, where there is room; to look again is no loss."""
        held = {
            "rules": _RULES,
            "names": self._names,
            "stamps": self._stamps,
            "digests": self._digests,
            "several": np.array(sorted(self._several), "S"),
            "faults": {os.fsdecode(n): reason for n, reason in self._faults.items()},
        }
        for place in self._places():
            with contextlib.suppress(OSError, InputError):
                if place.name != NAME:
                    place.parent.mkdir(parents=True, exist_ok=True)
                archive.write(place, held)
                return


def look_at(
    paths: Iterable[str | os.PathLike], progress: Progress = None
) -> list[tuple[Path, str]]:
    """(path, reason) of the files that cannot be used, in the order of `paths`."""
    bad = []
    with _strict():
        for done, path in enumerate(map(Path, paths), 1):
            if (reason := _looked_at(os.fsencode(path))[1]) is not None:
                bad.append((path, reason))
            if progress is not None:
                progress(done)
    return bad


def _stamp(path: bytes) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1, -1
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _looked_at(name: bytes) -> tuple[bytes, str | None, bool]:
    """SHA-256 of a file, why it cannot be used, and whether it holds several pictures.

    It is not decoded where that can be found out without.

    The header gives format and size. That a file is complete is seen cheaply by how its format
    ends (PNG: by its checksums); a file without that sign is decoded to find out.
    """
    path = Path(os.fsdecode(name))
    digest, several = bytes(_DIGEST), False
    if not is_regular(path):
        return digest, "is no regular file, but a folder, pipe, socket or device", False
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        with open_image(path) as image:
            kind, several = image.format, has_several(image)
            if kind == "PNG":
                _verify(image)  # checksums of all chunks, up to the end marker
            elif not _looks_complete(path, kind):
                load_pixels(image)
    except OSError as error:
        return digest, f"cannot be read: {error.strerror}", False
    except BadImage as error:
        return digest, str(error), False
    return digest, None, several


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


@contextlib.contextmanager
def _strict() -> Iterator[None]:
    """An oversize header is an error, a warning in Pillow; other warnings are no fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
