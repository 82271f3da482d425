"""load_data: names, .npz files, and the failures of each."""

import io
import os
import struct
import zipfile

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from kcnn.data import from_arrays, load_data
from kcnn.data.sets import npz
from kcnn.data.sets.labels import CLASS_NAMES
from kcnn.errors import InputError


@pytest.fixture(autouse=True)
def no_kcnn_data(monkeypatch, request):
    if "real_data" not in request.fixturenames:
        monkeypatch.delenv("KCNN_DATA", raising=False)


@pytest.fixture
def arrays(noise):
    labels = np.tile([0, 1], 20).astype(np.uint8)
    return {
        "x_train": noise[:30],
        "y_train": labels[:30],
        "x_test": noise[30:],
        "y_test": labels[30:],
    }


def test_digits_scale_exactly_and_keep_one_test_split():
    images = load_digits().images
    runs = [load_data("digits", seed=seed) for seed in (0, 1, 2)]
    for data in runs:
        assert len(data.test) == 360
        np.testing.assert_array_equal(data.test.images, runs[0].test.images)
        assert data.image_shape == (8, 8, 1)
        assert data.fingerprint == runs[0].fingerprint
        assert "scikit-learn" in data.provenance
        assert "\n" not in data.provenance
    assert not np.array_equal(runs[0].validation.images, runs[1].validation.images)
    # 0..16 become sixteenths of 255, to the nearest integer.
    expected = {bytes(int(v / 16 * 255 + 0.5) for v in image.flat) for image in images}
    data = runs[2]
    stored = [*data.train.images, *data.validation.images, *data.test.images]
    assert {image.tobytes() for image in stored} == expected
    assert len(stored) == 1797


def test_digits_splits_are_stratified():
    data = load_data("digits", validation=0.1)
    totals = np.bincount(load_digits().target)
    for split, share in ((data.test, 360 / 1797), (data.validation, 144 / 1797)):
        assert np.all(np.abs(np.bincount(split.labels) - totals * share) < 1.5)


def test_validation_as_fraction_count_and_none():
    assert len(load_data("digits", validation=0.2).validation) == round(0.2 * 1437)
    assert len(load_data("digits", validation=100).validation) == 100
    assert len(load_data("digits", validation=0).validation) == 0
    with pytest.raises(InputError, match="leaves nothing"):
        load_data("digits", validation=1437)
    with pytest.raises(InputError, match="no image at all"):
        load_data("digits", validation=1e-5)


def test_npz_by_path_keeps_the_published_test_split(tmp_path, arrays):
    path = tmp_path / "größe 1" / "my set.npz"
    path.parent.mkdir()
    np.savez_compressed(path, **arrays, class_names=["cat", "dög"])
    for name in (path, str(path)):
        data = load_data(name, validation=0.2)
        assert data.name == "my set"
        assert data.class_names == ("cat", "dög")
        assert (len(data.train), len(data.validation)) == (24, 6)
        np.testing.assert_array_equal(data.test.images, arrays["x_test"])
        np.testing.assert_array_equal(data.test.labels, arrays["y_test"])


def test_npz_without_test_split_gives_a_fixed_fifth(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", x_train=arrays["x_train"], y_train=arrays["y_train"])
    first, second = (load_data(tmp_path / "a.npz", seed=seed) for seed in (0, 4))
    assert len(first.test) == 6
    np.testing.assert_array_equal(first.test.images, second.test.images)


def test_names_are_found_in_kcnn_data(tmp_path, arrays, monkeypatch, make_folder):
    monkeypatch.setenv("KCNN_DATA", str(tmp_path))
    np.savez(tmp_path / "mine.npz", **arrays)
    np.savez(tmp_path / "cifar10.npz", **arrays)
    make_folder({"cat": 4, "dog": 4}, "pets")
    assert load_data("mine").name == "mine"
    assert load_data("pets").class_names == ("cat", "dog")
    assert load_data("cifar10").class_names[3] == "cat"


def test_keras_sets_come_from_keras_where_there_is_no_file(arrays, monkeypatch):
    pair = (arrays["x_train"], arrays["y_train"][:, None]), (arrays["x_test"], arrays["y_test"])
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: pair)
    data = load_data("cifar10")
    assert data.classes == 10
    assert "keras.datasets.cifar10" in data.provenance
    np.testing.assert_array_equal(data.test.images, arrays["x_test"])


def test_a_failed_download_says_where_to_put_the_file(monkeypatch):
    def fail():
        raise Exception("URL fetch failure on https://example: no network")

    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", fail)
    with pytest.raises(InputError, match=r"fashion_mnist\.npz.*KCNN_DATA") as caught:
        load_data("fashion_mnist")
    assert "no network" in str(caught.value)


