"""Names: registering networks from outside, finding them, and what is refused."""

import sys
from types import MappingProxyType

import keras
import pytest

import kcnn
from kcnn import InputError
from kcnn.models import registry


@pytest.fixture(autouse=True)
def fresh_modules(monkeypatch, tmp_path):
    """What a test imports is forgotten behind it."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.syspath_prepend(tmp_path)


def tiny(input_shape, classes, width=4):
    """A user's builder, without any of kcnn's blocks."""
    image = keras.Input(input_shape)
    x = keras.layers.Conv2D(width, 3, activation="relu", name="conv")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax")(x))


SOURCE = """
from __future__ import annotations
from dataclasses import dataclass
import keras
import kcnn

@dataclass
class Setting:
    width: int = 5

@kcnn.register("{name}", input_shape=(9, 9, 1), classes=3, paper="mine")
def build(input_shape, classes, width=Setting().width):
    return keras.Sequential([
        keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(width),
        keras.layers.Dense(classes, activation="softmax"),
    ])
"""


def test_a_network_registered_from_outside_is_one_of_them():
    decorated = kcnn.register("tiny", input_shape=(8, 8, 3), classes=7, paper="mine", width=6)(tiny)
    assert decorated is tiny
    assert "tiny" in kcnn.list_models()
    assert kcnn.list_models("ti*") == ["tiny"]
    model = kcnn.build("tiny")
    assert (model.name, model.input_shape, model.output_shape) == (
        "tiny",
        (None, 8, 8, 3),
        (None, 7),
    )
    assert model.get_layer("conv").filters == 6  # the row's value; the builder's own is 4
    other = kcnn.build("tiny", input_shape=(9, 8, 1), classes=2, width=3)
    assert (other.input_shape, other.output_shape) == ((None, 9, 8, 1), (None, 2))
    assert other.get_layer("conv").filters == 3
    card = kcnn.card("tiny")
    assert (card.paper, card.input_shape, card.classes) == ("mine", (8, 8, 3), 7)
    assert card.parameters == 3 * 3 * 3 * 6 + 6 + 6 * 7 + 7
    assert card.published_parameters is None


def test_a_row_of_ones_own_for_a_builder_of_kcnn():
    from kcnn.models.resnet import resnet

    shape = {"input_shape": (32, 32, 3), "classes": 10}
    kcnn.register("resnet8", **shape, block="basic", depths=(1, 1, 1), widths=(16, 32, 64))(resnet)
    assert kcnn.card("resnet8", shortcut="A").parameters == 269_722 - 2 * 97_216


def test_options_that_a_users_builder_lacks_are_refused():
    kcnn.register("tiny", input_shape=(8, 8, 3), classes=7)(tiny)
    kcnn.build("tiny", include_top=True, pooling=None, dropout=0.0, batchnorm=False)  # ask nothing
    with pytest.raises(InputError, match=r"'include_top'.*options: classes, width"):
        kcnn.build("tiny", include_top=False)
    with pytest.raises(InputError, match=r"witdh=3.*Did you mean 'width'"):
        kcnn.build("tiny", witdh=3)


def test_preprocessing_goes_in_front_of_a_users_network():
    kcnn.register("tiny", input_shape=(8, 8, 3), classes=7)(tiny)
    resize = keras.layers.Resizing(8, 8)
    model = kcnn.build("tiny", input_shape=(20, 16, 3), preprocessing=[resize])
    assert (model.input_shape, model.output_shape) == ((None, 20, 16, 3), (None, 7))
    assert model.name == "tiny"


@pytest.mark.parametrize("name", ["resnet18", "tiny"])
def test_a_name_is_registered_once(name):
    kcnn.register("tiny", input_shape=(8, 8, 3))(tiny)
    with pytest.raises(InputError, match=rf"{name}.*registered already.*another name"):
        kcnn.register(name, input_shape=(8, 8, 3))(tiny)


@pytest.mark.parametrize("name", ["my net", "a:b", "a/b", "", None])
def test_bad_names_are_refused(name):
    with pytest.raises(InputError, match=r"letters, digits.*received"):
        kcnn.register(name, input_shape=(8, 8, 3))(tiny)


def test_a_sequential_without_an_input_gets_the_shape():
    @kcnn.register("open", input_shape=(8, 8, 3), classes=4)
    def build(input_shape, classes):
        return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(classes)])

    assert kcnn.build("open").input_shape == (None, 8, 8, 3)
    assert kcnn.card("open").parameters == 8 * 8 * 3 * 4 + 4


@pytest.mark.parametrize("returned", [None, keras.Model, "model"])
def test_a_builder_must_return_a_model(returned):
    kcnn.register("wrong", input_shape=(8, 8, 3))(lambda input_shape: returned)
    with pytest.raises(InputError, match="must return a functional or sequential"):
        kcnn.build("wrong")


def test_a_builder_must_take_the_input_shape():
    with pytest.raises(InputError, match="must take `input_shape`"):
        kcnn.register("shapeless", input_shape=(8, 8, 3))(lambda classes: None)


def test_a_file_and_a_module_name_their_networks(tmp_path):
    (tmp_path / "a folder ü").mkdir()
    file = tmp_path / "a folder ü" / "nets.py"
    file.write_text(SOURCE.format(name="from_file"))
    (tmp_path / "package_of_nets").mkdir()
    (tmp_path / "package_of_nets" / "nets.py").write_text(SOURCE.format(name="from_module"))
    for name in (f"{file}:from_file", "package_of_nets.nets:from_module"):
        for _ in range(2):  # imported once
            assert kcnn.build(name).output_shape == (None, 3)
        assert kcnn.card(name).parameters == 81 * 5 + 5 + 5 * 3 + 3
        assert kcnn.list_models(name) == [name.rpartition(":")[2]]
    assert "from_file" in kcnn.list_models()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet_34", ["'resnet_34'", "Did you mean 'resnet34'?", "lenet5, ", "FILE.py:NAME"]),
        ("ResNet18", ["Did you mean 'resnet18'?"]),
        ("lenet", ["Did you mean 'lenet5'?"]),
        ("qqqq", ["'qqqq'", "Known: alexnet"]),
        ("", ["Unknown model ''"]),
        (None, ["string", "None"]),
        (18, ["string", "18"]),
        ("absent.py:net", ["no file 'absent.py'"]),
        ("absent.module:net", ["absent.module", "'net'", "package.module:NAME"]),
        (":net", ["''", "FILE.py:NAME"]),
        ("./nets:net", ["'./nets'", "FILE.py:NAME"]),
        ("kcnn.models.vgg:vgg17", ["'vgg17'", "Did you mean 'vgg1"]),
    ],
)
def test_unknown_names_are_refused_with_help(name, words):
    with pytest.raises(InputError) as refused:
        kcnn.build(name)
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("vgg*", ["vgg11", "vgg13", "vgg16", "vgg19"]),
        ("resnet?0", ["resnet20", "resnet50"]),
        ("*net5*", ["lenet5", "lenet5_1998", "resnet50", "resnet56"]),
        ("mlp", ["mlp"]),
        ("nothing*", []),
    ],
)
def test_patterns(pattern, names):
    assert kcnn.list_models(pattern) == names


def test_entries_cannot_be_changed_by_accident():
    entry = registry.lookup("resnet18")
    assert isinstance(entry.settings, MappingProxyType)
    with pytest.raises(AttributeError):
        entry.classes = 5


def test_a_file_behind_a_link(tmp_path):
    """What the link ends with counts; the file itself may be called anything."""
    (tmp_path / "source").write_text(
        "import keras, kcnn\n"
        "@kcnn.register('behind_a_link', input_shape=(8, 8, 1), classes=3)\n"
        "def behind_a_link(input_shape=(8, 8, 1), classes=3):\n"
        "    layers = keras.layers.Flatten(), keras.layers.Dense(classes, 'softmax')\n"
        "    return keras.Sequential([keras.Input(input_shape), *layers])\n"
    )
    (tmp_path / "net.py").symlink_to(tmp_path / "source")
    assert kcnn.card(f"{tmp_path / 'net.py'}:behind_a_link").parameters == 64 * 3 + 3


@pytest.mark.parametrize("form", ["{folder}/halfway.py", "halfway"])
def test_a_file_that_fails_has_registered_nothing(tmp_path, form):
    """Mended, it is what it says; not "registered already"."""
    path = tmp_path / "halfway.py"
    path.write_text(SOURCE.format(name="halfway") + "\nraise ValueError('not yet')\n")
    name = f"{form.format(folder=tmp_path)}:halfway"
    for _ in range(2):
        with pytest.raises(ValueError, match="not yet"):
            kcnn.card(name)
    assert "halfway" not in kcnn.list_models()
    path.write_text(SOURCE.format(name="halfway"))
    assert kcnn.card(name).classes == 3
    with pytest.raises(InputError, match="registered already"):
        kcnn.register("halfway", input_shape=(8, 8, 3))(tiny)
