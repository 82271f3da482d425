"""`kcnn.storage.load_model`: sound models load as they were, all else is refused at no cost."""

import copy
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
from oracles.keras_files import (
    WEIGHTS,
    functional,
    members,
    packed,
    refused,
    same,
    with_config,
    with_weights,
)

import kcnn
from kcnn.storage.load_model import load_model

L = keras.layers


def small():
    return keras.Sequential(
        [keras.Input((4, 4, 1)), L.Conv2D(2, 3), L.BatchNormalization(), L.Flatten(), L.Dense(3)]
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small sound model; tests change copies."""
    path = tmp_path_factory.mktemp("saved") / "small.keras"
    small().save(path)
    return path


def layer_config(path, kind):
    """The configuration of the file, and of its first layer of a kind."""
    config = json.loads(members(path)["config.json"])
    layer = next(item for item in config["config"]["layers"] if item["class_name"] == kind)
    return config, layer


@keras.saving.register_keras_serializable("test_loading")
class Scale(keras.layers.Layer):
    """A layer of the user's own, with an attribute that only looks like a size."""

    def __init__(self, made_at=1_700_000_000_000, **options):
        super().__init__(**options)
        self.made_at = made_at

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="uniform")

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {**super().get_config(), "made_at": self.made_at}


@keras.saving.register_keras_serializable("test_loading")
def doubled(x):
    return 2 * x


def trained():
    model = functional(L.Dense(40), L.Dense(3))
    model.compile("adam", "mse", metrics=["accuracy"])
    model.fit(np.ones((4, 6)), np.ones((4, 3)), verbose=0)
    return model


def with_a_compiled_part():
    inner = functional(L.Dense(900), L.Dense(900))
    inner.compile(keras.optimizers.Adam(amsgrad=True), "mse")
    inner.fit(np.ones((4, 6)), np.ones((4, 900)), verbose=0)
    return functional(inner, L.Dense(2))


def with_operations():
    first = keras.Input((6,))
    x = L.Dense(4)(first)
    x = keras.ops.concatenate([x, x * np.arange(4.0), keras.ops.reshape(x, (-1, 4))], axis=1)
    return keras.Model(first, x[:, 1:])


def shared():
    first, dense = keras.Input((6,)), L.Dense(6)
    return keras.Model(first, dense(L.Dropout(0.1)(dense(first))))


MODELS = {
    "sequential": small,
    "lenet5": lambda: kcnn.build("lenet5", input_shape=(32, 32, 1), classes=10),
    "resnet20": lambda: kcnn.build("resnet20", depths=(1, 1, 1)),
    "trained": trained,
    "compiled part": with_a_compiled_part,
    "operations": with_operations,
    "shared layer": shared,
    "no weights": lambda: functional(L.Rescaling(0.5)),
    "mixed": lambda: functional(L.Dense(4, dtype="mixed_float16"), L.Dense(2)),
    "bfloat16": lambda: functional(L.Dense(4, dtype="bfloat16"), L.Dense(2, dtype="float64")),
    "augmentation": lambda: functional(L.RandomFlip(), L.GaussianNoise(0.1), shape=(8, 8, 1)),
    "normalization": lambda: functional(L.Normalization(mean=[1, 2], variance=[4, 4]), shape=(2,)),
    "own layer": lambda: functional(Scale()),
    "own function": lambda: functional(L.Lambda(doubled), L.Dense(2)),
    "vocabulary": lambda: functional(
        L.StringLookup(vocabulary=["a", "b"]), L.Embedding(3, 2), shape=(2,), dtype="string"
    ),
    "stateful": lambda: functional(L.LSTM(3, stateful=True), shape=(5, 2), batch_size=4),
    "memory of images": lambda: functional(
        L.ConvLSTM2D(2, 3, stateful=True), shape=(5, 6, 6, 1), batch_size=4
    ),
    "wrapped": lambda: functional(L.Bidirectional(L.GRU(3)), shape=(5, 2)),
}


