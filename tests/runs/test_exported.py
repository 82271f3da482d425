"""Files of `kcnn export` are predicted and evaluated with as runs are."""

import dataclasses
import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles.pictures import boxes_folder, masks_folder
from PIL import Image

import kcnn
from kcnn.cli.main import main
from kcnn.graph.notes import read
from kcnn.runs.inference import evaluate_run, predict
from kcnn.runs.published import run_of

pytestmark = pytest.mark.export

PACKAGES = {"onnx": ("onnx", "onnxruntime", "tf2onnx"), "litert": ("ai_edge_litert",),
            "openvino": ("openvino",), "savedmodel": (), "keras": ()}  # fmt: skip
ENDINGS = {"onnx": "net.onnx", "litert": "net.tflite", "openvino": "net.xml",
           "savedmodel": "net", "keras": "net.keras"}  # fmt: skip
FORMS = [pytest.param(form, marks=() if form == "keras" else pytest.mark.slow) for form in ENDINGS]


def exported(run, form, folder):
    for package in PACKAGES[form]:
        pytest.importorskip(package, reason=f"needs the extra `export`: {package}")
    path = folder / ENDINGS[form]
    assert main(["export", str(run.directory), "--format", form, "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module", params=FORMS)
def classifier(request, digits_run, tmp_path_factory):
    """A format, and the file."""
    return request.param, exported(digits_run, request.param, tmp_path_factory.mktemp("classifier"))


@pytest.mark.slow
def test_a_classifier_in_a_file(classifier, digits_run, tmp_path, capsys):
    form, path = classifier
    (tmp_path / "pictures").mkdir()
    test = kcnn.load_data("digits").test
    files = [tmp_path / "pictures" / f"{k}.png" for k in range(5)]
    for file, image in zip(files, np.asarray(test.array), strict=False):
        Image.fromarray(np.uint8(image[..., 0])).save(file)
    assert main(["predict", str(path), *map(str, files)]) == 0
    said = capsys.readouterr().out
    ours, theirs = predict(run_of(path), files), predict(digits_run, files)
    for one, other in zip(ours, theirs, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        assert str(one.path) in said
    if form in ("savedmodel", "keras"):
        graph = tf.function(run_of(path).model).get_concrete_function(tf.zeros((5, 8, 8, 1)))
        assert "PyFunc" not in str(graph.graph.as_graph_def())  # with one core it waits for itself
    assert main(["evaluate", str(path)]) == 0
    assert f"{100 * digits_run.result['test_accuracy']:.2f}" in capsys.readouterr().out
    found = evaluate_run(run_of(path))
    assert found.figures["accuracy"] == digits_run.result["test_accuracy"]
    assert found.loss == pytest.approx(digits_run.result["test_loss"], rel=1e-4)


def test_notes_name_no_folder_of_this_machine(classifier, digits_run):
    form, path = classifier
    notes = read(path, form)
    assert notes["class_names"] == [str(k) for k in range(10)]
    assert notes["run"]["data"]["source"] == "digits"
    assert str(digits_run.directory.parent) not in json.dumps(notes)
    assert notes["mean"] == pytest.approx(kcnn.weights.normalisation(digits_run.model).mean)
    if form == "litert":
        with zipfile.ZipFile(path) as archive:  # where TFLite's own tools look for them
            assert archive.read("labels.txt").decode().splitlines() == notes["class_names"]
    if form == "keras":
        assert keras.models.load_model(path).output_shape == (None, 10)


@pytest.mark.slow
def test_a_path_stays_at_home(tmp_path):
    """Of a run on files, neither the folder nor where its weights lay is told."""
    rng = np.random.default_rng(0)
    secret = tmp_path / "of Jane Doe"
    secret.mkdir()
    arrays = {f"{x}_{part}": rng.integers(0, high, shape).astype("uint8")
              for part in ("train", "test")
              for x, high, shape in (("x", 255, (40, 8, 8, 1)), ("y", 2, (40,)))}  # fmt: skip
    np.savez(secret / "own.npz", **arrays)
    recipe = kcnn.Recipe(model="mlp", data=str(secret / "own.npz"), epochs=1, logs=str(tmp_path))
    run = kcnn.train(recipe, verbose=False)
    path = exported(run, "keras", tmp_path)
    assert b"Jane" not in path.read_bytes()
    with pytest.raises(kcnn.InputError, match="say what to evaluate on"):
        evaluate_run(run_of(path))
    found = evaluate_run(run_of(path), str(secret / "own.npz"))
    assert found.figures["accuracy"] == run.result["test_accuracy"]


def test_no_field_of_the_recipe_names_a_folder(digits_run):
    """Neither a cache nor a file with a network of one's own."""
    from kcnn.runs.exported import notes_of

    own = {"cache": "/home/jane/cache", "model": "/home/jane/nets.py:tiny",
           "weights": "/home/jane/w.safetensors"}  # fmt: skip
    recipe = dataclasses.replace(digits_run.recipe, **own)
    run = dataclasses.replace(digits_run, recipe=recipe)
    notes = notes_of(run, run.network)
    assert "jane" not in json.dumps(notes)
    assert notes["run"]["recipe"]["model"] == "nets.py:tiny"


def test_a_file_that_says_nothing(tmp_path, capsys):
    path = kcnn.export(kcnn.build("mlp"), tmp_path / "net.keras").path
    assert main(["predict", str(path), "x.png"]) == 2
    assert "does not say what its classes are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda notes: notes["run"].pop("input_shape"), "input_shape"),
        (lambda notes: notes["run"].update(input_shape=["a", 2, 3]), "input_shape"),
        (lambda notes: notes["run"]["recipe"].update(epochs="many"), "epochs"),
        (lambda notes: notes.update(run=[]), "run|object|dictionary"),
    ],
)
@pytest.mark.slow
def test_notes_of_a_stranger(change, said, digits_run, tmp_path):
    path = exported(digits_run, "keras", tmp_path)
    notes = read(path, "keras")
    change(notes)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["assets/kcnn.json"] = json.dumps(notes).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(kcnn.InputError, match=said):
        run_of(path)


