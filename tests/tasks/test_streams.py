"""Streams of the user's own: what their labels mean, and what is refused before training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.tasks import streams as module
from kcnn.tasks.task import find

SIZE, COUNT = 6, 24
LABELS = np.arange(COUNT) % 4


def images(count=COUNT, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3)).astype("uint8")


def stream(labels=LABELS, pixels=None):
    pixels = images(len(labels)) if pixels is None else pixels
    return tf.data.Dataset.from_tensor_slices((pixels, labels)).batch(8)


def problem(train, validation=None, model=None, **parts):
    data = {"train": train, "validation": validation or train, **parts}
    return find("classification").problem(data, kcnn.Recipe(), model)


def targets(found, part="train"):
    task = find("classification")
    made = task.targets(found, len(found.class_names))
    return np.concatenate([y.numpy() for _, y in found.evaluation(part, 8, (SIZE, SIZE), made)])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS, "0123"),
        (LABELS.astype("float32"), "0123"),
        (LABELS[:, None].astype("uint8"), "0123"),
        (np.eye(4, dtype="float32")[LABELS], "0123"),
        (LABELS + 1, "1234"),
        (LABELS * 100, ("0", "100", "200", "300")),
    ],
    ids=["numbers", "floats", "a column", "rows", "from 1", "holes"],
)
def test_labels(labels, names):
    found = problem(stream(labels))
    assert found.class_names == tuple(names)
    np.testing.assert_array_equal(targets(found), np.eye(4)[LABELS])


def test_a_models_outputs_say_how_many_classes_there_are():
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(),
                              keras.layers.Dense(9)])  # fmt: skip
    found = problem(stream(LABELS * 2), model=model)
    assert found.class_names == tuple("012345678")
    np.testing.assert_array_equal(targets(found), np.eye(9)[LABELS * 2])


def test_names_of_a_directory_are_kept(tmp_path):
    """What `image_dataset_from_directory` hangs on its data set."""
    for name in ("ape", "bee", "cat"):
        for k in range(4):
            (tmp_path / name).mkdir(exist_ok=True)
            keras.utils.save_img(tmp_path / name / f"{k}.png", images(1, seed=k)[0])
    train = keras.utils.image_dataset_from_directory(
        str(tmp_path), image_size=(SIZE, SIZE), batch_size=4, verbose=False
    )
    assert problem(train).class_names == ("ape", "bee", "cat")
    both = keras.utils.image_dataset_from_directory(
        str(tmp_path), image_size=(SIZE, SIZE), batch_size=4, label_mode="categorical",
        subset="both", validation_split=0.5, seed=1, verbose=False,
    )  # fmt: skip
    found = find("classification").problem(both, kcnn.Recipe(), None)
    assert found.class_names == ("ape", "bee", "cat")
    assert found.sizes == {"train": 6, "validation": 6, "test": 0}


def test_streams_of_mappings_are_read_by_name():
    """What `tfds.load(...).batch(8)` gives; other features are named and not read."""
    elements = {"id": LABELS, "image": images(), "label": LABELS}
    given = tf.data.Dataset.from_tensor_slices(elements).batch(8)
    given.class_names = ["ape", "bee", "cat", "dog"]
    found = problem(given)
    assert found.class_names == ("ape", "bee", "cat", "dog")
    assert "of image, label (not read: id)" in found.provenance
    pictures, labels = next(iter(found.streams["train"]))
    np.testing.assert_array_equal(pictures, images()[:8])
    np.testing.assert_array_equal(labels, LABELS[:8])


def test_copies_in_a_stream_are_not_known():
    assert problem(stream()).duplicates is None
    data = {"train": stream(), "validation": stream()}
    with pytest.raises(kcnn.InputError, match="deduplicate='exact' compares arrays and files"):
        find("classification").problem(data, kcnn.Recipe(deduplicate="exact"), None)


def dictionaries():
    return tf.data.Dataset.from_tensor_slices(({"image": images()}, LABELS)).batch(8)


def endless():
    def generate():
        while True:
            yield images(2), LABELS[:2]

    kinds = (tf.TensorSpec((None, SIZE, SIZE, 3), tf.uint8), tf.TensorSpec((None,), tf.int64))
    return tf.data.Dataset.from_generator(generate, output_signature=kinds)


REFUSED = {
    "an unlabelled image": (lambda: stream(np.where(LABELS == 3, -1, LABELS)), r"is -1"),
    "parts of classes": (lambda: stream(LABELS + 0.5), "is 0.5"),
    "texts": (lambda: stream(LABELS.astype(str)), "are string; they are numbers"),
    "several classes at once": (lambda: stream(np.ones((COUNT, 4))), "do not sum to 1"),
    "dict features": (dictionaries, r"must give batches \(images"),
    "channels first": (lambda: stream(pixels=np.zeros((COUNT, 3, 8, 8))), "looks like"),
    "not finite": (lambda: stream(pixels=images() / 0.0), "NaN or infinite"),
    "beyond pixels": (lambda: stream(pixels=images() * 1e20), "no pixel is beyond"),
    "one value": (lambda: stream(pixels=images() * 0 + 9), "are the same"),
    "endless": (endless, "has not ended after 50 batches. End it with .take"),
}


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_meant_is_refused(kind, monkeypatch):
    monkeypatch.setattr(module, "_ENDLESS", 50)
    make, message = REFUSED[kind]
    with pytest.raises(kcnn.InputError, match=message):
        problem(make())


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (lambda: stream(np.eye(4)[LABELS]), "rows of 4 shares, the 'train' dataset .* numbers"),
        (lambda: stream(pixels=images().astype("float32") / 255), "'validation' dataset reach 1,"),
        (lambda: stream(LABELS + 3), "labels up to 3; another has 6"),
        (lambda: stream(pixels=images()[..., :1]), "images of 1 channels"),
    ],
)
def test_streams_that_are_not_alike_are_refused(validation, message):
    with pytest.raises(kcnn.InputError, match=message):
        problem(stream(), validation())


@pytest.mark.slow
def test_holes_are_trained_and_learned(tmp_path):
    """The twenty-six letters of a file that counts from 1: as many outputs, and all are learned."""
    labels = np.arange(78) % 26
    pixels = np.zeros((78, 6, 6, 1), "uint8")
    pixels.reshape(78, 36)[np.arange(78), labels] = 255
    made = stream(labels + 1, pixels)
    recipe = kcnn.Recipe(model="mlp", epochs=40, options={"width": 64}, logs=str(tmp_path))
    run = kcnn.train(recipe, data={"train": made, "validation": made, "test": made}, verbose=False)
    assert run.model.output_shape == (None, 26)
    assert run.class_names[0] == "1"
    assert run.test_metrics["accuracy"] == 1.0