def test_class_names_are_complete():
    assert {name: len(names) for name, names in CLASS_NAMES.items()} == {
        "digits": 10,
        "mnist": 10,
        "fashion_mnist": 10,
        "cifar10": 10,
        "cifar100": 100,
    }
    assert list(CLASS_NAMES["cifar100"]) == sorted(set(CLASS_NAMES["cifar100"]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "Did you mean 'mnist'"),
        ("CIFAR10", "Did you mean 'cifar10'"),
        ("qqqq", "Possible: cifar10, cifar100, digits"),
        ("no/such/folder", "neither a name nor an existing path"),
        ("", "name or a path"),
        ("  ", "name or a path"),
        (None, "name or a path"),
        (3, "name or a path"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(InputError, match=message):
        load_data(name)


def test_unknown_name_suggests_what_kcnn_data_holds(tmp_path, arrays, monkeypatch):
    monkeypatch.setenv("KCNN_DATA", str(tmp_path))
    np.savez(tmp_path / "flowers.npz", **arrays)
    with pytest.raises(InputError, match="Did you mean 'flowers'"):
        load_data("flower")


def test_a_kcnn_data_that_is_no_folder_does_no_harm(monkeypatch):
    monkeypatch.setenv("KCNN_DATA", "/no/such/folder")
    assert load_data("digits").name == "digits"
    with pytest.raises(InputError, match="Did you mean"):
        load_data("digit")


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def bare(path):
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").replace(path)


def flipped(path):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("x_train.npy").header_offset
    content[start + 300] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (truncated, "cannot be read as an .npz"),
        (flipped, "cannot be read as an .npz"),
        (lambda path: path.write_bytes(b""), "cannot be read as an .npz"),
        (lambda path: path.write_text("hello"), "cannot be read as an .npz"),
        (bare, "bare array"),
        (lambda path: np.savez(path, x=np.zeros(3)), "lacks x_train, y_train. It holds: x"),
        (lambda path: np.savez(path, x_train=[1], y_train=[1], x_test=[1]), "lacks y_test"),
        (lambda path: np.savez(path, x_train=[object()], y_train=[1]), "pickled"),
        (lambda path: np.savez(path, x_train=np.zeros((4, 9)), y_train=[1] * 4), "a.npz: x of"),
        (
            lambda path: np.savez(path, x_train=[1], y_train=[1], class_names=[1, 2]),
            "class_names has shape",
        ),
    ],
)
def test_bad_npz_files_are_refused(tmp_path, arrays, spoil, message):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    spoil(path)
    with pytest.raises(InputError, match=message):
        load_data(path)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("1,2")
    with pytest.raises(InputError, match=r"no \.npz"):
        load_data(tmp_path / "a.txt")


def test_real_sets(real_data):
    data = load_data("mnist", validation=10_000)
    assert (len(data.train), len(data.validation), len(data.test)) == (50_000, 10_000, 10_000)
    assert data.image_shape == (28, 28, 1)
    assert data.train.images.dtype == np.uint8
    cats = load_data("cat_vs_noncat")
    assert (cats.classes, len(cats.test)) == (2, 50)
    photographs = load_data("imagenette_small")
    assert (len(photographs.train), len(photographs.validation)) == (720, 80)
    assert (len(photographs.test), photographs.classes) == (200, 10)
    assert np.bincount(photographs.validation.labels).tolist() == [8] * 10


def test_every_split_of_an_archive_is_read(tmp_path, arrays):
    """Keras' keys, and those of MedMNIST with their columns of labels; the rest is named."""
    x, y = arrays["x_train"], arrays["y_train"]
    third = len(x) // 3
    pieces = [(x[k * third : (k + 1) * third], y[k * third : (k + 1) * third]) for k in range(3)]
    forms = {
        "keras": ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"),
        "long": ("x_train", "y_train", "x_validation", "y_validation", "x_test", "y_test"),
        "medmnist": ("train_images", "train_labels", "val_images", "val_labels", "test_images",
                     "test_labels"),
    }  # fmt: skip
    for name, keys in forms.items():
        values = [a for pair in pieces for a in pair]
        if name == "medmnist":
            values = [v if k % 2 == 0 else v[:, None] for k, v in enumerate(values)]
        np.savez(tmp_path / f"{name}.npz", **dict(zip(keys, values, strict=True)), extra=[1, 2])
        data = load_data(tmp_path / f"{name}.npz")
        for split, (images, labels) in zip(
            (data.train, data.validation, data.test), pieces, strict=True
        ):
            np.testing.assert_array_equal(split.images.reshape(images.shape), images)
            np.testing.assert_array_equal(split.labels, labels)
        assert "not read: extra" in data.provenance


