"""A network in the formats of other runtimes, each written by that runtime's own converter."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.notes import write as write_notes
from kcnn.graph.onnx_model import onnx_model
from kcnn.graph.runtimes import needs
from kcnn.startup import keras, tf
from kcnn.storage.refusals import brief


@dataclass(frozen=True)
class Format:
    """One of the formats.

    Args:
        suffix: Of the file; "" is a folder.
        precisions: In which weights and arithmetic can be.
    """

    suffix: str
    precisions: tuple[str, ...]


FORMATS: Mapping[str, Format] = {
    "keras": Format(".keras", ("float32",)),
    "savedmodel": Format("", ("float32",)),
    "onnx": Format(".onnx", ("float32", "float16", "int8")),
    "litert": Format(".tflite", ("float32", "float16", "int8")),
    "openvino": Format(".xml", ("float32", "float16")),
}


def write(
    model: keras.Model,
    path: Path,
    form: str,
    precision: str,
    calibration: Sequence[np.ndarray],
    notes: Mapping[str, Any],
) -> None:
    """Write a network, for any number of images.

    Args:
        model: With one input of images and one output, its BatchNorm folded.
        path: Of the new file, or folder.
        form: A name of `FORMATS`.
        precision: One of the format's.
        calibration: Batches of images (B, H, W, C) float32, by which int8 chooses its scales.
        notes: Class names and the like, as metadata where the format has a place.

    Raises:
        InputError: The converter is not installed, or cannot convert the network.
    """
    try:
        with quiet():
            _WRITERS[form](model, path, precision, calibration, notes)
    except InputError:
        raise
    except ImportError as error:
        raise needs(error.name or str(error)) from error
    except Exception as error:
        # The converters raise whatever their parts do.
        raise InputError(
            f"{model.name} cannot be written as {form} in {precision}: "
            f"{brief(f'{type(error).__name__}: {error}')}"
        ) from error


def _keras(model: keras.Model, path: Path, _: str, __: Any, notes: Mapping[str, Any]) -> None:
    model.save(path)
    write_notes(path, notes)


def _savedmodel(
    model: keras.Model, path: Path, precision: str, _: Any, notes: Mapping[str, Any]
) -> None:
    model.export(path, format="tf_saved_model", verbose=False)
    write_notes(path, notes)


def _onnx(
    model: keras.Model,
    path: Path,
    precision: str,
    calibration: Sequence[np.ndarray],
    notes: Mapping[str, Any],
) -> None:
    import onnx
    import onnxruntime  # noqa: F401 - what is written is run by it

    made = onnx_model(model)
    if precision == "float16":
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        halved = OnnxModel(convert_float_to_float16(made, keep_io_types=True))
        halved.topological_sort()  # casts of inputs are put behind their users
        made = halved.model
    for name, value in notes.items():
        made.metadata_props.add(key=name, value=json.dumps(value))
    if precision == "int8":
        with tempfile.TemporaryDirectory() as work:
            whole = Path(work) / "whole.onnx"
            onnx.save(made, whole)
            _quantised_onnx(whole, path, calibration)
        return
    onnx.checker.check_model(made)
    onnx.save(made, path)


def _quantised_onnx(source: Path, path: Path, calibration: Sequence[np.ndarray]) -> None:
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc] # untyped
        def __init__(self) -> None:
            self.batches = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    quantization.quantize_static(
        str(source), str(path), Reader(), per_channel=True,
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


def _litert(
    model: keras.Model,
    path: Path,
    precision: str,
    calibration: Sequence[np.ndarray],
    notes: Mapping[str, Any],
) -> None:
    with tempfile.TemporaryDirectory() as work:
        model.export(work, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(work)
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            images = [image[np.newaxis] for batch in calibration for image in batch]
            converter.representative_dataset = lambda: ([image] for image in images)
        content = converter.convert()
    path.write_bytes(content)
    write_notes(path, notes)


def _openvino(
    model: keras.Model, path: Path, precision: str, _: Any, notes: Mapping[str, Any]
) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as work:
        model.export(work, format="tf_saved_model", verbose=False)
        made = openvino.convert_model(work)
        for name, value in notes.items():
            made.set_rt_info(json.dumps(value), ["kcnn", name])
        openvino.save_model(made, str(path), compress_to_fp16=precision == "float16")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what converters and runtimes write from the terminal, C++'s lines among them."""
    level = logging.root.manager.disable
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    logging.disable(logging.CRITICAL)
    try:
        with open(os.devnull, "wb") as nothing:
            for number, _ in kept:
                os.dup2(nothing.fileno(), number)
            yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)
        logging.disable(level)


_WRITERS: Mapping[str, Any] = {
    "keras": _keras,
    "savedmodel": _savedmodel,
    "onnx": _onnx,
    "litert": _litert,
    "openvino": _openvino,
}
