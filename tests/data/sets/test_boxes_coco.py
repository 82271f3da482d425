"""COCO's JSON as people have it: layouts, splits, and what becomes of what is wrong in it."""

import json
import math
import os

import numpy as np
import pytest
from oracles.images import write_image

from kcnn.data.sets import coco
from kcnn.data.sets.boxes import handed, load_boxes, recognised
from kcnn.data.sets.preflight import preflight
from kcnn.errors import InputError


def content(images=4, *, first=1, names=("cat", "dog"), boxes=2, **changes):
    made = {
        "images": [
            {"id": first + i, "file_name": f"{first + i:03}.png", "width": 12, "height": 9}
            for i in range(images)
        ],
        "categories": [{"id": 1 + k, "name": name} for k, name in enumerate(names)],
        "annotations": [
            {"id": 10 * i + j, "image_id": first + i, "category_id": 1 + j % len(names),
             "bbox": [1 + j, 2, 3, 4 + j], "iscrowd": 0}
            for i in range(images)
            for j in range(boxes)
        ],
    }  # fmt: skip
    return made | changes


def write(path, made):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made if isinstance(made, str) else json.dumps(made), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """folder({"a.json": content, ...}, {"images": content, ...}): files, and images of contents."""

    def make(files, images):
        for name, made in files.items():
            write(tmp_path / name, made)
        for name, made in images.items():
            for image in made["images"]:
                write_image(tmp_path / name / image["file_name"], (image["id"], 0, 9))
        return tmp_path

    return make


def load(root, **options):
    return load_boxes(root, **{"name": "own", "validation": 1, "seed": 0} | options)


def one(folder, made, **options):
    """Data of one JSON without a split, images in `images/`."""
    return load(folder({"annotations.json": made}, {"images": content()}), **options)


def refused(folder, text, made):
    with pytest.raises(InputError, match=text):
        one(folder, made)


def names(split):
    return [path.relative_to(split.images.root).as_posix() for path in split.images]


TRAIN, VAL, TEST = content(6), content(3, first=50), content(2, first=80)
LAYOUTS = {
    "published": ("annotations/instances_{}2017.json", "{}2017"),
    "below images": ("annotations/instances_{}2017.json", "images/{}2017"),
    "other years": ("annotations/instances_{}2017.json", "images/{}"),
    "Roboflow": ("{}/_annotations.coco.json", "{}"),
    "BCCD": ("annotations_{}.json", "{}"),
    "short": ("{}.json", "images/{}"),
    "one folder": ("annotations/{}.json", "images"),
    "in the root": ("{}_coco.json", ""),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(folder, layout):
    json_name, images = LAYOUTS[layout]
    parts = {"train": TRAIN, "val": VAL, "test": TEST}
    root = folder(
        {json_name.format(part): made for part, made in parts.items()},
        {images.format(part): made for part, made in parts.items()}
        if "{" in images
        else {images: {"images": [image for made in parts.values() for image in made["images"]]}},
    )
    assert recognised(root) == "coco"
    data = load(root)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 3, 2)
    prefix = f"{images.format('val')}/" if images else ""
    assert names(data.validation) == [f"{prefix}{i:03}.png" for i in (50, 51, 52)]
    assert (data.task, data.class_names) == ("detection", ("cat", "dog"))
    assert data.image_shape == (None, None, 3)
    boxes, classes, crowd = data.validation.labels.of(0)
    assert boxes.tolist() == [[1, 2, 4, 6], [2, 2, 5, 7]]  # x, y, x + width, y + height
    assert (classes.tolist(), crowd.tolist()) == ([0, 1], [False, False])
    assert data.train.labels.most == data.test.labels.most == 2
    checked = preflight(data)
    assert checked.provenance == data.provenance
    assert checked.fingerprint == data.fingerprint


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_train_and_val_leave_no_test(folder, val):
    root = folder(
        {f"{s}/_annotations.coco.json": m for s, m in (("train", TRAIN), (val, VAL))},
        {"train": TRAIN, val: VAL},
    )
    data = load(root)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 3, 0)
    assert "no test split" in data.provenance
    assert data.test.labels.spec((9, 9)) == ((3, 6), "float32")


def test_train_and_test_have_validation_split_off(folder):
    root = folder({"train.json": TRAIN, "test.json": TEST}, {"train": TRAIN, "test": TEST})
    data = load(root, validation=2)
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 2, 2)


def test_without_splits_both_are_split_off(folder):
    made = content(20)
    root = folder({"annotations/instances_default.json": made}, {"images/default": made})
    data = load(root, validation=4)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 4, 4)
    assert len({*names(data.train), *names(data.validation), *names(data.test)}) == 20
    same = load(root, validation=4, seed=3)
    assert same.fingerprint == data.fingerprint
    assert names(same.test) == names(data.test)
    assert names(same.validation) != names(data.validation)


