"""A table beside pictures becomes data: a CSV, or a pandas frame; no image is opened.

| Column   | Holds                                                                            |
|----------|----------------------------------------------------------------------------------|
| `file`   | a path, relative to the folder of the CSV (of a frame: to the folder one is in)  |
| `label`  | the class, a name or a number                                                    |
| `split`  | `train`, `val`, `test`; without this column all rows are for training            |
| `weight` | of the image in the loss of training, from 0 up; of held-out rows it is not read |

Other names of columns are said, `file=path,label=diagnosis`; a few usual ones are known. Commas,
semicolons and tabs divide; what is not read is listed in the provenance.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.sets.arrays import as_weights
from kcnn.data.sets.classes import encoded
from kcnn.data.sets.folders import split_named
from kcnn.data.sets.forms import PARTS
from kcnn.data.sets.images import ImageFiles
from kcnn.data.sets.seen import Seen
from kcnn.data.sets.splits import Data, Split, divided, weights_remark
from kcnn.errors import InputError
from kcnn.recipes import checks
from kcnn.storage.files import open_regular

SUFFIXES = (".csv", ".tsv")
#: By what a column holds: names that are known for it, the first before the others.
_NAMES = {
    "file": ("file", "filename", "file_name", "filepath", "file_path", "path", "image",
             "image_path"),
    "label": ("label", "class", "category", "target"),
    "split": ("split", "subset", "partition"),
    "weight": ("weight", "sample_weight"),
}  # fmt: skip
_SHOWN = 10  # rows that a message lists


@dataclass(frozen=True)
class _Table:
    """Rows with a file and a class, and what else is read of them."""

    what: str  #: how messages name it
    root: Path  #: to which paths are relative
    rows: list[str]  #: where each is: "line 7"
    cells: dict[str, list[str]]  #: by what it holds
    remark: str  #: which columns were read, and which were not

    def __len__(self) -> int:
        return len(self.rows)


def is_table(path: Path) -> bool:
    """Whether it is a file that is read as a table."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def is_frame(value: Any) -> bool:
    """Whether it is a frame of pandas, or what looks like one: named columns of rows."""
    if isinstance(value, Mapping | np.ndarray | Data):
        return False
    return all(hasattr(value, name) for name in ("columns", "to_dict", "__getitem__"))


def load_table(
    path: Path, *, name: str, columns: str | None = None, validation: float, seed: int
) -> Data:
    """Data of a CSV that names image files and their classes.

    Args:
        path: Of the CSV.
        name: What reports call the data.
        columns: Names of columns, `file=path,label=diagnosis`, where they are others.
        validation: Size of the validation split where the table names none.
        seed: Of that split. A test split that the table does not name is a fixed fifth of train.

    Raises:
        InputError: A table that cannot be read, without file or label; rows, by their line, with a
            file that is missing or named twice, an unknown split, no label, or no weight.
    """
    table = _of_csv(path, columns)
    return _data(table, name, f"table {path}", validation, seed)


def from_frame(frame: Any, columns: str | None, *, validation: float, seed: int) -> Data:
    """As `load_table`, of a frame; paths are relative to the working directory."""
    return _data(_of_frame(frame, columns), "frame", "a frame", validation, seed)


def table_to_evaluate(given: Any, columns: str | None) -> tuple[ImageFiles, list[str], str]:
    """Of a path or a frame, the images to be evaluated: the test split that it names, else all.

    Returns:
        The files; the name of the class of each; which part of the table it is.

    Raises:
        InputError: As `load_table`.
    """
    read = _of_frame if is_frame(given) else _of_csv
    table = read(given, columns, strict=False)
    parts = _parts(table)
    chosen = [i for i, part in enumerate(parts) if part == "test"] or list(range(len(table)))
    names = _files(table)
    files = ImageFiles(table.root, [names[i] for i in chosen])
    part = "test" if "test" in parts else "all of it"
    return files, [table.cells["label"][i] for i in chosen], part


