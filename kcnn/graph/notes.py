"""What a file of a network says of it beside its weights: class names, normalisation, the recipe.

Each format has its own place: ONNX' `metadata_props`, OpenVINO's `rt_info`, `assets.extra` of a
SavedModel, `assets` of a `.keras` file, and for LiteRT a zip archive behind the network, which is
how TFLite packs associated files.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kcnn.errors import InputError
from kcnn.graph.runtimes import needs

#: Names in archives and folders; of the classes, a line each, where TFLite's tools look for them.
NAME, LABELS = "kcnn.json", "labels.txt"
#: Bytes of notes at most: they are a stranger's.
_MOST = 1 << 24


def write(path: Path, notes: Mapping[str, Any]) -> None:
    """Put notes into a file or folder that its converter has written without."""
    text = json.dumps(notes, indent=1)
    if path.is_dir():
        folder = path / "assets.extra"  # for what TensorFlow does not read
        folder.mkdir(exist_ok=True)
        (folder / NAME).write_text(text)
        return
    keras_file = path.suffix == ".keras"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"assets/{NAME}" if keras_file else NAME, text)
        if not keras_file and "class_names" in notes:
            lines = (" ".join(str(name).split()) for name in notes["class_names"])
            archive.writestr(LABELS, "\n".join(lines))


def read(path: Path, form: str) -> dict[str, Any]:
    """The notes in a file, of any format; none where there are none.

    Args:
        path: Of the file, or the folder of a SavedModel.
        form: A name of `kcnn.graph.formats.FORMATS`.

    Raises:
        InputError: The runtime that reads it is not installed; the notes are damaged.
    """
    try:
        found = _READERS.get(form, _archived)(path)
        return {name: json.loads(text) for name, text in found.items()}
    except (ValueError, RecursionError, OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"What {str(path)!r} says of its network cannot be read: {error}."
        ) from error


def _archived(path: Path) -> dict[str, str]:
    name = f"assets/{NAME}" if path.suffix == ".keras" else NAME
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        if name not in archive.namelist():
            return {}
        if archive.getinfo(name).file_size > _MOST:
            raise ValueError(f"{name} has more than {_MOST:,} bytes")
        return _texts(archive.read(name).decode())


def _beside(path: Path) -> dict[str, str]:
    file = path / "assets.extra" / NAME
    if not file.is_file():
        return {}
    if file.stat().st_size > _MOST:
        raise ValueError(f"{file.name} has more than {_MOST:,} bytes")
    return _texts(file.read_text())


def _texts(content: str) -> dict[str, str]:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it is no table")
    return {name: json.dumps(value) for name, value in found.items()}


def _onnx(path: Path) -> dict[str, str]:
    try:
        import onnxruntime
    except ImportError as error:
        raise needs("onnxruntime") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return found if "kcnn" in found else {}


def _openvino(path: Path) -> dict[str, str]:
    try:
        import openvino
    except ImportError as error:
        raise needs("openvino") from error
    info = openvino.Core().read_model(str(path)).get_rt_info()
    if "kcnn" not in info:
        return {}
    return {name: one.astype(str) for name, one in info["kcnn"].items()}


_READERS = {"onnx": _onnx, "openvino": _openvino, "savedmodel": _beside}
