"""`kcnn.predict`, `kcnn predict`: any form of network and of pictures; tables; what is skipped."""

import csv

import keras
import numpy as np
import pytest
from PIL import Image

import kcnn
from kcnn.cli.main import main
from kcnn.runs.reading import batched, image_paths, read_ahead


@pytest.fixture(scope="module")
def pixels():
    """Digits of a kind: (6, 8, 8, 1) bytes."""
    return np.random.default_rng(0).integers(0, 17, (6, 8, 8, 1)).astype("float32")


@pytest.fixture(scope="module")
def model():
    """Two classes of pictures 4×5×3, by one sigmoid unit."""
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((4, 5, 3)), *layers, keras.layers.Activation("sigmoid")])


@pytest.fixture
def folder(tmp_path):
    """Pictures, one of them broken, in a folder and one below it; beside a text."""
    rng = np.random.default_rng(1)
    for name in ("a.png", "b, [red]ü.png", "sub/c.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 5, 3)).astype("uint8")).save(path)
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "photos" / "text.txt").write_text("no picture")
    return tmp_path / "photos"


def images_of(paths):
    return np.stack([np.asarray(Image.open(path)) for path in paths])


class TestPython:
    def test_a_model_on_arrays_and_on_files(self, model, folder):
        paths = [folder / "a.png", folder / "sub" / "c.png"]
        expected = model.predict(images_of(paths), verbose=0)[:, 0]
        of_files = kcnn.predict(model, paths, class_names=["no", "yes"])
        of_arrays = kcnn.predict(model, images_of(paths), batch_size=1)
        assert [one.path for one in of_files] == paths
        for file, array, share in zip(of_files, of_arrays, expected, strict=True):
            assert file.probabilities["yes"] == pytest.approx(share, rel=1e-5)
            assert array.probabilities["1"] == pytest.approx(share, rel=1e-5)
            assert array.path is None
            assert file.class_name == ("yes" if share > 0.5 else "no")
            assert file.probability == pytest.approx(max(share, 1 - share), rel=1e-5)

    def test_a_run_and_its_directory_on_its_own_pixels(self, digits_run, pixels):
        expected = digits_run.network.predict(pixels, verbose=0)
        for run in (digits_run, digits_run.directory, str(digits_run.directory)):
            found = kcnn.predict(run, pixels)
            assert [one.class_name for one in found] == [str(k) for k in expected.argmax(axis=1)]
        assert len(kcnn.predict(digits_run, list(pixels))) == 6

    def test_what_cannot_be_read_is_an_error_or_left_out_with_a_warning(self, model, folder):
        with pytest.raises(kcnn.InputError, match=r"broken\.png: is truncated"):
            kcnn.predict(model, folder)
        with pytest.warns(UserWarning, match=r"broken\.png: is truncated"):
            found = kcnn.predict(model, str(folder), skip_bad=True, batch_size=2)
        assert [one.path.name for one in found] == ["a.png", "b, [red]ü.png", "c.png"]

    @pytest.mark.parametrize(
        ("images", "said"),
        [
            (np.zeros((2, 9, 5, 3), "uint8"), "images are 9×5×3; the network takes 4×5×3"),
            (np.zeros((4, 5, 3), "uint8"), "images are 5×3×1; the network takes 4×5×3"),
            ([np.zeros((4, 5), "uint8")], r"has arrays \(H, W, C\); received \(4, 5\)"),
            (None, "received NoneType"),
            ("no/such.png", "no file or folder 'no/such.png'"),
        ],
    )
    def test_what_fits_nothing_is_refused(self, model, images, said):
        with pytest.raises(kcnn.InputError, match=said):
            kcnn.predict(model, images)

    def test_pixels_of_another_range_than_the_runs(self, digits_run, pixels):
        with pytest.raises(kcnn.InputError, match="same range"):
            kcnn.predict(digits_run, pixels / 1000)
        with pytest.raises(kcnn.InputError, match="a run knows its own"):
            kcnn.predict(digits_run, pixels, class_names=["a"])

    def test_of_pixels(self):
        inputs = keras.Input((None, None, 3))
        outputs = keras.layers.Conv2D(3, 1, activation="softmax")(inputs)
        model = keras.Model(inputs, outputs)
        images = [np.random.default_rng(0).normal(size=(h, 6, 3)).astype("float32") for h in (4, 7)]
        found = kcnn.predict(model, images, class_names=["a", "b", "c"])
        for one, image in zip(found, images, strict=True):
            expected = model.predict(image[np.newaxis], verbose=0)[0].argmax(axis=-1)
            np.testing.assert_array_equal(one.mask, expected)