def _data(table: _Table, name: str, source: str, validation: float, seed: int) -> Data:
    parts, names, seen = np.array(_parts(table)), np.array(_files(table)), Seen(table.root)
    if "train" not in parts:
        raise InputError(f"{table.what} has no row of the split train: nothing to learn from.")
    labels = np.array(table.cells["label"])
    held = [part for part in PARTS if part in parts]
    numbers, class_names, _ = encoded({part: labels[parts == part] for part in held}, None)
    files = {p: ImageFiles(table.root, names[parts == p].tolist(), seen) for p in held}
    weights = _weights(table, parts == "train")
    splits = {part: Split(files[part], numbers[part]) for part in held}
    splits["train"] = Split(files["train"], numbers["train"], weights)
    remarks = [f"{source} of {len(table)} image files", table.remark]
    if weights is not None:
        remarks.append(weights_remark(weights.min(), weights.max()))
    return divided(
        splits,
        name=name,
        class_names=class_names,
        image_shape=(None, None, 3),
        provenance="; ".join(remarks),
        fingerprint=_fingerprint(splits),
        validation=validation,
        seed=seed,
    )


def _fingerprint(splits: Mapping[str, Split]) -> Callable[[], str]:
    """Of the files, and of what the table says of each, in the order of its rows."""

    def found() -> str:
        digest = hashlib.sha256()
        for part, split in splits.items():
            assert split.files is not None
            digest.update(f"{part}\0{len(split)}\0".encode() + split.files.state())
            digest.update(split.labels.astype("<i8").tobytes())
            if split.weights is not None:
                digest.update(split.weights.astype("<f4").tobytes())
        return f"sha256-files:{digest.hexdigest()}"

    return found


def _parts(table: _Table) -> list[str]:
    """The split of each row."""
    if "split" not in table.cells:
        return ["train"] * len(table)
    given = table.cells["split"]
    found = [split_named(cell) for cell in given]
    wrong = [i for i, part in enumerate(found) if part is None]
    _refuse(table, wrong, "an unknown split", given, "Known are train, val and test.")
    return [str(part) for part in found]


def _files(table: _Table) -> list[str]:
    """Paths relative to the root, each of a file that is there, none of them twice."""
    given = table.cells["file"]
    names = [os.path.relpath(cell, table.root) if os.path.isabs(cell) else cell for cell in given]
    missing = [i for i, name in enumerate(names) if not name or not (table.root / name).is_file()]
    hint = f"Paths are relative to {table.root}."
    _refuse(table, missing, "a file that is not there", given, hint)
    first: dict[str, int] = {}
    twice = []
    for index, name in enumerate(names):
        before = first.setdefault(os.path.normpath(name), index)
        if before != index:
            twice.append((index, before))
    if twice:
        labels = table.cells["label"]
        shown = [
            f"{table.rows[i]} and {table.rows[j]}: {given[i]!r}, "
            + (f"both {labels[i]!r}" if labels[i] == labels[j] else f"{labels[j]!r}, {labels[i]!r}")
            for i, j in twice[:_SHOWN]
        ]
        raise InputError(
            f"{table.what} names {len(twice)} files again ({'; '.join(shown)}"
            f"{', ...' if len(twice) > _SHOWN else ''}). Each has one row."
        )
    unlabelled = [i for i, label in enumerate(table.cells["label"]) if not label]
    _refuse(table, unlabelled, "no label", given, "Give each row its class, or leave it out.")
    return names


def _weights(table: _Table, train: np.ndarray) -> np.ndarray | None:
    """(N,) float32 of the training rows, where the table has weights."""
    if "weight" not in table.cells:
        return None
    cells, found = table.cells["weight"], np.zeros(len(table), np.float32)
    wrong = []
    for index in np.flatnonzero(train).tolist():
        try:
            found[index] = float(cells[index])
        except ValueError:
            found[index] = np.nan
        if not (np.isfinite(found[index]) and found[index] >= 0):
            wrong.append(index)
    _refuse(table, wrong, "a weight that is no number from 0 up", cells, "")
    return as_weights(found[train], int(train.sum()), table.what)


