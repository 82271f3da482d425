"""Boxes as an index: parts of it, views, and what is found of them beside their pictures."""

import numpy as np
import pytest
from oracles.images import png, write_image
from PIL import Image, ImageFile, ImageOps

from kcnn.data.sets.annotations import View
from kcnn.data.sets.boxes import Boxes, load_boxes, recognised
from kcnn.data.sets.images import ImageFiles
from kcnn.errors import InputError

NAMES = ("a", "b", "c")


def boxes_of(*pictures, sizes=None, **fields):
    """From a list [(box, class, crowd), ...] for each picture."""
    rows = [(i, *one) for i, picture in enumerate(pictures) for one in picture]
    return Boxes.gathered(
        np.array([row[0] for row in rows], int),
        np.array([row[1] for row in rows], float).reshape(-1, 4),
        np.array([row[2] for row in rows], int),
        np.array([row[3] for row in rows], bool),
        np.zeros((len(pictures), 2)) if sizes is None else sizes,
        **fields,
    )


def random_boxes(seed=0, count=9):
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        corners = rng.integers(0, 20, (rng.integers(0, 5), 2, 2))
        low, high = corners.min(axis=1), corners.max(axis=1) + 1
        rows = np.concatenate([low, high], axis=1).tolist()
        pictures.append([(row, int(rng.integers(3)), bool(rng.integers(2))) for row in rows])
    return pictures


def as_lists(boxes):
    return [
        [(b.tolist(), int(k), bool(c)) for b, k, c in zip(*boxes.of(i), strict=True)]
        for i in range(len(boxes))
    ]


def test_what_goes_in_comes_out():
    pictures = random_boxes()
    boxes = boxes_of(*pictures)
    assert as_lists(boxes) == pictures
    assert boxes.most == max(map(len, pictures))
    assert (boxes.boxes.dtype, boxes.classes.dtype, boxes.crowd.dtype) == (
        np.float32,
        np.int64,
        np.bool_,
    )


def test_boxes_in_any_order_keep_the_order_of_their_picture():
    boxes = Boxes.gathered(
        np.array([1, 0, 1]), np.arange(12).reshape(3, 4), [0, 1, 2], [0, 0, 0], np.zeros((3, 2))
    )
    assert [len(boxes.of(i)[0]) for i in range(3)] == [1, 2, 0]
    assert boxes.of(1)[1].tolist() == [0, 2]


@pytest.mark.parametrize(
    "indices",
    [
        np.array([3, 0, 0, 8]),
        np.arange(0),
        np.array([True, False] * 4 + [True]),
        slice(2, 7),
        slice(None, None, -1),
    ],
)
def test_parts_are_those_pictures(indices):
    pictures = random_boxes()
    part = boxes_of(*pictures)[indices]
    assert as_lists(part) == [pictures[i] for i in np.arange(9)[indices]]
    assert len(part) == len(np.arange(9)[indices])
    assert part.most == max(map(len, pictures))  # shapes agree
    assert part.spec((4, 4)) == ((part.most + 1, 6), "float32")


def test_no_single_picture_by_index():
    with pytest.raises(TypeError, match="`of`"):
        boxes_of(*random_boxes())[3]


def test_share_counts_boxes_and_pictures_without_crowds():
    box = [0, 0, 1, 1]
    boxes = boxes_of([(box, 0, 0), (box, 0, 0), (box, 2, 1)], [(box, 0, 0), (box, 1, 0)], [])
    per_box, per_picture = boxes.share(4)
    assert (per_box.tolist(), per_picture.tolist()) == ([3, 1, 0, 0], [2, 1, 0, 0])


def test_state_follows_boxes_classes_crowd_and_order():
    a, b = ([1, 2, 3, 4], 0, False), ([1, 2, 3, 5], 1, True)
    different = [
        boxes_of([a, b], []), boxes_of([b, a], []), boxes_of([a], [b]),
        boxes_of([a, (*b[:2], 0)], []), boxes_of([a, (b[0], 2, True)], []),
        boxes_of([a, b], [], []),
        boxes_of([a, b], [], sizes=[(9, 9)] * 2), boxes_of([a, b], [], relative=True),
    ]  # fmt: skip
    assert len({boxes.state() for boxes in different}) == len(different)
    again = boxes_of([a, b], [], notes=("said",), most=7)
    assert again.state() == different[0].state()


