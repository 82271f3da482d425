"""Loaders of other libraries mean the same as arrays do, or are refused in a sentence."""

import keras
import numpy as np
import pytest

import kcnn
from kcnn.tasks.loaders import as_stream
from kcnn.tasks.task import find

SIZE, COUNT = 6, 22
LABELS = np.arange(COUNT) % 3
RNG = np.random.default_rng(0)
IMAGES = (RNG.integers(0, 60, (COUNT, SIZE, SIZE, 3)) + 60 * LABELS[:, None, None, None]).astype(
    "u1"
)


class Sequence(keras.utils.PyDataset):
    """Batches of four; counts the ends of epochs."""

    def __init__(self, images=IMAGES, labels=LABELS, parts=2):
        super().__init__()
        self.arrays, self.parts, self.ends = (images, labels), parts, 0

    def __len__(self):
        return (len(self.arrays[0]) + 3) // 4

    def __getitem__(self, index):
        pair = tuple(array[4 * index : 4 * index + 4] for array in self.arrays)
        return (*pair, np.ones(len(pair[0])))[: self.parts]

    def on_epoch_end(self):
        self.ends += 1


def loader(**options):
    data = pytest.importorskip("torch.utils.data", reason="needs torch: pip install kcnn[oracle]")
    import torch

    images = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())
    pairs = data.TensorDataset(images, torch.from_numpy(LABELS))
    return data.DataLoader(pairs, batch_size=4, **options)


MAKE = {"PyDataset": Sequence, "DataLoader": loader}


def problem(train, **parts):
    data = {"train": train, "validation": train, **parts}
    return find("classification").problem(data, kcnn.Recipe(), None)


@pytest.mark.parametrize("kind", MAKE)
class TestTaken:
    def test_all_batches_in_order(self, kind):
        stream, named = as_stream(MAKE[kind](), "train")
        assert named.partition(",")[0] == kind
        assert ("turned from (B, C, H, W)" in named) == (kind == "DataLoader")
        for _ in range(2):
            batches = list(stream.as_numpy_iterator())
            np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), IMAGES)
            np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), LABELS)
        assert int(stream.cardinality()) == 6

    def test_as_a_problem(self, kind):
        found = problem(MAKE[kind]())
        assert found.class_names == ("0", "1", "2")
        assert found.sizes == {"train": COUNT, "validation": COUNT, "test": 0}
        assert found.image_shape == (SIZE, SIZE, 3)
        assert found.name == kind
        assert found.provenance.startswith(f"a {kind} of the user's own")
        assert ("turned" in found.provenance) == (kind == "DataLoader")
        mean, variance = found.statistics((SIZE, SIZE))
        np.testing.assert_allclose(mean, IMAGES.mean((0, 1, 2)), rtol=1e-5)
        np.testing.assert_allclose(variance, IMAGES.var((0, 1, 2)), rtol=1e-4)

    @pytest.mark.slow
    def test_training(self, kind, tmp_path):
        parts = {part: MAKE[kind]() for part in ("train", "validation", "test")}
        recipe = kcnn.Recipe(model="mlp", epochs=12, logs=str(tmp_path), name="run")
        run = kcnn.train(recipe, data=parts, verbose=False)
        assert run.test_metrics["accuracy"] == 1.0
        found = run.model.predict(IMAGES, verbose=0).argmax(1)
        np.testing.assert_array_equal(found, LABELS)
        again = kcnn.resume(run.directory, epochs=14, data=parts, verbose=False)
        assert len(again.history["loss"]) == 14


def test_loaders_of_mappings_are_read_by_name():
    data = pytest.importorskip("torch.utils.data", reason="needs torch: pip install kcnn[oracle]")
    pictures = IMAGES.transpose(0, 3, 1, 2).copy()
    elements = [{"id": i, "image": x, "label": LABELS[i]} for i, x in enumerate(pictures)]
    found = problem(data.DataLoader(elements, batch_size=4))
    assert "turned from (B, C, H, W)" in found.provenance
    pictures, labels = next(found.streams["train"].as_numpy_iterator())
    np.testing.assert_array_equal(pictures, IMAGES[:4])
    np.testing.assert_array_equal(labels, LABELS[:4])


def test_keras_hears_of_the_end_of_an_epoch():
    given = Sequence()
    stream, _ = as_stream(given, "train")
    for _ in range(3):
        list(stream.as_numpy_iterator())
    assert given.ends == 3


def test_one_that_is_shuffled_is_said():
    assert problem(loader(shuffle=True)).fingerprint.startswith("none: shuffled")
    assert problem(loader()).fingerprint.startswith("first batch")


class Endless(Sequence):
    @property
    def num_batches(self):
        return None


REFUSED = {
    "endless": (Endless, "does not say how many batches"),
    "images alone": (lambda: Sequence(parts=1), "received tuple of 1"),
    "weights of validation": (lambda: Sequence(parts=3), "of training alone"),
    "empty": (lambda: Sequence(IMAGES[:0], LABELS[:0]), "is empty"),
    "names": (lambda: Sequence(labels=LABELS.astype(str)), "all of them are numbers"),
    "label -1": (lambda: Sequence(labels=LABELS - 1), "is -1"),
    "channels first": (lambda: Sequence(IMAGES.transpose(0, 3, 1, 2)), "looks like"),
    "not finite": (lambda: Sequence(IMAGES * np.float32("nan")), "NaN or infinite"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind):
    make, message = REFUSED[kind]
    with pytest.raises(kcnn.InputError, match=message):
        problem(make())


@pytest.mark.parametrize("kind", MAKE)
def test_weights_of_training_images_are_taken(kind):
    if kind == "PyDataset":
        train = Sequence(parts=3)
    else:
        data = pytest.importorskip("torch.utils.data", reason="needs torch")
        import torch

        arrays = IMAGES.transpose(0, 3, 1, 2).copy(), LABELS, np.ones(COUNT)
        train = data.DataLoader(data.TensorDataset(*map(torch.from_numpy, arrays)), batch_size=4)
    found = problem(train, validation=Sequence())
    assert found.surveys["train"].weights == (1, 1)
    assert "training images weigh 1 to 1" in found.provenance


def test_arrays_and_streams_do_not_mix():
    with pytest.raises(kcnn.InputError, match="must be a pair"):
        problem(Sequence(), validation=(IMAGES, LABELS))


def test_alone_it_is_not_divided():
    with pytest.raises(
        kcnn.InputError, match="a PyDataset or a DataLoader each; received Sequence"
    ):
        find("classification").problem(Sequence(), kcnn.Recipe(), None)