def trained(folder, **recipe):
    return kcnn.train(kcnn.Recipe(logs=str(folder), name="run", image_size=(32, 32), **recipe),
                      verbose=False)  # fmt: skip


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    """The folder of masks, and a run on it."""
    root = tmp_path_factory.mktemp("unet")
    folder = masks_folder(root / "data", {"train": 10, "val": 4, "test": 3})
    return folder, trained(root, model="unet", data=str(folder), epochs=1,
                           options={"width": 4, "depth": 2})  # fmt: skip


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """The folder of boxes, and a run on it."""
    pytest.importorskip("faster_coco_eval")
    root = tmp_path_factory.mktemp("detector")
    folder = boxes_folder(root / "data", {"train": 14, "val": 5, "test": 3}, mixed=False)
    return folder, trained(root, model="fcos", data=str(folder), epochs=3, batch_size=4, seed=3,
                           options={"width": 4, "channels": 8, "depth": 1, "strides": (4, 8)},
                           backbone="resnet18", learning_rate=0.01)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("form", ["savedmodel", "onnx", "litert", "openvino"])
def test_a_unet_leaves(form, unet, tmp_path):
    """The same masks, for pictures whose sides no stride divides."""
    folder, run = unet
    path = exported(run, form, tmp_path)
    images = sorted((folder / "test" / "images").iterdir())
    for one, other in zip(predict(run_of(path), images), predict(run, images), strict=True):
        assert np.mean(one.mask == other.mask) > 0.999
    ours = evaluate_run(run_of(path), str(folder)).figures
    assert ours["mean_iou"] == pytest.approx(run.result["test_mean_iou"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("form", list(ENDINGS))
def test_a_detector_leaves_with_its_decoding(form, detector, tmp_path, capsys):
    """The same boxes, in the file's own pixels; of a `.keras` file, which has none, by kcnn."""
    folder, run = detector
    path = exported(run, form, tmp_path)
    said, decoded = " ".join(capsys.readouterr().out.split()), form != "keras"
    assert ("boxes (N, 100, 6)" in said) == decoded
    assert ("not decoded" in said) == (not decoded)
    assert read(path, form)["outputs"] in said
    if form in ("savedmodel", "openvino"):
        return  # the command has compared the boxes of validation
    images = sorted((folder / "test").rglob("*.png"))
    assert images
    for one, other in zip(predict(run_of(path), images), predict(run, images), strict=True):
        assert len(other.boxes)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        np.testing.assert_allclose(one.confidences, other.confidences, atol=1e-4)
        np.testing.assert_array_equal(one.classes, other.classes)
    if form == "onnx":  # boxes are boxes, whoever gives them
        ours = evaluate_run(run_of(path), str(folder)).figures
        assert ours["ap"] == pytest.approx(run.result["test_ap"], abs=1e-3)
        assert main(["evaluate", str(path), "--data", str(folder)]) == 0
        assert "nan" not in capsys.readouterr().out
    if not decoded:
        with zipfile.ZipFile(path) as archive:
            assert b"kcnn" not in archive.read("config.json")  # it loads where kcnn is not