class TestSoundModels:
    @pytest.mark.parametrize("name", MODELS)
    def test_load_as_they_were(self, name, tmp_path):
        model = MODELS[name]()
        path = tmp_path / f"ein Modell ü {name}.keras"
        model.save(path)
        again = load_model(path)
        same(model, again)
        assert model.get_config().keys() == again.get_config().keys()
        assert not again.compiled

    def test_predictions_are_the_same(self, tmp_path):
        model = kcnn.build("resnet20", depths=(1, 1, 1))
        images = np.random.default_rng(0).random((2, *model.input_shape[1:]), "float32")
        model.save(tmp_path / "x.keras")
        again = load_model(str(tmp_path / "x.keras"))
        np.testing.assert_array_equal(
            model.predict(images, verbose=0), again.predict(images, verbose=0)
        )

    def test_a_link_to_a_file(self, saved, tmp_path):
        (tmp_path / "link.keras").symlink_to(saved)
        assert load_model(tmp_path / "link.keras").output_shape == (None, 3)

    def test_an_archive_packed_again_without_compression(self, saved, tmp_path):
        assert load_model(packed(tmp_path / "x.keras", members(saved))).output_shape == (None, 3)

    def test_nothing_of_keras_stays_changed(self, saved, tmp_path):
        load_model(saved)
        config, dense = layer_config(saved, "Dense")
        dense["config"]["units"] = 10**7
        refused(with_config(tmp_path / "x.keras", saved, config), "variables")
        assert keras.Variable(np.zeros((5000, 5000), "float32")).shape == (5000, 5000)

    def test_other_threads_are_left_alone(self, tmp_path):
        """A layer of the caller's own makes a large variable in another thread meanwhile."""
        made = []

        @keras.saving.register_keras_serializable("test_loading")
        class Meanwhile(keras.layers.Layer):
            def build(self, input_shape):
                large = np.zeros((5000, 5000), "float32")
                other = threading.Thread(target=lambda: made.append(keras.Variable(large)))
                other.start()
                other.join()

            def call(self, x):
                return x

        functional(Meanwhile()).save(tmp_path / "x.keras")
        made.clear()
        load_model(tmp_path / "x.keras")
        assert len(made) == 1


class TestPaths:
    @pytest.mark.parametrize(
        "address",
        ["http://a.org/x.keras", "https://a.org/x.keras", "gs://b/x.keras", "s3://b/x.keras",
         "hf://keras/x.keras", "file:///tmp/x.keras"],
    )  # fmt: skip
    def test_addresses(self, address):
        refused(address, "an address.*local files only; download")

    def test_missing(self, tmp_path):
        refused(tmp_path / "x.keras", "No such file.*Check the path")
        refused(tmp_path / f"{'x' * 300}.keras", "too long")
        refused(f"{tmp_path}\0/b.keras", "null byte")
        (tmp_path / "broken.keras").symlink_to(tmp_path / "nowhere.keras")
        refused(tmp_path / "broken.keras", "No such file")
        with pytest.raises(kcnn.InputError, match="a path is needed; received int"):
            load_model(3)

    def test_directories(self, tmp_path, saved):
        folder = tmp_path / "x.keras"
        folder.mkdir()
        refused(folder, r"a directory\. Pass a file")
        (folder / "saved_model.pb").touch()
        refused(folder, "SavedModel")
        (folder / "model.keras").write_bytes(saved.read_bytes())
        refused(folder, "directory of a run. Pass the file `model.keras`")

    def test_pipes_sockets_and_devices(self, tmp_path, monkeypatch):
        os.mkfifo(tmp_path / "pipe.keras")
        refused(tmp_path / "pipe.keras", "not a regular file")
        monkeypatch.chdir(tmp_path)  # names of sockets are short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.keras")
            refused("socket.keras", "not a regular file")
        (tmp_path / "zero.keras").symlink_to("/dev/zero")
        refused(tmp_path / "zero.keras", "not a regular file")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_unreadable(self, saved, tmp_path):
        path = packed(tmp_path / "x.keras", members(saved))
        path.chmod(0)
        refused(path, "may not read")


