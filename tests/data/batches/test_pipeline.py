"""Batches: order, purity in (seed, step), labels, files, statistics."""

import os
import subprocess
import sys
from itertools import chain

import numpy as np
import pytest
import tensorflow as tf

from kcnn.data import (
    Split,
    evaluation_batches,
    from_arrays,
    load_data,
    load_image,
    statistics,
    steps_per_epoch,
    training_batches,
)
from kcnn.data.batches.order import epoch_order
from kcnn.errors import InputError


@pytest.fixture
def split():
    """23 images; image i is filled with i and has label i % 3."""
    images = np.broadcast_to(np.arange(23, dtype=np.uint8)[:, None, None, None], (23, 6, 5, 3))
    return Split(images.copy(), np.arange(23) % 3)


def numbers(batches):
    """Which images each batch holds."""
    return [images.numpy()[:, 0, 0, 0].astype(int).tolist() for images, _ in batches]


@pytest.mark.parametrize(
    ("size", "batch_size", "steps"),
    [(10, 5, 2), (11, 5, 3), (5, 5, 1), (60000, 128, 469)],
)
def test_steps_per_epoch(size, batch_size, steps):
    assert steps_per_epoch(size, batch_size) == steps


def test_each_epoch_is_a_permutation_of_its_own(split):
    batches = numbers(training_batches(split, 8, classes=3, seed=0, stop=9))
    assert [len(batch) for batch in batches] == [8, 8, 7] * 3
    epochs = [list(chain(*batches[i : i + 3])) for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_order_follows_from_the_seed_alone(split):
    first, again, other = (
        numbers(training_batches(split, 8, classes=3, seed=seed, stop=6)) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_orders_do_not_repeat():
    # index_shuffle has 256 orders under one seed: see kcnn.data.batches.order.
    order = tf.function(lambda epoch: epoch_order(20, 3, epoch))
    orders = {tuple(order(tf.constant(epoch)).numpy()) for epoch in range(600)}
    assert len(orders) == 600
    seeds = {tuple(epoch_order(20, seed, 0).numpy()) for seed in (0, 1, 256, 2**32, 2**40, -1)}
    assert len(seeds) == 6


def test_orders_are_uniform():
    order = tf.function(lambda epoch: epoch_order(6, 0, epoch))
    counts = np.zeros((6, 6))
    for epoch in range(900):
        counts[np.arange(6), order(tf.constant(epoch)).numpy()] += 1
    # 150 expected in each cell; chi² over 25 degrees of freedom stays below 52 (p = 0.001).
    assert ((counts - 150) ** 2 / 150).sum() < 52


@pytest.mark.parametrize(
    ("augment", "mixing"),
    [
        ("none", {}),
        ("flip", {"mixup": 0.4}),
        ("crop", {"cutmix": 1.0}),
        ("crop-flip", {"mixup": 1.0, "cutmix": 1.0}),
        ("flip,rotation=30,zoom=0.2,erasing=0.5,randaugment=2:9", {}),
    ],
)
def test_starting_at_a_step_equals_running_to_it(noise, augment, mixing):
    data = Split(noise[:23], np.arange(23) % 3)
    options = {"classes": 3, "seed": 9, "augment": augment, "stop": 9, **mixing}
    whole = list(training_batches(data, 8, **options))
    for start in (3, 5):  # the first step of an epoch, and one within
        rest = list(training_batches(data, 8, start=start, **options))
        assert len(rest) == 9 - start
        for (images, labels), (again, labels_again) in zip(whole[start:], rest, strict=True):
            np.testing.assert_array_equal(images, again)
            np.testing.assert_array_equal(labels, labels_again)


def test_augmentation_differs_by_step_and_by_seed(split, noise):
    same = Split(noise[:1].repeat(23, axis=0), split.labels)  # so that order plays no part

    def augmented(seed):
        batches = training_batches(same, 23, classes=3, seed=seed, augment="crop", stop=2)
        return [images.numpy() for images, _ in batches]

    (first, second), (other, _) = augmented(0), augmented(1)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_images_keep_their_dtype_and_labels_are_one_hot(split):
    for images, labels in training_batches(split, 8, classes=5, seed=0, stop=3):
        assert (images.dtype, labels.dtype) == (tf.uint8, tf.float32)
        expected = np.zeros((len(images), 5))
        for row, image in enumerate(images.numpy()):
            expected[row, image[0, 0, 0] % 3] = 1
        np.testing.assert_array_equal(labels, expected)
    floats = Split(split.images.astype(np.float32), split.labels)
    images, _ = next(iter(training_batches(floats, 8, classes=3, seed=0, stop=1)))
    assert images.dtype == tf.float32
    images, _ = next(iter(training_batches(split, 8, classes=3, seed=0, stop=1, mixup=0.2)))
    assert images.dtype == tf.float32


def test_binary_targets(split):
    data = Split(split.images, split.labels % 2)
    for make in (
        lambda: training_batches(data, 8, classes=2, binary=True, seed=0, stop=3),
        lambda: evaluation_batches(data, 8, classes=2, binary=True),
    ):
        for images, labels in make():
            assert (labels.shape[1:], labels.dtype) == ((1,), tf.float32)
            np.testing.assert_array_equal(labels[:, 0], images.numpy()[:, 0, 0, 0] % 3 % 2)


def test_element_spec_and_cardinality(split):
    endless = training_batches(split, 8, classes=3, seed=0)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    assert endless.element_spec[0].shape.as_list() == [None, 6, 5, 3]
    assert endless.element_spec[1].shape.as_list() == [None, 3]
    assert training_batches(split, 8, classes=3, seed=0, start=4, stop=10).cardinality() == 6
    assert list(training_batches(split, 8, classes=3, seed=0, start=4, stop=4)) == []
    assert evaluation_batches(split, 8, classes=3).cardinality() == 3
    assert len(numbers(endless.take(40))) == 40


def test_evaluation_keeps_the_stored_order(split):
    assert list(chain(*numbers(evaluation_batches(split, 8, classes=3)))) == list(range(23))
    assert numbers(evaluation_batches(split, 100, classes=3)) == [list(range(23))]
    labels = np.concatenate([y for _, y in evaluation_batches(split, 8, classes=3)])
    np.testing.assert_array_equal(labels.argmax(axis=1), split.labels)


def test_crop_pads_arrays_by_four(split):
    bright = Split(np.full_like(split.images, 255), split.labels)
    batches = training_batches(bright, 23, classes=3, seed=0, augment="crop", stop=20)
    lit = [image[..., 0] > 0 for images, _ in batches for image in images.numpy()]
    for axis in (0, 1):  # rows and columns that are padding
        assert {int((~image.any(axis=axis)).sum()) for image in lit} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 24}, "batch_size is 24, but there are 23 training images"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 2.5}, "whole number"),
        ({"batch_size": True}, "whole number"),
        ({"classes": 2}, "label 2, but classes is 2"),
        ({"classes": 3, "binary": True}, "binary target needs classes=2"),
        ({"augment": "rotate"}, "'rotate'. Did you mean 'rotation'.*none, auto, flip, crop"),
        ({"augment": "auto"}, "auto is chosen by kcnn.train"),
        ({"augment": "colour=0.2"}, "colour is an argument of its own"),
        ({"mixup": -0.1}, "mixup is -0.1"),
        ({"cutmix": float("nan")}, "cutmix is nan"),
        ({"start": -1}, "start must be at least 0"),
        ({"start": 5, "stop": 4}, "stop at least start"),
        ({"image_size": (32, 32)}, "arrays are 6×5 and keep their size"),
    ],
)
def test_impossible_arguments_are_refused(split, options, message):
    options = {"batch_size": 8, "classes": 3, "seed": 0} | options
    with pytest.raises(InputError, match=message):
        training_batches(split, **options)