def test_state_is_the_same_behind_the_check_and_in_parts():
    boxes = boxes_of([([-1, 2, 3, 4], 0, False)], [([1, 1, 2, 2], 0, False)], [])
    checked = boxes.checked(np.zeros((3, 9, 9, 3)), NAMES)
    assert checked.boxes[0].tolist() == [0, 2, 3, 4]
    assert checked.state() == boxes.state()
    assert checked[np.array([2, 0])].state() == boxes[np.array([2, 0])].state()
    assert checked.checked(np.zeros((3, 9, 9, 3)), NAMES).remarks == checked.remarks


# Views


def drawn(box, size):
    mask = np.zeros(size, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def bounds(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (5, 9), (-7, -3), (20, -30)])
def test_a_view_moves_boxes_as_it_moves_pixels(top, left, mirrored):
    """Scaled by three and two, cut out of a canvas, mirrored: masks that NumPy moves."""
    pictures, size = random_boxes(seed=5, count=30), (24, 31)
    boxes, most = boxes_of(*pictures), max(map(len, pictures))
    view = View((21, 21), (63, 42), top, left, size, mirrored)
    for i, picture in enumerate(pictures):
        expected = []
        for box, number, crowd in picture:
            scaled = drawn(box, (21, 21)).repeat(3, axis=0).repeat(2, axis=1)
            canvas = np.pad(scaled, 40)[40 + top :, 40 + left :][: size[0], : size[1]]
            assert canvas.shape == size
            canvas = canvas[:, ::-1] if mirrored else canvas
            if canvas.any() and canvas.sum() >= 0.1 * scaled.sum():
                expected.append([*bounds(canvas), number, crowd])
        found = boxes.target(i, view)
        assert (found.dtype, found.shape) == (np.float32, (most + 1, 6))
        assert (found.shape, str(found.dtype)) == boxes.spec(size)
        np.testing.assert_allclose(found[: len(expected)], np.reshape(expected, (-1, 6)), atol=1e-4)
        assert (found[len(expected) : -1] == -1).all()
        shown = np.pad(np.ones((63, 42), bool), 40)[40 + top :, 40 + left :][: size[0], : size[1]]
        place = bounds(shown[:, ::-1] if mirrored else shown)  # of what is picture, not padding
        assert found[-1].tolist() == [*place, -1, -1]


@pytest.mark.parametrize(("left", "kept"), [(89, True), (90, True), (91, False), (100, False)])
def test_a_tenth_of_a_box_is_enough(left, kept):
    boxes = boxes_of([([0, 10, 100, 20], 1, False)])
    rows = boxes.target(0, View((100, 100), (100, 100), 0, left, (50, 50)))
    assert (rows[0, 0] == 0) == kept
    assert rows[1].tolist() == [0, 0, min(50, 100 - left), 50, -1, -1]
    assert rows[0].tolist() == ([0, 10, 100 - left, 20, 1, 0] if kept else [-1] * 6)


def test_relative_boxes_have_no_pixels_before_the_check():
    boxes = boxes_of([([0.25, 0.5, 0.75, 1], 0, False)], relative=True)
    with pytest.raises(ValueError, match="checked"):
        boxes.of(0)
    checked = boxes.checked(np.zeros((1, 20, 40, 3)), NAMES)
    assert checked.of(0)[0].tolist() == [[10, 10, 30, 20]]
    assert not checked.relative


# Beside the pictures


def test_boxes_outside_are_cut_or_dropped_and_counted():
    inside = [([1, 1, 5, 5], 0, False)] * 20
    boxes = boxes_of(
        [
            *inside,
            ([-4, 2, 6, 30], 1, True), ([25, 0, 33, 20.04], 2, False),  # 30 wide, 20 high
            ([30, 0, 35, 5], 0, False), ([-9, -9, 0, 5], 0, False),
            ([4, 4, 4, 9], 0, False), ([9, 9, 5, 5], 0, False), ([0, 0, 30.05, 20], 2, False),
        ]
    )  # fmt: skip
    checked = boxes.checked(np.zeros((1, 20, 30, 3)), NAMES)
    found = as_lists(checked)[0][20:]
    assert found == [
        ([0, 2, 6, 20], 1, True),
        ([25, 0, 30, 20], 2, False),
        ([0, 0, 30, 20], 2, False),  # what sticks out is rounding: not worth a word
    ]
    assert list(checked.remarks) == [
        "2 boxes without area dropped",
        "2 boxes outside the image dropped",
        "2 boxes partly outside the image cut",
    ]
    assert checked.most == boxes.most