class TestPaths:
    def test_folders_patterns_and_names_that_look_like_one(self, folder):
        def names(*given):
            return [path.relative_to(folder).as_posix() for path in image_paths(given)]

        assert names(folder) == ["a.png", "b, [red]ü.png", "broken.png", "sub/c.png"]
        assert names(folder / "**/*.png") == ["a.png", "b, [red]ü.png", "broken.png", "sub/c.png"]
        assert names(folder / "**") == [*names(folder), "text.txt"]
        assert names(folder / "b, [red]ü.png") == ["b, [red]ü.png"]
        with pytest.raises(kcnn.InputError, match="named by the pattern"):
            names(folder / "*.jpg")

    def test_no_more_is_read_than_is_to_wait(self):
        begun = []

        def read(path):
            begun.append(path)
            return np.zeros(1)

        pictures = read_ahead(range(100), read, 3)
        for taken in range(1, 6):
            next(pictures)
            assert len(begun) <= taken + 2
        pictures.close()
        assert len(begun) < 10

    def test_batches(self):
        assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]


class TestCommand:
    @pytest.fixture
    def run(self, digits_run, monkeypatch):
        """A run of bytes: the digits' own are floats up to 16."""
        data = digits_run.data | {"pixels": {"dtype": "uint8", "range": [0, 255]}}
        made = kcnn.load_run(digits_run.directory)
        object.__setattr__(made, "data", data)
        monkeypatch.setattr("kcnn.runs.published.run_of", lambda *_: made)
        return made

    def test_a_table(self, run, folder, capfd):
        path = folder / "out.csv"
        status = main(["predict", "x", str(folder), "--csv", str(path), "--top", "2"])
        out, err = capfd.readouterr()
        with path.open(newline="", encoding="utf-8") as file:
            heading, *rows = csv.reader(file)
        assert heading == ["file", "prediction", "confidence", "prediction_2", "confidence_2"]
        good = [folder / "a.png", folder / "b, [red]ü.png", folder / "sub" / "c.png"]
        expected = kcnn.predict(run, good)
        assert [row[0] for row in rows] == [str(one) for one in good]
        for row, one in zip(rows, expected, strict=True):
            ranked = list(one.probabilities.items())[:2]
            assert row[1::2] == [name for name, _ in ranked]
            assert [float(x) for x in row[2::2]] == pytest.approx([p for _, p in ranked], rel=1e-4)
        assert "3 pictures" in out
        assert status == 1
        assert f"skipped: {folder / 'broken.png'}: is truncated" in err
        assert "1 of 4 pictures could not be read" in err
        assert not list(folder.glob(".*"))

    def test_lines_and_statuses(self, run, folder, capfd):
        assert main(["predict", "x", str(folder / "a.png"), str(folder / "sub")]) == 0
        out, err = capfd.readouterr()
        assert (out.count("%"), err) == (6, "")
        assert main(["predict", "x", str(folder / "*.png")]) == 1
        assert "b, [red]ü.png" in capfd.readouterr().out
        assert main(["predict", "x", str(folder / "nothing.png")]) == 2
        assert main(["predict", "x", str(folder / "a.png"), "--csv", str(folder)]) == 2
        assert "is a folder, or is in none" in capfd.readouterr().err
