"""Detection through every door: train, figures, files, resume, averages, evaluation, tuning."""

import csv
import json

import numpy as np
import pytest
from oracles import without_kcnn
from oracles.bits import assert_same_runs
from oracles.pictures import Break, boxes_folder
from PIL import Image

import kcnn
from kcnn.cli.main import main
from kcnn.data.sets.annotations import View
from kcnn.errors import InputError
from kcnn.runs.directory import load_run
from kcnn.runs.inference import evaluate_run, predict
from kcnn.tasks import box_pictures
from kcnn.tasks.box_errors import errors
from kcnn.tasks.detection import in_file
from kcnn.tasks.fcos import Detections

pytest.importorskip("faster_coco_eval")

SMALL = {
    "model": "fcos", "options": {"width": 4, "channels": 8, "depth": 1, "strides": (4, 8)},
    "backbone": "resnet18", "epochs": 2, "batch_size": 4, "learning_rate": 0.01, "seed": 3,
    "image_size": (32, 32),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Names in brackets: they are no markup."""
    root = tmp_path_factory.mktemp("data") / "cells [red]"
    return boxes_folder(root, {"train": 14, "val": 5, "test": 6})


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    recipe = kcnn.Recipe(data=str(folder), logs=str(logs), name="run", **SMALL)
    return kcnn.train(recipe, verbose=False)


@pytest.mark.slow
def test_it_records(run):
    result = json.loads((run.directory / "result.json").read_text())
    for name in ("ap", "ap50", "ap75", "ar"):
        assert 0 <= result[f"test_{name}"] <= 1
        assert 0 <= result[f"validation_{name}"] <= 1
    assert list(result["test_ap_per_class"]) == ["red", "green"]
    assert "test_ap_small" in result
    assert result["validation_ap"] == max(run.history["val_ap"])
    for name in ("predictions", "precision_recall"):
        with Image.open(run.directory / f"{name}.png") as shown:
            assert min(shown.size) > 300


@pytest.mark.slow
def test_figures_are_those_of_the_file_that_predict_writes(run, folder, tmp_path, capsys):
    """COCO JSON to COCO JSON, by pycocotools: nothing of kcnn's figures counts here."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = sorted((folder / "test").iterdir())
    assert (
        main(["predict", str(run.directory), str(folder / "test"), "--output", str(tmp_path)]) == 0
    )
    assert "p001.png" in capsys.readouterr().out
    written = json.loads((tmp_path / "detections.json").read_text())
    truth = COCO(folder / "annotations_test.json")
    ids = {image["file_name"]: image["id"] for image in truth.dataset["images"]}
    by_id = {one["id"]: ids[one["file_name"].rpartition("/")[2]] for one in written["images"]}
    assert len(by_id) == len(images)
    names = {one["id"]: one["name"] for one in written["categories"]}
    assert names == {1: "red", 2: "green"}
    found = [row | {"image_id": by_id[row["image_id"]]} for row in written["annotations"]]
    evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(run.result["test_ap"], abs=5e-3)  # boxes of .01
    assert evaluation.stats[1] == pytest.approx(run.result["test_ap50"], abs=5e-3)
    for image in written["images"]:
        with Image.open(image["file_name"]) as file:
            assert file.size == (image["width"], image["height"])
    rows = list(csv.DictReader((tmp_path / "detections.csv").read_text().splitlines()))
    assert len(rows) == len(found)
    for row, one in zip(rows, found, strict=True):
        left, top, width, height = one["bbox"]
        place = [float(row[k]) for k in ("x_min", "y_min", "x_max", "y_max")]
        np.testing.assert_allclose(place, [left, top, left + width, top + height], atol=0.02)
        assert 0 <= float(row["confidence"]) <= 1


@pytest.mark.slow
def test_its_report_shows_what_is_wrong(run):
    assert main(["inspect", str(run.directory)]) == 0
    content = (run.directory / "inspect" / "report.html").read_text(encoding="utf-8")
    assert "Not shown" not in content
    for text in ("Worst mistakes", "missed", "named wrongly", "p00"):
        assert text in content
    assert (run.directory / "inspect" / "worst-mistakes-1.png").is_file()


@pytest.mark.slow
def test_boxes_lie_in_the_file(run, folder):
    paths = sorted((folder / "test").iterdir())
    for one in predict(run, paths):
        with Image.open(one.path) as file:
            assert one.size == file.size[::-1]
        assert (one.boxes >= 0).all()
        assert (one.boxes <= np.tile(one.size[::-1], 2) + 1e-3).all()
        assert (np.diff(one.confidences) <= 0).all()


@pytest.mark.slow
def test_arrays_give_the_boxes_that_files_give(run, folder):
    """Those of files are proven by pycocotools above; here pictures are read by Pillow alone."""
    paths = sorted((folder / "test").iterdir())
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    for found in (kcnn.predict(run, arrays), kcnn.predict(run.directory, arrays, batch_size=1)):
        for one, file in zip(found, predict(run, paths), strict=True):
            assert one.path is None
            assert one.size == file.size
            np.testing.assert_allclose(one.boxes, file.boxes, atol=1e-3)
            np.testing.assert_allclose(one.confidences, file.confidences, atol=1e-5)
            np.testing.assert_array_equal(one.classes, file.classes)
    assert any(len(one.boxes) for one in found)


@pytest.mark.slow
def test_evaluated_again_and_on_a_folder_that_is_handed_over(run, folder, capsys):
    again = evaluate_run(load_run(run.directory))
    for name, value in again.figures.items():
        assert value == pytest.approx(run.result[f"test_{name}"], abs=1e-5)
    assert again.loss == pytest.approx(run.result["test_loss"], rel=1e-3)
    assert main(["evaluate", str(run.directory), "--data", str(folder)]) == 0
    assert "6 images" in capsys.readouterr().out


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"ignore": (1,)}, "ignore=.* is of segmentation"),
            ({"mixup": 0.2}, "mixup=0.2 is of classification"),
            ({"data": "digits"}, "data of classification, not of detection"),
            ({"image_size": (30, 32)}, "30"),
            ({"model": "unet", "options": {"depth": 2}, "backbone": None},
             "pictures with boxes: data of detection.*fcos"),
        ],
    )  # fmt: skip
    def test_before_anything_is_written(self, folder, tmp_path, fields, message):
        recipe = kcnn.Recipe(**{"data": str(folder), "logs": str(tmp_path)} | SMALL | fields)
        with pytest.raises(InputError, match=message):
            kcnn.train(recipe, verbose=False)
        assert list(tmp_path.iterdir()) == []

    def test_without_the_evaluator(self, folder, tmp_path, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        recipe = kcnn.Recipe(data=str(folder), logs=str(tmp_path), **SMALL)
        with pytest.raises(InputError, match=r"pip install 'kcnn\[detection\]'"):
            kcnn.train(recipe, verbose=False)
        assert list(tmp_path.iterdir()) == []

    def test_validation_without_a_box(self, tmp_path):
        root = boxes_folder(tmp_path / "data", {"train": 6, "val": 2})
        path = root / "annotations_val.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
        recipe = kcnn.Recipe(data=str(root), logs=str(tmp_path), **SMALL)
        with pytest.raises(InputError, match="validation split has no box"):
            kcnn.train(recipe, verbose=False)


#: Kills from outside, and a moving average, are in tests/test_kills.py.
AVERAGES = {"swa": {"swa_start": 0.5, "swa_learning_rate": 0.01, "epochs": 4}}


@pytest.mark.slow
@pytest.mark.parametrize("kind", AVERAGES)
def test_broken_off_it_goes_on_to_the_same_bits(kind, folder, tmp_path):
    fields = SMALL | {"checkpoint_every": "1", "steps_per_execution": 1}
    fields |= {"logs": str(tmp_path), "data": str(folder)} | AVERAGES[kind]
    kcnn.train(kcnn.Recipe(name="whole", **fields), callbacks=[Break()], verbose=False)
    with pytest.raises(ZeroDivisionError):
        kcnn.train(kcnn.Recipe(name="broken", **fields), callbacks=[Break(6)], verbose=False)
    kcnn.resume(tmp_path / "broken", callbacks=[Break()], verbose=False)
    assert_same_runs(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.slow
def test_saved_files_load_without_kcnn(run, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (2, 27, 41, 3)).astype("float32")
    run.model.save(tmp_path / "handed.keras")
    paths = [str(tmp_path / "handed.keras"), str(run.directory / "model.keras")]
    for found in without_kcnn.outputs(paths, images, tmp_path).values():
        np.testing.assert_allclose(found, run.model(images), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")
def test_tuning_ranks_by_ap(folder, tmp_path, capsys):
    arguments = ["tune", "fcos", "--data", str(folder), "--trials", "1", "--epochs", "1",
                 "--logs", str(tmp_path), "--name", "search", "--space", "width=4",
                 "channels=8", "depth=1", "batch_size=4"]  # fmt: skip
    assert main(arguments) == 0
    assert "AP" in capsys.readouterr().out


def test_boxes_go_back_into_the_file():
    view = View((100, 200), (25, 50), 0, 0, (32, 64))
    found = in_file(np.array([[5.0, 2.5, 50.0, 25.0]], "float32"), view)
    np.testing.assert_allclose(found, [[20, 10, 200, 100]])


class TestPictures:
    TRUTH = np.array([[0, 0, 10, 10, 0, 0], [20, 20, 30, 30, 1, 0], [-1, -1, -1, -1, -1, -1]])

    def found(self, boxes, scores, classes):
        return Detections(
            np.array(boxes, "float32").reshape(-1, 4), np.array(scores), np.array(classes)
        )

    @pytest.mark.parametrize(
        ("boxes", "scores", "classes", "expected"),
        [
            ([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.8], [0, 1], 1.0),
            ([[0, 0, 10, 10]], [0.9], [0], 2 / 3),
            ([[0, 0, 10, 10], [0, 0, 10, 9]], [0.9, 0.8], [0, 0], 0.5),  # one box, found twice
            ([[0, 0, 10, 10]], [0.9], [1], 0.0),  # of another class
            ([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.1], [0, 1], 2 / 3),  # not certain
            ([], [], [], 0.0),
        ],
    )
    def test_how_good_a_picture_is(self, boxes, scores, classes, expected):
        found = self.found(boxes, scores, classes)
        assert errors([self.TRUTH], [found], 2).f1 == pytest.approx([expected])

    def test_nothing_there_and_nothing_seen(self):
        assert errors([self.TRUTH[2:]], [self.found([], [], [])], 2).f1 == [1.0]

    def test_boxes_are_drawn_where_they_are(self):
        image = np.zeros((40, 60, 3), np.uint8)
        drawn = box_pictures.boxed(image, np.array([[6, 10, 50, 30]]), np.array([0]), ["a [b]"])
        times = drawn.shape[0] // 40
        assert drawn.shape == (40 * times, 60 * times, 3)
        lit = drawn.sum(axis=-1) > 0
        rows, columns = (
            np.flatnonzero(lit[15 * times :].any(axis=1)),
            np.flatnonzero(lit.any(axis=0)),
        )
        assert columns[0] == 6 * times
        assert columns[-1] == 50 * times - 1
        assert rows[-1] + 15 * times == 30 * times - 1
        assert not lit[20 * times, 10 * times : 45 * times].any()

    def test_a_table_holds_no_formula(self):
        assert box_pictures._cell("=1+1") == "'=1+1"