def test_corners_in_the_place_of_sizes_are_noticed():
    """[x_min, y_min, x_max, y_max] read as [x, y, width, height]."""
    rng = np.random.default_rng(0)
    low = rng.uniform(20, 50, (40, 2))
    corners = np.concatenate([low, low + rng.uniform(10, 40, (40, 2))], axis=1)
    misread = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)
    images = np.zeros((1, 90, 90, 3))
    good = boxes_of([(row.tolist(), 0, False) for row in corners])
    assert good.checked(images, NAMES).remarks == ()
    with pytest.raises(InputError, match=r"of 40 boxes reach out.*\[x, y, width, height\]"):
        boxes_of([(row.tolist(), 0, False) for row in misread]).checked(images, NAMES)


def rectangle(path, orientation, kind="JPEG", size=(40, 28), box=(4, 6, 15, 24), **options):
    """A white rectangle on black, of (width, height), with that EXIF orientation."""
    image = Image.new("L", size)
    image.paste(255, box)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, kind, exif=exif, **options)
    return path


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_boxes_with_their_picture(tmp_path, orientation, kind):
    """Against `PIL.ImageOps.exif_transpose` on a drawn rectangle."""
    options = {"quality": 100} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    path = rectangle(tmp_path / "a.img", orientation, kind, **options)
    with Image.open(path) as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    expected, files = bounds(shown > 127), ImageFiles(tmp_path, ["a.img"])
    stored = [([4, 6, 15, 24], 0, False)]
    upright = [(expected, 0, False)]
    turns = orientation >= 5
    if turns:
        # The size says of which picture the boxes are.
        found = boxes_of(stored, sizes=[(28, 40)]).checked(files, NAMES)
        assert found.of(0)[0].tolist() == [expected]
        assert found.remarks == ("1 image whose boxes are turned with it, by EXIF",)
        assert found.checked(files, NAMES).of(0)[0].tolist() == [expected]  # once
    for size in (shown.shape, (0, 0)):
        found = boxes_of(upright, sizes=[size]).checked(files, NAMES)
        assert found.of(0)[0].tolist() == [expected]
        unclear = orientation > 1 and not (turns and size != (0, 0))
        remark = "1 image turned by EXIF, boxes taken as of the upright one"
        assert found.remarks == ((remark,) if unclear else ())
    relative = np.divide(expected, [*shown.shape[::-1]] * 2)
    found = boxes_of([(relative, 0, False)], relative=True).checked(files, NAMES)
    np.testing.assert_allclose(found.of(0)[0], [expected], atol=1e-4)


def test_a_square_does_not_tell(tmp_path):
    rectangle(tmp_path / "a.png", 6, "PNG", size=(40, 40))
    boxes = boxes_of([([4, 6, 15, 24], 0, False)], sizes=[(40, 40)])
    found = boxes.checked(ImageFiles(tmp_path, ["a.png"]), NAMES)
    assert found.of(0)[0].tolist() == [[4, 6, 15, 24]]
    assert found.remarks == ("1 image turned by EXIF, boxes taken as of the upright one",)
    again = found.checked(ImageFiles(tmp_path, ["a.png"]), NAMES)
    assert again.remarks == found.remarks  # each once


def late(path):
    """The EXIF of a PNG moved behind its pixels, where PNG allows it, too."""
    data = path.read_bytes()
    start = data.index(b"eXIf") - 4
    length = int.from_bytes(data[start : start + 4], "big") + 12
    chunk, end = data[start : start + length], data.rindex(b"IEND") - 4
    path.write_bytes(data[:start] + data[start + length : end] + chunk + data[end:])


def test_exif_behind_the_pixels_of_a_png(tmp_path):
    late(rectangle(tmp_path / "a.png", 6, "PNG"))
    boxes = boxes_of([([4, 6, 15, 24], 0, False)], sizes=[(28, 40)])
    found = boxes.checked(ImageFiles(tmp_path, ["a.png"]), NAMES)
    with Image.open(tmp_path / "a.png") as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    assert found.of(0)[0].tolist() == [bounds(shown > 127)]


