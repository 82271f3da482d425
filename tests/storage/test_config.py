"""Networks of strangers: names that are calls, sizes that are believed, weights of another kind."""

import inspect
import json
import shutil

import h5py
import keras
import numpy as np
import pytest
from oracles.keras_files import (
    functional,
    members,
    packed,
    refused,
    same,
    with_config,
    with_weights,
)

import kcnn
from kcnn.graph.forward import forward
from kcnn.storage import load_model as module
from kcnn.storage.load_model import load_model


def named(where, name, kind="function"):
    config = name if kind == "function" else {}
    return {"class_name": kind, "module": where, "config": config, "registered_name": name}


def public_functions():
    """(module, name) of the functions of Keras' public modules."""
    found = []
    for path in (
        "keras", "keras.applications", "keras.utils", "keras.saving", "keras.datasets.mnist",
        "keras.config", "keras.models", "keras.backend", "keras.distribution", "keras.tree",
        "keras.random", "keras.preprocessing.image", "keras.visualization",
    ):  # fmt: skip
        where = keras
        for part in path.split(".")[1:]:
            where = getattr(where, part, None)
        for name in dir(where):
            if not name.startswith("_") and inspect.isfunction(getattr(where, name)):
                found.append((path, name))
    return found


L = keras.layers


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "dense.keras"
    functional(L.Dense(4, activation="relu"), L.Dense(2)).save(path)
    return path


def with_activation(path, saved, activation):
    config = json.loads(members(saved)["config.json"])
    layer = next(x for x in config["config"]["layers"] if x["class_name"] == "Dense")
    layer["config"]["activation"] = activation
    return with_config(path, saved, config)


class TestNames:
    def test_there_are_many_to_refuse(self):
        names = public_functions()
        assert len(names) > 150
        assert ("keras.applications", "ResNet50V2") in names

    @pytest.mark.parametrize("kind", ["function", "class"])
    def test_no_function_of_keras_but_those_of_networks(self, kind, saved, tmp_path):
        path = tmp_path / "a.keras"
        for where, name in public_functions():
            node = named(where, name)
            if kind == "class":  # Keras hands a function on that is called a class, too
                node |= {"class_name": name, "config": {}}
            with_activation(path, saved, node)
            refused(path, "Cannot load")

    def test_it_says_what_may_be_named(self, saved, tmp_path):
        node = named("keras.applications", "ResNet50V2")
        text = refused(with_activation(tmp_path / "a.keras", saved, node), "no activation")
        assert "'keras.applications.ResNet50V2'" in text

    @pytest.mark.parametrize("name", ["get", "deserialize", "serialize"])
    def test_makers_are_refused(self, name, saved, tmp_path):
        node = named("keras.activations", name)
        refused(with_activation(tmp_path / "a.keras", saved, node), "no activation")

    @pytest.mark.parametrize(
        "node",
        [
            named("keras.activations", "gelu"), named("builtins", "gelu"), "gelu",
            named("keras.ops", "tanh"),
        ],
    )  # fmt: skip
    def test_activations_and_operations_load(self, node, saved, tmp_path):
        model = load_model(with_activation(tmp_path / "a.keras", saved, node))
        assert model(np.ones((1, 6), "float32")).shape == (1, 2)


def doubling(count):
    x = first = keras.Input((2, 2, 3))
    for _ in range(count):
        x = L.Concatenate()([x, x])
    return keras.Model(first, x)


