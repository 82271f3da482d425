"""Pascal VOC's XML: 1-based corners, image sets, flags; and XML that somebody made up."""

import pytest
from oracles.images import write_image

from kcnn.data.sets.boxes import handed, load_boxes, recognised
from kcnn.data.sets.preflight import preflight
from kcnn.errors import InputError


def an_object(name="dog", box=(2, 3, 5, 6), difficult="<difficult>0</difficult>", extra=""):
    corners = "".join(
        f"<{key}>{value}</{key}>"
        for key, value in zip(
            ("xmax", "xmin", "ymax", "ymin"), (box[2], box[0], box[3], box[1]), strict=True
        )
    )  # VOC 2011 has them in such an order
    return f"<object><name>{name}</name>{difficult}<bndbox>{corners}</bndbox>{extra}</object>"


def xml(*objects, size="<width>12</width><height>9</height><depth>3</depth>", head=""):
    filename = "<filename>another name.jpeg</filename>"
    return f"{head}<annotation>{filename}<size>{size}</size>{''.join(objects)}</annotation>"


@pytest.fixture
def folder(tmp_path):
    """folder({"a": xml, ...}, train="a b", ...): images, their XML, image sets."""

    def make(annotations, base="", **sets):
        root = tmp_path / base
        for name, text in annotations.items():
            write_image(root / "JPEGImages" / f"{name}.png")
            path = root / "Annotations" / f"{name}.xml"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        for name, stems in sets.items():
            path = root / "ImageSets" / "Main" / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(stems.split(" ")) + "\n")
        return tmp_path

    return make


def load(root, **options):
    return load_boxes(root, **{"name": "own", "validation": 1, "seed": 0} | options)


def stems(split):
    return [path.stem for path in split.images]


PLAIN = {name: xml(an_object()) for name in "abcdefgh"}


def test_corners_count_from_one_and_are_inside(folder):
    two = xml(an_object(box=(1, 1, 12, 9)), an_object(box=(2, 3, 2.5, 3.5)))
    root = folder(PLAIN | {"a": two}, train="a b", val="c", test="d")
    assert recognised(root) == "voc"
    data = load(root)
    assert (stems(data.train), stems(data.validation), stems(data.test)) == (
        ["a", "b"],
        ["c"],
        ["d"],
    )
    assert data.train.labels.of(0)[0].tolist() == [[0, 0, 12, 9], [1, 2, 2.5, 3.5]]
    assert "4 images beside those listed left out" in data.provenance
    assert preflight(data).provenance == data.provenance


def test_flags_and_faults(folder):
    objects = [
        an_object(difficult="<difficult>1</difficult>"),
        an_object(difficult=""),
        an_object(box=(4, 4, 4, 8)), an_object(box=(4, 4, 3, 8)),
        an_object(box=(0, 2, 5, 5)),
        an_object(name=" cat\n", extra="<part><bndbox><xmin>1</xmin></bndbox></part>"),
    ]  # fmt: skip
    annotations = {"a": xml(*objects), "b": xml(), "c": xml(an_object())}
    data = load(folder(annotations, train="a b", val="c"))
    boxes, classes, crowd = data.train.labels.of(0)
    assert data.class_names == ("cat", "dog")
    assert classes.tolist() == [1, 1, 1, 0]
    assert crowd.tolist() == [True, False, False, False]
    assert boxes[2].tolist() == [-1, 1, 5, 5]
    for remark in (
        "2 boxes without area dropped",
        "1 box from 0, where Pascal VOC counts from 1",
        "1 box of a crowd or difficult, not learned from",
        "1 image without a box kept as background",
    ):
        assert f"train: {remark}" in data.provenance
    checked = preflight(data)
    assert checked.provenance == f"{data.provenance}; train: 1 box partly outside the image cut"
    assert checked.train.labels.of(0)[0][2].tolist() == [0, 1, 5, 5]


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ({}, (None, None, None)),
        ({"trainval": "a b c d", "test": "e f"}, (None, None, "ef")),
        ({"trainval": "a b c d", "val": "c d"}, ("ab", "cd", "")),
        ({"trainval": "a b c d", "train": "a b", "val": "c d", "test": "e"}, ("ab", "cd", "e")),
        ({"train": "a.jpg b c", "val": "", "dog_train": "h", "default": "g"}, (None, None, None)),
    ],
)
def test_image_sets(folder, sets, expected):
    data = load(folder(PLAIN, **sets))
    parts = ("train", "validation", "test")
    for part, names in zip(parts, expected, strict=True):
        if names is not None:
            assert stems(getattr(data, part)) == list(names)
    found = [stem for part in parts for stem in stems(getattr(data, part))]
    listed = sets.get("train", sets.get("trainval", "a b c d e f g h")).split()
    assert {stem[0] for stem in listed} <= set(found)
    assert len(set(found)) == len(found)
    assert ("h" in found) == (not sets)