def test_a_published_folder_has_other_annotations_too(folder):
    other = {"images": [], "annotations": [], "categories": []}
    root = folder(
        {
            "annotations/instances_train2017.json": TRAIN,
            "annotations/captions_train2017.json": other,
            "annotations/person_keypoints_train2017.json": other,
            "package.json": {"name": "x"},
        },
        {"train2017": TRAIN},
    )
    assert len(load(root).train) == 3
    assert "not read: package.json" in load(root).provenance


def test_captions_are_no_boxes(folder):
    root = folder({"annotations/train.json": TRAIN, "annotations/captions_train.json": TRAIN},
                  {"train": TRAIN})  # fmt: skip
    assert len(load(root).train) == 3


def test_of_two_years_the_folder_of_the_same(folder):
    root = folder({"annotations/instances_train2017.json": TRAIN},
                  {"train2014": TRAIN, "train2017": TRAIN})  # fmt: skip
    assert names(load(root).train)[0].startswith("train2017/")


def test_what_is_not_coco(folder, tmp_path):
    root = folder({"a.json": {"name": "x"}, "b.json": "[1, 2]"}, {"train/cat": TRAIN})
    os.mkfifo(tmp_path / "images.json")
    assert recognised(root) is None
    with pytest.raises(InputError, match=r"no boxes in a form that is read. Expected: COCO"):
        load(root)


def test_two_for_one_split_are_refused(folder):
    root = folder(
        {f"annotations/instances_train{year}.json": TRAIN for year in (2014, 2017)},
        {"train2014": TRAIN},
    )
    assert recognised(root) == "coco"
    with pytest.raises(InputError, match=r"train2014.json and .*train2017.json: only one"):
        load(root)


def test_no_split_to_train_on(folder):
    root = folder({"val.json": VAL}, {"val": VAL})
    with pytest.raises(InputError, match="names validation, and no split to train on"):
        load(root)
    assert len(handed(root, ("cat", "dog"), "own").test) == 3


def test_an_image_in_two_splits_is_refused(folder):
    root = folder({"train.json": TRAIN, "val.json": content(1)}, {"images": TRAIN})
    with pytest.raises(InputError, match=r"001\.png is in train and in validation"):
        load(root)


# Classes


def test_classes_go_by_ascending_id_with_gaps_and_unused_ones(folder):
    made = content(boxes=1)
    made["categories"] = [{"id": i, "name": n} for i, n in ((90, "z"), (0, "none"), (7, "a"))]
    for i, annotation in enumerate(made["annotations"]):
        annotation["category_id"] = (90, 7)[i % 2]
    data = one(folder, made)
    assert data.class_names == ("none", "a", "z")
    assert "classes without a box in train: none" in data.provenance
    assert set(data.train.labels.classes) <= {1, 2}


def test_held_out_classes_go_by_name(folder):
    val = content(3, first=50, names=("dog", "bird", "cat"), boxes=1)
    for annotation, number in zip(val["annotations"], (1, 3, 1), strict=True):
        annotation["category_id"] = number
    root = folder({"train.json": TRAIN, "val.json": val}, {"train": TRAIN, "val": val})
    assert load(root).validation.labels.classes.tolist() == [1, 0, 1]
    val["annotations"][1]["category_id"] = 2
    write(root / "val.json", val)
    with pytest.raises(InputError, match="classes that train does not have: bird"):
        load(root)


@pytest.mark.parametrize(
    ("categories", "text"),
    [
        ([{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}], "category id 1 is there twice"),
        ([{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}], "name 'cat' is there twice"),
        ([{"id": 1, "name": "cat"}], r"annotations.1 has the category_id 2, and categories are 1"),
        ([{"id": 1}], "categories.0.name: field required"),
    ],
)
def test_categories_that_are_refused(folder, categories, text):
    refused(folder, text, content(categories=categories))


# Annotations


