"""The feed: batches made in the caller's graph are those of `training_batches`."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from kcnn.data import (
    ClassTargets,
    Split,
    evaluation_batches,
    load_data,
    training_batches,
    training_feed,
)
from kcnn.data.batches.batch import BatchSpec, _unpacked
from kcnn.data.batches.feed import _words
from kcnn.errors import InputError
from kcnn.recipes.augmentations import Augmentations

OPTIONS = [
    {},
    {"augment": "flip", "mixup": 0.4},
    {"augment": "crop", "cutmix": 1.0},
    {"augment": "crop-flip"},
    {"mixup": 1.0, "cutmix": 1.0},
]


@pytest.fixture
def split(noise):
    return Split(noise[:23], np.arange(23) % 3)


@pytest.fixture
def photographs(tmp_path):
    """12 photographs of noise in two classes, each of another size."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(12):
        path = tmp_path / "photographs" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20 + i, 30 - i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return load_data(tmp_path / "photographs", validation=2, seed=0).train


def run_in_a_graph(feed, steps, traces=None):
    """All batches of a feed, made by one trace that runs over its iterator."""

    @tf.function(autograph=False)
    def step(element, resident):
        if traces is not None:
            traces.append(1)
        return feed.batch(element, resident)

    return step, [step(element, feed.resident) for element in feed.steps.take(steps)]


def assert_same(batches, others):
    for (images, labels), (other_images, other_labels) in zip(batches, others, strict=True):
        assert (images.dtype, labels.dtype) == (other_images.dtype, other_labels.dtype)
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_feed_makes_the_training_batches(split, options, dtype):
    data = Split(split.images.astype(dtype), split.labels)
    options = {"classes": 3, "seed": 9, "start": 2, "stop": 8, **options}
    _, batches = run_in_a_graph(training_feed(data, 8, **options), 6)
    assert_same(batches, training_batches(data, 8, **options))


@pytest.mark.parametrize("options", [{}, {"augment": "crop-flip"}, {"augment": "flip"}])
def test_a_feed_of_files_makes_the_training_batches(photographs, options):
    options = {"classes": 2, "seed": 1, "image_size": (14, 13), "stop": 5, **options}
    feed = training_feed(photographs, 4, **options)
    assert feed.resident == ()
    assert_same(run_in_a_graph(feed, 5)[1], training_batches(photographs, 4, **options))


def test_many_steps_in_one_graph(split):
    options = {"classes": 3, "seed": 4, "augment": "crop-flip"}
    feed = training_feed(split, 8, **options)

    @tf.function(autograph=False)
    def total(iterator, resident):
        def body(step, sums):
            images, labels = feed.batch(next(iterator), resident)
            number = tf.reduce_sum(tf.cast(images, tf.int64))
            return step + 1, sums.write(step, tf.stack([number, tf.argmax(labels[0])]))

        sums = tf.TensorArray(tf.int64, 9)
        return tf.while_loop(lambda step, _: step < 9, body, (0, sums))[1].stack()

    expected = [
        (images.numpy().sum(dtype=np.int64), labels.numpy()[0].argmax())
        for images, labels in training_batches(split, 8, stop=9, **options)
    ]
    np.testing.assert_array_equal(total(iter(feed.steps), feed.resident), expected)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.slow
def test_one_trace_serves_other_data_and_seeds(noise, options):
    traces = []
    first = Split(noise[:20], np.arange(20) % 3)
    other = Split(noise[20:], np.arange(20)[::-1] % 3)
    feed = training_feed(first, 8, classes=3, seed=0, **options)
    step, _ = run_in_a_graph(feed, 3, traces)
    before = len(traces)
    feed = training_feed(other, 8, classes=3, seed=2**40, start=4, **options)
    again = training_feed(other, 8, classes=3, seed=2**40, start=4, **options)
    batches = [step(element, feed.resident) for element in feed.steps.take(3)]
    assert len(traces) == before
    assert_same(batches, [again.batch(e, again.resident) for e in again.steps.take(3)])
    assert not step.get_concrete_function(next(iter(feed.steps)), feed.resident).captured_inputs


