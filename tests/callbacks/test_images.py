"""What TensorBoard gets of a network's inside, read back by TensorBoard's own code."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.callbacks import TensorBoardImages
from kcnn.callbacks.records.images import embed, pictures

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

NAMES = ["<b>one", "two\tand a tab", "three"]


def network(end="softmax", units=3):
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, activation="relu", name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(units, activation=end)(x))


def data(count=30, classes=3):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (count, 12, 12, 3)).astype("float32"), np.arange(count) % classes


def written(folder):
    """Images by tag: the steps at which they were written, and the last one's size."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), {"images": 0, "tensors": 0}).Reload()
    found = {}
    for tag in events.Tags()["tensors"]:
        all_of_it = events.Tensors(tag)
        strings = all_of_it[-1].tensor_proto.string_val
        if len(strings) >= 3 and strings[2].startswith(b"\x89PNG"):
            with Image.open(io.BytesIO(strings[2])) as image:
                found[tag] = [one.step for one in all_of_it], image.size
    return found


@pytest.mark.slow
def test_pictures_over_epochs(tmp_path):
    model, (images, labels) = network(), data()
    model.compile("sgd", "sparse_categorical_crossentropy")
    board = TensorBoardImages(tmp_path, images, labels, class_names=NAMES, every=2)
    model.fit(images, labels, epochs=5, verbose=0, callbacks=[board])
    found = written(tmp_path)
    assert sorted(found) == ["errors/confusion", "errors/mistakes", "errors/precision_recall",
                             "inside/feature_maps", "inside/filters"]  # fmt: skip
    for steps, (width, height) in found.values():
        assert steps == [2, 4, 5]
        assert min(width, height) > 60
    config = (tmp_path / "projector_config.pbtxt").read_text()
    assert 'tensor_path: "projector/features.tsv"' in config
    folder = tmp_path / "projector"
    features = np.loadtxt(folder / "features.tsv", delimiter="\t")
    body = keras.Model(model.inputs[0], model.layers[-2].output)
    np.testing.assert_allclose(features, body.predict(images, verbose=0), rtol=1e-4, atol=1e-6)
    lines = (folder / "classes.tsv").read_text().splitlines()
    assert lines == [["<b>one", r"two\tand a tab", "three"][k] for k in labels]
    with Image.open(folder / "images.png") as sheet:
        side = 12  # as large as they are
        assert sheet.size == (6 * side, 6 * side)
        tile = np.asarray(sheet)[side : 2 * side, 2 * side : 3 * side]  # the ninth
    expected = images[8]
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    assert np.abs(tile / 255.0 - expected).max() < 0.01


@pytest.mark.parametrize(("end", "units"), [("softmax", 3), (None, 3), ("sigmoid", 1), (None, 1)])
@pytest.mark.slow
def test_what_outputs_mean(end, units, tmp_path):
    """Confusion is the same whatever a network ends in."""
    classes = max(units, 2)
    model, (images, labels) = network(end, units), data(classes=classes)
    made = pictures(model, images, labels)
    assert "errors/confusion" in made
    raw = model.predict(images, verbose=0)
    middle = 0.5 if end else 0.0
    said = raw.argmax(1) if units > 1 else (raw[:, 0] > middle).astype(int)
    embed(tmp_path, model, images, labels)
    assert (tmp_path / "projector" / "features.tsv").exists()
    from kcnn.callbacks.records.images import _probabilities

    found = _probabilities(model, images)
    np.testing.assert_array_equal(found.argmax(1), said)
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-5)


def test_a_perceptron_has_no_filters(tmp_path):
    model, (images, labels) = kcnn.build("mlp", input_shape=(12, 12, 3), classes=3), data()
    assert not any(name.startswith("inside") for name in pictures(model, images, labels))


@pytest.mark.parametrize(("options", "said"), [
    ({"images": np.zeros((3, 3))}, r"\(N, H, W, C\)"),
    ({"labels": np.zeros(4, int)}, "one for each"),
    ({"labels": np.zeros(30)}, "class numbers"),
    ({"every": 0}, "at least 1"),
])  # fmt: skip
def test_what_cannot_be_done(options, said, tmp_path):
    images, labels = data()
    given = {"images": images, "labels": labels} | options
    with pytest.raises(kcnn.InputError, match=said):
        TensorBoardImages(tmp_path, **given)


@pytest.mark.slow
@pytest.mark.parametrize("quiet", [False, True])
def test_a_training_writes_them_at_its_end(quiet, tmp_path, capsys):
    """For the projector, too; one that shows nothing draws nothing."""
    recipe = kcnn.Recipe(model="lenet5", epochs=1, logs=str(tmp_path), name="run")
    run = kcnn.train(recipe, verbose=not quiet)
    found = written(run.directory)
    if quiet:
        assert not found
        return
    assert {"inside/filters", "inside/feature_maps", "errors/confusion"} <= set(found)
    assert found["inside/filters"][0] == [1]
    names = (run.directory / "projector" / "classes.tsv").read_text().splitlines()
    assert set(names) == {str(k) for k in range(10)}
    assert "no pictures" not in capsys.readouterr().out


@pytest.mark.slow
def test_what_cannot_be_shown_ends_no_training(tmp_path, capsys, monkeypatch):
    from kcnn.training import pictures as module

    def broken(*_):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(module, "embed", broken)
    recipe = kcnn.Recipe(model="mlp", epochs=1, logs=str(tmp_path), name="run")
    assert kcnn.train(recipe).result["epochs"] == 1
    assert "no such thing" in capsys.readouterr().out


@pytest.mark.slow
def test_images_every(tmp_path):
    recipe = kcnn.Recipe(model="lenet5", epochs=3, images_every=1, logs=str(tmp_path), name="run")
    run = kcnn.train(recipe, verbose=False)
    # The last are of the weights that are kept, once.
    assert written(run.directory)["inside/feature_maps"][0] == [1, 2, 3, 3]


@pytest.mark.slow
def test_what_cannot_be_shown_on_the_way_ends_no_training(tmp_path, capsys, monkeypatch):
    from kcnn.callbacks.records import images as module

    def broken(*_):
        raise ValueError("a graph of nobody's")

    monkeypatch.setattr(module, "pictures", broken)
    recipe = kcnn.Recipe(model="mlp", epochs=2, images_every=1, logs=str(tmp_path), name="run")
    assert kcnn.train(recipe).result["epochs"] == 2
    assert "a graph of nobody's" in capsys.readouterr().out
