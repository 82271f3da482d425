"""BatchNorm's statistics computed anew, exactly, over the training data.

Training follows them with a moving average. They belong to the weights of the last few hundred
steps, and averaged weights (Izmailov et al. 2018, section 3.2) never had any of their own.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kcnn.graph.readable import Mixed, check_readable, is_arrays
from kcnn.startup import keras

T = TypeVar("T")


def recalibrate_batchnorm(
    model: keras.Model,
    data: Any,
    *,
    batch_size: int | None = None,
    steps: int | None = None,
    layers: Sequence[keras.layers.BatchNormalization] | None = None,
) -> None:
    """Set the moving statistics of BatchNorm to mean and variance over `data`, in one pass.

    Each layer normalises a batch by the batch's own statistics, as in training, while dropout
    and everything else works as in inference. What a layer sees of all batches, every sample
    with the same weight, gives its mean and its (biased) variance: that within the batches plus
    that between them. For the first BatchNorm of a network they are those of all the data at
    once; for later ones they depend on how the data falls into batches, as training does.
    PyTorch's `swa_utils.update_bn` takes the means of the batches' statistics instead: it
    weights batches, not samples, and leaves out the variance between them.

    Layers with `trainable=False` keep their statistics and use them; so do layers that a call of
    the model on `data` does not reach, such as those of a GAN's generator, with a warning.

    Args:
        model: Any built Keras model.
        data: What `model.predict` takes: arrays, or batches as a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, ... with or without labels. Arrays are read in a random
            order, the same each time, so that batches are mixed.
        batch_size: Samples of a batch of arrays; best that of training. 32 by default.
        steps: Batches to read; all by default. A sample of the data is often enough.
        layers: Those to recalibrate; by default all that are not frozen.

    Raises:
        InputError: `data` is an iterator, without end and `steps` is missing, or empty.
    """
    Recalibration(model, layers).run(data, batch_size=batch_size, steps=steps)


def batchnorm_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The BatchNorm layers anywhere inside `model` that are not frozen."""
    layers = model._flatten_layers()  # Keras' one way into layers that are no models
    kind = keras.layers.BatchNormalization
    return [layer for layer in layers if isinstance(layer, kind) and layer.trainable]


class Recalibration:
    """`recalibrate_batchnorm` to be run often: the model is compiled for it once.

    Args:
        model: As for `recalibrate_batchnorm`.
        layers: As for `recalibrate_batchnorm`.
    """

    def __init__(
        self,
        model: keras.Model,
        layers: Sequence[keras.layers.BatchNormalization] | None = None,
    ) -> None:
        self.model = model
        self.layers = batchnorm_layers(model) if layers is None else list(layers)
        self._pass: _Pass | None = None

    def run(self, data: Any, *, batch_size: int | None = None, steps: int | None = None) -> None:
        """One pass over `data`; see `recalibrate_batchnorm`."""
        if not self.layers:
            return
        check_readable(data, steps)
        if is_arrays(data):
            data, batch_size = Mixed(data, batch_size or 32), None
        # A data set has its own batches; `predict` refuses to be told their size.
        _without_strategy(self.model, lambda: self._run(data, steps))

    def _run(self, data: Any, steps: int | None) -> None:
        if self._pass is None:
            self._pass = _Pass(self.model, self.layers)
        with _kept_on_failure(self._pass):
            self._pass.over(data, steps)


class _Pass(keras.Model):
    """Runs `network` over data, and gathers the moments of what its BatchNorm layers see."""

    def __init__(self, network: keras.Model, layers: list[keras.layers.BatchNormalization]) -> None:
        # Inputs and totals stay as they are, whatever the precision of the network.
        super().__init__(name="recalibration", dtype="float32", autocast=False)
        self.network = network
        self.normalizers = layers
        self.totals = [self._zeros(layer) for layer in layers]
        self.run_eagerly = getattr(network, "run_eagerly", False)
        # TensorFlow's compiler would take longer than the pass; JAX runs at all only with its own.
        self.jit_compile = keras.backend.backend() == "jax" and not self.run_eagerly

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        self.network(inputs)  # in the mode of this call, which is inference
        first = keras.tree.flatten(inputs)[0]
        return keras.ops.zeros((keras.ops.shape(first)[0], 1))

    def over(self, data: Any, steps: int | None) -> None:
        for total in self.totals:
            for variable in total:
                variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
        with self._gathering():
            self.predict(data, steps=steps, verbose=0)
        unreached = []
        for layer, (count, mean, variance) in zip(self.normalizers, self.totals, strict=True):
            if float(keras.ops.convert_to_numpy(count)):
                _set_statistics(layer, mean, variance)
            else:
                unreached.append(layer.name)
        if unreached:
            warnings.warn(
                f"The data do not reach {', '.join(unreached)} of {self.network.name!r}: the model "
                f"does not call them on its inputs. They keep the statistics that they have.",
                stacklevel=2,
            )

    def _zeros(self, layer: keras.layers.BatchNormalization) -> list[keras.Variable]:
        """Number of values a channel, their mean, their variance."""
        dtype = keras.backend.result_type(layer.moving_mean.dtype, "float32")
        options = {"initializer": "zeros", "trainable": False, "dtype": dtype, "autocast": False}
        return [
            self.add_weight(shape=shape, name=name, **options)
            for name, shape in (
                ("count", ()),
                ("mean", layer.moving_mean.shape),
                ("variance", layer.moving_mean.shape),
            )
        ]

    @contextlib.contextmanager
    def _gathering(self) -> Iterator[None]:
        """For the time being, `call` of the layers is one that gathers moments."""
        own = [vars(layer).get("call") for layer in self.normalizers]
        try:
            for layer, total in zip(self.normalizers, self.totals, strict=True):
                layer.call = _gathering_call(layer, total)
            yield
        finally:
            for layer, call in zip(self.normalizers, own, strict=True):
                if call is not None:
                    layer.call = call
                elif "call" in vars(layer):
                    del layer.call