def test_half_a_split_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays, x_val=arrays["x_train"][:4])
    with pytest.raises(InputError, match="lacks y_validation"):
        load_data(tmp_path / "a.npz")


class TestArchivesOfStrangers:
    """Refused in words, before anything is unpacked."""

    @staticmethod
    def npz(path, arrays, **headers):
        """An archive of arrays, in which some say something else of themselves than they are."""
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, array, version=(1, 0))
                data = buffer.getvalue()
                if name in headers:
                    text = headers[name].encode().ljust(118) + b"\n"
                    length = struct.unpack("<H", data[8:10])[0]
                    data = data[:8] + struct.pack("<H", len(text)) + text + data[10 + length :]
                archive.writestr(f"{name}.npy", data)
        return path

    @pytest.mark.parametrize(
        "header",
        [
            "{'descr': '<i8', 'fortran_order': False, 'shape': (10**6,)}",
            "{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,)}",
            "{'descr': '<i8', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<i8', 'fortran_order': False, 'shape': (3, 4",
            "{'descr': '<i8', 'fortran_order': False, 'shape': [3]}",
            "{'descr': '|O', 'fortran_order': False, 'shape': (30,)}",
            "{'descr': 'nonsense', 'fortran_order': False, 'shape': (30,)}",
            "{'descr': '<i8', 'shape': (30,)}",
            "\"\"\"", "(", "[" * 110, "", "\x00",
        ],
    )  # fmt: skip
    def test_headers_that_are_none(self, header, tmp_path, arrays):
        path = self.npz(tmp_path / "a.npz", arrays, y_train=header)
        with pytest.raises(InputError, match=r"a\.npz") as caught:
            load_data(path)
        assert "allow_pickle" not in str(caught.value)
        assert "unsafe" not in str(caught.value)

    def test_objects_are_said_to_be_and_no_advice_is_given_to_run_them(self, tmp_path, arrays):
        path = tmp_path / "a.npz"
        np.savez(path, **arrays | {"y_train": np.array([{}] * len(arrays["y_train"]))})
        with pytest.raises(InputError, match="pickled Python objects, which are refused") as caught:
            load_data(path)
        assert "allow_pickle" not in str(caught.value)

    def test_lengths_are_compared_before_anything_is_unpacked(self, tmp_path, arrays, monkeypatch):
        path = self.npz(tmp_path / "a.npz", arrays | {"y_train": arrays["y_train"][:-1]})
        monkeypatch.setattr(npz, "_array", lambda *_: pytest.fail("unpacked"))
        with pytest.raises(InputError, match=r"x_train has shape .* y_train \("):
            load_data(path)

    def test_what_does_not_fit_into_memory_is_not_unpacked(self, tmp_path, arrays, monkeypatch):
        path = self.npz(tmp_path / "a.npz", arrays)
        monkeypatch.setattr(npz, "free_memory", lambda: 100)
        with pytest.raises(InputError, match="GB are free"):
            load_data(path)

    def test_one_label_of_a_million_is_a_slip(self, tmp_path):
        labels = np.arange(200) % 4
        labels[17] = 1_000_000
        images = np.arange(200 * 16).reshape(200, 4, 4, 1).astype(np.uint8)
        np.savez(tmp_path / "a.npz", x_train=images, y_train=labels)
        with pytest.raises(InputError, match=r"label 1000000 at index 17 .* far above the 200"):
            load_data(tmp_path / "a.npz")
        with pytest.raises(InputError, match="far above"):
            from_arrays((images, labels))

    def test_classes_of_a_larger_set_may_be_a_few(self):
        labels = np.array([207, 555, 980] * 40)
        images = np.arange(120 * 16).reshape(120, 4, 4, 1).astype(np.uint8)
        data = from_arrays((images, labels))
        assert data.class_names == ("207", "555", "980")

    def test_what_is_no_file_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.npz")
        with pytest.raises(InputError, match="no regular file"):
            load_data(tmp_path / "pipe.npz")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match=r"no \.npz"):
            load_data(tmp_path / "pipe")

    def test_a_great_many_names_of_classes(self):
        names = [str(number) for number in range(100_000)]
        labels = np.arange(200) % 4
        images = np.arange(200 * 16).reshape(200, 4, 4, 1).astype(np.uint8)
        assert from_arrays((images, labels), class_names=names).classes == 100_000
