"""Averaging under `MirroredStrategy` on two logical processors; prints errors as JSON.

`test_swa.py` calls it in a process of its own: devices are divided before TensorFlow starts.
"""

import contextlib
import json

import keras
import numpy as np
import tensorflow as tf
from test_swa import (
    STEPS,
    Recorder,
    arrays,
    dataset,
    fit,
    layers,
    statistics,
    statistics_of_all_data,
)

from kcnn.callbacks.averaging.ema import EvaluateEMA
from kcnn.callbacks.averaging.swa import StochasticWeightAveraging


def network(strategy, **options):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = keras.Sequential([keras.Input((4, 3, 2)), *layers("batchnorm")])
        optimizer = keras.optimizers.SGD(0.1, **options)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def difference(found, expected):
    pairs = zip(found, expected, strict=True)
    return max(float(abs(np.asarray(a, "float64") - b).max()) for a, b in pairs)


def validation():
    x, y = arrays()
    return tf.data.Dataset.from_tensor_slices((x[:8], y[:8])).batch(8)


def averaging(strategy, scope):
    model, swa = network(strategy), StochasticWeightAveraging(1, validate=True)
    recorder = Recorder()
    with scope():
        options = {"x": dataset(), "validation_data": validation()}
        history = fit(model, [swa, recorder], epochs=3, **options)
        loss = model.evaluate(validation(), verbose=0)[0]
    expected = recorder.mean([2 * STEPS, 3 * STEPS])
    trainable = [0, 1, 2, 3, 6, 7]
    weights = model.get_weights()
    return {
        "replicas": strategy.num_replicas_in_sync,
        "snapshots": swa.snapshots,
        "mean": difference([weights[i] for i in trainable], [expected[i] for i in trainable]),
        "statistics": difference(statistics(model), statistics_of_all_data(model)),
        "validated": abs(history["swa_val_loss"][-1] - loss),
    }


def moving_average(strategy):
    """Of the weights at the end of the first epoch, what another callback sees of the average."""
    model, seen = network(strategy, use_ema=True, ema_momentum=0.5), []

    class Look(Recorder):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            seen.append([v.numpy() for v in self.model.trainable_variables])

    look = Look()
    fit(model, [look, EvaluateEMA()], x=dataset(), epochs=1, validation_data=validation())
    average, *rest = (look.steps[step] for step in range(1, STEPS + 1))
    for weights in rest:
        average = [0.5 * a + 0.5 * w for a, w in zip(average, weights, strict=True)]
    return difference(seen[0], [average[i] for i in (0, 1, 2, 3, 6, 7)])


def main():
    # On few processors TensorFlow has so few threads that its own iterators over two devices
    # wait for each other for ever.
    tf.config.threading.set_inter_op_parallelism_threads(64)
    processor = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(processor, two)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    strategy = tf.distribute.MirroredStrategy(devices)
    found = {"ema": moving_average(strategy)}
    cases = {"outside the scope": contextlib.nullcontext, "inside the scope": strategy.scope}
    for case, scope in cases.items():
        found[case] = averaging(strategy, scope)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
