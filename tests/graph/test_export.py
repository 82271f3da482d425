"""Networks in other runtimes: loaded there in processes where kcnn cannot be imported."""

import json
import subprocess
import sys
from functools import cache

import keras
import numpy as np
import pytest

import kcnn
from kcnn.graph.onnx_model import onnx_model

#: Loads files by their own runtime alone, and runs batches of 1, 5 and 33 images.
PROGRAM = """
import sys
sys.modules["kcnn"] = None
import numpy as np
form, work, *paths = sys.argv[1:]
def opened(path):
    if form == "onnx":
        import onnxruntime
        session = onnxruntime.InferenceSession(path)
        return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]
    if form == "litert":
        from ai_edge_litert.interpreter import Interpreter
        interpreter = Interpreter(model_path=path)
        def run(x):
            index = interpreter.get_input_details()[0]["index"]
            interpreter.resize_tensor_input(index, x.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(index, x)
            interpreter.invoke()
            return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        return run
    if form == "openvino":
        import openvino
        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(path, "CPU", hint)
        return lambda x: compiled(x)[0]
    if form == "savedmodel":
        import tensorflow as tf
        loaded = tf.saved_model.load(path)
        return lambda x: loaded.serve(x).numpy()
    import keras
    loaded = keras.models.load_model(path)
    return lambda x: np.asarray(loaded(x))
for k, path in enumerate(paths):
    run, images = opened(path), np.load(f"{work}/images{k}.npy")
    parts = [run(images[:1]), run(images[1:6]), run(images[6:])]
    np.save(f"{work}/outputs{k}.npy", np.concatenate(parts))
"""

pytestmark = pytest.mark.export

PACKAGES = {"onnx": ("onnx", "onnxruntime", "tf2onnx"), "litert": ("ai_edge_litert",),
            "openvino": ("openvino",), "savedmodel": (), "keras": ()}  # fmt: skip
ENDINGS = {"onnx": "net.onnx", "litert": "net.tflite", "openvino": "net.xml",
           "savedmodel": "net", "keras": "net.keras"}  # fmt: skip

#: One of each family, narrow.
NETWORKS = {
    "mlp": ("mlp", {"width": 16}),
    "lenet5_1998": ("lenet5_1998", {}),
    "alexnet": ("alexnet", {"hidden": (32, 32), "classes": 7, "lrn": True, "groups": 2,
                            "input_shape": (67, 67, 3)}),
    "vgg11": ("vgg11", {"widths": (4, 6, 8, 8, 8), "hidden": (16,), "batchnorm": True,
                        "input_shape": (32, 32, 3), "classes": 7}),
    "resnet18": ("resnet18", {"widths": (4, 6, 8, 8), "preact": True, "input_shape": (32, 32, 3),
                              "classes": 7, "preprocessing": "torch"}),
    "unet": ("unet", {"width": 4, "depth": 2, "input_shape": (None, None, 3), "classes": 3}),
    "fcn": ("fcn", {"width": 8, "hidden": (16, 16), "input_shape": (64, 64, 3), "classes": 3}),
}  # fmt: skip


def need(form):
    for package in PACKAGES[form]:
        pytest.importorskip(package, reason=f"needs the extra `export`: {package}")


@cache
def network(kind):
    """With BatchNorm that is not trivial, and lets no softmax be 0 and 1, which would hide much."""
    name, options = NETWORKS[kind]
    model = kcnn.build(name, **options)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(rng.uniform(-0.3, 0.3, layer.beta.shape))
            layer.momentum = 0.0
    model(images_for(model, 8), training=True)
    return model


