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
        (lambda x, y: (x, y * 10**10), "no class number"),
        (lambda x, y: (x, y + 0.5), r"\[0\] is 0\.5"),
        (lambda x, y: (x, np.where(y == 1, np.nan, y)), r"\[1\] is nan"),
        (lambda x, y: (x, [*y.tolist()[:-1], "cat"]), r"y of train mixes texts"),
        (lambda x, y: (x, np.eye(4)[y] * 0.5), "row 0 is .* not one-hot"),
        (lambda x, y: (x, np.ones((40, 4))), "several at once, or shares, are another task"),
        (lambda x, y: (x, np.arange(40)), "40 different labels: these are no classes"),
        (lambda x, y: (x, [f"image {i}" for i in range(40)]), "these are no classes"),
        (lambda x, y: (np.zeros((40, 3, 8, 8)), y), r"looks like \(N, C, H, W\)"),
        (lambda x, y: (x * 0 + 7, y), "All pixels of train are 7"),
        (lambda x, y: (x * 1e20, y), r"no pixel is beyond 1e\+09"),
        (lambda x, y: (x, y * 0), r"one class \(0\)"),
        (lambda x, y: (x, y * 0 + 2), r"one class \(2\)"),
        (lambda x, y: (x[:0], y[:0]), "no image"),
        (lambda x, y: (x[:1], y[:1]), "1 training image"),
        (lambda x, y: (x[:2], y[:2]), "must remain for training"),
        (lambda x, y: (x, y, y, y), "pair"),
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


class TestLabels:
    """What is plainly meant is taken, the same in every split."""

    def data(self, noise, form, **options):
        parts = [(noise[:24], form(LABELS[:24])), None, (noise[24:], form(LABELS[24:]))]
        return from_arrays(*parts, validation_size=0.25, **options)

    @pytest.mark.parametrize(
        ("form", "names"),
        [
            (lambda y: y.astype(float), "0123"),
            (lambda y: y.astype(np.float32)[:, None], "0123"),
            (lambda y: np.eye(4)[y], "0123"),
            (lambda y: np.eye(6, dtype=bool)[y], "012345"),
            (lambda y: y + 1, "1234"),
            (lambda y: y * 100, ["0", "100", "200", "300"]),
            (lambda y: np.array(["cat", "dog", "ape", "bee"])[y], ["ape", "bee", "cat", "dog"]),
            (lambda y: np.array([b"cat", b"dog", b"ape", b"bee"])[y], ["ape", "bee", "cat", "dog"]),
            (lambda y: [f"{k}" for k in y * 5], ["0", "5", "10", "15"]),  # numbers as numbers
            (lambda y: y.astype(object), "0123"),
        ],
    )
    def test_forms(self, noise, form, names):
        data = self.data(noise, form)
        assert data.class_names == tuple(names)
        plain = np.asarray(form(LABELS))
        if plain.ndim == 2 and plain.shape[1] > 1:
            plain = plain.argmax(axis=1)
        plain = [n.decode() if isinstance(n, bytes) else n for n in plain.reshape(-1).tolist()]
        meant = {image.tobytes(): str(name) for image, name in zip(noise, plain, strict=True)}
        for split in (data.train, data.validation, data.test):
            for image, label in zip(split.images, split.labels, strict=True):
                name = meant[image.tobytes()].removesuffix(".0")
                assert data.class_names[label] == name

    def test_holes_are_said(self, noise):
        assert "the 4 labels that occur, 0 to 300" in self.data(noise, lambda y: y * 100).provenance
        assert "occur" not in self.data(noise, lambda y: y).provenance

    def test_names_by_their_numbers_keep_their_holes(self, noise):
        data = self.data(noise, lambda y: y * 2, class_names=list("abcdefgh"))
        assert data.classes == 8
        assert set(data.train.labels) == {0, 2, 4, 6}

    def test_texts_by_given_names(self, noise):
        names = ["dog", "cat", "bee", "ape"]
        data = self.data(noise, lambda y: np.array(names)[y], class_names=names)
        assert data.class_names == tuple(names)
        with pytest.raises(InputError, match="labels that are no classes: 'ape'"):
            self.data(noise, lambda y: np.array(names)[y], class_names=names[:3])

    @pytest.mark.parametrize(
        ("test", "message"),
        [
            (lambda y: np.eye(4)[y], "test are one-hot rows, those of train class numbers"),
            (lambda y: y.astype(str), "test are names, those of train class numbers"),
            (lambda y: y + 1, "outside the 4 classes"),
        ],
    )
    def test_another_form_in_another_split(self, noise, test, message):
        with pytest.raises(InputError, match=message):
            from_arrays((noise[:24], LABELS[:24]), test=(noise[24:], test(LABELS[24:])))


def test_a_split_of_another_scale_is_refused(noise):
    bytes_, shares = noise.astype("float32"), noise.astype("float32") / 255
    with pytest.raises(InputError, match=r"Values of test reach 25., those of train"):
        from_arrays((shares, LABELS), test=(bytes_, LABELS))
    ones = (noise > 128).astype("uint8")
    with pytest.raises(InputError, match="those of train 1"):
        from_arrays((ones, LABELS), validation=(noise, LABELS))


def test_dark_pictures_are_no_other_scale(noise):
    """Black ones, and a few dark ones, beside bright ones."""
    for dark in (noise * 0, noise // 80):
        data = from_arrays((noise, LABELS), validation=(dark[:4], LABELS[:4]))
        assert len(data.validation) == 4