def test_empty_background_crowd_and_repeated(folder):
    made = content(4, boxes=0)
    box = {"image_id": 1, "category_id": 1, "iscrowd": 0}
    made["annotations"] = [
        {"id": 1, **box, "bbox": [1, 1, 4, 4]},
        {"id": 1, **box, "bbox": [1, 1, 4, 4]},  # again
        {"id": 1, **box, "bbox": [2, 1, 4, 4]},  # the id alone
        {"id": 2, **box, "bbox": [2, 1, 4, 4]},  # the box alone
        {"id": 3, **box, "bbox": []},
        {"id": 4, **box, "bbox": [1, 1, 0, 4]},
        {"id": 5, **box, "bbox": [1, 1, 4, -3]},
        {"id": 6, **box, "image_id": 99, "bbox": [1, 1, 4, 4]},
        {"id": 7, **box, "image_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {**box, "image_id": 3, "bbox": [0.5, 0, 9, 9]},
        {**box, "image_id": 3, "bbox": [0.5, 0, 9, 9], "iscrowd": True},
    ]
    root = folder({"train.json": made, "val.json": VAL}, {"train": made, "val": VAL})
    data = load(root)
    found = {p.name: data.train.labels.of(i) for i, p in enumerate(data.train.images)}
    boxes = {name: boxes.tolist() for name, (boxes, _, _) in found.items()}
    assert boxes["001.png"] == [[1, 1, 5, 5], [2, 1, 6, 5], [2, 1, 6, 5]]
    assert boxes["002.png"] == [[0, 0, 9, 9]]
    assert boxes["003.png"] == [[0.5, 0, 9.5, 9]] * 2
    assert boxes["004.png"] == []
    assert found["002.png"][2].tolist() == [True]
    assert found["003.png"][2].tolist() == [False, True]
    for remark in (
        "1 annotation of images that are not listed dropped",
        "1 annotation with an empty bbox dropped",
        "1 annotation there twice under one id, one dropped",
        "1 annotation under the id of another one kept",
        "2 boxes without area dropped",
        "2 boxes of a crowd or difficult, not learned from",
        "1 image without a box kept as background",
        "2 boxes there twice, kept",
    ):
        assert f"train: {remark}" in data.provenance, remark


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"bbox": ["1", "2", "3", "4"]}, r"annotations.3.bbox.0: input should be a valid number"),
        ({"bbox": [1, 2, 3]}, r"annotations.3 has the bbox \[1.0, 2.0, 3.0\]"),
        ({"bbox": [1, 2, 3, 4, 5]}, r"annotations.3.bbox: list should have at most 4"),
        ({"bbox": None}, r"annotations.3.bbox: input should be a valid array"),
        ({"bbox": [1, 2, True, 4]}, r"annotations.3.bbox.2: input should be a valid number"),
        ({"bbox": [1, math.nan, 3, 4]}, r"annotations.3: the box .*nan"),
        ({"bbox": [1, 2, math.inf, 4]}, r"annotations.3: the box .*inf"),
        ({"bbox": [1, 2, 3, 1e9]}, r"annotations.3: the box .*Coordinates are pixels"),
        ({"bbox": [-1e300, 2, 1e300, 4]}, r"annotations.3: the box "),
        ({"category_id": "1"}, r"annotations.3.category_id: input should be a valid integer"),
        ({"category_id": 10**40}, r"annotations.3 has the category_id 1000"),
        ({"iscrowd": 2}, r"annotations.3.iscrowd"),
        ({"image_id": None}, r"annotations.3.image_id"),
    ],
)
def test_annotations_that_are_refused(folder, change, text):
    made = content()
    made["annotations"][3] |= change
    refused(folder, text, made)


def test_all_annotations_of_images_that_are_not_there(folder):
    made = content()
    for annotation in made["annotations"]:
        annotation["image_id"] = str(annotation["image_id"])
    refused(folder, r"image_id is '1', ids are 1, 2", made)


def test_fractions_are_no_pixels(folder):
    made = content()
    for annotation in made["annotations"]:
        annotation["bbox"] = [0.25, 0.5, 0.25, 0.25]
    refused(folder, "fractions of width and height", made)


def test_nothing_to_learn_from(folder):
    refused(folder, "has no box to learn from", content(boxes=0))
    refused(folder, "The train split of .* has no image", content(0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "invalid JSON"),
        ('{"images": [], "annotations": {}}', "annotations: input should be a valid array"),
        ('{"images": [], "categories": []}', "annotations: field required"),
        ('{"images": [' + "[" * 9999, "not COCO's JSON"),
        ('{"images": [' + '{"id": 1},' * 9999 + "1]}", "images.0.file_name: field required"),
    ],
)
def test_json_of_another_form(folder, text, message):
    refused(folder, message, text)


def test_sizes_are_bounded(folder, monkeypatch):
    monkeypatch.setattr(coco, "_MOST_VALUES", 20)
    refused(folder, "values, and 20 are allowed", content())
    monkeypatch.setattr(coco, "_LARGEST", 50)
    refused(folder, "more than 50 bytes", content())


# Images


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ({"id": 1}, "image id 1 is there twice"),
        ({"file_name": "001.png"}, "file_name '001.png' is there twice"),
        ({"file_name": "./001.png"}, "is there twice"),
        ({"file_name": "../002.png"}, r"the path '\.\./002.png' leads outside"),
        ({"file_name": "a/../../002.png"}, "leads outside"),
        ({"file_name": "/etc/passwd"}, "leads outside"),
        ({"file_name": "a\0b"}, "leads outside"),
        ({"file_name": ""}, "leads outside"),
        ({"file_name": 7}, "images.1.file_name: input should be a valid string"),
        ({"width": -3}, "images.1.width"),
        ({"width": 1e99}, "images.1.width"),
        ({"file_name": "\x1b[2J.png"}, r"1 of 4 images .*\n  images/\\x1b\[2J\.png"),
    ],
)
def test_images_that_are_refused(folder, image, text):
    made = content()
    made["images"][1] |= image
    refused(folder, text, made)


