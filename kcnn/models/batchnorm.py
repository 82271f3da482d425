"""Batch normalisation by TensorFlow's fused kernel; to everybody else it is Keras' own layer.

Keras 3.15 computes training's batch normalisation from single operations: moments, differences,
products. One fused kernel reads the image once forward and once backward. A network holds it as a
subclass of `keras.layers.BatchNormalization` which has the parent's name, weights, configuration
and results, so that a saved model names Keras' layer and loads without kcnn.
"""

from __future__ import annotations

import functools
from typing import Any

from kcnn.startup import keras, tf


def BatchNormalization(**options: Any) -> keras.layers.BatchNormalization:
    """`keras.layers.BatchNormalization(**options)`, faster in training on TensorFlow."""
    return _layer_class()(**options)


@functools.cache
def _layer_class() -> type[keras.layers.BatchNormalization]:
    """The layer's class, made once Keras is there."""
    plain = keras.layers.BatchNormalization
    if keras.backend.backend() != "tensorflow":
        return plain

    class Fused(plain):  # type: ignore[valid-type, misc] # of the backend that is there
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            if not (training and self.trainable and mask is None and _has_kernel(self, inputs)):
                return super().call(inputs, training=training, mask=mask)
            return _fused(self, inputs)

        def __reduce__(self) -> tuple:
            """Pickled alone, it is Keras' own layer: by its name, `keras.layers` holds that one."""
            twin = plain.from_config(self.get_config())
            if self.built:
                twin.build_from_config(self.get_build_config())
                twin.set_weights(self.get_weights())
            return twin.__reduce__()

    # Saved files name the class by these; `keras.layers.BatchNormalization` is what they shall say.
    Fused.__module__, Fused.__name__ = "keras.layers", "BatchNormalization"
    Fused.__qualname__ = "BatchNormalization"
    return Fused


def _has_kernel(layer: keras.layers.BatchNormalization, inputs: Any) -> bool:
    """Whether the fused kernel computes what this layer means: (N, H, W, C), own statistics."""
    last = layer.axis in (-1, 3) and inputs.shape.rank == 4
    dtypes = {layer.variable_dtype, layer.compute_dtype, inputs.dtype.name}
    single = layer.variable_dtype == "float32" and "float64" not in dtypes
    return last and single and not layer.synchronized and not layer.renorm


def _fused(layer: keras.layers.BatchNormalization, inputs: tf.Tensor) -> tf.Tensor:
    inputs = tf.cast(inputs, layer.compute_dtype)
    channels = inputs.shape[-1]
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.cast(layer.gamma, tf.float32) if layer.scale else tf.ones([channels]),
        offset=tf.cast(layer.beta, tf.float32) if layer.center else tf.zeros([channels]),
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=layer.epsilon,
        exponential_avg_factor=1.0,
        data_format="NHWC",
        is_training=True,
    )
    # The kernel hands out Bessel's n / (n - 1) times the variance that it divided by.
    count = tf.cast(tf.math.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
    variance *= (count - 1.0) / count
    for moving, batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + batch * (1.0 - layer.momentum))
    return outputs
