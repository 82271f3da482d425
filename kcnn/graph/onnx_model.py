"""A network as an ONNX model, by tf2onnx, past which large kernels are led.

The converter copies what is constant some fifty times: of AlexNet, 0.25 GB, more than 22 GB. So
large kernels are inputs while it works, and constants of the model afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kcnn.startup import keras, tf

_OPSET = 18
_LARGE = 2**12  #: numbers


def onnx_model(model: keras.Model) -> Any:
    """An `onnx.ModelProto` of float32 whose input `images` is (N, H, W, C), for any N.

    Args:
        model: With one input of images.

    Raises:
        ImportError: Without the extra `export`.
        Exception: Whatever the converter raises.
    """
    import tf2onnx

    kernels = {f"kernel_{k}": kernel for k, kernel in enumerate(_large(model))}
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="images")]
    signature += [tf.TensorSpec(v.shape, v.dtype, name=name) for name, v in kernels.items()]

    def run(images: Any, *values: Any) -> Any:
        held = list(zip(kernels.values(), values, strict=True))
        with keras.StatelessScope(state_mapping=held):
            return model(images, training=False)

    traced = tf.function(run, signature, autograph=False)
    made, _ = tf2onnx.convert.from_function(traced, input_signature=signature, opset=_OPSET)
    _put(made.graph, {name: np.asarray(value) for name, value in kernels.items()})
    return made


def _large(model: keras.Model) -> Iterator[keras.Variable]:
    """Kernels of the layers that hold nearly all numbers; each once."""
    kinds = (keras.layers.Dense, keras.layers.Conv2D, keras.layers.Conv2DTranspose)
    seen = set[int]()
    for layer in _layers(model):
        kernel = getattr(layer, "kernel", None) if isinstance(layer, kinds) else None
        if isinstance(kernel, keras.Variable) and np.prod(kernel.shape) >= _LARGE:
            if id(kernel) not in seen:
                yield kernel
            seen.add(id(kernel))


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else (layer,)


def _put(graph: Any, values: Mapping[str, np.ndarray]) -> None:
    """Make inputs of that name constants; the runtime wants them in the order of its axes."""
    from onnx import numpy_helper

    known = dict(values)
    for node in list(graph.node):
        if node.op_type == "Transpose" and node.input[0] in known:
            axes = next((list(one.ints) for one in node.attribute if one.name == "perm"), None)
            known[node.output[0]] = known[node.input[0]].transpose(axes)
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for name in used & set(known):
        tensor = numpy_helper.from_array(np.ascontiguousarray(known.pop(name)), name)
        graph.initializer.append(tensor)
    for one in [one for one in graph.input if one.name in values]:
        graph.input.remove(one)