class TestSizes:
    """Refused from symbolic shapes: nothing is computed."""

    def test_layers_that_double(self, tmp_path, monkeypatch):
        doubling(4).save(tmp_path / "a.keras")
        same(load_model(tmp_path / "a.keras"), doubling(4))
        # Made by changing the file: Keras would compute its shapes here, too.
        doubling(60).save(tmp_path / "b.keras")
        assert (tmp_path / "b.keras").stat().st_size < 200_000
        refused(tmp_path / "b.keras", "made to fill up memory")
        doubling(20).save(tmp_path / "c.keras")  # 50 MB an image
        with monkeypatch.context() as patch:
            patch.setattr(module, "free_memory", lambda: 10**7)
            refused(tmp_path / "c.keras", "bytes for one layer's outputs for one image")
        load_model(tmp_path / "c.keras")

    @pytest.mark.parametrize(
        ("layer", "change"),
        [
            (lambda: L.Resizing(30, 31), {"height": 10**6, "width": 10**5}),
            (lambda: L.UpSampling2D(2), {"size": [40_000, 40_000]}),
            (lambda: L.ZeroPadding2D(1), {"padding": [[10**6, 10**6], [10**6, 10**6]]}),
            (lambda: L.Reshape((8, 8, 1)), {"target_shape": [10**6, 10**6, 1]}),
        ],
    )
    def test_layers_that_enlarge(self, layer, change, tmp_path):
        path = tmp_path / "a.keras"
        functional(layer(), shape=(8, 8, 1)).save(path)
        load_model(path)
        config = json.loads(members(path)["config.json"])
        node = config["config"]["layers"][1]
        node["config"] |= change
        refused(with_config(path, path, config), "Cannot load")

    @pytest.mark.parametrize("strides", [[[1, 1], [1, 1]], 1.5, "x", [0, 0], [-1, -1]])
    def test_strides_that_are_none(self, strides, tmp_path):
        path = tmp_path / "a.keras"
        functional(L.Conv2D(2, 3), shape=(8, 8, 1)).save(path)
        config = json.loads(members(path)["config.json"])
        config["config"]["layers"][1]["config"]["strides"] = strides
        with_config(path, path, config)
        with pytest.raises(kcnn.InputError, match=r"Cannot load|cannot compute"):
            forward(load_model(path), 1)(np.zeros((1, 8, 8, 1), "float32"))

    def test_what_is_free_decides(self, tmp_path, monkeypatch):
        path = tmp_path / "a.keras"
        functional(L.UpSampling2D(100), shape=(8, 8, 1)).save(path)
        load_model(path)
        monkeypatch.setattr(module, "free_memory", lambda: 10**6)
        refused(path, "1,000,000 are free")

    def test_a_config_of_a_great_many_values(self, saved, tmp_path):
        text = b'{"config": [' + b"[]," * 3_000_000 + b"1]}"
        refused(with_config(tmp_path / "a.keras", saved, text), "declares")

    def test_an_archive_of_a_great_many_parts(self, saved, tmp_path):
        more = {f"assets/{number}": b"" for number in range(20_000)}
        refused(packed(tmp_path / "a.keras", members(saved) | more), "20,003 parts")


class TestWeights:
    @pytest.mark.parametrize("dtype", ["complex64", "<i4", "float64", "S4", "bool", "float16"])
    def test_of_another_type_than_the_variables(self, dtype, saved, tmp_path):
        def change(root):
            where = root["layers/dense/vars"]
            values = where["0"][()]
            del where["0"]
            where["0"] = np.zeros(values.shape, dtype)

        refused(with_weights(tmp_path / "a.keras", saved, change), "Cannot load")

    def test_of_bare_weights_too(self, tmp_path):
        model = kcnn.build("lenet5")
        path = tmp_path / "a.weights.h5"
        model.save_weights(path)
        kcnn.build("lenet5", weights=path)
        with h5py.File(path, "r+") as root:
            names = []

            def keep(name, item):
                if isinstance(item, h5py.Dataset):
                    names.append(name)

            root.visititems(keep)
            where, _, key = names[0].rpartition("/")
            values = root[where][key][()]
            del root[where][key]
            root[where][key] = values.astype("complex64")
        with pytest.raises(kcnn.InputError, match="does not hold the weights"):
            kcnn.build("lenet5", weights=path)
        path = shutil.copy(path, tmp_path / "b.weights.h5")
        with h5py.File(path, "r+") as root:
            root["link"] = h5py.ExternalLink("/etc/hosts", "/")
        with pytest.raises(kcnn.InputError, match="links"):
            kcnn.build("lenet5", weights=path)