def _gathering_call(
    layer: keras.layers.BatchNormalization, total: list[keras.Variable]
) -> Callable[..., Any]:
    ops = keras.ops

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        count, mean, variance = moments(x, layer.axis, mask)
        values = (count, mean, variance)
        merged = merge(total, [ops.cast(v, total[0].dtype) for v in values])
        for variable, value in zip(total, merged, strict=True):
            variable.assign(value)
        outputs = ops.batch_normalization(
            x,
            mean,
            variance,
            axis=layer.axis,
            offset=ops.cast(layer.beta, x.dtype) if layer.center else None,
            scale=ops.cast(layer.gamma, x.dtype) if layer.scale else None,
            epsilon=layer.epsilon,
        )
        return ops.cast(outputs, layer.compute_dtype)

    return call


def moments(x: Any, axis: int, mask: Any = None) -> tuple[Any, Any, Any]:
    """Of each channel along `axis`: number of values, their mean, their variance (biased).

    Args:
        x: (N, ..., C, ...), of at least single precision.
        axis: That of the channels.
        mask: Shape of `x` without its last axis: which values count; all by default.
    """
    ops = keras.ops
    shape = ops.shape(x)
    axes = [i for i in range(len(shape)) if i != axis % len(shape)]
    if mask is None:
        count = 1.0
        for i in axes:
            count = count * ops.cast(shape[i], x.dtype)
        mean = ops.mean(x, axes, keepdims=True)
        # Of differences: the mean square minus the squared mean would cancel.
        return count, ops.squeeze(mean, axes), ops.mean(ops.square(x - mean), axes)
    mask = ops.broadcast_to(ops.expand_dims(ops.cast(mask, "bool"), -1), shape)
    count = ops.max(ops.sum(ops.cast(mask, x.dtype), axes))
    divisor = ops.maximum(count, 1.0)
    mean = ops.sum(ops.where(mask, x, 0.0), axes, keepdims=True) / divisor
    squares = ops.where(mask, ops.square(x - mean), 0.0)
    return count, ops.squeeze(mean, axes), ops.sum(squares, axes) / divisor


def merge(a: Sequence[Any], b: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Count, mean and variance of two sets together (Chan et al. 1979, equations 2.1).

    The variance is that within the sets, weighted, plus that between their means.
    """
    (count_a, mean_a, variance_a), (count_b, mean_b, variance_b) = a, b
    count = count_a + count_b
    share = count_b / keras.ops.maximum(count, 1.0)
    delta = mean_b - mean_a
    within = variance_a + (variance_b - variance_a) * share
    return count, mean_a + delta * share, within + delta * delta * share * (1.0 - share)


def _set_statistics(layer: keras.layers.BatchNormalization, mean: Any, variance: Any) -> None:
    layer.moving_mean.assign(keras.ops.copy(mean.value))
    layer.moving_variance.assign(keras.ops.copy(variance.value))
    if layer.renorm:
        deviation = keras.ops.sqrt(variance.value + layer.epsilon)
        layer.renorm_mean.assign(keras.ops.copy(mean.value))
        for weight in (layer.renorm_stddev, layer.moving_stddev):
            weight.assign(keras.ops.copy(deviation))


def _without_strategy(model: keras.Model, function: Callable[[], T]) -> T:
    """Call `function` on one replica, also where a TensorFlow strategy's scope is open.

    The statistics are then those of whole batches. A scope belongs to its thread.
    """
    strategy = getattr(model, "distribute_strategy", None)
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return function()
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()


@contextlib.contextmanager
def _kept_on_failure(model: keras.Model) -> Iterator[None]:
    """On JAX `predict` takes a model's values out of it, and an exception loses them."""
    if keras.backend.backend() != "jax":
        yield
        return
    values = [(v, keras.ops.copy(v.value)) for v in model.variables]
    try:
        yield
    except BaseException:
        for variable, value in values:
            variable.assign(value)
        raise