class TestOtherFormats:
    @pytest.mark.parametrize(
        ("name", "match"),
        [
            ("x.h5", "old HDF5 format.*load it yourself.*save it again"),
            ("x.hdf5", "old HDF5 format.*load it yourself.*save it again"),
            ("x.weights.h5", "bare weights.*kcnn.build.*load_weights"),
            ("x.pkl", "pickle"),
            ("x.PT", "pickle"),
            ("x.pth", "pickle"),
            ("x.joblib", "pickle"),
            ("x.zip", "not a .keras file by its name.*rename"),
            ("keras", "not a .keras file by its name"),
        ],
    )
    def test_by_name(self, name, match, saved, tmp_path):
        (tmp_path / name).write_bytes(saved.read_bytes())
        refused(tmp_path / name, match)

    @pytest.mark.parametrize(
        ("content", "match"),
        [
            (b"", "it is empty"),
            (b"\x89HDF\r\n\x1a\n" + bytes(100), "it is an HDF5 file"),
            (pickle.dumps({"a": 1}), "Python pickle.*runs code"),
            (pickle.dumps([1], protocol=0), "Python pickle"),
            (b"\x1f\x8b\x08" + bytes(50), "compressed"),
            (b"<!DOCTYPE html>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"PK\x05\x06" + bytes(18), "empty zip"),
            (b"hello", "not a zip archive.*b'hello'"),
            (b"PK\x03\x04" + bytes(100), "damaged or incomplete"),
        ],
    )
    def test_by_content(self, content, match, tmp_path):
        (tmp_path / "x.keras").write_bytes(content)
        refused(tmp_path / "x.keras", match)

    def test_a_pickle_is_not_read(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "ran"),)

        for name in ("x.keras", "x.pkl"):
            (tmp_path / name).write_bytes(pickle.dumps(Trap()))
            refused(tmp_path / name, "pickle")
        assert not (tmp_path / "ran").exists()

    def test_other_archives(self, saved, tmp_path):
        parts, path = members(saved), tmp_path / "x.keras"
        refused(packed(path, {"a.txt": ""}), "no config.json.*some other zip")
        refused(packed(path, {"archive/data.pkl": b""}), "PyTorch.*pickle")
        refused(packed(path, {WEIGHTS: parts[WEIGHTS]}), "no config.json.*kcnn.build.*load_weights")
        refused(packed(path, {"config.json": parts["config.json"]}), "without its weights")
        for name in ("inner.keras", "../config.json", "/etc/x", "assets/../../x", "assets\\..\\x"):
            refused(packed(path, parts | {name: saved.read_bytes()}), "no part of a model")
        refused(packed(path, parts, zipfile.ZIP_DEFLATED), "compressed.*zip -0")

    def test_two_parts_of_one_name(self, saved, tmp_path):
        path = packed(tmp_path / "x.keras", members(saved))
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr("config.json", "{}")
        refused(path, "two parts of it have one name")


