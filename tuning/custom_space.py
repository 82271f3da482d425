"""A network of one's own, with a search space of its own.

    python tuning/custom_space.py --data digits --trials 10

25 s on 2 CPU cores: best validation accuracy 99.3 % (144 images, n = 1 search); the winner has
98.6 % on the test split (360 images).

Any function that returns a Keras model is a network: its keywords become rows of the space. What
cannot be built, such as a third pooling of 8×8 pixels into nothing, raises kcnn.InputError: such
combinations are drawn anew, and never count as failures.

In a file of its own the network is there for the command line, too: --model FILE.py:pyramid.
"""

import kcnn
import kcnn.tuning
from kcnn.startup import keras  # Keras itself, without TensorFlow's start-up messages
from kcnn.tuning import Choice, Range


@kcnn.register("pyramid", input_shape=(8, 8, 1), classes=10)
def pyramid(
    input_shape: tuple[int, int, int],
    classes: int,
    width: int = 16,
    stages: int = 2,
    activation: str = "relu",
) -> keras.Model:
    """`stages` convolutions, each with twice the filters of the one before, and pooling."""
    if min(input_shape[:2]) < 2**stages:
        raise kcnn.InputError(f"{stages} poolings leave nothing of {input_shape[:2]}.")
    inputs = x = keras.Input(input_shape)
    for stage in range(stages):
        x = keras.layers.Conv2D(width * 2**stage, 3, padding="same", activation=activation)(x)
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


SPACE = {
    "width": Choice((8, 16, 32)),
    "stages": Range(1, 4),
    "activation": ["relu", "tanh"],
    "optimizer": "adamw",
    "learning_rate": Range(1e-3, 3e-2, "log"),
    "weight_decay": Range(1e-3, 1.0, "log"),
    "batch_size": 64,
    "label_smoothing": 0.0,
    "swa": False,
}

if __name__ == "__main__":
    found = kcnn.tuning.script(SPACE, model="pyramid", trials=10, epochs=10)
    print(found.best.options, found.run.test_metrics)