def test_a_second_column_is_not_read(folder):
    root = folder(PLAIN, train="a b", val="c")
    (root / "ImageSets/Main/train.txt").write_text("a  1\nb -1\n\n")
    assert stems(load(root).train) == ["a", "b"]


@pytest.mark.parametrize("base", ["VOC2007", "VOCdevkit/VOC2012"])
def test_one_level_down(folder, base):
    root = folder(PLAIN, base, train="a b", val="c")
    assert recognised(root) == "voc"
    data = load(root)
    assert data.train.images[0] == root.resolve() / base / "JPEGImages" / "a.png"
    folder(PLAIN, "VOC2008")
    with pytest.raises(InputError, match=r"VOC2008.* hand over one of them"):
        load(root)


def test_classes_of_a_held_out_split_are_those_of_train(folder):
    annotations = PLAIN | {"c": xml(an_object("rat"), an_object("10"), an_object("9"))}
    root = folder(annotations, train="a b", val="c")
    with pytest.raises(InputError, match="train does not have: 9, 10, rat"):
        load(root)
    data = handed(root, ("rat", "dog", "9", "10"), "own")
    assert data.test.labels.classes.tolist() == [0, 3, 2]


BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]>'
OUT = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (xml(an_object("&c;"), head=BOMB), "it has a DTD"),
        (xml(an_object("&b;"), head=OUT), "it has a DTD"),
        (xml(an_object("&b;")), "is damaged: undefined entity"),
        (xml(an_object())[:-5], "is damaged"),
        (b"", "is damaged: no element found"),
        (xml(an_object(), head="<?xml version='1.0' encoding='none'?>"), "is damaged: unknown enc"),
        ("<a/>", "its root is <'a'>"),
        (xml("<object><name>x</name></object>"), r"its box is \[\]"),
        (xml(an_object("")), "named ''"),
        (xml(an_object(box=(1, "two", 3, 4))), r"\['1', 'two', '3', '4'\]"),
        (xml(an_object(box=(1, "nan", 3, 4))), r"a.xml: the box .*nan"),
        (xml(an_object(box=(1, 2, "inf", 4))), r"a.xml: the box .*inf"),
        (xml(an_object(box=(1, 2, "1e12", 4))), r"a.xml: the box .*Coordinates are pixels"),
        (xml(an_object(difficult="<difficult>maybe</difficult>")), "difficult 'maybe'"),
        (xml(an_object(), size="<width>12.5</width>"), r"the size is \['0', '12.5'\]"),
        (xml(an_object(), size="<width>1</width>" * 3 + "<height>-4</height>"), "the size is"),
        ("<annotation>" * 50_000, "is damaged"),
    ],
)
def test_xml_that_is_refused(folder, text, message):
    root = folder(PLAIN | {"a": text}, train="a b", val="c")
    with pytest.raises(InputError, match=message):
        load(root)


def test_xml_in_other_encodings(folder):
    text = xml(an_object("Öl"), head="<?xml version='1.0' encoding='iso-8859-1'?>")
    data = load(folder(PLAIN | {"a": text.encode("latin1")}, train="a b", val="c"))
    assert data.class_names == ("dog", "Öl")


def test_a_size_that_is_not_declared(folder):
    bare = "<annotation>" + an_object() + "</annotation>"
    zero = xml(an_object(), size="<width>0</width><height>0</height>")
    preflight(load(folder(PLAIN | {"a": bare, "b": zero}, train="a b", val="c")))


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("a b a", "the image 'a' is there twice"),
        ("a ../b", "leads outside"),
        ("a /b", "leads outside"),
        ("a z y", r"2 of 3 images of .*\n  JPEGImages/z\.\*\n  JPEGImages/y"),
        ("a c", r"c\.png is in train and in validation"),
    ],
)
def test_image_sets_that_are_refused(folder, listed, message):
    with pytest.raises(InputError, match=message):
        load(folder(PLAIN, train=listed, val="c"))


def test_an_image_without_its_xml(folder):
    root = folder(PLAIN, train="a b", val="c")
    (root / "Annotations/b.xml").unlink()
    with pytest.raises(InputError, match=r"1 of 2 annotations .*\n  Annotations/b.xml"):
        load(root)


def test_two_images_of_one_stem(folder):
    root = folder(PLAIN, train="a b", val="c")
    write_image(root / "JPEGImages/b.jpg")
    with pytest.raises(InputError, match=r"b\.jpg and b\.png have one annotation"):
        load(root)