def test_empty_splits_are_refused(split):
    empty = split.take(np.arange(0))
    with pytest.raises(InputError, match="no images"):
        training_batches(empty, 1, classes=3, seed=0)
    with pytest.raises(InputError, match="no images"):
        evaluation_batches(empty, 1, classes=3)
    with pytest.raises(InputError, match="no images"):
        statistics(empty)


# Image files


@pytest.fixture
def photographs(make_folder):
    return load_data(make_folder({"a": 12, "b": 12}), validation=4, seed=0)


def test_files_are_fit_in_order(photographs):
    split = photographs.train
    batches = list(evaluation_batches(split, 4, classes=2, image_size=(7, 5)))
    images = np.concatenate([images for images, _ in batches])
    assert (images.dtype, images.shape) == (np.uint8, (len(split), 7, 5, 3))
    for image, path in zip(images, split.images, strict=True):
        np.testing.assert_array_equal(image, load_image(path, (7, 5, 3)))


@pytest.mark.parametrize("augment", ["flip", "crop-flip"])
def test_files_start_at_any_step_too(photographs, augment):
    options = {"classes": 2, "seed": 1, "augment": augment, "image_size": (20, 20), "stop": 6}
    whole = list(training_batches(photographs.train, 4, **options))
    rest = list(training_batches(photographs.train, 4, start=3, **options))
    assert whole[0][0].shape[1:] == (20, 20, 3)
    for (images, labels), (again, labels_again) in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(labels, labels_again)