class TestNetworksThatCannotBe:
    def test_network_and_weights_disagree(self, saved, tmp_path):
        config, dense = layer_config(saved, "Dense")
        dense["config"]["units"] = 5
        path = with_config(tmp_path / "x.keras", saved, config)
        refused(path, "its network and its weights disagree")

        def lose_one(root):
            del root["layers/dense/vars/1"]

        refused(with_weights(path, saved, lose_one), "its network and its weights disagree")

    def test_an_unknown_class_or_function(self, saved, tmp_path):
        config, dense = layer_config(saved, "Dense")
        dense |= {"module": "theirs", "class_name": "Theirs", "registered_name": "a>Theirs"}
        path = with_config(tmp_path / "x.keras", saved, config)
        refused(path, "needs the class 'Theirs'.*register_keras_serializable")

    def test_a_class_that_keras_has_not(self, saved, tmp_path):
        config, dense = layer_config(saved, "Dense")
        dense["class_name"] = "NewIn2031"
        path = with_config(tmp_path / "x.keras", saved, config)
        refused(path, "NewIn2031")

    @pytest.mark.parametrize(
        "config",
        ["", "{", "[]", "3", "null", "{}", '{"class_name": "Model", "config": 3}', b"\xff\xfe\xfd",
         "[" * 100_000, '{"a":' * 100_000, '{"units": ' + "9" * 5000 + "}",
         '{"class_name": "Sequential", "config": {"layers": [3, null]}, "module": "keras"}',
         '{"class_name": "Dense", "config": {"units": 3}, "module": "keras.layers"}',
         '{"class_name": "Adam", "config": {}, "module": "keras.optimizers"}',
         '{"class_name": "load_model", "config": {}, "module": "keras.saving"}',
         '{"class_name": "system", "config": {}, "module": "os", "registered_name": null}'],
        ids=lambda text: repr(text[:70]),
    )  # fmt: skip
    def test_configurations(self, config, saved, tmp_path):
        refused(with_config(tmp_path / "x.keras", saved, config), None)

    def test_messages_are_short_and_printable(self, saved, tmp_path):
        config, dense = layer_config(saved, "Dense")
        dense["class_name"] = "\x1b[31m" + "x" * 10_000
        message = refused(with_config(tmp_path / "x.keras", saved, config), None)
        assert "\x1b" not in message


class TestCode:
    @pytest.fixture
    def trap(self, tmp_path):
        """A file with a Lambda that makes a directory as soon as it runs, and the directory."""
        ran = tmp_path / "ran"
        source = f"lambda x: (__import__('os').makedirs({str(ran)!r}, exist_ok=True), x)[1]"
        model = functional(L.Lambda(eval(source)))
        assert ran.exists()  # it works
        ran.rmdir()
        model.save(tmp_path / "trap.keras")
        return tmp_path / "trap.keras", ran

    def test_a_lambda_does_not_run(self, trap):
        path, ran = trap
        message = refused(path, "holds Python code.*Lambda layer")
        assert "safe_mode=False" not in message
        assert not ran.exists()

    def test_a_lambda_anywhere_does_not_run(self, trap, saved, tmp_path):
        path, ran = trap
        _, layer = layer_config(path, "Lambda")
        for place in ("activation", "kernel_initializer", "name", "units"):
            config, dense = layer_config(saved, "Dense")
            dense["config"][place] = layer["config"]["function"]
            refused(with_config(tmp_path / "x.keras", saved, config), "holds Python code")
        assert not ran.exists()

    def test_lambdas_of_older_formats_do_not_run(self, trap, saved, tmp_path):
        path, ran = trap
        _, layer = layer_config(path, "Lambda")
        code = layer["config"]["function"]["config"]["code"]
        config, dense = layer_config(saved, "Dense")
        dense |= {"class_name": "Lambda", "build_config": None}
        dense["config"] = {"name": "x", "function": [code, None, None], "function_type": "lambda"}
        refused(with_config(tmp_path / "x.keras", saved, config), None)
        del dense["module"]
        refused(with_config(tmp_path / "x.keras", saved, config), None)
        assert not ran.exists()

    def test_layers_that_read_other_files(self, saved, tmp_path):
        """Keras' own refusals, in our words."""
        (tmp_path / "secret.txt").write_text("a\nb\n")
        for kind, options in {
            "TFSMLayer": {"filepath": str(tmp_path), "call_endpoint": "serve"},
            "StringLookup": {"vocabulary": str(tmp_path / "secret.txt")},
        }.items():
            config, dense = layer_config(saved, "Dense")
            dense |= {"class_name": kind, "config": options, "build_config": None}
            path = with_config(tmp_path / "x.keras", saved, config)
            message = refused(path, "would run code that comes with it, or read other files")
            assert "safe_mode" not in message

    def test_unsafe_mode_is_refused_and_left_on(self, trap, saved):
        """Where `_unsafe_mode` no longer notices, because Keras changed, this fails.

        The mode belongs to a thread, so one is made for it.
        """
        path, ran = trap
        seen = []

        def unsafe():
            keras.config.enable_unsafe_deserialization()
            for file in (path, saved):
                try:
                    load_model(file)
                except kcnn.InputError as error:
                    seen.append(str(error))
            seen.append(ran.exists())
            keras.saving.load_model(path, safe_mode=True)  # so it is on still
            seen.append(ran.exists())

        thread = threading.Thread(target=unsafe)
        thread.start()
        thread.join()
        assert "unsafe mode is on" in seen[0]
        assert "unsafe mode is on" in seen[1]
        assert seen[2:] == [False, True]

    def test_safe_mode_is_left_as_it_was(self, trap, saved):
        path, _ = trap
        load_model(saved)
        refused(path, "code")
        with pytest.raises(ValueError, match="safe_mode"):
            keras.saving.load_model(path)


