"""YOLO's text files: where `data.yaml` sends one, and what lines are."""

import shutil

import pytest
from oracles.images import write_image

from kcnn.data.sets.boxes import load_boxes, recognised
from kcnn.data.sets.preflight import preflight
from kcnn.errors import InputError

YAML = "names: [cat, dog]\nnc: 2\ntrain: {}\nval: {}\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """folder(yaml, {"train/images": 3, ...}): images of 40×20 with one box each."""

    def make(yaml, images, name="data.yaml"):
        shutil.rmtree(tmp_path / "own", ignore_errors=True)
        root = tmp_path / "own"
        write(root / name, yaml)
        for place, count in images.items():
            for i in range(count):
                write_image(root / place / f"{i}.png", size=(40, 20))
                labels = place.replace("images", "labels")
                write(root / labels / f"{i}.txt", f"{i % 2} 0.5 0.25 0.25 0.5\n")
        return root

    return make


def load(root, **options):
    return load_boxes(root, **{"name": "own", "validation": 1, "seed": 0} | options)


def names(split):
    return [path.relative_to(split.images.root).as_posix() for path in split.images]


SPLIT = {"images/train": 3, "images/val": 2}
ROBOFLOW = {"train/images": 3, "valid/images": 2}


@pytest.mark.parametrize(
    ("yaml", "images", "read_as"),
    [
        (YAML.format("images/train", "images/val"), SPLIT, None),
        (YAML.format("./images/train/", "[images/val]"), SPLIT, None),
        ("path: ../datasets/own\n" + YAML.format("images/train", "images/val"), SPLIT, None),
        ("path: /content/own\n" + YAML.format("images/train", "images/val"), SPLIT, None),
        ("path: images\n" + YAML.format("train", "val"), SPLIT, None),
        (YAML.format("../train/images", "../valid/images"), ROBOFLOW, "train/images"),
        (YAML.format("/content/own/train/images", "valid/images"), ROBOFLOW, "train/images"),
        (YAML.format("train", "valid"), ROBOFLOW, None),
        (YAML.format("train", "val"), {"train": 3, "val": 2, "x/labels": 1}, None),
    ],
)
def test_where_images_are(folder, yaml, images, read_as):
    root = folder(yaml, images)
    assert recognised(root) == "yolo"
    data = load(root)
    train, val = list(images)[:2]
    assert names(data.train) == [f"{train}/{i}.png" for i in range(3)]
    assert names(data.validation) == [f"{val}/{i}.png" for i in range(2)]
    assert len(data.test) == 0
    assert (f"is read as {read_as}" in data.provenance) == bool(read_as)
    assert data.class_names == ("cat", "dog")
    checked = preflight(data)
    assert checked.provenance == data.provenance
    assert checked.fingerprint == data.fingerprint
    boxes, classes, _ = checked.train.labels.of(1)
    assert (boxes.tolist(), classes.tolist()) == ([[15, 0, 25, 10]], [1])


def test_the_last_folder_called_images_counts(folder):
    root = folder(YAML.format("images/day/images", "images/val"), SPLIT)
    for i in range(2):
        write_image(root / f"images/day/images/{i}.png")
        write(root / f"images/day/labels/{i}.txt", "1 .5 .5 .5 .5\n")
    assert load(root).train.labels.classes.tolist() == [1, 1]


def test_lists_of_images(folder):
    root = folder(YAML.format("train.txt", "lists/val.txt"), {"images": 5})
    write(root / "train.txt", "./images/0.png\n\nimages/2.png\n")
    write(root / "lists/val.txt", "images/1.png\n")
    data = load(root)
    assert (names(data.train), names(data.validation)) == (
        ["images/0.png", "images/2.png"],
        ["images/1.png"],
    )
    write(root / "train.txt", "images/0.png\nimages/9.png\n")
    with pytest.raises(InputError, match=r"1 of 2 images of .*train.txt .*\n  images/9.png"):
        load(root)
    write(root / "train.txt", "/etc/passwd\n")
    with pytest.raises(InputError, match="leads outside"):
        load(root)


def test_a_test_path_that_is_not_there(folder):
    yaml = YAML.format("images/train", "images/val")
    data = load(folder(yaml + "test: ../test/images\n", SPLIT))
    assert "no test split" in data.provenance
    assert "the test path '../test/images' is not there" in data.provenance
    data = load(folder(yaml + "test: images/test\n", SPLIT | {"images/test": 4}))
    assert len(data.test) == 4
    with pytest.raises(InputError, match=r"the val path 'images/nope' is not there"):
        load(folder(YAML.format("images/train", "images/nope"), SPLIT))


def test_train_alone_is_divided(folder):
    data = load(folder("names: [a, b]\ntrain: images\nval:\n", {"images": 10}), validation=2)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 2)


def test_train_and_val_of_the_same_images(folder):
    with pytest.raises(InputError, match=r"0\.png is in train and in validation"):
        load(folder(YAML.format("images/train", "images/train"), SPLIT))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[yes, no]", ("yes", "no")),
        ("[1, 2.50]", ("1", "2.50")),
        ("\n  0: cat\n  1: dog", ("cat", "dog")),
        ("\n  1: dog\n  0: cat\n  7: rat", ("cat", "dog", "rat")),
        ("\n- ~\n- 'null'", ("~", "null")),
    ],
)
def test_names(folder, given, expected):
    yaml = f"names: {given}\ntrain: images/train\nval: images/val\n"
    assert load(folder(yaml, SPLIT)).class_names == expected


def test_a_mapping_with_gaps(folder):
    root = folder("names: {2: a, 5: b}\ntrain: images/train\nval: images/val\n", SPLIT)
    for path in root.rglob("*.txt"):
        write(path, "5 0.5 0.5 0.1 0.1\n")
    assert load(root).train.labels.classes.tolist() == [1, 1, 1]
    write(root / "labels/train/0.txt", "0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match=r"0\.txt, line 1: class '0' is none of 2 in names"):
        load(root)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: images/train\n", "names is a NoneType"),
        ("names: cat\ntrain: images/train\n", "names is 'cat'"),
        ("names: [cat, [dog]]\ntrain: images/train\n", "names is a list"),
        ("names: {a: cat}\ntrain: images/train\n", "names is a dict"),
        ("names: [cat, cat]\ntrain: images/train\n", "class name 'cat' is there twice"),
        ("names: {1: a, 01: b}\ntrain: images/train\n", "class number 1 is there twice"),
        ("names: [cat]\nnc: 2\ntrain: images/train\n", "nc is '2', and there are 1 names"),
        ("names: [cat, dog]\ntrain: {a: b}\n", "train is a dict"),
        ("names: [cat, dog]\ntrain: [[a]]\n", "train is a list"),
        ("names: [cat, dog]\n", "names no train, val or test"),
        ("names: [cat, dog]\nval: images/val\n", "names validation, and no split to train on"),
        ("names: [cat, dog]\ntrain: ../../../etc\n", r"train path '../../../etc' is not there"),
        ('names: [cat, dog]\ntrain: "\\0"\n', "is not there"),
        ('names: [cat, dog]\ntrain: "\\uD800"\n', "is not there"),
        ("- a\n", "holds no mapping"),
        ("a: [b\n", "is damaged"),
        ("names: !!python/object/apply:os.system ['exit']\ntrain: x\n", "is not there"),
        ("[" * 1000, "is damaged"),
        ("a: \x01", "is damaged"),
    ],
)
def test_yaml_that_is_refused(folder, yaml, message):
    with pytest.raises(InputError, match=message):
        load(folder(yaml, SPLIT))


def test_aliases_are_not_unfolded(folder):
    """Ten lists of ten of the one before: 10^30 texts, if somebody writes them out."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 31)]
    for key in ("names", "train", "nc", "path"):
        fields = {"names": "[cat, dog]", "train": "images/train", "val": "images/val"}
        yaml = "\n".join([*lines, *(f"{k}: {v}" for k, v in (fields | {key: "*a30"}).items())])
        root = folder(yaml, SPLIT)
        if key == "path":
            load(root)
            continue
        with pytest.raises(InputError, match="is a list"):
            load(root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 .5 .5 .1 .1 .9", "line 2: six columns, as of predictions"),
        ("0 .1 .1 .2 .1 .2 .2", "line 2: a polygon of 3 points"),
        ("0 .5 .5 .1", "line 2: 4 columns"),
        ("2 .5 .5 .1 .1", "line 2: class '2' is none of 2"),
        ("-1 .5 .5 .1 .1", "line 2: class '-1'"),
        ("0.0 .5 .5 .1 .1", "line 2: class '0.0'"),
        ("cat .5 .5 .1 .1", "line 2: class 'cat'"),
        ("0 .5 .5 .1 x", "line 2: could not convert"),
        ("0 .5 nan .1 .1", "line 2: the box .*nan"),
        ("0 .5 .5 inf .1", "line 2: the box .*inf"),
        ("0 20 10 4 4", r"line 2: the box .*fractions of width and height, 0\.\.1"),
        ("\ufffd\ufffd", "line 2: 1 columns"),
    ],
)
def test_lines_that_are_refused(folder, line, message):
    root = folder(YAML.format("images/train", "images/val"), SPLIT)
    write(root / "labels/train/1.txt", f"0 .5 .5 .1 .1\n{line}\n")
    with pytest.raises(InputError, match=rf"labels/train/1\.txt, {message}"):
        load(root)


