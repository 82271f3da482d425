"""What outputs mean: by the graph and by real values, never by the look of the last layer."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import kcnn
from kcnn.graph.outputs import ending, meaning
from kcnn.runs.inference import evaluate_run

L = keras.layers
CLASSES = 10


def features():
    """Inputs, a map of features and a row of them, for digits."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 1))
    x = L.Conv2D(32, 3, activation="relu", padding="same")(L.Rescaling(1 / 16)(inputs))
    x = L.Conv2D(32, 3, activation="relu", strides=2)(x)
    return inputs, x, L.Flatten()(x)


def nested(row, *layers):
    return keras.Sequential([keras.Input(row.shape[1:]), *layers])(row)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        keras.utils.set_random_seed(3)
        self.conv, self.flat, self.top = (
            L.Conv2D(32, 3, activation="relu"),
            L.Flatten(),
            L.Dense(10),
        )

    def call(self, x):
        return self.top(self.flat(self.conv(x / 16.0)))


LOGITS = {  # name: outputs of (map, row); how the graph ends
    "dense": (lambda x, row: L.Dense(CLASSES)(row), "linear"),
    "pooled": (lambda x, row: L.GlobalAveragePooling2D()(L.Conv2D(CLASSES, 1)(x)), "linear"),
    "mean of the map": (lambda x, row: ops.mean(L.Conv2D(CLASSES, 1)(x), axis=(1, 2)), "linear"),
    "reshape": (lambda x, row: L.Reshape((CLASSES,))(L.Dense(CLASSES)(row)), "linear"),
    "dropout": (lambda x, row: L.Dropout(0.1)(L.Dense(CLASSES)(row)), "linear"),
    "nested": (lambda x, row: nested(row, L.Dense(CLASSES)), "linear"),
    "nested twice": (
        lambda x, row: nested(nested(row, L.Dense(CLASSES)), L.Reshape((CLASSES,))), "linear",
    ),
    "linear activation": (lambda x, row: L.Activation("linear")(L.Dense(CLASSES)(row)), "linear"),
    "scaled": (lambda x, row: L.Dense(CLASSES)(row) * 3.0, None),
    "batch norm": (lambda x, row: L.BatchNormalization()(L.Dense(CLASSES)(row)), None),
    "two heads": (lambda x, row: L.Dense(CLASSES)(row) + L.Dense(CLASSES)(row), None),
}  # fmt: skip
PROBABILITIES = {
    "softmax": (lambda x, row: L.Dense(CLASSES, "softmax")(row), "softmax"),
    "its layer": (lambda x, row: L.Softmax()(L.Dense(CLASSES)(row)), "softmax"),
    "its operation": (lambda x, row: ops.softmax(L.Dense(CLASSES)(row)), "softmax"),
    "an activation": (lambda x, row: L.Activation("softmax")(L.Dense(CLASSES)(row)), "softmax"),
    "nested": (lambda x, row: nested(row, L.Dense(CLASSES, "softmax")), "softmax"),
    "mean of softmaxes": (
        lambda x, row: L.GlobalAveragePooling2D()(L.Conv2D(CLASSES, 1, activation="softmax")(x)),
        "softmax",
    ),
    "average of two": (
        lambda x, row: L.Average()([L.Dense(CLASSES, "softmax")(row) for _ in range(2)]), None,
    ),
}  # fmt: skip


def made(make):
    inputs, x, row = features()
    return keras.Model(inputs, make(x, row))


IMAGES = np.random.default_rng(0).integers(0, 17, (16, 8, 8, 1)).astype("uint8")


@pytest.mark.parametrize("kind", LOGITS)
def test_logits(kind):
    make, end = LOGITS[kind]
    model = made(make)
    assert ending(model) == end
    assert meaning(model, model(IMAGES)) == "logits"


@pytest.mark.parametrize("kind", PROBABILITIES)
def test_probabilities(kind):
    make, end = PROBABILITIES[kind]
    model = made(make)
    assert ending(model) == end
    assert meaning(model, model(IMAGES)) == "probabilities"


def test_sequential_models_and_one_output():
    for activation, expected in ((None, "logits"), ("sigmoid", "probabilities")):
        model = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(1, activation)])
        assert meaning(model, model(IMAGES / 16)) == expected


def unclear(x, row):
    return ops.minimum(L.Dense(CLASSES, "relu")(row), 1.0)


