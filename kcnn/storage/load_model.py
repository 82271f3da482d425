"""Models from files that nobody vouches for: everything is checked before Keras sees it.

A `.keras` file is a zip archive: `config.json` (the network), `model.weights.h5` (HDF5: the
weights), `metadata.json`, and `assets/` (vocabularies). Keras 3 stores all of it uncompressed,
every weight in full. That is demanded here, so that no part can be larger than the file:

- no compressed or overlapping member, every checksum right before HDF5 (C code) reads a byte;
- no weight that is not wholly in the file, none that is counted twice;
- no variable made beyond a few times the weights that the file holds, whatever the network asks,
  and no layer that would give more for one image than the memory that is free;
- no code: neither Python functions in the file, nor names of functions that are no part of a
  network, nor Keras' unsafe mode.

What is left to trust: HDF5's own parser, and the classes that the caller has registered.
Checked on Keras 3.15.1 and h5py 3.14.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from kcnn.devices.memory import free_memory
from kcnn.errors import InputError
from kcnn.startup import keras
from kcnn.storage.budget import budget, same_types
from kcnn.storage.keras_file import check_archive
from kcnn.storage.refusals import (
    AGAIN,
    ALLOWED,
    BARE,
    LEGACY,
    MADE_UP,
    OUTSIDE,
    PICKLE,
    brief,
    refusing,
)

#: Adam with `amsgrad` keeps three numbers a weight, in a network compiled inside another.
_COPIES = 4
#: Bytes that layers may need without saving them: states of recurrent layers, for example.
_UNSAVED = 64 * 2**20

#: What a file is by the end of its name, and what to try.
_KINDS = {
    ".weights.h5": ("a file of bare weights, without the network", BARE),
    ".weights.json": ("an index of bare weights, without the network", BARE),
    **dict.fromkeys((".h5", ".hdf5", ".hdf"), ("a model in Keras' old HDF5 format", LEGACY)),
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".bin", ".npy"),
        ("a pickle, or may be one", PICKLE),
    ),
}
#: What else a file is by its first bytes.
_SIGNATURES = (
    (rb"\x89HDF\r\n\x1a\n", f"an HDF5 file. Name it .h5. {LEGACY}"),
    (rb"\x80[\x02-\x05]|c__builtin__|\(dp0|\(lp0", f"a Python pickle. {PICKLE}"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd", "compressed: unpack it."),
    (rb"version https://git-lfs", "a pointer of Git LFS: `git lfs pull` gets the file itself."),
    (rb"\s*<", "a web page. Download the file itself."),
    (rb"PK\x05\x06", "an empty zip archive."),
)


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """The model in a `.keras` file, not compiled; no code from the file is run.

    Classes of one's own must be registered (`keras.saving.register_keras_serializable`) before.
    The file is read twice, once to verify it; memory: a few times its size.

    Raises:
        InputError: `path` is not a regular `.keras` file, or it is damaged, holds code or
            declares more than it contains; or Keras' unsafe mode is on.
    """
    try:
        _check_path(path)
        if _unsafe_mode():
            raise InputError(
                "Keras' unsafe mode is on, in which files run code. It was switched on by "
                "keras.config.enable_unsafe_deserialization(): load in a process, or a thread, "
                "that does not call it."
            )
        with refusing(f"it is damaged or incomplete. {AGAIN}"), open(path, "rb") as file:
            _check_signature(file)
            stored = check_archive(file)
        return _build(path, stored)
    except InputError as error:
        raise InputError(f"Cannot load {str(path)!r}: {error}") from error.__cause__


def _check_path(path: str | os.PathLike[str]) -> None:
    """Refuse what is not a regular file with the right ending."""
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"a path is needed; received {type(path).__name__}.")
    text = os.fsdecode(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):  # pathlib makes one slash of two
        raise InputError(
            "it is an address. Models are loaded from local files only; download it, then pass "
            "the path."
        )
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{reason}. Check the path.") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"it is {_directory(Path(text))} {ALLOWED}")
    if not stat.S_ISREG(mode):
        raise InputError("it is not a regular file but a pipe, socket or device. Copy it to one.")
    if text.endswith(".keras"):
        return
    kind, remedy = next(
        (_KINDS[ending] for ending in _KINDS if text.lower().endswith(ending)),
        ("not a .keras file by its name", "If it is one, rename it."),
    )
    raise InputError(f"it is {kind}. {ALLOWED} {remedy}")


def _directory(path: Path) -> str:
    """What the directory is, and what to try."""
    if (path / "model.keras").is_file():
        return "the directory of a run. Pass the file `model.keras` in it."
    if (path / "saved_model.pb").is_file():
        return "a directory, TensorFlow's SavedModel. Load and save it in the code that made it."
    return "a directory. Pass a file."


def _unsafe_mode() -> bool:
    """Whether Keras would run code out of files in spite of `safe_mode=True`.

    Keras has no public way to tell. This asks it for a lambda without any code: in safe mode
    that is refused with a ValueError before Keras looks inside; otherwise looking inside fails.
    """
    empty = {"class_name": "__lambda__", "config": {"value": None}}
    try:
        keras.saving.deserialize_keras_object(empty, safe_mode=True)
    except ValueError:
        return False
    except Exception:
        return True
    return True


def _check_signature(file: BinaryIO) -> None:
    start = file.read(32)
    if not start:
        raise InputError(f"it is empty. {AGAIN}")
    if start.startswith(b"PK\x03\x04"):
        return
    for signature, kind in _SIGNATURES:
        if re.match(signature, start):
            raise InputError(f"in spite of its name it is {kind}. {ALLOWED}")
    raise InputError(
        f"it is not a zip archive, which a .keras file is; it begins with {start[:8]!r}. "
        f"{ALLOWED} {AGAIN}"
    )


def _build(path: str | os.PathLike[str], stored: int) -> keras.Model:
    """Let Keras load a file that was checked, within `_COPIES` times the weights it holds."""
    limits = budget(_COPIES * stored + _UNSAVED, free_memory())
    with same_types() as converted, limits as refused:
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:
            if not (refused or converted):
                raise _refusal(error) from error
            model = None
    if converted:
        raise InputError(f"{converted[0]}. {MADE_UP}")
    if refused:
        raise InputError(f"its network needs {refused[0]}. {MADE_UP}")
    if not isinstance(model, keras.Model):
        raise InputError(f"it holds a {type(model).__name__}, not a model. {ALLOWED}")
    return model


def _refusal(error: Exception) -> InputError:
    """What Keras says of a file whose parts are whole, in the caller's terms."""
    text = str(error)
    innermost = text.rsplit("Exception encountered: ", 1)[-1]  # without the configurations
    if "safe_mode" in text or "arbitrary code" in text:
        # Further on Keras says how to switch its safe mode off.
        return InputError(f"{OUTSIDE} ({brief(innermost.split('. ')[0])})")
    details = brief(f"{type(error).__name__}: {innermost}")
    if missing := re.search(r"Could not locate (class|function) '([^']*)'", text):
        return InputError(
            f"it needs the {missing[1]} {brief(missing[2], 80)!r}, which is not known here. "
            f"Import the code that defines it, registered there with "
            f"@keras.saving.register_keras_serializable(), before loading."
        )
    if "could not be loaded" in text:
        return InputError(f"its network and its weights disagree. {AGAIN} ({details})")
    return InputError(
        f"Keras {keras.__version__} cannot make its network. Perhaps a newer Keras saved it, or "
        f"it is damaged. {AGAIN} ({details})"
    )
