"""One training against the clock.

    python -m benchmarks.contenders.timed_training CONTENDER SEED EPOCHS

A contender of `benchmarks.time_to_accuracy`: `keras`, `torch`, or as JSON what kcnn changes of its
recipe "fast", which has its own epochs. The last line of standard output is JSON: seconds of
training and test accuracy after each epoch.
"""

import dataclasses
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

DATA = "fashion_mnist"
BATCH, RATE = 128, 1e-3  # of the two that are not kcnn's


class Clock:
    """Runs from now on, and stands still while the test images are classified.

    Args:
        images: The test images, as `classify` takes them.
        labels: (N,) integers.
    """

    def __init__(self, images: Any, labels: np.ndarray) -> None:
        self.seconds: list[float] = []
        self.accuracies: list[float] = []
        self._images, self._labels = images, labels
        self._total, self._since = 0.0, time.perf_counter()

    def epoch(self, classify: Callable[[Any], np.ndarray]) -> None:
        """An epoch is over; `classify` gives the class of each image."""
        self._total += time.perf_counter() - self._since
        self.seconds.append(self._total)
        self.accuracies.append(float(np.mean(classify(self._images) == self._labels)))
        self._since = time.perf_counter()


def keras_convnet(seed: int, epochs: int) -> tuple[Clock, int]:
    """keras.io's "Simple MNIST convnet" with `fit`; the clock, and the number of weights."""
    from kcnn.startup import keras

    (x, y), (x_test, y_test) = _scaled()
    keras.utils.set_random_seed(seed)
    clock = Clock(x_test, y_test)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(RATE),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
    )
    callbacks = [_exam(clock)]
    model.fit(x, y, batch_size=BATCH, epochs=epochs, callbacks=callbacks, verbose=0)
    return clock, model.count_params()


def torch_convnet(seed: int, epochs: int) -> tuple[Clock, int]:
    """The same network in PyTorch: channels last, the data in one tensor."""
    import torch
    from torch import nn

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    (x, y), (x_test, y_test) = _scaled()
    x, x_test = (torch.from_numpy(part).permute(0, 3, 1, 2).to(device) for part in (x, x_test))
    y = torch.from_numpy(y).to(device)
    torch.manual_seed(seed)
    clock = Clock(x_test, y_test)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10),
    )  # fmt: skip
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), RATE)

    def classify(images: torch.Tensor) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            return torch.cat([model(part).argmax(1) for part in images.split(1000)]).cpu().numpy()

    for _ in range(epochs):
        model.train()
        for index in torch.randperm(len(x), device=device).split(BATCH):
            batch = x[index].contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch), y[index]).backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        clock.epoch(classify)
    return clock, sum(p.numel() for p in model.parameters())


def kcnn_recipe(fields: dict[str, Any], seed: int) -> tuple[Clock, int]:
    """`kcnn.train` with the recipe "fast" but for `fields`."""
    import kcnn

    with tempfile.TemporaryDirectory() as logs:
        recipe = dataclasses.replace(kcnn.named_recipe("fast"), **fields, seed=seed, logs=logs)
        data = kcnn.load_data(DATA, validation=recipe.validation_size, seed=seed)
        train = kcnn.train  # imports what it needs
        clock = Clock(data.test.images, data.test.labels)
        run = train(recipe, data=data, callbacks=[_exam(clock)], verbose=False)
    return clock, sum(math.prod(w.shape) for w in run.model.trainable_weights)


def _exam(clock: Clock) -> Any:
    from kcnn.startup import keras

    class Exam(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            clock.epoch(lambda x: self.model.predict(x, batch_size=1000, verbose=0).argmax(1))

    return Exam()


def _scaled() -> list[tuple[np.ndarray, np.ndarray]]:
    """All 60,000 training images, and the test images: (N, 28, 28, 1) float32 in [0, 1]."""
    import kcnn

    data = kcnn.load_data(DATA, validation=0)
    return [
        (split.images.astype("float32") / 255, split.labels) for split in (data.train, data.test)
    ]


def main(contender: str, seed: str, epochs: str) -> None:
    """Train, and print."""
    if contender in ("keras", "torch"):
        train = {"keras": keras_convnet, "torch": torch_convnet}[contender]
        clock, parameters = train(int(seed), int(epochs))
    else:
        clock, parameters = kcnn_recipe(json.loads(contender), int(seed))
    print(
        json.dumps(
            {"parameters": parameters, "seconds": clock.seconds, "accuracies": clock.accuracies}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
