"""Networks in the files of other runtimes: loaded and run as their users would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.startup import keras, tf
from kcnn.storage.load_model import load_model

#: From images (B, H, W, C) float32 to the outputs of a network.
Runs = Callable[[np.ndarray], np.ndarray]


def loaded(path: Path, form: str) -> Runs:
    """The network in a file, run by the runtime of its format on any number of images.

    Args:
        path: Of the file, or the folder of a SavedModel.
        form: A name of `kcnn.graph.formats.FORMATS`.

    Raises:
        InputError: The runtime is not installed.
    """
    if form in _OF_TENSORS:
        own = _OF_TENSORS[form](path)
        return lambda images: keras.ops.convert_to_numpy(own(images))
    return _RUNTIMES[form](path)


def as_model(
    path: Path, form: str, input_shape: Sequence[int | None], output_shape: Sequence[int | None],
    name: str,
) -> keras.Model:  # fmt: skip
    """A model whose outputs the runtime of a file computes: to predict and evaluate with.

    Args:
        path: Of the file, or the folder of a SavedModel.
        form: A name of `kcnn.graph.formats.FORMATS`.
        input_shape: (H, W, C), None for any side.
        output_shape: Of one image.
        name: For messages.

    Raises:
        InputError: The runtime is not installed.
    """
    run = _OF_TENSORS[form](path) if form in _OF_TENSORS else _beside(_RUNTIMES[form](path))
    inputs = keras.Input(tuple(input_shape), name="images")
    return keras.Model(inputs, _InRuntime(run, output_shape)(inputs), name=name)


def _beside(runs: Runs) -> Callable[[Any], Any]:
    """A runtime that knows no tensors, called by TensorFlow.

    Nothing of TensorFlow's own may run so: where there is one core, it waits for the only thread,
    which waits for it.
    """

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(runs(np.ascontiguousarray(images)), np.float32)

    return lambda images: tf.numpy_function(run, [images], tf.float32)


class _InRuntime(keras.layers.Layer):
    def __init__(self, run: Callable[[Any], Any], shape: Sequence[int | None]) -> None:
        super().__init__(trainable=False, name="runtime")
        self._of_tensors, self._shape = run, tuple(shape)

    def call(self, images: Any) -> Any:
        found = self._of_tensors(tf.cast(images, tf.float32))
        return tf.ensure_shape(tf.cast(found, tf.float32), (None, *self._shape))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (input_shape[0], *self._shape)


def needs(package: str) -> InputError:
    """What is said where a runtime is missing."""
    return InputError(
        f"{package} is not installed, which this format needs: pip install 'kcnn[export]'."
    )


def _keras(path: Path) -> Callable[[Any], Any]:
    model = load_model(path)
    return lambda images: model(images, training=False)


def _savedmodel(path: Path) -> Callable[[Any], Any]:
    found = tf.saved_model.load(str(path))

    def served(images: Any) -> Any:
        return found.serve(images)  # `found` owns the variables

    return served


def _onnx(path: Path) -> Runs:
    try:
        import onnxruntime
    except ImportError as error:
        raise needs("onnxruntime") from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def _litert(path: Path) -> Runs:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise needs("ai-edge-litert") from error
    interpreter = Interpreter(model_path=str(path))

    def run(images: np.ndarray) -> np.ndarray:
        first = interpreter.get_input_details()[0]
        if tuple(first["shape"]) != images.shape:
            interpreter.resize_tensor_input(first["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(first["index"], images)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))

    return run


def _openvino(path: Path) -> Runs:
    try:
        import openvino
    except ImportError as error:
        raise needs("openvino") from error
    # Without the hint it computes in bfloat16 where the processor has it.
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled: Any = openvino.Core().compile_model(str(path), "CPU", options)
    return lambda images: np.asarray(compiled(images)[0])


#: What TensorFlow runs itself.
_OF_TENSORS: dict[str, Callable[[Path], Callable[[Any], Any]]] = {
    "keras": _keras,
    "savedmodel": _savedmodel,
}
_RUNTIMES: dict[str, Callable[[Path], Runs]] = {
    "onnx": _onnx,
    "litert": _litert,
    "openvino": _openvino,
}
