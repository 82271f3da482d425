"""Files of published weights: downloaded once, checked, kept where their libraries keep them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kcnn.errors import InputError
from kcnn.startup import keras
from kcnn.storage.refusals import brief
from kcnn.weights.published import Published

_FILE = "model.safetensors"
_LABELS = (
    "imagenet_class_index.json",
    "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",
    "c2c37ea517e94d9795004a39431a14cb",
)
_CHUNK = 1 << 22


def by_hand(row: Published, *, top: bool = True) -> Path:
    """Where a file is taken from before any download: kcnn's own cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    suffix = ".safetensors" if row.repository else ".h5" if top else ".notop.h5"
    name = row.repository.split("/")[1] if row.repository else f"{row.network}.{row.tag}"
    return cache / "kcnn" / "weights" / f"{name}{suffix}"


def fetch(row: Published, *, top: bool = True) -> Path:
    """The file of published weights, downloaded where it is not there.

    `huggingface_hub` and Keras' `get_file` keep them in their own caches, show a bar, and go on
    with nothing but the cache where there is no network.

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

    assert row.repository is not None
    if isinstance(cached := try_to_load_from_cache(row.repository, _FILE), str):
        return Path(cached)
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    address = f"{endpoint}/{row.repository}/resolve/main/{_FILE}"
    with _reasons(address, own):
        path = Path(hf_hub_download(row.repository, _FILE, endpoint=endpoint))
        # The cache names a large file by its SHA-256, as the hub announces it, and checks the
        # size alone.
        promised = path.resolve().name
        if re.fullmatch("[0-9a-f]{64}", promised) and _sha256(path) != promised:
            path.resolve().unlink()
            raise ValueError(
                f"what arrived has not the announced SHA-256 {promised[:12]}...; it was deleted"
            )
    return path


def _from_keras(name: str, address: str, md5: str, own: Path) -> Path:
    from filelock import FileLock

    with _reasons(address, own):
        folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):  # two processes would write into one file
            return Path(
                keras.utils.get_file(name, address, cache_dir=folder.parent, cache_subdir="models",
                                     file_hash=md5)
            )  # fmt: skip


@contextmanager
def _reasons(address: str, own: Path) -> Iterator[None]:
    """Say in a sentence why a file cannot be had."""
    try:
        yield
    except Exception as error:
        # The libraries raise what their own HTTP clients do, which are several.
        raise InputError(
            f"{address} cannot be downloaded: {brief(error, 200)}. Where there is no network, get "
            f"the file by another way and put it at {own}, or pass its path as weights, with "
            f"preprocessing."
        ) from error


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()