def test_background_empty_and_outside(folder):
    root = folder(YAML.format("images/train", "images/val"), {"images/train": 5, "images/val": 2})
    (root / "labels/train/0.txt").unlink()
    write(root / "labels/train/1.txt", "\ufeff\n  \n")
    write(root / "labels/train/2.txt", "0 .5 .5 0 .1\n0 1.2 .5 .1 .1\n1 0 .5 .5 1\n1 .5 .5 1 1\n")
    write(root / "labels/train/3.txt", "1 .5 .5 .2 .2\n1 .5 .5 .2 .2\n")
    data = load(root)
    for remark in (
        "1 image without a file of labels",
        "1 box without area dropped",
        "2 images without a box kept as background",
        "1 box there twice, kept",
    ):
        assert f"train: {remark}" in data.provenance
    checked = preflight(data)
    added = checked.provenance.removeprefix(data.provenance)
    assert added == (
        "; train: 1 box outside the image dropped; train: 1 box partly outside the image cut"
    )
    assert checked.train.labels.of(2)[0].tolist() == [[0, 0, 10, 20], [0, 0, 40, 20]]
    assert [len(checked.train.labels.of(i)[0]) for i in range(5)] == [0, 0, 2, 2, 1]


def test_no_labels_at_all_is_no_background(folder):
    root = folder(YAML.format("images/train", "images/val"), SPLIT)
    shutil.rmtree(root / "labels/train")
    with pytest.raises(InputError, match=r"no image has a file of labels: labels/train/0\.txt"):
        load(root)


def test_labels_behind_a_link_to_outside(folder, tmp_path):
    root = folder(YAML.format("images/train", "images/val"), SPLIT)
    write(tmp_path / "outside.txt", "0 .5 .5 .5 .5\n")
    (root / "labels/train/0.txt").unlink()
    (root / "labels/train/0.txt").symlink_to(tmp_path / "outside.txt")
    provenance = load(root).provenance
    assert "1 link to outside left out" in provenance
    assert "1 image without a file of labels" in provenance


def test_two_images_for_one_file_of_labels(folder):
    root = folder(YAML.format("images/train", "images/val"), SPLIT)
    write_image(root / "images/train/0.jpg")
    with pytest.raises(InputError, match=r"of two images, 'labels/train/0.txt' is there twice"):
        load(root)


def test_other_names_of_the_yaml(folder):
    yaml = YAML.format("images/train", "images/val")
    assert recognised(folder(yaml, SPLIT, "cells.yaml")) == "yolo"
    root = folder(yaml, SPLIT, "cells.yaml")
    shutil.rmtree(root / "labels")
    assert recognised(root) is None
