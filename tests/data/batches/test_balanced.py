"""Balanced sampling: every class equally often, as a function of (seed, step)."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.data import Split, training_batches
from kcnn.data.batches.order import balanced_order
from kcnn.errors import InputError
from kcnn.tasks.task import find

#: 41 images of classes of very different sizes; class 1 has none.
LABELS = np.random.default_rng(2).permutation(np.repeat([0, 2, 3, 4], [25, 9, 6, 1]))
COUNT, STEPS = len(LABELS), 6  # of batches of 8


def split():
    images = np.broadcast_to(np.arange(COUNT, dtype="uint8")[:, None, None, None], (COUNT, 4, 4, 1))
    return Split(images.copy(), LABELS)


def drawn(seed=0, **steps):
    """The images of each batch."""
    batches = training_batches(split(), 8, classes=5, seed=seed, balanced=True, **steps)
    found = []
    for images, targets in batches.as_numpy_iterator():
        indices = images[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(targets.argmax(axis=1), LABELS[indices])
        found.append(indices.tolist())
    return found


def test_all_classes_equally_often_in_each_epoch_and_over_all():
    batches = drawn(stop=5 * STEPS)
    assert [len(batch) for batch in batches[:STEPS]] == [8] * 5 + [1]
    seen = Counter()
    for epoch in range(5):
        images = np.concatenate(batches[STEPS * epoch : STEPS * (epoch + 1)])
        classes = Counter(LABELS[images].tolist())
        assert set(classes) == {0, 2, 3, 4}
        assert max(classes.values()) - min(classes.values()) <= 1
        seen += classes
        assert max(seen.values()) - min(seen.values()) <= 1
        for label in classes:  # of a class no image is ahead of another by more than one
            counts = np.bincount(images, minlength=COUNT)[label == LABELS]
            assert counts.max() - counts.min() <= 1


def test_a_large_class_gives_other_images_at_each_epoch_and_batches_are_mixed():
    batches = drawn(stop=60 * STEPS)
    epochs = [np.concatenate(batches[STEPS * e : STEPS * (e + 1)]) for e in range(60)]
    large = [frozenset(e[LABELS[e] == 0].tolist()) for e in epochs]
    assert len(set(large)) == 60
    counts = np.bincount(np.concatenate(epochs), minlength=COUNT)[LABELS == 0]
    # 60 x 10.25 draws of 25 images without repeats in an epoch: 24.6 each, deviation 3.8.
    assert counts.min() > 24.6 - 4 * 3.8
    assert counts.max() < 24.6 + 4 * 3.8
    places = np.concatenate([np.flatnonzero(LABELS[e] == 4) for e in epochs])
    assert abs(places.mean() - (COUNT - 1) / 2) < 2.5  # of about 615, deviation 0.48


def test_from_any_step_on_the_same_and_by_the_seed_alone():
    whole = drawn(seed=5, stop=20)
    assert drawn(seed=5, start=13, stop=20) == whole[13:]
    assert drawn(seed=6, stop=20) != whole
    eager = balanced_order(tf.constant(np.unique(LABELS, return_inverse=True)[1]), 5, 2).numpy()
    assert np.concatenate(drawn(seed=5, start=12, stop=18)).tolist() == eager.tolist()


class Interrupt(keras.callbacks.Callback):
    """Ends the training behind its first epoch, where it is told to."""

    def __init__(self, armed):
        super().__init__()
        self.armed = armed

    def on_epoch_end(self, epoch, logs=None):
        if self.armed:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_resumed_to_the_same_bits(tmp_path):
    images = np.random.default_rng(1).normal(size=(COUNT, 6, 6, 1)).astype("float32")
    data = {"train": (images, LABELS), "validation": (images, LABELS), "test": (images, LABELS)}
    recipe = kcnn.Recipe(model="mlp", options={"width": 8}, balanced=True, batch_size=8, epochs=2,
                         logs=str(tmp_path), name="whole")  # fmt: skip
    whole = kcnn.train(recipe, data=data, verbose=False, callbacks=[Interrupt(False)])
    parts = kcnn.Recipe(**recipe.to_dict() | {"name": "parts", "checkpoint_every": "4"})
    with pytest.raises(KeyboardInterrupt):
        kcnn.train(parts, data=data, verbose=False, callbacks=[Interrupt(True)])
    resumed = kcnn.resume(
        tmp_path / "parts", data=data, verbose=False, callbacks=[Interrupt(False)]
    )
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.recipe.balanced


def test_refused():
    with pytest.raises(InputError, match="twice over"):
        kcnn.Recipe(balanced=True, class_weights="balanced")
    images = np.zeros((COUNT, 4, 4, 1), "float32") + LABELS[:, None, None, None]
    stream = tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(8)
    with pytest.raises(InputError, match="sample_from_datasets"):
        find("classification").problem(
            {"train": stream, "validation": stream}, kcnn.Recipe(balanced=True), None
        )
