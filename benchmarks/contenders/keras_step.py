"""The training step in Keras.

    python -m benchmarks.contenders.keras_step ROW CONTENDER BATCH IMAGES PRECISION

A contender of `benchmarks.step`: `kcnn` is `kcnn.train`, the others are `model.fit` on arrays
as Keras does it by default, over the same network from kcnn, keras.applications, keras-hub or
image-classifiers. A callback counts steps, and blocks between windows.
"""

import math
import sys
import tempfile
import time
from typing import Any

import kcnn
from benchmarks.harness.rows import ROWS, Row, moments, synthetic
from benchmarks.harness.seat import Seat
from kcnn.data import from_arrays
from kcnn.startup import keras, tf

_FOREVER = 100_000  # epochs


class Windows(keras.callbacks.Callback):
    """Run what the contest orders: windows that begin and end within one epoch.

    Validation and whatever callbacks do at an epoch's end lie between windows; what is left of
    an epoch that is too short for a window is run untimed.

    Args:
        facts: What to introduce the contender with; `longest` is the steps of an epoch.
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__()
        self._facts, self._seat = facts, Seat()
        self._wanted = 0  # steps of the window
        self._first: int | None = None  # step at which it began; None: waits for an epoch
        self._start = self._total = 0.0  # time and summed loss of the epoch at that step

    def on_train_begin(self, logs: Any = None) -> None:
        self._facts["parameters"] = sum(math.prod(w.shape) for w in self.model.trainable_weights)
        self._wanted = self._seat.introduce(**self._facts)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin(0, 0.0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = min(batch + 1, self._facts["longest"])  # fused steps end with the epoch
        if self._first is None or step - self._first < self._wanted:
            return
        total = step * float(logs["loss"])  # Keras' loss is the mean since the epoch began
        memory = self._synchronise()
        seconds = time.perf_counter() - self._start
        steps, loss = step - self._first, (total - self._total) / (step - self._first)
        self._wanted = self._seat.report(steps, seconds, loss=loss, **memory)
        self._first = None
        # A window of fused steps may end up to one execution late.
        if step + max(self._wanted, steps) <= self._facts["longest"]:
            self._begin(step, total)

    def _begin(self, step: int, total: float) -> None:
        self._first, self._total, self._start = step, total, time.perf_counter()

    def _synchronise(self) -> dict[str, int]:
        """Wait for the last update; peak bytes of the GPU, where there is one."""
        if keras.backend.backend() != "tensorflow":
            return _jax_memory()  # one computation a step: with the loss it has ended
        keras.ops.convert_to_numpy(self.model.trainable_variables[0])
        if not tf.config.list_physical_devices("GPU"):
            return {}
        return {"device_memory": tf.config.experimental.get_memory_info("GPU:0")["peak"]}


def _jax_memory() -> dict[str, int]:
    import jax

    statistics = jax.local_devices()[0].memory_stats() or {}
    return {"device_memory": statistics["peak_bytes_in_use"]} if statistics else {}


def facts(row: Row, batch: int, images: int) -> dict[str, Any]:
    """What a contender introduces itself with, but for its parameters."""
    card = kcnn.card(
        row.model, input_shape=row.input_shape, classes=row.classes, dropout=0.0, **row.options
    )
    return {"batch": batch, "longest": images // batch, "macs": card.macs}


def train(row: Row, batch: int, images: int, precision: str) -> None:
    """`kcnn.train` by its defaults, but for what all contenders have in common."""
    x, y = synthetic(images, row.input_shape, row.classes)
    with tempfile.TemporaryDirectory() as logs:
        recipe = kcnn.Recipe(
            model=row.model, options=row.options, dropout=0.0,
            epochs=_FOREVER, batch_size=batch, precision=precision, augment="none",
            optimizer="momentum", momentum=0.9, weight_decay=0.0,
            learning_rate=row.learning_rate, schedule="constant", warmup=0.0, logs=logs,
        )  # fmt: skip
        some = x[:64], y[:64]
        # Ten of the classes occur: their names say how many there are.
        names = [str(number) for number in range(row.classes)]
        data = from_arrays((x, y), some, some, class_names=names)
        kcnn.train(recipe, data=data, callbacks=[Windows(facts(row, batch, images))])


def fit(row: Row, contender: str, batch: int, images: int, precision: str) -> None:
    """`model.fit` by Keras' defaults."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    x, y = synthetic(images, row.input_shape, row.classes)
    mean, variance = moments(x)
    normalize = keras.layers.Normalization(mean=mean, variance=variance, dtype="float32")
    if contender == "keras fit":
        model = kcnn.build(
            row.model, input_shape=row.input_shape, classes=row.classes,
            dropout=0.0, preprocessing=[normalize], **row.options,
        )  # fmt: skip
    else:
        network = _PEERS[contender](row)
        _initialise(network)
        model = keras.Sequential([keras.Input(row.input_shape), normalize, network])
    model.compile(
        keras.optimizers.SGD(row.learning_rate, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    windows = Windows(facts(row, batch, images))
    model.fit(x, y, batch_size=batch, epochs=_FOREVER, callbacks=[windows], verbose=0)


def _applications(row: Row) -> keras.Model:
    return keras.applications.VGG16(weights=None, input_shape=row.input_shape, classes=row.classes)


def _hub(row: Row) -> keras.Model:
    import keras_hub

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=row.input_shape,
    )
    return keras_hub.models.ResNetImageClassifier(
        backbone, num_classes=row.classes, activation="softmax", preprocessor=None
    )


def _image_classifiers(row: Row) -> keras.Model:
    from classification_models.tfkeras import Classifiers

    return Classifiers.get("resnet34")[0](row.input_shape, classes=row.classes, weights=None)


_PEERS = {
    "keras.applications": _applications,
    "keras-hub": _hub,
    "image-classifiers": _image_classifiers,
}


def _initialise(network: keras.Model) -> None:
    """He et al. 2015, as the other contenders."""
    for weight in network.trainable_weights:
        if weight.name == "kernel":
            weight.assign(keras.initializers.HeNormal()(weight.shape))


def main(name: str, contender: str, batch: str, images: str, precision: str) -> None:
    """Sit down."""
    row, sizes = ROWS[name], (int(batch), int(images))
    if contender == "kcnn":
        train(row, *sizes, precision)
    else:
        fit(row, contender, *sizes, precision)


if __name__ == "__main__":
    main(*sys.argv[1:])
