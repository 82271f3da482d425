"""Files of published weights: downloaded once, checked, kept where their libraries keep them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress

from kcnn.errors import InputError
from kcnn.storage.refusals import brief
from kcnn.terminal import console
from kcnn.weights.published import Published

_FILE = "model.safetensors"
_LABELS = (
    "imagenet_class_index.json",
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    "c2c37ea517e94d9795004a39431a14cb",
)
_CHUNK = 1 << 18
#: How often a cut connection is taken up, and seconds after which a silent one is cut.
_ATTEMPTS, _PATIENCE = 5, 60.0


def by_hand(row: Published, *, top: bool = True) -> Path:
    """Where a file is taken from before any download: kcnn's own cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    suffix = ".safetensors" if row.repository else ".h5" if top else ".notop.h5"
    name = row.repository.split("/")[1] if row.repository else f"{row.network}.{row.tag}"
    return cache / "kcnn" / "weights" / f"{name}{suffix}"


def fetch(row: Published, *, top: bool = True) -> Path:
    """The file of published weights, downloaded where it is not there.

    They lie in the caches of `huggingface_hub` and of Keras' `get_file`, which find what is there
    already. A cut connection goes on where it was cut, in the next call, too; where there is no
    network the cache will do.

    Args:
        row: Of `kcnn.weights.published`.
        top: Whether the classifier is needed; Keras has files without.

    Raises:
        InputError: It can neither be had nor is there: what, from where, and where to put it; or
            what arrived is not what was published.
    """
    own = by_hand(row, top=top)
    if own.is_file():
        return own
    if row.repository:
        return _from_hub(row, own)
    assert row.address is not None
    assert row.md5 is not None
    address, md5 = row.address, row.md5
    if not top and row.without_top:
        address, md5 = row.without_top
    return _from_keras(address.rsplit("/", 1)[1], address, md5, own)


def class_names() -> tuple[str, ...]:
    """The 1000 names of ImageNet's classes, in the order of all published weights.

    Raises:
        InputError: They are neither there nor can be had.
    """
    name, address, md5 = _LABELS
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kcnn" / name
    path = own if own.is_file() else _from_keras(name, address, md5, own)
    index = json.loads(path.read_text())
    return tuple(index[str(number)][1].replace("_", " ") for number in range(len(index)))


def _from_hub(row: Published, own: Path) -> Path:
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError

    assert row.repository is not None
    if isinstance(cached := try_to_load_from_cache(row.repository, _FILE), str):
        return Path(cached)
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    address = f"{endpoint}/{row.repository}/resolve/main/{_FILE}"
    with _reasons(address, own):
        try:
            path = Path(hf_hub_download(row.repository, _FILE, endpoint=endpoint))
        except LocalEntryNotFoundError as error:
            raise error.__cause__ or error from None  # its advice on the cache hides what happened
        # The cache names a large file by its SHA-256, as the hub announces it, and checks the
        # size alone.
        promised = path.resolve().name
        if re.fullmatch("[0-9a-f]{64}", promised) and _hash(path, "sha256") != promised:
            path.resolve().unlink()
            raise ValueError(
                f"what arrived has not the announced SHA-256 {promised[:12]}...; it was deleted"
            )
    return path


def _from_keras(name: str, address: str, md5: str, own: Path) -> Path:
    from filelock import FileLock

    with _reasons(address, own):
        path = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{name}.lock")):  # two processes would write into one file
            if not path.is_file() or _hash(path, "md5") != md5:
                _download(address, path, md5)
    return path


def _download(address: str, path: Path, md5: str) -> None:
    """What `get_file` does, but that a cut connection goes on: what has arrived stays beside."""
    part = path.with_name(f".{path.name}.part")
    for _ in range(_ATTEMPTS):
        try:
            if _arrived(address, part):
                break
        except urllib.error.URLError as error:
            if getattr(error, "code", None) == 416:  # all its bytes are there
                break
            raise
        except (OSError, HTTPException):
            pass  # cut, or silent
    else:
        raise OSError("the connection was cut again and again; what arrived is kept for next time")
    if _hash(part, "md5") != md5:
        part.unlink()
        raise ValueError(f"what arrived has not the MD5 {md5[:12]}...; it was deleted")
    part.replace(path)


def _arrived(address: str, part: Path) -> bool:
    """Fetch what a file lacks; whether it is whole then."""
    first = part.stat().st_size if part.exists() else 0
    asked = urllib.request.Request(address, headers={"Range": f"bytes={first}-"} if first else {})
    with urllib.request.urlopen(asked, timeout=_PATIENCE) as answer:
        first = first if answer.status == 206 else 0  # not every server begins in the middle
        total = None if answer.length is None else first + answer.length
        shown, terminal = ("{task.description}", BarColumn(), DownloadColumn()), console(error=True)
        with (
            Progress(*shown, console=terminal, disable=not terminal.is_terminal) as bar,
            part.open("ab" if first else "wb") as file,
        ):
            task = bar.add_task(address.rsplit("/", 1)[1], total=total, completed=first)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))
    return total is None or part.stat().st_size == total


@contextmanager
def _reasons(address: str, own: Path) -> Iterator[None]:
    """Say in a sentence why a file cannot be had."""
    try:
        yield
    except Exception as error:
        # The libraries raise what their own HTTP clients do, which are several.
        reason = brief(error, 200).removesuffix(".")
        raise InputError(
            f"{address} cannot be downloaded: {reason}. Where there is no network, get the file by "
            f"another way and put it at {own}, or pass its path as weights, with preprocessing."
        ) from error


def _hash(path: Path, kind: str) -> str:
    found = hashlib.new(kind)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()
