"""The fast way from images to a model's outputs, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from kcnn.devices.memory import is_exhausted
from kcnn.errors import InputError
from kcnn.graph.cost import cost
from kcnn.graph.folding import fold_batchnorm
from kcnn.graph.walk import is_keras_own, leaves
from kcnn.startup import keras, tf
from kcnn.storage.refusals import brief
from kcnn.terminal import shows_bars

#: Batches that are still cheaper layer by layer than folding and tracing first. Break-even on two
#: cores of an AMD EPYC, at the batch sizes of `batch_size_for`: see benchmarks/inference.py.
_FEW = 3


#: Bytes that the outputs of all layers may take. TensorFlow frees most of them on the way: a batch
#: of 16 at 1 GiB (ResNet-34, 224×224) took 0.2 GiB.
_MEMORY = 2**30


_LARGEST = 1024


_UNKNOWN = 32  # images, for a model with layers that cannot be looked into


def forward(model: keras.Model, batches: int) -> Callable[[Any], Any]:
    """A function from images (B, H, W, C) to the model's outputs.

    For few batches the model is called as it is, layer by layer. For more, a copy with BatchNorm
    folded is traced once, for any B: the same outputs, but for rounding.

    Args:
        model: Functional or sequential.
        batches: How many will come; negative: nobody knows, perhaps many.

    Raises, when it is called:
        MemoryError: There is not enough for so many images at once.
        InputError: TensorFlow cannot compute the model.
    """
    if keras.backend.backend() != "tensorflow":
        return lambda images: model.predict_on_batch(keras.ops.convert_to_numpy(images))
    run = _on_tensorflow(model, batches)

    def speaking(images: Any) -> Any:
        try:
            return run(images)
        except (tf.errors.OpError, MemoryError) as error:
            raise _failed(model, len(images), error) from error

    return speaking


def _failed(model: keras.Model, images: int, error: BaseException) -> Exception:
    """What is to be said of an error of TensorFlow's."""
    if is_exhausted(error):
        remedy = "Fewer take less: batch_size." if images > 1 else "Not even one image fits."
        return MemoryError(f"Out of memory with {images} images at once in {model.name}. {remedy}")
    reason = str(error).strip().partition("\n")[0]
    return InputError(f"TensorFlow cannot compute {model.name}: {brief(reason)}")


def refuse_one_size(model: keras.Model, images: tf.TensorSpec) -> None:
    """Refuse a network that TensorFlow can compute only where it knows the size of the images.

    Args:
        model: Of images (N, H, W, C).
        images: As they will come; where H or W is open they differ.

    Raises:
        InputError: The layer that asks for a size in Python, where the graph alone knows it.
    """
    if None not in images.shape[1:]:
        return
    try:
        _traced(model, images)
    except (TypeError, ValueError) as error:
        reason = brief(str(error).strip().partition("\n")[0])
        raise InputError(
            f"{model.name} cannot be computed on pictures that differ in size: {reason} So it is "
            f"with UpSampling2D(interpolation='bilinear'), which asks for sizes in Python; "
            f"'nearest' and Conv2DTranspose do not."
        ) from error


def _traced(model: keras.Model, images: tf.TensorSpec) -> Callable[[tf.Tensor], tf.Tensor]:
    # A concrete function: calling a new tf.function for every model makes TensorFlow warn.
    function = tf.function(lambda images: model(images, training=False), autograph=False)
    return function.get_concrete_function(images)


def refuse_not_finite(model: keras.Model, outputs: Any) -> None:
    """Refuse outputs of which no figure can be made.

    Args:
        model: That gave them; named in the message, with the first of its weights to blame.
        outputs: (B, ...), of a batch of images.

    Raises:
        FloatingPointError: Some are NaN or infinite.
    """
    values = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32")))
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not bad.any():
        return
    weights = ((w.path, keras.ops.convert_to_numpy(keras.ops.cast(w, "float32")))
               for w in model.weights if "float" in w.dtype)  # fmt: skip
    path = next((path for path, value in weights if not np.isfinite(value).all()), None)
    why = "its weights are finite" if path is None else f"its weights {path!r} are not either"
    raise FloatingPointError(
        f"The outputs of {model.name} for {bad.sum()} of {len(bad)} images are not finite; {why}."
    )


def _on_tensorflow(model: keras.Model, batches: int) -> Callable[[Any], Any]:
    if 0 <= batches <= _FEW:
        return lambda images: model(images, training=False)
    layers = list(leaves(model))
    norm = any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
    own = all(map(is_keras_own, layers))
    folded = fold_batchnorm(model) if norm and own else model

    @cache
    def traced(shape: tuple[int | None, ...], dtype: tf.DType) -> Callable[[tf.Tensor], tf.Tensor]:
        return _traced(folded, tf.TensorSpec((None, *shape), dtype))

    @cache
    def computes(shape: tuple[int | None, ...], dtype: tf.DType) -> bool:
        try:
            traced(shape, dtype)
        except (TypeError, ValueError):  # a layer asks for H or W, as bilinear UpSampling2D does
            return False
        return True

    def run(images: Any) -> Any:
        images = tf.convert_to_tensor(images)
        sides = zip(images.shape[1:], model.input_shape[1:], strict=True)
        # One trace for pictures of any size, where the model takes them.
        shape = tuple(side if expected else None for side, expected in sides)
        if None in shape and not computes(shape, images.dtype):
            shape = tuple(images.shape[1:])
        return traced(shape, images.dtype)(images)

    return run


def batch_size_for(model: keras.Model) -> int:
    """Images to run at once: a power of two up to 1024, by the memory that one image takes.

    Throughput hardly rises beyond: `python -m benchmarks.inference --batches` shows it.
    """
    if not all(map(is_keras_own, leaves(model))):
        return _UNKNOWN
    fitting = _MEMORY // max(cost(model).activation_memory(), 1)
    return min(1 << max(fitting, 1).bit_length() - 1, _LARGEST)


def progress(
    batches: Iterable[Any], what: str, count: int, console: Console | None
) -> Iterable[Any]:
    """The batches, with a bar on a terminal while there are more than a few (negative: unknown)."""
    shown = console is not None and shows_bars(console) and not 0 <= count <= _FEW
    total = count if count >= 0 else None
    return track(batches, what, total, console=console, transient=True, disable=not shown)
