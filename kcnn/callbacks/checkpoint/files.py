"""Checkpoint files: names, which is the newest whole one, and how often one is due."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kcnn.callbacks.checkpoint import content
from kcnn.callbacks.checkpoint.variables import Snapshot, kinds
from kcnn.errors import InputError
from kcnn.startup import keras
from kcnn.storage import archive
from kcnn.storage.files import create

_FILE = re.compile(r"epoch-(\d+)-step-(\d+)\.ckpt")


def path_of(directory: Path, epoch: int, step: int) -> Path:
    """The file of a checkpoint `step` steps into `epoch`."""
    return directory / f"epoch-{epoch:04d}-step-{step:06d}.ckpt"


def newest(directory: Path) -> tuple[Path | None, dict[str, Any] | None]:
    """The newest whole checkpoint in `directory` and what it holds; None, None without any.

    Damaged ones are passed over with a warning.

    Raises:
        InputError: None of those that are there is whole, or one is of another version.
    """
    damaged = []
    for place, path in reversed(files_in(directory)):
        try:
            found = _read(path, *place)
        except (archive.DamagedError, OSError) as error:
            damaged.append(str(error))
            continue
        found["variables"]["rated"] = found["training"] > 1
        if damaged:
            warnings.warn(f"{' '.join(damaged)} Training goes on from {path.name}.", stacklevel=3)
        return path, found
    if damaged:
        raise InputError(
            f"{' '.join(damaged)} No checkpoint in {str(directory)!r} is whole. Remove them to "
            f"begin with the first step."
        )
    return None, None


def _read(path: Path, epoch: int, batch: int) -> dict[str, Any]:
    """A whole checkpoint.

    Raises:
        DamagedError: It is none.
        InputError: It is one of a newer version.
        OSError: It cannot be read.
    """
    found = archive.read(path)
    version = found.get("training") if isinstance(found, dict) else None
    if type(version) is int and version > content.VERSION:
        raise InputError(f"{str(path)!r} was written by a newer version of kcnn.")
    if type(version) is not int or version < 1:
        raise archive.DamagedError(f"{str(path)!r} is damaged: it holds no checkpoint.")
    content.check(path, found, epoch, batch)
    return found


def differences_from(
    found: dict[str, Any],
    identity: Mapping[str, Any],
    older: Mapping[str, Any],
    model: keras.Model,
    callbacks: Sequence[keras.callbacks.Callback],
) -> list[str]:
    """Where the training of a checkpoint is another one than that of `model`, in words."""
    theirs, ours = dict(found["identity"]), dict(identity)
    theirs = {n: older[n] for n in ours if n in older and n not in theirs} | theirs
    theirs, ours = json.loads(json.dumps([theirs, ours]))
    differences = [
        f"{name}: {theirs.get(name)!r} there, {ours.get(name)!r} here"
        for name in dict.fromkeys([*theirs, *ours])
        if theirs.get(name) != ours.get(name)
    ]
    here = kinds(model)
    differences += [
        f"{name}: {there} there, {here[name]} here"
        for name, there in found.get("kinds", here).items()  # missing in those of before
        if there != here[name]
    ]
    differences += Snapshot.differences(model, found["variables"])
    names = [name for name, _ in found["callbacks"]]
    given = [type(callback).__name__ for callback in callbacks]
    if names != given:
        differences.append(f"callbacks: {', '.join(names)} there, {', '.join(given)} here")
    return differences


def refuse_ended(directory: Path, found: dict[str, Any] | None) -> None:
    """Refuse to begin anew over the checkpoints of a training that has ended.

    Raises:
        InputError: There are some, and they were not looked for.
    """
    if found is None and files_in(directory):
        raise InputError(
            f"{str(directory)!r} holds the checkpoints of a training that has ended; a new one "
            f"would replace them. Call find() to go on from them, or choose another directory."
        )


def refuse_other_epoch(path: Path | None, found: dict[str, Any], epoch: int) -> None:
    """Refuse a training that begins with another epoch than the checkpoint.

    Raises:
        InputError: With both.
    """
    if epoch != found["epoch"]:
        raise InputError(
            f"The checkpoint {str(path)!r} goes on in epoch {found['epoch']}; fit begins with "
            f"epoch {epoch}. Give fit initial_epoch=checkpoint.initial_epoch."
        )


def refuse_other_groups(path: Path | None, found: dict[str, Any], group: int) -> None:
    """Refuse a checkpoint within a group of steps.

    Raises:
        InputError: With both.
    """
    if found["batch"] % group and not found["before_validation"]:
        raise InputError(
            f"The checkpoint {str(path)!r} is {found['batch']} steps into its epoch, which is no "
            f"multiple of steps_per_execution={group}. Compile the model with the "
            f"steps_per_execution of the training that it is of."
        )


def files_in(directory: Path) -> list[tuple[tuple[int, int], Path]]:
    """Checkpoints by (epoch, steps in it), the oldest first."""
    if not directory.is_dir():
        return []
    matches = [(_FILE.fullmatch(path.name), path) for path in directory.iterdir()]
    return sorted(((int(m[1]), int(m[2])), path) for m, path in matches if m)


def keep_last(directory: Path, newest: tuple[int, int], keep: int) -> None:
    """Remove all but the last `keep` checkpoints up to the `newest` (epoch, steps in it)."""
    for place, path in files_in(directory):
        if place > newest:  # of a course that was given up, or damaged
            path.unlink(missing_ok=True)
    for _, path in files_in(directory)[:-keep]:
        path.unlink(missing_ok=True)


def make_writable(directory: Path) -> None:
    """Make the directory, and take away what a killed process left half written.

    Raises:
        InputError: It cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for half in directory.glob(".epoch-*.ckpt"):  # of a process that was killed
            half.unlink()
        probe = directory / ".probe"
        with create(probe) as file:
            file.write(b"x")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"Cannot write checkpoints to {str(directory)!r}: {error.strerror}. Choose another "
            f"directory."
        ) from error