def images_for(model, count=39):
    """Of 4 by 4 coloured blocks: of noise all images are alike to a deep network."""
    height, width, channels = (side or 32 for side in model.input_shape[1:])
    blocks = np.random.default_rng(1).uniform(0, 255, (count, 4, 4, channels)).astype("float32")
    images = blocks[:, np.arange(height) * 4 // height][:, :, np.arange(width) * 4 // width]
    return images / (1 if "normalize" in [layer.name for layer in model.layers] else 255)


def outputs_elsewhere(form, files, work):
    """Of paths and the images for each: outputs, by a process that cannot import kcnn."""
    for k, (_, images) in enumerate(files):
        np.save(work / f"images{k}.npy", images)
    paths = [str(path) for path, _ in files]
    done = subprocess.run([sys.executable, "-c", PROGRAM, form, str(work), *paths],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [np.load(work / f"outputs{k}.npy") for k in range(len(files))]


#: What is in the others they have, too; these formats go through a SavedModel, which takes seconds.
FEW = ("alexnet", "resnet18", "unet")


@pytest.mark.slow
def test_kernels_pass_the_converter_of_onnx_by(monkeypatch):
    """It copies constants fifty times: AlexNet took more memory than the machine had."""
    need("onnx")
    import onnxruntime
    import tf2onnx

    converted, convert = [], tf2onnx.convert.from_function

    def recorded(function, input_signature, **options):
        graph = function.get_concrete_function(*input_signature)
        converted.extend(value.shape.num_elements() for value in graph.variables)
        return convert(function, input_signature=input_signature, **options)

    monkeypatch.setattr(tf2onnx.convert, "from_function", recorded)
    image = keras.Input((16, 16, 3))
    shared, layers = keras.layers.Conv2D(24, 3, padding="same"), keras.layers
    inner = keras.Sequential([keras.Input((16, 16, 24)), layers.Conv2D(40, 5, strides=2)])
    x = shared(shared(layers.Conv2D(24, 14, padding="same")(image)))
    x = layers.Conv2DTranspose(30, 4, strides=2)(inner(x))
    x = layers.Dense(9, name="few")(layers.Dense(80)(layers.Flatten()(x)))
    model = keras.Model(image, x)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    made = onnx_model(model)
    assert max(converted) == 80 * 9  # of "few"; all others are inputs while it works
    assert [one.name for one in made.graph.input] == ["images"]
    constants = {one.name for one in made.graph.initializer}
    assert not [n for n in made.graph.node if n.op_type == "Transpose" and n.input[0] in constants]
    images = rng.uniform(0, 1, (3, 16, 16, 3)).astype("float32")
    found = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"images": images})[0]
    np.testing.assert_allclose(found, model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "kinds"), [
    ("keras", NETWORKS), ("onnx", NETWORKS), ("savedmodel", FEW), ("litert", FEW),
    ("openvino", FEW),
])  # fmt: skip
def test_outputs_in_a_runtime_of_its_own(form, kinds, tmp_path):
    """All networks at their own sizes in every format: `benchmarks/export.py`."""
    need(form)
    files, expected, apart = [], [], {}
    for kind in kinds:
        model = network(kind)
        images = images_for(model)
        found = kcnn.export(model, tmp_path / kind / ENDINGS[form], format=form, images=images)
        apart[f"{kind}, as it says"] = found.difference
        assert (found.images, found.made_up) == (39, False)
        assert found.agreement > 0.999, kind
        files.append((found.path, images))
        expected.append(np.asarray(model(images, training=False)))
    ours = outputs_elsewhere(form, files, tmp_path)
    for kind, one, other in zip(kinds, ours, expected, strict=True):
        apart[kind] = np.abs(one - other).max() / np.abs(other).max()
    assert not {what: far for what, far in apart.items() if not far < 1e-5}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_fewer_bits(form, tmp_path):
    need(form)
    model = kcnn.build("lenet5")
    images = images_for(model)
    full, half, small = (
        kcnn.export(model, tmp_path / precision / ENDINGS[form], precision=precision,
                    images=images, accept=True)
        for precision in ("float32", "float16", "int8")
    )  # fmt: skip
    assert 1e-5 < half.difference < 8e-3
    assert 0.4 < half.size / full.size < 0.75
    assert 1e-3 < small.difference < 0.5  # it is another arithmetic, and the same network
    assert small.size < 0.4 * full.size