def dataset(name, **options):
    def change(root):
        del root["layers/dense/vars/0"]
        root["layers/dense/vars"].create_dataset("0", **options)

    return name, change


def hard_link(root):
    root["layers/dense/vars/2"] = root["layers/dense/vars/0"]


def loop(root):
    root["layers/dense/vars/again"] = root["layers"]


def soft_link(root):
    root["layers/dense/vars/2"] = h5py.SoftLink("/layers/dense/vars/0")


def external_link(root):
    root["layers/dense/vars/2"] = h5py.ExternalLink("/etc/passwd", "/")


def virtual(root):
    layout = h5py.VirtualLayout((10**9,), "float32")
    root["layers/dense/vars"].create_virtual_dataset("2", layout)


TERA = 10**12
WEIGHT_BOMBS = {
    **dict(
        [
            dataset("never written", shape=(TERA,), dtype="float32"),
            dataset("filled", shape=(TERA,), dtype="float32", fillvalue=1.0),
            dataset("chunked", shape=(TERA,), dtype="float32", chunks=(1000,)),
            dataset("one chunk", shape=(10**8,), dtype="float32", chunks=(10**8,)),
            dataset("gzip", data=np.zeros(10**6, "float32"), compression="gzip"),
            dataset("external", shape=(9,), dtype="u1", external=[("/etc/passwd", 0, 9)]),
            dataset("strings", data=["a", "b"], dtype=h5py.string_dtype()),
            dataset("wide", shape=(3,), dtype="V1000000000"),
        ]
    ),
    "hard link": hard_link,
    "loop": loop,
    "soft link": soft_link,
    "external link": external_link,
    "virtual": virtual,
}


def constant(kind, config, shape=(1,)):
    """An operation on a constant, which Keras would run while it loads."""
    value = np.zeros(shape).tolist()
    array = {"class_name": "__numpy__", "config": {"value": value, "dtype": "float32"}}
    return {
        "module": "keras.src.ops.numpy", "class_name": kind, "config": config,
        "registered_name": None, "name": "op", "inbound_nodes": [{"args": [array], "kwargs": {}}],
    }  # fmt: skip


