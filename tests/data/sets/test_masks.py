"""Folders and arrays of pictures with masks: what is read, what is refused, what a view makes."""

import numpy as np
import pytest
from oracles.pictures import masks_folder
from PIL import Image

import kcnn
from kcnn.data.sets.annotations import View
from kcnn.data.sets.mask_arrays import from_masks
from kcnn.data.sets.mask_folders import load_masks, masks_to_evaluate, recognised
from kcnn.data.sets.masks import IGNORED, Masks, read_values, table_of
from kcnn.data.sets.preflight import preflight
from kcnn.errors import InputError


def grey(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def pair(root, name, values, images="images", masks="masks"):
    """A picture and its mask."""
    values = np.asarray(values, np.uint8)
    pixels = np.random.default_rng(0).integers(0, 255, (*values.shape, 3)).astype("uint8")
    (root / images).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / images / f"{name}.png")
    grey(root / masks / f"{name}.png", values)


def load(root, **options):
    return load_masks(root, name="x", **{"validation": 0.25, "seed": 0} | options)


HALVES = np.repeat([[0, 1]], 4, axis=0).repeat(3, axis=1)  # (4, 6)


class TestLayouts:
    def test_images_beside_masks(self, tmp_path):
        for index in range(10):
            pair(tmp_path, f"a{index}", HALVES)
        data = preflight(load(tmp_path))
        assert data.task == "segmentation"
        assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 2)
        assert data.class_names == ("0", "1")
        assert "classes are the values that occur: 0, 1" in data.provenance
        for part in (data.train, data.validation, data.test):
            assert [p.stem for p in part.images] == [p.stem for p in part.labels.files()]
            np.testing.assert_array_equal(part.labels.shares, [0.5, 0.5])

    @pytest.mark.parametrize("inner", [True, False])
    def test_splits_by_name_leave_nothing_split_off(self, tmp_path, inner):
        for part in ("train", "val"):
            images, masks = (f"{part}/images", f"{part}/masks") if inner else (
                f"images/{part}", f"masks/{part}")  # fmt: skip
            for index in range(3):
                pair(tmp_path, f"{part}{index}", HALVES, images, masks)
        data = load(tmp_path)
        assert (len(data.train), len(data.validation), len(data.test)) == (3, 3, 0)
        assert {p.stem[:3] for p in data.validation.images} == {"val"}
        assert "no test split" in data.provenance

    def test_camvid(self, tmp_path):
        for part in ("train", "val", "test"):
            pair(tmp_path, "f", np.full((4, 6), 11) - HALVES, part, f"{part}annot")
        data = preflight(load(tmp_path, ignore=(11,)))
        assert data.class_names[0] == "sky"
        assert data.class_names[-1] == "bicyclist"
        assert data.train.labels.ignored_share == 0.5
        assert "ignored: unlabelled" in data.provenance

    def test_pascal_voc(self, tmp_path):
        root = tmp_path / "VOCdevkit" / "VOC2012"
        for name in ("a", "b", "c", "d"):
            values = np.where(HALVES == 1, 15, 0)
            values[0] = 255
            pair(root, name, values, "JPEGImages", "SegmentationClass")
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("a\nb\n")
        (lists / "val.txt").write_text("c\n")
        data = preflight(load(root.parent))
        assert (len(data.train), len(data.validation), len(data.test)) == (2, 1, 0)
        assert len(data.class_names) == 21
        assert data.class_names[15] == "person"
        assert data.train.labels.counts[[0, 15, -1]].tolist() == [18, 18, 12]
        assert "1 picture in no list left out" in data.provenance

    def test_pets(self, tmp_path):
        for name in ("cat_1", "dog_1", "dog_2"):
            pair(tmp_path, name, HALVES + 1, "images", "annotations/trimaps")
        (tmp_path / "annotations" / "trainval.txt").write_text("cat_1 1 1 1\ndog_1 2 2 1\n")
        (tmp_path / "annotations" / "test.txt").write_text("#Image CLASS-ID\ndog_2 2 2 1\n")
        data = load(tmp_path, ignore=(3,), validation=1)
        assert data.class_names == ("pet", "background")
        assert (len(data.train), len(data.validation), len(data.test)) == (1, 1, 1)
        assert load(tmp_path, validation=1).class_names == ("pet", "background", "border")

    def test_camvid_as_shared(self, real_data):
        data = preflight(load(real_data / "camvid", ignore=(11,)))
        assert (len(data.train), len(data.validation), len(data.test)) == (367, 101, 0)
        assert len(data.class_names) == 11
        assert data.class_names[:2] == ("sky", "building")
        assert 0.0 < data.train.labels.ignored_share < 0.06

    def test_pets_as_shared(self, real_data):
        data = preflight(load(real_data / "pets"))
        counts = sum(p.labels.counts for p in (data.train, data.validation, data.test))
        np.testing.assert_allclose(counts[:3] / counts.sum(), [0.278, 0.596, 0.126], atol=2e-3)
        assert "2 pictures in no list left out" in data.provenance

    def test_class_folders_are_no_masks(self, tmp_path):
        for name in ("cat", "dog"):
            grey(tmp_path / name / "1.png", HALVES)
        assert not recognised(tmp_path)
        (tmp_path / "images").mkdir()
        (tmp_path / "masks").mkdir()
        assert not recognised(tmp_path)  # nothing is in them

    def test_load_data_and_a_network_of_another_task(self, tmp_path):
        root = masks_folder(tmp_path / "data [red]", {"train": 4, "val": 2})
        data = kcnn.load_data(root)
        assert data.task == "segmentation"
        recipe = kcnn.Recipe(model="lenet5", data=str(root), logs=str(tmp_path))
        with pytest.raises(InputError, match=r"pictures with masks.*Networks .*fcn, unet"):
            kcnn.train(recipe, verbose=False)