REFUSED = {
    "sigmoids of many classes": (lambda x, row: L.Dense(CLASSES, "sigmoid")(row), "sigmoid, but"),
    "softmax over the wrong axis": (
        lambda x, row: ops.softmax(L.Dense(CLASSES)(row), axis=0), "softmax, but for 16 images",
    ),
    "softmax of one": (lambda x, row: L.Dense(1, "softmax")(row), "1 for every image"),
    "rows of maps": (lambda x, row: L.Conv2D(CLASSES, 3)(x), r"\(N, 1, 1, 10\)"),
    "not finite": (lambda x, row: L.Dense(CLASSES)(row) / 0.0, "not finite"),
    "nobody knows": (unclear, "cannot be seen: for 16 images they lie between 0 and .*, and sum"),
    "one, and nobody knows": (lambda x, row: unclear(x, row)[:, :1], "cannot be seen"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:[^$]*softmax over axis -1:UserWarning")  # Keras' own
@pytest.mark.parametrize("kind", REFUSED)
def test_what_fits_nothing_is_refused(kind):
    make, message = REFUSED[kind]
    model = made(make)
    with pytest.raises(kcnn.InputError, match=message):
        meaning(model, model(IMAGES))


class TestWhatTheUserSays:
    def test_is_taken_where_nothing_else_tells(self):
        model = made(unclear)
        assert meaning(model, model(IMAGES), "logits") == "logits"
        one = made(lambda x, row: unclear(x, row)[:, :1])
        for said in ("logits", "probabilities"):
            assert meaning(one, one(IMAGES), said) == said

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (PROBABILITIES["softmax"][0], "logits"),
            (LOGITS["dense"][0], "probabilities"),
            (LOGITS["batch norm"][0], "probabilities"),
            (unclear, "probabilities"),
        ],
    )
    def test_is_refused_where_it_is_not_so(self, make, said):
        model = made(make)
        with pytest.raises(kcnn.InputError, match=f"are said to be {said}, but"):
            meaning(model, model(IMAGES), said)


def own_cross_entropy(logits, labels):
    """By NumPy, in float64."""
    logits = logits.astype("float64")
    logits -= logits.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[range(len(labels)), labels]))


@pytest.mark.parametrize("kind", ["pooled", "nested", "reshape", "batch norm", "subclassed"])
@pytest.mark.slow
def test_they_are_trained_as_what_they_are(kind, tmp_path):
    """In place of to chance: loss by NumPy, and again from the run's directory."""
    model = Subclassed() if kind == "subclassed" else made(LOGITS[kind][0])
    data = kcnn.load_data("digits")
    recipe = kcnn.Recipe(epochs=4, batch_size=32, learning_rate=3e-3, logs=str(tmp_path))
    run = kcnn.train(recipe, model=model, data=data, verbose=False)
    assert run.test_metrics["accuracy"] > (0.7 if kind == "pooled" else 0.93)
    logits = run.model.predict(data.test.images, verbose=0)
    expected = own_cross_entropy(logits, data.test.labels)
    assert run.test_metrics["loss"] == pytest.approx(expected, rel=1e-3)
    if kind == "subclassed":
        return  # its class is not registered: its file is the user's affair
    again = evaluate_run(kcnn.load_run(run.directory), data)
    assert again.loss == pytest.approx(expected, rel=1e-3)
    assert again.accuracy == run.test_metrics["accuracy"]


@pytest.mark.slow
def test_a_run_of_before_is_looked_at_when_it_is_evaluated(tmp_path):
    """Its directory does not say what outputs are; nor does the graph of this model."""
    recipe = kcnn.Recipe(epochs=2, batch_size=32, logs=str(tmp_path))
    data = kcnn.load_data("digits")
    run = kcnn.train(recipe, model=made(LOGITS["batch norm"][0]), data=data, verbose=False)
    path = run.directory / "recipe.json"
    path.write_text(path.read_text().replace('"outputs": "logits"', '"outputs": null'))
    assert json.loads(path.read_text())["outputs"] is None
    found = kcnn.load_run(run.directory)
    assert ending(found.model) is None
    logits = run.model.predict(data.test.images, verbose=0)
    expected = own_cross_entropy(logits, data.test.labels)
    assert evaluate_run(found, data).loss == pytest.approx(expected, rel=1e-3)
    (row,) = found.task.predictions(found.model, logits[:1], ["a.png"], data.class_names)
    shares = np.exp(logits[0].astype("float64") - logits[0].max())
    assert row.probability == pytest.approx(shares.max() / shares.sum(), rel=1e-4)


def test_a_registered_network_of_ones_own_is_looked_at_too(tmp_path):
    @kcnn.register("shrugging", input_shape=(8, 8, 1), classes=10)
    def shrugging(input_shape, classes=10):
        return made(unclear)

    with pytest.raises(kcnn.InputError, match="cannot be seen"):
        kcnn.train(kcnn.Recipe(model="shrugging", logs=str(tmp_path)), verbose=False)
    assert not list(tmp_path.iterdir())
    recipe = kcnn.Recipe(model="shrugging", outputs="logits", epochs=1, logs=str(tmp_path))
    run = kcnn.train(recipe, verbose=False)
    data = kcnn.load_data("digits").test
    expected = own_cross_entropy(run.model.predict(data.images, verbose=0), data.labels)
    assert run.test_metrics["loss"] == pytest.approx(expected, rel=1e-3)