def test_missing_images_are_listed(folder):
    made = content(30)
    root = folder({"annotations.json": made}, {"images": content(4)})
    with pytest.raises(InputError, match=r"26 of 30 images .*\n  images/005.png") as caught:
        load(root)
    assert str(caught.value).endswith("  images/024.png\n  and 6 more")


def test_images_nowhere_say_where_they_were_looked_for(folder):
    root = folder({"train.json": TRAIN}, {"val": TRAIN, "pictures": VAL})
    # Those of another split do not count, whatever they are called.
    with pytest.raises(InputError, match=r"'001.png' and 5 more were looked for in ./, pictures/"):
        load(root)


def test_links_do_not_lead_out(folder, tmp_path):
    outside = tmp_path / "outside"
    made = content()
    root = folder({"in/annotations.json": made}, {"in/images": made, "outside": made}) / "in"
    (root / "images/001.png").unlink()
    (root / "images/001.png").symlink_to(outside / "001.png")
    with pytest.raises(InputError, match=r"1 of 4 images"):
        load(root)
    (root / "images/001.png").unlink()
    (root / "images/001.png").symlink_to("002.png")  # within
    assert len(load(root).train) == 2


def test_subfolders_of_file_names(folder):
    made = content()
    for image in made["images"]:
        image["file_name"] = f"day/{image['file_name']}"
    root = folder({"annotations.json": made}, {"images": made})
    data = load(root)
    assert all(n.startswith("images/day/") for n in names(data.train) + names(data.test))


def test_images_that_are_not_listed_are_counted(folder):
    root = folder({"annotations.json": content(4)}, {"images": content(7)})
    assert "3 images beside those listed left out" in load(root).provenance


def test_sizes_are_compared_in_the_preflight(folder):
    made = content()
    made["images"][2] |= {"width": 13}
    data = one(folder, made)
    with pytest.raises(InputError, match=r"003\.png: declared 13×9 .*it is 12×9"):
        preflight(data)
    for image in made["images"]:
        del image["width"]
    preflight(one(folder, made))


# Fingerprints, and data that are handed over


def test_the_order_of_a_file_does_not_matter(folder):
    made = content(8)
    data = load(folder({"a.json": made}, {"images": made}))
    turned = made | {"images": made["images"][::-1]}
    again = load(folder({"a.json": turned}, {"images": made}))
    assert (names(data.train), data.fingerprint) == (names(again.train), again.fingerprint)
    # The same boxes, of other images: the ids change places.
    for image, other in zip(turned["images"], content(8)["images"], strict=True):
        image["id"] = other["id"]
    assert load(folder({"a.json": turned}, {"images": made})).fingerprint != data.fingerprint


def test_the_fingerprint_knows_pixels_and_boxes(folder):
    made = content(8)
    root = folder({"a.json": made}, {"images": made})
    first = load(root).fingerprint
    assert first.startswith("sha256-files:")
    made["annotations"][5]["bbox"][0] += 0.5
    write(root / "a.json", made)
    second = load(root).fingerprint
    write_image(root / "images/003.png", (9, 9, 9))
    assert len({first, second, load(root).fingerprint}) == 3


def test_handed_over_to_be_evaluated(folder):
    parts = {"train": TRAIN, "val": VAL, "test": TEST}
    root = folder({f"{part}.json": made for part, made in parts.items()}, parts)
    data = handed(root, ("bird", "dog", "cat"), "own")
    assert names(data.test) == ["test/080.png", "test/081.png"]
    assert data.test.labels.classes.tolist() == [2, 1, 2, 1]
    assert data.class_names == ("bird", "dog", "cat")
    assert data.train is data.validation is data.test
    with pytest.raises(InputError, match=r"'own' has boxes of classes that the network.*: dog"):
        handed(root, ("bird", "cat"), "own")
    (root / "test.json").unlink()
    data = handed(root, ("cat", "dog"), "own")  # beside train, val is what is held out
    assert len(data.test) == 3
    assert "validation, 3 images with 6 boxes" in data.provenance
    (root / "val.json").unlink()
    data = handed(root, ("cat", "dog"), "own")
    assert len(data.test) == 6
    assert "all of it, 6 images with 12 boxes" in data.provenance
    np.testing.assert_array_equal(np.diff(data.test.labels.offsets), 2)
    preflight(data)