def bombs(saved, folder):
    """Files of a few kB that declare far more, by name."""
    made = {}

    def keep(name, config):
        made[name] = with_config(folder / f"{name}.keras", saved, config)

    for key, kind in {"units": "Dense", "filters": "Conv2D"}.items():
        for size in (TERA, 2**24):
            config, layer = layer_config(saved, kind)
            layer["config"][key] = size
            keep(f"{key} {size}", config)
    config, layer = layer_config(saved, "InputLayer")
    layer["config"]["batch_shape"] = [None, 10**6, 10**6, 1]
    for other in config["config"]["layers"]:
        other.pop("build_config", None)
    config["config"].pop("build_input_shape", None)
    config.pop("build_config", None)
    keep("images", config)

    def network(name, *layers, shape=(6,), batch=None):
        """A functional network, its layers built as far as that is cheap, then enlarged."""
        path = folder / f"plain {name}.keras"
        functional(*layers, shape=shape, batch_size=batch).save(path)
        return json.loads(members(path)["config.json"])

    def enlarged(config, old, new):
        text = json.dumps(config)
        assert old in text
        return text.replace(old, new)

    config = network("state", L.LSTM(64, stateful=True), shape=(5, 3), batch=7)
    keep("state of a recurrent layer", enlarged(config, "[7, 5, 3]", f"[{10**9}, 5, 3]"))
    config = network("broadcast", L.Normalization(mean=1.0, variance=1.0), shape=(7,))
    keep("normalization", enlarged(config, "[null, 7]", f"[null, {10**10}]"))
    config = network("eager", L.Dense(2))
    config["config"]["layers"].append(constant("BroadcastTo", {"shape": [4000, 4000]}))
    keep("operation on a constant", config)
    config, layer = layer_config(saved, "Dense")
    layer["config"]["name"] = {
        "class_name": "__numpy__", "config": {"value": ["a"], "dtype": "<U1000000000"},
    }  # fmt: skip
    keep("wide letters", config)
    config, layer = layer_config(saved, "Dense")
    layer["config"]["activation"] = {
        "module": "keras.metrics", "class_name": "AUC", "registered_name": None,
        "config": {"num_thresholds": 10**11},
    }  # fmt: skip
    keep("thresholds", config)

    for name, change in WEIGHT_BOMBS.items():
        made[name] = with_weights(folder / f"{name}.keras", saved, change)
    parts = members(saved)
    zeros = parts | {"assets/zeros": bytes(2 * 10**7)}
    made["deflated"] = packed(folder / "deflated.keras", zeros, zipfile.ZIP_DEFLATED)
    made["overlap"] = packed(folder / "overlap.keras", parts)
    with zipfile.ZipFile(made["overlap"], "a") as archive:
        for index in range(1000):
            again = copy.copy(archive.getinfo(WEIGHTS))
            again.filename = f"assets/{index}"
            archive.filelist.append(again)
            archive._didModify = True
    return made


def damaged_weights(saved, folder):
    """Files whose HDF5 part was changed before its checksum was taken."""
    parts, rng, made = members(saved), np.random.default_rng(0), []
    meaning = np.flatnonzero(np.frombuffer(parts[WEIGHTS], "u1"))  # most of it is padding
    for index in range(100):
        weights = bytearray(parts[WEIGHTS])
        for position in rng.choice(meaning, 2):
            weights[position] = rng.choice([0, 1, 2, 255, int(rng.integers(256))])
        made.append(packed(folder / f"damaged {index}.keras", parts | {WEIGHTS: bytes(weights)}))
    return made


