"""Weights of images and of classes do in a training what they do in Keras' own `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

import kcnn
from kcnn.data.batches.feed import training_feed
from kcnn.data.batches.pipeline import feed_batches
from kcnn.data.sets.splits import Split
from kcnn.errors import InputError
from kcnn.recipes.class_weights import by_class
from kcnn.tasks.task import find

RNG = np.random.default_rng(5)
COUNT, SIZE = 30, 4
IMAGES = RNG.normal(0, 1, (COUNT, SIZE, SIZE, 1)).astype("float32")
LABELS = np.repeat([0, 1, 2], [18, 9, 3])
WEIGHTS = RNG.uniform(0, 3, COUNT).astype("float32")
PLAIN = {
    "optimizer": "sgd", "learning_rate": 0.5, "schedule": "constant", "warmup": 0.0,
    "weight_decay": 0.0, "batch_size": COUNT, "epochs": 3, "select": "last",
}  # fmt: skip


def network(outputs=3):
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Flatten(), keras.layers.Dense(outputs)]
    layers += [keras.layers.Activation("softmax" if outputs > 1 else "sigmoid")]
    return keras.Sequential([keras.Input((SIZE, SIZE, 1)), *layers])


def arrays(labels, *weights):
    held_out = IMAGES, labels
    return {"train": (IMAGES, labels, *weights), "validation": held_out, "test": held_out}


def streams(labels, *weights):
    parts = arrays(labels, *weights).items()
    return {k: tf.data.Dataset.from_tensor_slices(v).batch(COUNT) for k, v in parts}


def trained(tmp_path, data, outputs=3, **fields):
    recipe = kcnn.Recipe(**PLAIN | fields, logs=str(tmp_path))
    return kcnn.train(recipe, model=network(outputs), data=data, verbose=False, save_model=False)


def of_keras(labels, outputs=3, smoothing=0.0, **weights):
    model = network(outputs)
    kind = keras.losses.CategoricalCrossentropy if outputs > 1 else keras.losses.BinaryCrossentropy
    model.compile(keras.optimizers.SGD(0.5), kind(label_smoothing=smoothing))
    targets = np.eye(3)[labels] if outputs > 1 else labels[:, None].astype("float32")
    fit = model.fit(
        IMAGES, targets, batch_size=COUNT, epochs=3, shuffle=False, verbose=0, **weights
    )
    return model, fit.history


def check(run, expected):
    model, history = expected
    for ours, theirs in zip(run.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(run.history["loss"], history["loss"], rtol=1e-5)


@pytest.mark.parametrize("form", [arrays, streams])
def test_of_images_as_in_keras(form, tmp_path):
    run = trained(tmp_path, form(LABELS, WEIGHTS))
    check(run, of_keras(LABELS, sample_weight=WEIGHTS))
    # Held-out figures count each image once.
    outputs = run.model.predict(IMAGES, verbose=0)
    plain = -np.log(outputs[np.arange(COUNT), LABELS]).mean()
    assert run.history["val_loss"][-1] == pytest.approx(plain, rel=1e-5)
    assert "weigh" in run.data["provenance"]


@pytest.mark.parametrize("form", [arrays, streams])
@pytest.mark.slow
def test_of_classes_as_in_keras(form, tmp_path):
    given = {0: 0.5, 1: 2.0, 2: 4.0}
    run = trained(tmp_path, form(LABELS), class_weights="0.5,2,4", label_smoothing=0.1)
    check(run, of_keras(LABELS, smoothing=0.1, class_weight=given))
    assert run.recipe.class_weights == "0.5,2,4"


def test_of_two_classes_and_one_output_and_of_images_at_once(tmp_path):
    labels = np.minimum(LABELS, 1)
    both = WEIGHTS * np.where(labels, 1.0, 0.25)
    run = trained(tmp_path, arrays(labels, WEIGHTS), outputs=1, class_weights={"0": 0.25})
    check(run, of_keras(labels, outputs=1, sample_weight=both))


@pytest.mark.parametrize("form", [arrays, streams])
def test_balanced_is_that_of_scikit_learn(form):
    labels = np.where(LABELS == 2, 5, LABELS)  # with holes
    task = find("classification")
    recipe = kcnn.Recipe(class_weights="balanced")
    found = task.prepared(task.problem(form(labels), recipe, None), recipe).class_weights
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixtures_bring_the_weight_of_each(kind):
    """A pixel says whose it is: from the mixed images follows how much of whom is in them."""
    side, weights = 6, WEIGHTS.copy()
    weights[:10] = 0
    images = np.zeros((COUNT, side, side, COUNT), "float32")
    images[np.arange(COUNT), :, :, np.arange(COUNT)] = 1
    feed = training_feed(
        Split(images, LABELS, weights), COUNT, classes=3, seed=3, stop=2, **{kind: 1.0}
    )
    for mixed, targets, found in feed_batches(feed).as_numpy_iterator():
        shares = mixed.mean(axis=(1, 2))  # (B, N): of each image in each mixture
        np.testing.assert_allclose(found, shares @ weights, atol=1e-5)
        rows = (shares * weights) @ np.eye(3)[LABELS]
        np.testing.assert_allclose(found[:, None] * targets, rows, atol=1e-5)
        np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-5)


def test_weights_follow_their_images_and_other_ones_are_other_data():
    images = np.arange(COUNT, dtype="float32").reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 1), "f4")
    data = kcnn.data.from_arrays((images, LABELS, WEIGHTS), validation_size=6)
    assert data.validation.weights is None
    assert data.test.weights is None
    feed = training_feed(data.train, 5, classes=3, seed=1, stop=6)
    for pixels, _, found in feed_batches(feed).as_numpy_iterator():
        np.testing.assert_array_equal(found, WEIGHTS[pixels[:, 0, 0, 0].astype(int)])
    others = [(images, LABELS), (images, LABELS, WEIGHTS[::-1])]
    prints = {data.fingerprint, *(kcnn.data.from_arrays(one).fingerprint for one in others)}
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("weights", "part", "said"),
    [
        (-WEIGHTS, "train", "from 0 up"),
        (WEIGHTS * np.nan, "train", "from 0 up"),
        (WEIGHTS[:5], "train", "a number from 0 up for each image|Data cardinality|shape"),
        (WEIGHTS * 0, "train", "are 0"),
        (WEIGHTS, "validation", "of training alone"),
    ],
)
@pytest.mark.parametrize("form", [arrays, streams])
def test_refused(form, weights, part, said):
    data = form(LABELS)
    if form is streams and len(weights) < COUNT:
        return  # tf.data refuses it
    data[part] = form(LABELS, weights)["train"]
    with pytest.raises(InputError, match=said):
        find("classification").problem(data, kcnn.Recipe(), None)


class TestText:
    def test_forms(self, tmp_path):
        (tmp_path / "w.json").write_text('{"cat": 2, "dog": 0.5}')
        (tmp_path / "w.csv").write_text("class,weight\ncat,2\ndog,0.5\n")
        forms = ["cat=2,dog=0.5", {"cat": 2, "dog": 0.5}, f"{tmp_path}/w.json", f"{tmp_path}/w.csv"]
        texts = {kcnn.Recipe(class_weights=form).class_weights for form in forms}
        assert len(texts) == 1  # and it is taken again, from a recipe.json, without the file
        (text,) = texts
        assert kcnn.Recipe(class_weights=text).class_weights == text
        assert by_class(text, ("cat", "cow", "dog")) == (2, 1, 0.5)
        assert by_class('{"1": 3.0}', ("cat", "dog")) == (1, 3)  # by number, as in Keras
        third = 1 / 3
        assert by_class(kcnn.Recipe(class_weights=[third, 1]).class_weights, ("a", "b"))[0] == third

    @pytest.mark.parametrize(
        "value", ["bogus", "1,x", "-1,2", "0,0", "cat=-1", "", {}, "cat=1,cat=2", "no/such.json"]
    )
    def test_refused(self, value):
        with pytest.raises(InputError, match="class_weights"):
            kcnn.Recipe(class_weights=value)

    def test_names_of_no_class(self):
        with pytest.raises(InputError, match="'cow'; the classes of the data are cat, dog"):
            by_class('{"cat": 1.0, "cow": 2.0}', ("cat", "dog"))
        with pytest.raises(InputError, match="3 numbers; the data have 2 classes"):
            by_class("1,2,3", ("cat", "dog"))