class TestClasses:
    def colours(self, tmp_path, text, name="classes.csv"):
        (tmp_path / name).write_text(text)
        pixels = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8).repeat(4, axis=0)
        for index in range(4):
            (tmp_path / "images").mkdir(exist_ok=True)
            (tmp_path / "masks").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")
            Image.fromarray(pixels).save(tmp_path / "masks" / f"{index}.png")
        return tmp_path

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("classes.csv", "name,r,g,b\nsea,0,0,255\nfire engine,255,0,0\n"),
            ("class_dict.csv", "name,r,g,b\nsea,0,0,255\nfire engine,255,0,0\n"),
            ("classes.txt", "sea 0 0 255\nfire engine 255 0 0\n"),
        ],
    )
    def test_masks_in_colours(self, tmp_path, name, text):
        data = load(self.colours(tmp_path, text, name))
        assert data.class_names == ("sea", "fire engine")
        np.testing.assert_array_equal(data.train.labels.numbers(0), [[1, 0]] * 4)

    def test_a_colour_that_is_in_no_list(self, tmp_path):
        root = self.colours(tmp_path, "sea,0,0,255\nfire,254,0,0\n")
        with pytest.raises(InputError, match=r"masks/\d\.png: holds the colour \(255, 0, 0\)"):
            preflight(load(root))

    def test_colours_that_nothing_explains(self, tmp_path):
        root = self.colours(tmp_path, "")
        (root / "classes.csv").unlink()
        with pytest.raises(InputError, match=r"mask in colours.*classes\.csv"):
            load(root)

    def test_a_palette_counts_by_its_numbers(self, tmp_path):
        image = Image.fromarray(HALVES.astype("uint8"), mode=None)
        image.putpalette([9, 9, 9, 200, 0, 0] + [0] * 762)
        image.save(tmp_path / "m.png")
        with Image.open(tmp_path / "m.png") as stored:
            assert stored.mode == "P"
        np.testing.assert_array_equal(read_values(tmp_path / "m.png"), HALVES)

    def test_grey_stored_as_colours_and_bits(self, tmp_path):
        Image.fromarray(np.repeat(HALVES[..., None], 3, axis=2).astype("uint8")).save(
            tmp_path / "rgb.png"
        )
        Image.fromarray(HALVES.astype(bool)).save(tmp_path / "bits.png")
        for name in ("rgb", "bits"):
            np.testing.assert_array_equal(read_values(tmp_path / f"{name}.png"), HALVES)

    def test_black_and_white_is_two_classes(self, tmp_path):
        for index in range(4):
            pair(tmp_path, f"{index}", 255 * HALVES)
        assert load(tmp_path).class_names == ("0", "255")

    def test_255_beside_others_is_ignored(self, tmp_path):
        values = HALVES.copy()
        values[0, 0] = 255
        for index in range(4):
            pair(tmp_path, f"{index}", values)
        data = preflight(load(tmp_path))
        assert data.class_names == ("0", "1")
        assert data.train.labels.ignored_share == pytest.approx(1 / 24)

    def test_all_ignored(self, tmp_path):
        for index in range(4):
            pair(tmp_path, f"{index}", HALVES)
        with pytest.raises(InputError, match="leaves none of the values 0-1"):
            load(tmp_path, ignore=(0, 1))

    @pytest.mark.parametrize("text", ["a\na\n", "a,1,2\nb,3,4\n", "a,1,2,3\nb,1,2,3\n", "\n"])
    def test_lists_that_are_none(self, tmp_path, text):
        with pytest.raises(InputError, match=r"must hold|same colour"):
            load(self.colours(tmp_path, text))


