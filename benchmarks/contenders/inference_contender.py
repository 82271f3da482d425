"""Inference by one contender.

    python -m benchmarks.contenders.inference_contender QUESTION ROW [...]

Of `benchmarks.inference`, in processes of their own: `sit ROW CONTENDER BATCH` takes part in a
contest, `batch ROW` says which batch size kcnn chooses, `even ROW` what folding and tracing cost.
"""

import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness.machine import gpu
from benchmarks.harness.rows import ROWS, Row, moments, synthetic
from benchmarks.harness.seat import serve
from benchmarks.step import on_tensorflow

_RESIDENT = 4  # batches that a contender has in memory, and takes in turn
_MANY = 1_000_000  # batches: so many that folding and tracing pay

Contender = tuple[Callable[[int], dict[str, Any]], dict[str, Any]]  # runs n steps; its facts


def keras_model(row: Row) -> Any:
    """The row's network behind its normalisation, with BatchNorm as if it had been trained."""
    import kcnn
    from kcnn.startup import keras

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16" if gpu() else "float32")
    mean, variance = moments(synthetic(500, row.input_shape, row.classes)[0])
    normalize = keras.layers.Normalization(mean=mean, variance=variance, dtype="float32")
    model = kcnn.build(
        row.model, input_shape=row.input_shape, classes=row.classes,
        preprocessing=[normalize], **row.options,
    )  # fmt: skip
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in (layer.gamma, layer.moving_variance):
                weight.assign(random.uniform(0.5, 1.5, weight.shape))
            for weight in (layer.beta, layer.moving_mean):
                weight.assign(random.normal(0, 0.3, weight.shape))
    return model


def chosen_batch(row: Row, model: Any) -> int:
    """The batch size that kcnn chooses; the row's where there is no TensorFlow."""
    if not on_tensorflow():
        return row.gpu_batch if gpu() else row.batch
    from kcnn.graph.forward import batch_size_for

    return batch_size_for(model)


def by_keras(row: Row, contender: str, batch: int) -> Contender:
    """`kcnn`: folded and traced. `keras predict`: of the plain model. `layer by layer`."""
    import kcnn
    from kcnn.startup import keras

    model = keras_model(row)
    pixels = synthetic(_RESIDENT * batch, row.input_shape, row.classes)[0]
    pieces = itertools.cycle(np.split(pixels, _RESIDENT))

    def layer_by_layer(images: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(model(images, training=False))

    def each(call: Callable) -> Callable[[int], dict[str, Any]]:
        def run(steps: int) -> dict[str, Any]:
            for images in itertools.islice(pieces, steps):
                call(images)
            return {}

        return run

    def predict(steps: int) -> dict[str, Any]:
        images = np.concatenate([pixels] * -(-steps // _RESIDENT))[: steps * batch]
        model.predict(images, batch_size=batch, verbose=0)
        return {}

    if contender == "kcnn":
        fast = _fast(model)
        close = 0.05 if gpu() else 1e-4
        np.testing.assert_allclose(fast(pixels[:8]), layer_by_layer(pixels[:8]), atol=close)
        run = each(fast)
    else:
        run = predict if contender == "keras predict" else each(layer_by_layer)
    card = kcnn.card(row.model, input_shape=row.input_shape, classes=row.classes, **row.options)
    parameters = sum(math.prod(w.shape) for w in model.trainable_weights)
    return run, {"batch": batch, "parameters": parameters, "macs": card.macs}


def _fast(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    import kcnn

    if not on_tensorflow():
        return kcnn.fold_batchnorm(model).predict_on_batch
    return _probabilities(model, _MANY)


def by_torch(row: Row, layout: str, batch: int) -> Contender:
    """The same network in eval mode under `inference_mode`."""
    import torch

    from benchmarks.contenders.torch_step import network

    torch.manual_seed(0)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    torch.backends.cudnn.benchmark = cuda
    format_ = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    model = network(row).to(device, memory_format=format_).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                values.uniform_(0.5, 1.5)
            for values in (module.bias, module.running_mean):
                values.normal_(0, 0.3)
    forward = torch.compile(model) if cuda else model
    pixels = synthetic(_RESIDENT * batch, row.input_shape, row.classes)[0]
    mean, variance = (torch.from_numpy(m).view(-1, 1, 1).to(device) for m in moments(pixels))
    scale = variance.rsqrt()
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(memory_format=format_)
    pieces = itertools.cycle(x.split(batch))

    def run(steps: int) -> dict[str, Any]:
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=cuda):
            for images in itertools.islice(pieces, steps):
                normalized = (images.to(device).float() - mean) * scale
                torch.softmax(forward(normalized).float(), 1).cpu().numpy()
        return {"device_memory": torch.cuda.max_memory_allocated()} if cuda else {}

    return run, {"batch": batch, "parameters": sum(p.numel() for p in model.parameters())}


def _probabilities(model: Any, batches: int) -> Callable[[np.ndarray], np.ndarray]:
    from kcnn.graph.forward import forward
    from kcnn.graph.outputs import gives_logits
    from kcnn.tasks.classification import probabilities

    outputs, logits = forward(model, batches), gives_logits(model)
    return lambda images: probabilities(outputs(images), logits)


def break_even(row: Row) -> dict[str, Any]:
    """Seconds of a batch layer by layer, of one folded and traced, of doing that; in batches."""
    model = keras_model(row)
    batch = chosen_batch(row, model)
    images = synthetic(batch, row.input_shape, row.classes)[0]

    def seconds(run: Callable) -> float:
        start = time.perf_counter()
        run(images)
        return time.perf_counter() - start

    eager = _probabilities(model, 1)
    eager(images[:1])  # TensorFlow's own start is nobody's
    slow = statistics.median(seconds(eager) for _ in range(4))
    start = time.perf_counter()
    traced = _probabilities(model, _MANY)
    traced(images)
    first = time.perf_counter() - start
    fast = statistics.median(seconds(traced) for _ in range(4))
    once = first - fast
    return {
        "batch": batch,
        "layer by layer": slow,
        "folded and traced": fast,
        "once": once,
        "batches": once / (slow - fast),
    }


def main(question: str, name: str, *more: str) -> None:
    """Answer on standard output, or sit down."""
    row = ROWS[name]
    if question == "sit":
        contender, batch = more
        layout = contender.removeprefix("torch ")
        by_torch_ = layout != contender
        run, facts = (by_torch if by_torch_ else by_keras)(row, layout, int(batch))
        serve(run, **facts)
    elif question == "batch":
        print(json.dumps(chosen_batch(row, keras_model(row))))
    else:
        print(json.dumps(break_even(row)))


if __name__ == "__main__":
    main(*sys.argv[1:])