@pytest.mark.parametrize(
    ("augment", "digest"),
    [("flip", "279a6e3a153f1ed7"), ("crop", "e25b41f0e8211f57"), ("flip,crop", "11d9cf66779ac936")],
)
def test_the_words_of_former_versions_give_their_bits(noise, augment, digest):
    """As of revision fb99aea, before augmentations had strengths."""
    feed = training_feed(
        Split(noise, np.arange(40) % 3),
        8,
        classes=3,
        seed=9,
        augment=augment,
        stop=6,
        device="CPU:0",
    )
    made = [feed.batch(element, feed.resident)[0].numpy().tobytes() for element in feed.steps]
    assert hashlib.sha256(b"".join(made)).hexdigest()[:16] == digest


def test_the_key_tells_feeds_apart(split, noise):
    options = {"classes": 3, "seed": 0, "augment": "crop"}
    base = training_feed(split, 8, **options)
    same = training_feed(split.take(np.arange(23)[::-1]), 5, **options | {"seed": 3, "start": 2})
    assert (base.key, base.batch) == (same.key, same.batch)
    assert hash(base.key) == hash(same.key)
    others = [
        training_feed(split, 8, **options | change)
        for change in ({"classes": 4}, {"augment": "none"}, {"mixup": 0.1}, {"mixup": 0.2})
    ]
    others.append(training_feed(Split(noise, np.arange(40) % 3), 8, **options))
    others.append(training_feed(Split(noise[:23] / np.float32(2), split.labels), 8, **options))
    others.append(training_feed(Split(split.images, split.labels, np.ones(23, "f4")), 8, **options))
    assert len({base.key, *(feed.key for feed in others)}) == 8


def test_steps_count_over_epochs_and_end(split):
    feed = training_feed(split, 8, classes=3, seed=0)
    assert feed.steps.cardinality() == tf.data.INFINITE_CARDINALITY
    part = training_feed(split, 8, classes=3, seed=0, start=4, stop=10)
    assert part.steps.cardinality() == 6
    whole = [e["seed"].numpy().tolist() for e in feed.steps.take(10)]
    assert [e["seed"].numpy().tolist() for e in part.steps] == whole[4:]
    assert len({tuple(seed) for seed in whole}) == 10


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(6, 5, 3), (8, 8, 1), (3, 3, 1)])
def test_images_survive_as_words(dtype, shape):
    images = np.random.default_rng(0).integers(0, 256, (7, *shape)).astype(dtype)
    spec = BatchSpec(
        device="GPU:0",
        resident=True,
        shape=shape,
        dtype=np.dtype(dtype).name,
        size=None,
        changes=Augmentations(),
        mixup=0.0,
        cutmix=0.0,
        targets=ClassTargets(2),
    )
    np.testing.assert_array_equal(_unpacked(spec, tf.constant(_words(images))), images)


def test_wrong_arguments_are_refused(split):
    with pytest.raises(InputError, match="batch_size is 24"):
        training_feed(split, 24, classes=3, seed=0)
    with pytest.raises(InputError, match=r"cache is 'memory'.*in memory already"):
        training_feed(split, 8, classes=3, seed=0, cache="memory")
    with pytest.raises(InputError, match="in memory already"):
        evaluation_batches(split, 8, classes=3, cache="somewhere")


# Cache: see test_cache.py for the files


@pytest.mark.parametrize("where", ["memory", "folder"])
@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_a_cache_changes_no_bit(photographs, tmp_path, where, augment):
    cache = "memory" if where == "memory" else tmp_path / "cache"
    options = {"classes": 2, "seed": 1, "image_size": (14, 13), "augment": augment, "stop": 5}
    plain = list(training_batches(photographs, 4, **options))
    for _ in range(2):
        assert_same(plain, training_batches(photographs, 4, cache=cache, **options))
    feed = training_feed(photographs, 4, cache=cache, **options)
    assert bool(feed.resident) == (where == "memory")
    assert_same(plain, run_in_a_graph(feed, 5)[1])
    options = {"classes": 2, "image_size": (14, 13)}
    assert_same(
        evaluation_batches(photographs, 4, **options),
        evaluation_batches(photographs, 4, cache=cache, **options),
    )


def test_memory_holds_cached_images_once_and_given_arrays_apart(photographs, split):
    options = {"classes": 3, "seed": 0}
    cached = {"image_size": (8, 8), "cache": "memory"}
    first = training_feed(photographs, 4, **options, **cached)
    second = training_feed(photographs, 4, **options, **cached)
    addresses = {np.from_dlpack(feed.resident[0]).ctypes.data for feed in (first, second)}
    assert len(addresses) == 1
    images = split.images.copy()
    feed = training_feed(Split(images, split.labels), 8, **options)
    images[:] = 0
    np.testing.assert_array_equal(feed.resident[0], split.images)