def test_headers_of_png_files_are_read_without_their_pixels(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png")
    decoded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: decoded.append(image))
    boxes_of([([1, 1, 5, 5], 0, False)]).checked(ImageFiles(tmp_path, ["a.png"]), NAMES)
    assert decoded == []


@pytest.mark.parametrize(
    ("name", "exif"), [("a.png", b"no TIFF"), ("a.jpg", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")]
)
def test_damaged_exif_turns_nothing(tmp_path, name, exif):
    """Pillow raises for the one, and warns for the other."""
    Image.new("L", (40, 28)).save(tmp_path / name, exif=exif)
    boxes = boxes_of([([4, 6, 15, 24], 0, False)], sizes=[(28, 40)])
    assert boxes.checked(ImageFiles(tmp_path, [name]), NAMES).remarks == ()


def test_other_sizes_are_refused_with_both(tmp_path):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, size=(12, 9))
    files = ImageFiles(tmp_path, ["a.png", "b.png"])
    for declared in [(12, 9), (9, 13)]:  # turned, without EXIF; another width
        boxes = boxes_of([], [], sizes=[(9, 12), declared])
        text = rf"1 of 2 images.*\n.*b\.png: declared {declared[1]}×{declared[0]} .*it is 12×9"
        with pytest.raises(InputError, match=text):
            boxes.checked(files, NAMES)


def test_images_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(png(4, 4, 8, 0, [b"\0" * 4] * 4)[:20])
    with pytest.raises(InputError, match=r"a\.png: is truncated"):
        boxes_of([]).checked(ImageFiles(tmp_path, ["a.png"]), NAMES)


def test_progress_counts_pictures(tmp_path):
    names = [write_image(tmp_path / f"{i}.png").name for i in range(3)]
    done = []
    boxes_of([], [], []).checked(ImageFiles(tmp_path, names), NAMES, done.append)
    assert done == [1, 2, 3]


def test_images_and_classes_have_to_be_as_many():
    boxes = boxes_of([([1, 1, 2, 2], 3, False)], [])
    with pytest.raises(InputError, match="of class 3, and there are 3"):
        boxes.checked(np.zeros((2, 9, 9, 3)), NAMES)
    with pytest.raises(InputError, match="3 images, and boxes of 2"):
        boxes.checked(np.zeros((3, 9, 9, 3)), "abcd")


# Real data


def test_bccd(real_data):
    """Counts from its README; no box leaves its picture."""
    folder = real_data / "bccd"
    assert recognised(folder) == "coco"
    data = load_boxes(folder, name="bccd", validation=0.1, seed=0)
    assert (len(data.train), len(data.validation), len(data.test)) == (205, 87, 0)
    assert (len(data.train.labels.boxes), len(data.validation.labels.boxes)) == (2804, 1137)
    assert (data.class_names, data.task) == (("RBC", "WBC", "Platelets"), "detection")
    assert data.train.labels.share(3)[1][0] == 205 - 8  # no red cell is marked in eight
    for split in (data.train, data.validation, data.test):
        checked = split.labels.checked(split.images, data.class_names)
        assert checked.remarks == ()
        np.testing.assert_array_equal(checked.boxes, split.labels.boxes)
    assert recognised(real_data / "camvid") is recognised(real_data / "pets") is None


def test_bccd_as_published_is_twice_as_large(real_data):
    """Pascal VOC's XML and COCO's JSON of the same ten pictures say the same."""
    half = load_boxes(real_data / "bccd", name="bccd", validation=0.1, seed=0)
    data = load_boxes(real_data / "bccd" / "voc_sample", name="voc", validation=0.1, seed=0)
    assert (len(data.train), len(data.validation)) == (6, 4)
    for part in ("train", "validation"):
        split, other = getattr(data, part), getattr(half, part)
        assert f"{part}: 1 box without area dropped" in data.provenance
        place = {path.name: i for i, path in enumerate(other.images)}
        checked = split.labels.checked(split.images, data.class_names)
        for i, path in enumerate(split.images):
            boxes, classes, _ = checked.of(i)
            expected, numbers, _ = other.labels.of(place[path.name])
            np.testing.assert_array_equal(boxes, expected * 2)
            names = [data.class_names[k] for k in classes]
            assert names == [half.class_names[k] for k in numbers]
