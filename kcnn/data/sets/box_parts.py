"""What the readers of detection data share: what they find of a split, and files below a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from kcnn.data.sets.box_geometry import counted
from kcnn.data.sets.filetypes import SUFFIXES
from kcnn.errors import InputError
from kcnn.storage.files import open_regular
from kcnn.terminal import printable

PARTS = ("train", "validation", "test")

#: Pixels beyond which no picture reaches, by far; float32 holds a tenth of a pixel there.
_FARTHEST = 1e6
_SHOWN = 20  # files that a message lists
#: The name of a split in a file's or folder's name, in small letters, and a year behind it.
_SPLIT = re.compile(
    r"(?:^|[^a-z])((train(?:ing|val)?|val(?:id(?:ation)?)?|dev|test(?:ing)?)(?:\d{4})?)(?![a-z0-9])"
)


@dataclass
class Part:
    """What a reader finds of one split: N images, T boxes."""

    names: list[str]  #: paths of the images, relative to the root
    class_names: list[str]
    pictures: np.ndarray  #: (T,) int64, the index of each box's image
    boxes: np.ndarray  #: (T, 4) float64, as `Boxes` has them
    classes: np.ndarray  #: (T,) int64, indices of `class_names`
    crowd: np.ndarray  #: (T,) bool
    sizes: np.ndarray  #: (N, 2) int64, (H, W), 0 where nothing is declared
    relative: bool = False
    remarks: list[str] = field(default_factory=list)

    def remark(self, count: int, what: str, text: str) -> None:
        """`3 boxes without area dropped`, where there are any."""
        if count:
            self.remarks.append(f"{counted(int(count), what)} {text}")

    def tidied(self, where: Callable[[int], str]) -> Part:
        """Itself without boxes without area; what else is remarkable is said.

        Args:
            where: File and place of a box, for messages.

        Raises:
            InputError: Numbers that are no coordinates, or fractions where pixels are meant.
        """
        self._check(where)
        area = (self.boxes[:, 2:] > self.boxes[:, :2]).all(axis=1)
        self.remark((~area).sum(), "box", "without area dropped")
        for column in ("pictures", "boxes", "classes", "crowd"):
            setattr(self, column, getattr(self, column)[area])
        self.remark(self.crowd.sum(), "box", "of a crowd or difficult, not learned from")
        empty = len(self.names) - len(np.unique(self.pictures))
        self.remark(empty, "image", "without a box kept as background")
        self.remark(self._twice(), "box", "there twice, kept")
        return self

    def _check(self, where: Callable[[int], str]) -> None:
        farthest = 2.0 if self.relative else _FARTHEST
        wrong = ~(np.abs(self.boxes) <= farthest).all(axis=1)  # NaN is not, either
        if wrong.any():
            first = int(wrong.argmax())
            allowed = "fractions of width and height, 0..1" if self.relative else "pixels"
            raise InputError(
                f"{where(first)}: the box {self.boxes[first].tolist()} ([x_min, y_min, x_max, "
                f"y_max]) cannot be. Coordinates are {allowed}."
            )
        if len(self.boxes) and not self.relative and self.boxes[:, 2:].max() <= 1:
            raise InputError(
                f"{where(0)}: all boxes end within the first pixel, as fractions of width and "
                f"height do. Coordinates are pixels here."
            )

    def _twice(self) -> int:
        """Boxes that repeat another one of the same image and class."""
        columns = np.column_stack([self.boxes, self.classes, self.pictures])
        ordered = columns[np.lexsort(columns.T)]
        return int((ordered[1:] == ordered[:-1]).all(axis=1).sum())


class Tree:
    """Files below a folder; each folder is read once. What a link leads to outside is not there.

    Args:
        root: The folder, resolved.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.outside = root, 0  #: links that lead outside
        self._read: dict[str, tuple[set[str], set[str]]] = {}

    def files(self, folder: str) -> set[str]:
        """Names of the files in a folder, a path relative to the root; none where there is none."""
        return self._entries(folder)[0]

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in it, sorted."""
        return sorted(self._entries(folder)[1])

    def images(self, folder: str) -> list[str]:
        """Names of the images in it, sorted."""
        return sorted(n for n in self.files(folder) if n.lower().endswith(SUFFIXES))

    def below(self, folder: str, depth: int = 8) -> Iterator[str]:
        """Paths of the images in it and in the folders below, relative to the root."""
        yield from (join(folder, name) for name in self.images(folder))
        for name in self.folders(folder) if depth else ():
            yield from self.below(join(folder, name), depth - 1)

    def has(self, path: str) -> bool:
        """Whether there is a file of that path, relative to the root."""
        folder, _, name = path.rpartition("/")
        return name in self.files(folder)

    def holds(self, path: str) -> bool:
        """As `has`, without reading the folder: there may be a million files in it."""
        whole = self.root / path
        return whole.is_file() and _is_inside(whole, self.root)

    def unlisted(self, listed: Sequence[str]) -> int:
        """How many images stand beside those of these paths, and are none of them."""
        known, folders = set(listed), {path.rpartition("/")[0] for path in listed}
        return sum(join(f, name) not in known for f in folders for name in self.images(f))

    def _entries(self, folder: str) -> tuple[set[str], set[str]]:
        if folder in self._read:
            return self._read[folder]
        files, folders = self._read[folder] = set[str](), set[str]()
        path = self.root / folder
        if not _is_path(folder) or not _is_inside(path, self.root):
            return files, folders
        try:
            with os.scandir(path) as entries:
                for entry in (e for e in entries if not e.name.startswith(".")):
                    if entry.is_symlink() and not _is_inside(entry.path, self.root):
                        self.outside += 1
                    elif entry.is_file():
                        files.add(entry.name)
                    elif entry.is_dir():
                        folders.add(entry.name)
        except OSError:
            pass
        return files, folders


def _is_inside(path: str | Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def join(folder: str, name: str) -> str:
    """A path relative to the root; of "" and a name the name."""
    return f"{folder}/{name}" if folder else name


def inside(name: str, source: Path) -> str:
    """A path that a file names, relative to a folder, without `.` in it.

    Raises:
        InputError: It is absolute, leads upwards, or is no path.
    """
    if name.isascii() and name.isprintable() and name.strip("./") and "/" not in name:
        return name  # of a hundred thousand, nearly all
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or not _is_path(name):
        raise InputError(
            f"{source}: the path {shown(name)} leads outside, or is none. Paths are relative to "
            f"the folder of the data."
        )
    return str(path)


def _is_path(name: str) -> bool:
    """Whether a file system takes it: no NUL, no lone surrogates, but those of its own bytes."""
    try:
        return b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def split_of(name: str) -> tuple[str, str] | None:
    """The split that a file's or folder's name names, and how: ("train", "train2017")."""
    match = _SPLIT.search(name.lower())
    if match is None:
        return None
    return {"tr": "train", "te": "test"}.get(match[2][:2], "validation"), match[1]


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        InputError: It cannot be read, or has more than `most`.
    """
    try:
        with open_regular(path) as file:
            text = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) > most:
        raise InputError(f"{path} has more than {most:,} bytes.")
    return text


def refuse_missing(missing: Sequence[str], total: int, what: str, source: Path) -> None:
    """Raise InputError with the first files of a list that are not there, if there is one."""
    if missing:
        lines = [f"{len(missing):,} of {total:,} {what} of {source} are not there:"]
        lines += [f"  {printable(name)}" for name in missing[:_SHOWN]]
        if len(missing) > _SHOWN:
            lines.append(f"  and {len(missing) - _SHOWN:,} more")
        raise InputError("\n".join(lines))


def refuse_twice(values: Sequence[object], what: str, source: Path) -> None:
    """Raise InputError with the first value of a list that is there twice, if there is one."""
    if len(set(values)) < len(values):
        seen = set[object]()
        twice = next(v for v in values if v in seen or seen.add(v))  # type: ignore[func-returns-value]
        raise InputError(f"{source}: the {what} {shown(twice)} is there twice.")


def shown(value: object) -> str:
    """A value of a file in a message."""
    text = printable(repr(value))
    return text if len(text) <= 100 else f"{text[:100]}..."
