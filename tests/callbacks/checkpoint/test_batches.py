"""Data of which a training that goes on would get other batches: said, or refused."""

import hashlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles.bits import assert_same

import kcnn
from kcnn.callbacks import ExactCheckpoint
from kcnn.callbacks.checkpoint import batches

X = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
Y = X.sum(1, keepdims=True)


def stream(x=X, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(4)  # six batches


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return X[4 * index : 4 * index + 4], Y[4 * index : 4 * index + 4]


def trained(directory, data, epochs, checkpoint=None, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05, 0.9), "mse")
    checkpoint = checkpoint or ExactCheckpoint(directory)
    x, y = data if isinstance(data, tuple) else (data, None)
    options = {"shuffle": False} | options
    model.fit(
        x, y, epochs=epochs, callbacks=[checkpoint], initial_epoch=checkpoint.initial_epoch,
        verbose=0, **options,
    )  # fmt: skip
    return model.get_weights()


GOOD = {
    "arrays": lambda: (X, Y),
    "tf.data": stream,
    "in a fixed order": lambda: stream().shuffle(6, seed=1, reshuffle_each_iteration=False),
    "PyDataset": Sequence,
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_begins_anew_goes_on_without_a_word(tmp_path, kind):
    expected = trained(tmp_path / "whole", GOOD[kind](), 4)
    trained(tmp_path / "parts", GOOD[kind](), 2)
    assert_same(trained(tmp_path / "parts", GOOD[kind](), 4), expected)


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (lambda: (X, Y), lambda: (X + 1, Y)),
        (lambda: (X, Y), lambda: (X, Y + 1)),
        (stream, lambda: stream(X[::-1], Y[::-1])),
        (lambda: (X, Y), lambda: (X.astype("float64"), Y)),
    ],
    ids=["images", "labels", "order", "dtype"],
)
def test_other_data_are_refused(tmp_path, then, now):
    trained(tmp_path, then(), 2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(kcnn.InputError, match="first batch of the data is not the one"):
        trained(tmp_path, now(), 4)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (lambda: stream().shuffle(6, seed=1), {}, "gives other batches at each reading"),
        (lambda: (X, Y), {"shuffle": True}, r"fit\(shuffle=True\), its default"),
        (Sequence, {"shuffle": True}, r"fit\(shuffle=True\), its default"),
    ],
    ids=["tf.data", "arrays", "PyDataset"],
)
def test_what_is_shuffled_anew_is_said_and_trained(tmp_path, make, options, said):
    for epochs in (2, 3):
        with pytest.warns(UserWarning, match=said):
            trained(tmp_path, make(), epochs, **options)


class TestReadOn:
    """With `steps_per_epoch`, `fit` reads on where the epoch before has ended."""

    def test_whole_passes_go_on(self, tmp_path):
        expected = trained(tmp_path / "whole", stream().repeat(), 4, steps_per_epoch=6)
        trained(tmp_path / "parts", stream().repeat(), 2, steps_per_epoch=6)
        found = trained(tmp_path / "parts", stream().repeat(), 4, steps_per_epoch=6)
        assert_same(found, expected)

    def test_others_are_refused_and_go_on_by_the_step(self, tmp_path):
        expected = trained(tmp_path / "whole", stream().repeat(), 4, steps_per_epoch=4)
        trained(tmp_path / "parts", stream().repeat(), 2, steps_per_epoch=4)
        with pytest.raises(kcnn.InputError, match=r"\.skip\(checkpoint\.step\)"):
            trained(tmp_path / "parts", stream().repeat(), 4, steps_per_epoch=4)
        checkpoint = ExactCheckpoint(tmp_path / "parts", data="step")
        rest = stream().repeat().skip(checkpoint.step)
        assert checkpoint.step == 8
        assert_same(trained(None, rest, 4, checkpoint, steps_per_epoch=4), expected)

    def test_what_begins_with_the_epoch_goes_on(self, tmp_path):
        expected = trained(tmp_path / "whole", stream().repeat(), 4, steps_per_epoch=4)
        trained(tmp_path / "parts", stream().repeat(), 2, steps_per_epoch=4)
        rest = stream().repeat().skip(8)
        assert_same(trained(tmp_path / "parts", rest, 4, steps_per_epoch=4), expected)


def test_texts_are_the_same_in_another_process():
    """Of objects, memory holds addresses."""
    texts = tf.data.Dataset.from_tensor_slices(["ab", "a longer text", "c"] * 8).batch(4)
    first, again = (batches._batch(texts, 0) for _ in range(2))
    assert first == again
    expected = [b"ab", b"a longer text", b"c", b"ab"]
    digest = hashlib.sha256(b"object (4,)" + repr(expected).encode()).hexdigest()[:16]
    assert first == digest


def test_what_is_no_array_ends_no_training():
    ragged = tf.data.Dataset.from_tensors(tf.ragged.constant([[1.0], [2.0, 3.0]]))
    sparse = tf.data.Dataset.from_tensors(tf.sparse.from_dense([[0.0, 1.0]]))
    for given in (ragged, sparse):  # whatever Keras makes of them, it ends no training
        assert batches._batch(given, 0) == batches._batch(given, 0)
    assert batches._digest([np.array([object()])]) is None


def test_a_generator_is_not_read(tmp_path):
    """It would be used up."""
    read = []

    def batches():
        for index in range(12):
            read.append(index)
            yield X[:4], Y[:4]

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trained(tmp_path, batches(), 2, steps_per_epoch=6)
    assert read == list(range(12))
