"""A step in parts: the update of a large batch, in the memory that a small one takes.

The loss of a batch is the mean over its images, and its gradient is the mean of theirs. So the
gradients of parts, each weighted by its share of the images, add up to that of the whole. What a
network or a loss takes from the batch around an image it takes from the part: BatchNorm's
statistics, the number of objects by which detection's loss divides, and the masks that dropout
draws.

A step is one update, and reads all its images at once: their order, augmentation and mixing are
those of the large batch, schedules and checkpoints count updates, and no checkpoint falls between
two parts. An epoch's last step has the images that are left. Gradients are clipped, and looked at
for what is not finite, when they have been added up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kcnn.startup import keras, tf
from kcnn.training.loop.optimizers import Update


def in_parts(model: keras.Model, update: Update, images: int) -> Callable[[Any], Any]:
    """What does a training step on a batch, a part at a time; to be traced, as `train_step`.

    Args:
        model: Compiled, with Keras' own `train_step`.
        update: What is done with the gradients of the whole batch.
        images: Of a part; the last may have fewer.
    """
    gradients = _gradients(model)
    if model.jit_compile:
        gradients = tf.function(gradients, jit_compile=True, autograph=False, reduce_retracing=True)

    def step(batch: Any) -> Any:
        weights, missing = model.trainable_weights, list[bool]()
        whole = tf.shape(tf.nest.flatten(batch)[0])[0]

        def add(first: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            end = tf.minimum(first + images, whole)
            found = gradients(tf.nest.map_structure(lambda tensor: tensor[first:end], batch))
            share = tf.cast(end - first, tf.float32) / tf.cast(whole, tf.float32)
            missing[:] = [gradient is None for gradient in found]
            return end, *(
                total if gradient is None else total + share * tf.convert_to_tensor(gradient)
                for total, gradient in zip(sums, found, strict=True)
            )

        zeros = [tf.zeros(weight.shape) for weight in weights]
        first = tf.constant(0)
        _, *sums = tf.while_loop(
            lambda first, *_: first < whole, add, [first, *zeros], parallel_iterations=1
        )
        whole_gradients = [None if m else s for m, s in zip(missing, sums, strict=True)]
        with update.in_place():
            model.optimizer.apply(whole_gradients, weights)
        return model.get_metrics_result()

    return step


def _gradients(model: keras.Model) -> Callable[[Any], list[Any]]:
    """The gradients that `train_step` hands to the optimiser; metrics count the part."""

    def gradients(part: Any) -> list[Any]:
        taken: list[Any] = []

        def take(grads: Any, trainable_variables: Any = None) -> None:
            taken.extend(grads)

        model.optimizer.apply = take
        try:
            model.train_step(part)
        finally:
            del model.optimizer.apply
        return taken

    return gradients