def test_files_need_a_size(photographs):
    for make in (
        lambda: training_batches(photographs.train, 4, classes=2, seed=0),
        lambda: evaluation_batches(photographs.train, 4, classes=2),
        lambda: statistics(photographs.train),
    ):
        with pytest.raises(InputError, match="image_size"):
            make()


def test_a_file_that_breaks_later_is_named(photographs):
    path = photographs.train.images[5]
    path.write_bytes(b"")
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{path.name}: is empty"):
        list(evaluation_batches(photographs.train, 4, classes=2, image_size=(7, 5)))


@pytest.mark.slow
def test_a_process_ends_with_a_live_iterator(photographs):
    code = (
        "import sys\nfrom kcnn.data import load_data, training_batches\n"
        "data = load_data(sys.argv[1])\n"
        "batches = training_batches(data.train, 4, classes=2, seed=0, image_size=(300, 300))\n"
        "iterator = iter(batches)\n"
        "next(iterator)\n"
    )
    root = photographs.train.images.root
    done = subprocess.run(
        [sys.executable, "-c", code, root], timeout=60, capture_output=True, env=os.environ
    )
    assert (done.returncode, done.stderr) == (0, b"")


# Statistics


def test_statistics_of_arrays_are_exact():
    images = np.random.default_rng(0).integers(0, 256, (700, 5, 4, 3), dtype=np.uint8)
    images[..., 2] = 17
    mean, variance = statistics(Split(images, np.zeros(700, np.int64)))
    assert (mean.dtype, variance.dtype) == (np.float32, np.float32)
    pixels = images.reshape(-1, 3).astype(object)  # Python's integers: exact
    for channel in range(2):
        values = [int(v) for v in pixels[:, channel]]
        n, total, squares = len(values), sum(values), sum(v * v for v in values)
        assert mean[channel] == pytest.approx(total / n, rel=1e-7)
        assert variance[channel] == pytest.approx((n * squares - total**2) / n**2, rel=1e-7)
    assert (mean[2], variance[2]) == (17, 1)  # a channel that never varies is only shifted


def test_statistics_survive_a_large_offset():
    images = 1e4 + np.random.default_rng(0).normal(size=(600, 3, 3, 1)).astype(np.float32)
    _, variance = statistics(Split(images, np.zeros(600, np.int64)))
    assert variance[0] == pytest.approx(images.astype(np.float64).var(), rel=1e-6)


def test_statistics_of_files_read_all_or_a_fixed_sample(photographs):
    split = photographs.train
    pixels = np.stack([load_image(path, (8, 6, 3)) for path in split.images]).reshape(-1, 3)
    mean, variance = statistics(split, (8, 6))
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance[:2], pixels.var(axis=0)[:2], rtol=1e-6)
    assert variance[2] == 1
    first, again = (statistics(split, (8, 6), limit=5)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, mean)


# Within Keras


@pytest.mark.slow
def test_fit_gives_the_same_bits_for_any_steps_per_execution(noise):
    import keras

    data = from_arrays((noise, np.tile([0, 1], 20)))
    results = []
    for steps in (1, 4):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((6, 5, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
        )
        model.compile("sgd", "mse", steps_per_execution=steps)
        batches = training_batches(data.train, 8, classes=2, seed=0, augment="crop-flip", stop=8)
        model.fit(batches, epochs=2, steps_per_epoch=4, shuffle=False, verbose=0)
        results.append(model.get_weights())
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