LOAD_ALL = """
import json, resource, sys, time
from kcnn import startup
startup.load()
import kcnn
from kcnn.loading import load_model

sound, *files = json.load(sys.stdin)
load_model(sound)  # what Keras needs the first time
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 10**9, size + 10**9))
before, seen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, {}
for file in files:
    start = time.perf_counter()
    try:
        load_model(file)
        message = None
    except kcnn.InputError as error:
        message = str(error)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen[file] = (message, seconds, peak - before)
    before = peak
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def hostile(saved, tmp_path_factory):
    """Bombs and damaged weights, and what became of all files in a process of its own.

    By file: the refusal or None, seconds, and how far the most memory it ever had rose, in kB.
    """
    folder = tmp_path_factory.mktemp("hostile")
    made, damaged = bombs(saved, folder), damaged_weights(saved, folder)
    files = [str(file) for file in (saved, *made.values(), *damaged)]
    run = subprocess.run(
        [sys.executable, "-c", LOAD_ALL], input=json.dumps(files), capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return made, damaged, json.loads(run.stdout)


@pytest.mark.slow
class TestBombs:
    def test_are_refused_quickly_and_cost_nothing(self, hostile):
        made, _, seen = hostile
        for name, path in made.items():
            message, seconds, kilobytes = seen[str(path)]
            assert message is not None, name
            assert seconds < 3.0, name
            assert kilobytes < 30_000, name
            assert "MemoryError" not in message, (name, message)
            assert "ResourceExhausted" not in message, (name, message)

    def test_messages_say_what_is_declared(self, hostile):
        made, _, _ = hostile
        refused(made[f"units {TERA}"], "Dense declares units=1,000,000,000,000")
        refused(made[f"units {2**24}"], r"needs [\d,]+ bytes for variables.*bear out [\d,]+\.")
        refused(made["images"], "bytes for one layer's outputs")
        refused(made["state of a recurrent layer"], r"bytes for variables|tensor__ declares")
        refused(made["normalization"], r"bytes for variables|tensor__ declares")
        refused(made["operation on a constant"], "called on no input")
        refused(made["never written"], r"'/layers/dense/vars/0' declares 4,000,000,000,000 bytes")
        refused(made["hard link"], "links")
        refused(made["deflated"], r"20,0\d\d,\d\d\d bytes when unpacked")
        refused(made["overlap"], "parts declare")


class TestDamage:
    """Whatever happened to a file: it loads, or it is refused; nothing else."""

    def outcome(self, path):
        model, message = None, path.name
        try:
            model = load_model(path)
        except kcnn.InputError as error:
            message = str(error)
        assert path.name in message
        return "refused" if model is None else "loaded"

    def test_cut_off_anywhere(self, saved, tmp_path):
        content, path = saved.read_bytes(), tmp_path / "x.keras"
        for length in [*range(0, len(content), len(content) // 150), len(content) - 1]:
            path.write_bytes(content[:length])
            assert self.outcome(path) == "refused", length

    @pytest.mark.slow
    def test_bytes_changed_anywhere(self, saved, tmp_path):
        content, path = saved.read_bytes(), tmp_path / "x.keras"
        rng = np.random.default_rng(0)
        with zipfile.ZipFile(saved) as archive:
            directory = archive.start_dir
        anywhere = rng.integers(0, len(content), 300)
        outcomes = []
        for position in [*anywhere, *range(directory, len(content))]:
            changed = bytearray(content)
            changed[position] ^= rng.integers(1, 256)
            path.write_bytes(changed)
            outcomes.append(self.outcome(path))
        assert outcomes[:300].count("refused") > 250

    def test_a_changed_weight_is_noticed(self, saved, tmp_path):
        parts = members(saved)
        value = np.float32(1.0).tobytes() * 2  # gamma of BatchNormalization
        content = saved.read_bytes()
        assert content.count(value) >= 1
        (tmp_path / "x.keras").write_bytes(content.replace(value, b"\0" * len(value)))
        refused(tmp_path / "x.keras", f"checksum of '{WEIGHTS}'")
        assert self.outcome(packed(tmp_path / "x.keras", parts)) == "loaded"

    def test_network_changed_anywhere(self, saved, tmp_path):
        """With a checksum that is right: damaged before it was packed, or made up."""
        parts, path = members(saved), tmp_path / "x.keras"
        rng = np.random.default_rng(0)
        for _ in range(60):
            config = bytearray(parts["config.json"])
            config[rng.integers(0, len(config))] = rng.choice(list(b'019"[]{},:-e.x \xff'))
            packed(path, parts | {"config.json": bytes(config)})
            self.outcome(path)

    @pytest.mark.slow
    def test_weights_changed_anywhere(self, hostile):
        """HDF5 is written in C, so it might end the process or never come back."""
        _, damaged, seen = hostile
        for path in damaged:
            message, seconds, kilobytes = seen[str(path)]
            assert message is None or path.name in message
            assert seconds < 3.0
            assert kilobytes < 30_000
        refusals = sum(seen[str(path)][0] is not None for path in damaged)
        assert 20 < refusals < 100