class TestRefusals:
    def test_a_value_outside_the_classes_names_file_and_value(self, tmp_path):
        (tmp_path / "classes.txt").write_text("a\nb\n")
        for index in range(6):
            pair(tmp_path, f"{index}", HALVES + (6 if index == 3 else 0))
        message = r"masks/3\.png: holds the value 6, .*classes are 0-1.*--ignore 6"
        with pytest.raises(InputError, match=message):
            preflight(load(tmp_path))

    def test_a_mask_of_another_size_names_both(self, tmp_path):
        for index in range(6):
            pair(tmp_path, f"{index}", HALVES)
        grey(tmp_path / "masks" / "4.png", HALVES[:2])
        message = r"masks/4\.png: the mask is 2×6 pixels, its picture 4×6"
        with pytest.raises(InputError, match=message):
            preflight(load(tmp_path))

    def test_a_picture_without_a_mask(self, tmp_path):
        pair(tmp_path, "a", HALVES)
        pair(tmp_path, "b", HALVES)
        (tmp_path / "masks" / "b.png").unlink()
        with pytest.raises(InputError, match=r"1 of 2 pictures have no mask.*images/b\.png"):
            load(tmp_path)

    def test_a_jpeg_is_no_mask(self, tmp_path):
        Image.fromarray(HALVES.astype("uint8")).save(tmp_path / "m.png", "JPEG")
        with pytest.raises(Exception, match="JPEG file, which changes values"):
            read_values(tmp_path / "m.png")

    def test_a_broken_mask(self, tmp_path):
        for index in range(5):
            pair(tmp_path, f"{index}", HALVES)
        (tmp_path / "classes.txt").write_text("a\nb\n")
        (tmp_path / "masks" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(InputError, match=r"1 of \d masks cannot be used.*\n.*masks/2\.png"):
            preflight(load(tmp_path))

    def test_sixteen_bits(self, tmp_path):
        Image.fromarray(np.array([[0, 300]], np.uint16)).save(tmp_path / "m.png")
        with pytest.raises(Exception, match="holds the value 300"):
            read_values(tmp_path / "m.png")


class TestViews:
    MASKS = Masks(np.arange(24, dtype=np.uint8).reshape(1, 4, 6), table_of(range(24), [])[0])

    def test_nearest_and_nothing_between(self):
        """Of values 0 and 20 no 10 is made; each pixel is the nearest."""
        masks = Masks(
            np.array([[[0, 20], [20, 0]]], np.uint8), table_of(range(24), [])[0]
        )  # fmt: skip
        found = masks.target(0, View((2, 2), (6, 6), 0, 0, (6, 6)))
        np.testing.assert_array_equal(found, np.kron([[0, 20], [20, 0]], np.ones((3, 3))))

    @pytest.mark.parametrize("mirrored", [False, True])
    def test_windows_and_padding(self, mirrored):
        found = self.MASKS.target(0, View((4, 6), (4, 6), -1, 2, (4, 6), mirrored))
        expected = np.full((4, 6), IGNORED)
        expected[1:, :4] = self.MASKS.values(0)[:3, 2:]
        np.testing.assert_array_equal(found, expected[:, ::-1] if mirrored else expected)

    def test_ignored_values(self):
        masks = Masks(np.array([[[1, 2, 3]]], np.uint8), table_of([1, 2, 3], [2])[0])
        np.testing.assert_array_equal(masks.numbers(0), [[0, IGNORED, 1]])


class TestArrays:
    X = np.random.default_rng(0).integers(0, 255, (10, 4, 6, 3)).astype("uint8")
    Y = np.repeat(HALVES[None], 10, axis=0)

    @pytest.mark.parametrize("form", ["plain", "column", "float", "one-hot", "bool"])
    def test_forms(self, form):
        masks = {
            "plain": self.Y, "column": self.Y[..., None], "float": self.Y.astype("float32"),
            "one-hot": np.eye(2)[self.Y], "bool": self.Y.astype(bool),
        }[form]  # fmt: skip
        data = preflight(from_masks((self.X, masks)))
        np.testing.assert_array_equal(data.train.labels.numbers(0), HALVES)
        assert (len(data.train), len(data.validation), len(data.test)) == (7, 1, 2)

    @pytest.mark.parametrize(
        ("masks", "message"),
        [
            (Y + 0.5, "whole numbers"),
            (Y - 1, "holds .*-1"),
            (Y[:, :2], "as large as its image"),
            (Y[..., None].repeat(3, axis=-1), "not one-hot"),
            (Y[0], "Masks are"),
        ],
    )
    def test_refused(self, masks, message):
        with pytest.raises(InputError, match=message):
            from_masks((self.X, masks))

    def test_no_test_split_is_made_of_what_is_divided(self):
        data = from_masks((self.X, self.Y), (self.X[:3], self.Y[:3]))
        assert (len(data.train), len(data.validation), len(data.test)) == (10, 3, 0)


class TestHandedOver:
    def test_classes_go_by_name(self, tmp_path):
        root = masks_folder(tmp_path, {"train": 3, "test": 2})
        known = ("green", "ground", "red")
        data = masks_to_evaluate(root, known, name="x", ignore=None)
        assert len(data.test) == 2
        own = load(root, validation=1).test.labels.numbers(0)
        np.testing.assert_array_equal(data.test.labels.numbers(0), np.array([1, 2, 0])[own])

    def test_a_class_that_is_not_known(self, tmp_path):
        root = masks_folder(tmp_path, {"train": 3, "test": 2})
        with pytest.raises(InputError, match="does not know: green"):
            masks_to_evaluate(root, ("ground", "red"), name="x", ignore=None)


def test_an_index_is_small(tmp_path):
    """Of ten thousand pictures names are held, and nothing that was in them."""
    from kcnn.data.sets.images import ImageFiles
    from kcnn.data.sets.splits import Split

    names = [f"a picture with a long name {i:05}.png" for i in range(10_000)]
    files = ImageFiles(tmp_path, names)
    split = Split(files, Masks(files, table_of([0, 1], [])[0]))
    assert len(split.take(np.arange(0, 10_000, 3))) == 3334
    assert split.images._names.nbytes < 1e6


def test_fingerprint_knows_masks(tmp_path):
    root = masks_folder(tmp_path, {"train": 4, "val": 2})
    before = load(root).fingerprint
    assert load(root, seed=3).fingerprint == before
    grey(root / "train" / "masks" / "p000.png", np.zeros((32, 48)))
    assert load(root).fingerprint != before
