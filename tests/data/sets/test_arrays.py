"""from_arrays: what is accepted, how it is stored, what is refused and with which words."""

import numpy as np
import pytest

from kcnn.data import from_arrays
from kcnn.errors import InputError

LABELS = np.tile([0, 1, 2, 3], 10)


def rows(images):
    return {image.tobytes() for image in images}


def test_missing_splits_come_from_train_and_do_not_overlap(noise):
    data = from_arrays((noise, LABELS), validation_size=0.25, seed=1)
    parts = [rows(s.images) for s in (data.train, data.validation, data.test)]
    assert [len(part) for part in parts] == [24, 8, 8]
    assert set.union(*parts) == rows(noise)
    assert data.classes == 4
    assert data.class_names == ("0", "1", "2", "3")
    assert data.image_shape == (6, 5, 3)
    assert data.train.labels.dtype == np.int64


def test_labels_stay_with_their_images(noise):
    data = from_arrays((noise, LABELS), seed=5)
    label_of = {image.tobytes(): label for image, label in zip(noise, LABELS, strict=True)}
    for split in (data.train, data.validation, data.test):
        assert [label_of[image.tobytes()] for image in split.images] == split.labels.tolist()


def test_given_splits_stay_as_they_are(noise):
    data = from_arrays(
        (noise[:20], LABELS[:20]), (noise[20:30], LABELS[20:30]), (noise[30:], LABELS[30:])
    )
    np.testing.assert_array_equal(data.train.images, noise[:20])
    np.testing.assert_array_equal(data.validation.images, noise[20:30])
    np.testing.assert_array_equal(data.test.labels, LABELS[30:])


def test_test_split_is_the_same_for_every_seed(noise):
    first, second = (from_arrays((noise, LABELS), seed=seed) for seed in (0, 9))
    np.testing.assert_array_equal(first.test.images, second.test.images)
    assert not np.array_equal(first.validation.images, second.validation.images)
    assert first.fingerprint == second.fingerprint


def test_validation_may_be_left_out(noise):
    data = from_arrays((noise, LABELS), validation_size=0)
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 0, 8)
    assert data.validation.images.shape == (0, 6, 5, 3)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.uint8([[[0, 255]]]), np.uint8([0, 255])),
        (np.int64([[[0, 255]]]), np.uint8([0, 255])),
        (np.int64([[[0, 256]]]), np.float32([0, 256])),
        (np.int8([[[-1, 5]]]), np.float32([-1, 5])),
        (np.float64([[[0.5, -2]]]), np.float32([0.5, -2])),
        (np.float16([[[0.5, 1]]]), np.float32([0.5, 1])),
        (np.array([[[False, True]]]), np.uint8([0, 255])),
    ],
    ids=lambda a: f"{a.dtype}",
)
def test_images_are_stored_as_uint8_or_float32(given, stored):
    images = np.repeat(given, 20, axis=0)
    data = from_arrays((images, np.tile([0, 1], 10)))
    assert data.train.images.dtype == stored.dtype
    assert data.train.images.shape[1:] == (1, 2, 1)
    np.testing.assert_array_equal(data.train.images[0, 0, :, 0], stored)


def test_labels_may_be_a_column_lists_or_booleans(noise):
    for labels in (LABELS[:, None] % 2, (LABELS % 2).tolist(), LABELS % 2 == 1):
        data = from_arrays((noise, labels), class_names=["even", "odd"])
        assert set(data.train.labels) == {0, 1}
        assert data.train.labels.shape == (len(data.train),)


def test_repr_tells_what_there_is(noise):
    text = repr(from_arrays((noise, LABELS), name="noise"))
    assert all(part in text for part in ("noise", "29 train", "8 test", "4 classes", "6×5×3"))


def test_fingerprint_sees_pixels_labels_shape_and_dtype(noise):
    variants = [
        (noise, LABELS),
        (noise ^ (np.arange(noise.size) == 77).reshape(noise.shape), LABELS),
        (noise, np.roll(LABELS, 1)),
        (noise.reshape(40, 5, 6, 3), LABELS),
        (noise.astype(np.float32), LABELS),
    ]
    prints = {from_arrays(pair).fingerprint for pair in variants}
    assert len(prints) == len(variants)
    assert all(p.startswith("sha256:") and len(p) == 71 for p in prints)
    fortran = from_arrays((np.asfortranarray(noise), LABELS.astype(np.uint8)))
    assert fortran.fingerprint == from_arrays((noise, LABELS)).fingerprint


def with_nan(images):
    images = images.astype(np.float64)
    images[3, 1, 2, 0], images[7, 0, 0, 1] = np.nan, np.inf
    return images


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (lambda x, y: (with_nan(x), y), r"2 of 3600 values .* index \(3, 1, 2, 0\)"),
        (lambda x, y: (x * 1e300, y), "infinite in float32"),
        (lambda x, y: (x, y[:-1]), "40 images and 39 labels"),
        (lambda x, y: (x[0], y), None),
        (lambda x, y: (x.reshape(40, -1), y), r"shape \(40, 90\)"),
        (lambda x, y: (x[:, :0], y), "at least 1"),
        (lambda x, y: (x.astype(str), y), "dtype <U"),
        (lambda x, y: (x.astype(complex), y), "complex"),
        (lambda x, y: ([[1, 2], [3]], y), "not an array"),
        (lambda x, y: (x, y - 1), r"\[0\] is -1"),
        (lambda x, y: (x, y.astype(float)), "float64"),
        (lambda x, y: (x, np.eye(4)[y]), "argmax"),
        (lambda x, y: (x, y.astype(str)), "return_inverse"),
        (lambda x, y: (x, y * 10**10), "no class number"),
        (lambda x, y: (x, y * 0), r"one class \(0\)"),
        (lambda x, y: (x, y * 0 + 2), r"one class \(2\)"),
        (lambda x, y: (x[:0], y[:0]), "no image"),
        (lambda x, y: (x[:1], y[:1]), "1 training image"),
        (lambda x, y: (x[:2], y[:2]), "must remain for training"),
        (lambda x, y: (x, y, y), "pair"),
        (lambda x, y: x, "pair"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_refused(noise, train, message):
    with pytest.raises(InputError, match=message):
        from_arrays(train(noise, LABELS))


def test_labels_outside_the_classes_are_refused(noise):
    with pytest.raises(InputError, match="10 of 40 labels lie outside the 3 classes"):
        from_arrays((noise, LABELS), class_names=["a", "b", "c"])
    with pytest.raises(InputError, match=r"test: 1 of 4 .* the first is 9 at index 2"):
        from_arrays((noise[:36], LABELS[:36]), test=(noise[36:], [0, 1, 9, 2]))


def test_splits_of_another_kind_are_refused(noise):
    with pytest.raises(InputError, match="alike"):
        from_arrays((noise, LABELS), test=(noise[:, 1:], LABELS))
    with pytest.raises(InputError, match="float32"):
        from_arrays((noise, LABELS), validation=(noise / 255, LABELS))
    with pytest.raises(InputError, match="validation holds no image"):
        from_arrays((noise, LABELS), validation=(noise[:0], LABELS[:0]))


@pytest.mark.parametrize("names", [["a", "b", "a", "c"], ["a", "", "b", "c"]])
def test_class_names_must_be_distinct(noise, names):
    with pytest.raises(InputError, match="distinct"):
        from_arrays((noise, LABELS), class_names=names)