def _refuse(table: _Table, wrong: list[int], what: str, cells: list[str], hint: str) -> None:
    """Refuse rows, by where they are and what they have there."""
    if wrong:
        shown = ", ".join(f"{table.rows[i]} {cells[i]!r}" for i in wrong[:_SHOWN])
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InputError(
            f"{table.what}: {len(wrong)} of {len(table)} rows have {what}: {shown}{more}. {hint}"
        )


def _of_csv(path: Path, columns: str | None, strict: bool = True) -> _Table:
    header, rows = _read(path)
    chosen = _columns(header, columns, str(path), strict)
    _refuse_ragged(path, header, rows)
    cells = {kind: [row[header.index(name)] for _, row in rows] for kind, name in chosen.items()}
    where = [f"line {line}" for line, _ in rows]
    return _Table(str(path), path.resolve().parent, where, cells, _remark(header, chosen))


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and rows of a CSV, cells without spaces around; each row with its line."""
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8-sig")
        lines = text.splitlines(keepends=True)
        first = lines[0] if lines else ""
        reader = csv.reader(lines, delimiter=max(",;\t", key=first.count), strict=True)
        found = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The table {path} cannot be read: {error}.") from error
    found = [(line, row) for line, row in found if any(row)]
    if len(found) < 2:
        raise InputError(f"The table {path} has no rows below a header such as file,label.")
    return found[0][1], found[1:]


def _refuse_ragged(path: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> None:
    wrong = [(line, len(row)) for line, row in rows if len(row) != len(header)]
    if wrong:
        line, count = wrong[0]
        raise InputError(
            f"{path}: line {line} has {count} cells, the header {len(header)} (so have "
            f"{len(wrong)} lines). A text with a comma in it stands in quotes."
        )


def _of_frame(frame: Any, columns: str | None, strict: bool = True) -> _Table:
    header = [str(name) for name in frame.columns]
    chosen = _columns(header, columns, "the frame", strict)
    own = dict(zip(header, frame.columns, strict=True))
    cells = {kind: [_text(v) for v in list(frame[own[n]])] for kind, n in chosen.items()}
    where = [f"row {index}" for index in range(len(frame))]
    if not where:
        raise InputError("The frame has no rows.")
    return _Table("the frame", Path.cwd().resolve(), where, cells, _remark(header, chosen))


def _text(value: Any) -> str:
    """A cell as it would stand in a CSV; what is missing, as an empty one."""
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return ""
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if is_whole else str(value).strip()


def _columns(header: Sequence[str], given: str | None, what: str, strict: bool) -> dict[str, str]:
    """By what it holds, the name of the column; of split and weight where there are such.

    Names that are given and not there are refused, or, not `strict`, passed over.
    """
    pairs = checks.columns("columns", given).split(",") if given else []
    said = dict(pair.split("=", 1) for pair in pairs)
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise InputError(f"{what} has two columns {', '.join(map(repr, repeated))}.")
    absent = [name for name in said.values() if name not in header]
    if not strict:
        said = {kind: name for kind, name in said.items() if name not in absent}
    elif absent:
        raise InputError(f"{what} has no column {absent[0]!r}; it has {', '.join(header)}.")
    small = {name.lower(): name for name in header if name not in said.values()}
    for kind, names in _NAMES.items():
        known = [small[name] for name in names if name in small]
        exact = known[:1] if kind in small else known
        if kind in said or not known:
            continue
        if len(exact) > 1:
            raise InputError(
                f"{what} has the columns {' and '.join(exact)}: say which one holds the {kind}, "
                f"with columns (--columns {kind}={exact[0]})."
            )
        said[kind] = exact[0]
    for kind in ("file", "label"):
        if kind not in said:
            raise InputError(
                f"{what} has no column {kind}; it has {', '.join(header)}. Say which one it is, "
                f"with columns (--columns {kind}=NAME)."
            )
    return said


def _remark(header: Sequence[str], chosen: Mapping[str, str]) -> str:
    other = [f"{name} is {kind}" for kind, name in chosen.items() if name != kind]
    unread = [name for name in header if name not in chosen.values()]
    parts = ["columns " + ", ".join(chosen.values())]
    parts += [", ".join(other)] if other else []
    parts += [f"not read: {', '.join(unread[:_SHOWN])}"] if unread else []
    return "; ".join(parts)