def test_keras_file_needs_nothing(tmp_path):
    model = network("mlp")
    found = kcnn.export(model, tmp_path / "net.keras")
    assert (found.form, found.made_up, found.images) == ("keras", True, 33)
    assert found.difference < 1e-5
    loaded = keras.models.load_model(found.path)
    images = images_for(model)
    np.testing.assert_allclose(loaded(images), model(images), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_what_is_wrong_is_not_written(tmp_path, monkeypatch):
    """A converter that changes a network is found out, and what was there stays."""
    from kcnn.graph import formats

    path = tmp_path / "net.keras"
    kcnn.export(network("mlp"), path)
    before = path.read_bytes()

    def wrong(model, path, *rest):
        other = keras.models.clone_model(model)
        other.save(path)

    monkeypatch.setitem(formats._WRITERS, "keras", wrong)
    with pytest.raises(kcnn.InputError, match="differs from the model"):
        kcnn.export(network("mlp"), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["net.keras"]


def test_int8_is_kept_for_its_accuracy(tmp_path, monkeypatch):
    """By labelled images; with a writer that forgets the weights in the place of int8's."""
    from kcnn.graph import formats

    def forgets(model, path, *rest):
        keras.models.clone_model(model).save(path)

    monkeypatch.setitem(formats.FORMATS, "keras", formats.Format(".keras", ("int8",)))
    monkeypatch.setitem(formats._WRITERS, "keras", forgets)
    model = network("mlp")
    images = images_for(model)
    labels = np.asarray(model(images)).argmax(axis=1)
    options = {"precision": "int8", "images": images, "validation": (images, labels)}
    with pytest.raises(kcnn.InputError, match=r"in float32 on 100\.00 %: it is not kept"):
        kcnn.export(model, tmp_path / "net.keras", **options)
    assert not list(tmp_path.iterdir())
    found = kcnn.export(model, tmp_path / "net.keras", accept=True, **options)
    right = np.asarray(keras.models.load_model(found.path)(images)).argmax(axis=1) == labels
    assert (found.accuracy, found.before) == (pytest.approx(100 * right.mean()), 100.0)


@pytest.mark.parametrize(("path", "options", "said"), [
    ("net.onnx", {"format": "tflite"}, "format is keras, savedmodel"),
    ("net.pb", {}, r"ending .* says no format: \.keras keras"),
    ("net.bin", {"format": "onnx"}, r"ends in \.onnx"),
    ("net.keras", {"precision": "float16"}, "kcnn writes keras in float32"),
    ("net.tflite", {"precision": "int8"}, "int8 chooses its scales by real images"),
    ("net.tflite", {"precision": "int8", "images": np.zeros((9, 32, 32, 1))},
     r"pass validation=\(images, classes\), or accept=True"),
    ("net.keras", {"images": np.zeros((3, 3))}, r"images are \(N, H, W, C\)"),
])  # fmt: skip
def test_what_cannot_be_done(path, options, said, tmp_path):
    with pytest.raises(kcnn.InputError, match=said):
        kcnn.export(network("mlp"), tmp_path / path, **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_others_stays(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "letter.txt").write_text("mine")
    with pytest.raises(kcnn.InputError, match="is a folder, and no SavedModel"):
        kcnn.export(network("mlp"), tmp_path / "net", format="savedmodel")
    assert (tmp_path / "net" / "letter.txt").read_text() == "mine"


@pytest.mark.slow
def test_a_run_by_the_command_line(digits_run, tmp_path, capsys):
    from kcnn.cli.main import main

    need("onnx")
    import onnx

    path = tmp_path / "net.onnx"
    assert main(["export", str(digits_run.directory), "--format", "onnx", "--out", str(path)]) == 0
    said = capsys.readouterr().out
    assert "64 images of the run" in said
    assert "100.00%" in said
    test = kcnn.load_data("digits").test
    images = test.array.astype("float32")
    (found,) = outputs_elsewhere("onnx", [(path, images)], tmp_path)
    right = np.mean(found.argmax(axis=1) == test.labels)
    assert right == pytest.approx(digits_run.result["test_accuracy"], abs=1e-3)
    notes = {p.key: json.loads(p.value) for p in onnx.load(path).metadata_props}
    assert notes["class_names"] == list(digits_run.class_names)


@pytest.mark.slow
def test_int8_of_a_run_is_accepted_by_its_accuracy(digits_run, tmp_path, capsys, monkeypatch):
    from kcnn.cli.main import main
    from kcnn.graph import agreement

    need("litert")
    path = tmp_path / "net.tflite"
    command = ["export", str(digits_run.directory), "--format", "litert", "--precision", "int8",
               "--out", str(path)]  # fmt: skip
    assert main(command) == 0
    assert "in float32" in capsys.readouterr().out
    before = path.read_bytes()
    monkeypatch.setattr(agreement, "MAY_COST", -200.0)
    assert main(command) == 2
    assert "it is not kept" in capsys.readouterr().err
    assert path.read_bytes() == before  # one that was accepted stays
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    path.unlink()
    assert main([*command, "--accept"]) == 0
    assert path.exists()


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(kcnn.InputError, match=r"pip install 'kcnn\[export\]'"):
        kcnn.export(network("mlp"), tmp_path / "net.onnx")
