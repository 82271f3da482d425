"""Segmentation through every door: folders and arrays, our networks and theirs, resume, files."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import without_kcnn
from oracles.bits import assert_same_runs
from oracles.pictures import Break, masks_folder, picture
from PIL import Image

import kcnn
from kcnn.cli.main import main
from kcnn.data.sets.decoding import decode
from kcnn.data.sets.mask_arrays import from_masks
from kcnn.errors import InputError
from kcnn.runs.directory import load_run
from kcnn.runs.inference import evaluate_run, predict
from kcnn.tasks.pictures import Whole, whole_of
from kcnn.tasks.segmentation import TASK
from kcnn.tasks.show import FileNames

NETWORK = {"model": "unet", "options": {"width": 4, "depth": 2}, "batchnorm": True}
SMALL = NETWORK | {"epochs": 2, "batch_size": 4, "learning_rate": 0.02, "seed": 3,
                   "image_size": (32, 32)}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Names in brackets: they are no markup."""
    root = tmp_path_factory.mktemp("data") / "pictures [red]"
    root = masks_folder(root, {"train": 14, "val": 5, "test": 6})
    for kind in ("images", "masks"):
        (root / "test" / kind / "p000.png").rename(root / "test" / kind / "[bold]p.png")
    (root / "classes.txt").write_text("[ground]\nred\ngreen\n")
    return root


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    recipe = kcnn.Recipe(data=str(folder), logs=str(logs), name="run", **SMALL)
    return kcnn.train(recipe, verbose=False)


def confusion(masks, truths, classes=3):
    """Counted by hand, pixel by pixel of the files."""
    found = np.zeros((classes, classes), int)
    for mask, truth in zip(masks, truths, strict=True):
        assert mask.shape == truth.shape
        np.add.at(found, (truth.reshape(-1), mask.reshape(-1)), 1)
    return found


def truths(folder, part):
    return {p.stem: np.asarray(Image.open(p)) for p in (folder / part / "masks").iterdir()}


def mean_iou(counts):
    both = np.diagonal(counts)
    return float(np.mean(both / (counts.sum(0) + counts.sum(1) - both)))


@pytest.mark.slow
def test_its_report_shows_the_worst_pictures(run):
    assert main(["inspect", str(run.directory)]) == 0
    content = (run.directory / "inspect" / "report.html").read_text(encoding="utf-8")
    assert "Not shown" not in content
    for text in ("Worst mistakes", "mostly taken for", "[ground]"):
        assert text in content
    assert (run.directory / "inspect" / "worst-mistakes.png").is_file()


@pytest.mark.slow
def test_it_learns_and_records(run):
    assert (
        run.history["val_mean_iou"][-1] > run.history["val_mean_iou"][0]
        or max(run.history["val_mean_iou"]) > 0.3
    )
    result = json.loads((run.directory / "result.json").read_text())
    for name in ("mean_iou", "pixel_accuracy", "dice", "loss"):
        assert result[f"test_{name}"] >= 0
        assert result[f"validation_{name}"] >= 0
    assert list(result["test_iou_per_class"]) == ["[ground]", "red", "green"]
    assert result["validation_mean_iou"] == max(run.history["val_mean_iou"])
    assert run.recipe.scale == 1.5
    assert run.recipe.colour == 0.2
    with Image.open(run.directory / "predictions.png") as shown:
        assert shown.format == "PNG"
        assert min(shown.size) > 300


@pytest.mark.slow
def test_the_figure_is_that_of_the_masks_that_predict_writes(run, folder, tmp_path, capsys):
    """Files to files: nothing of kcnn's figures counts here."""
    images = sorted((folder / "test" / "images").iterdir())
    assert main(["predict", str(run.directory), *map(str, images), "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "[ground]" in out
    assert "[bold]p.png" in out
    true = truths(folder, "test")
    masks = {}
    for path in images:
        with Image.open(tmp_path / f"{path.stem}.png") as mask:
            assert mask.mode == "P"
            masks[path.stem] = np.asarray(mask)
        with Image.open(tmp_path / f"{path.stem}-overlay.png") as seen, Image.open(path) as image:
            assert seen.size == image.size
    counts = confusion([masks[p.stem] for p in images], [true[p.stem] for p in images])
    assert mean_iou(counts) == pytest.approx(run.result["test_mean_iou"], abs=1e-6)
    accuracy = np.trace(counts) / counts.sum()
    assert accuracy == pytest.approx(run.result["test_pixel_accuracy"], abs=1e-6)


@pytest.mark.slow
def test_the_model_that_is_handed_out_takes_any_size(run, folder):
    for path in list((folder / "test" / "images").iterdir())[:4]:
        image = decode(path)
        outputs = np.asarray(run.model(image[None].astype("float32")))
        assert outputs.shape == (1, *image.shape[:2], 3)
        (found,) = predict(run, [path])
        np.testing.assert_array_equal(outputs[0].argmax(axis=-1), found.mask)
        assert sum(found.shares.values()) == pytest.approx(1.0)


@pytest.mark.slow
def test_fcn_on_pictures_of_any_size(folder, tmp_path):
    """Keras enlarges bilinearly where the graph knows the sizes, and there alone."""
    options = {"backbone": "vgg11", "width": 4, "hidden": (8,)}
    recipe = kcnn.Recipe(data=str(folder), logs=str(tmp_path),
                         **SMALL | {"model": "fcn", "options": options, "epochs": 1})  # fmt: skip
    run = kcnn.train(recipe, verbose=False)
    assert math.isfinite(run.result["test_mean_iou"])
    image = np.random.default_rng(0).integers(0, 255, (1, 27, 41, 3)).astype("float32")
    assert run.model(image).shape == (1, 27, 41, 3)


@pytest.mark.slow
def test_evaluated_again_and_on_a_folder_that_is_handed_over(run, folder, capsys):
    again = evaluate_run(run)
    for name, value in again.figures.items():
        assert value == pytest.approx(run.result[f"test_{name}"], abs=1e-6)
    assert again.loss == pytest.approx(run.result["test_loss"], rel=1e-4)
    # `test` of the folder that is named, else all of it.
    assert evaluate_run(run, str(folder)).images == 6
    assert main(["evaluate", str(run.directory), "--data", str(folder / "val")]) == 0
    assert "5 images" in capsys.readouterr().out


@pytest.mark.slow
def test_figures_on_validation_are_of_whole_pictures(run, folder):
    kept = evaluate_run(run, str(folder / "val"))
    assert kept.figures["mean_iou"] == pytest.approx(run.result["validation_mean_iou"], abs=1e-5)


@pytest.mark.slow
def test_the_plan_and_the_graph_agree(run):
    assert whole_of(run.network, run.recipe).multiple == 4
    assert load_run(run.directory).network.input_shape == (None, None, None, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixup": 0.2}, "mixup=0.2 is of classification"),
        ({"label_smoothing": 0.1}, "label_smoothing=0.1 is of classification"),
        ({"evaluation_scale": 1.2}, "evaluation_scale=1.2 is of classification"),
        ({"ignore": (0, 1, 2)}, "leaves none of the values"),
        ({"class_weights": "1,2"}, "2 numbers; the data have 3 classes"),
        ({"image_size": (30, 32)}, "30"),
        ({"cache": "memory"}, "cache"),
        ({"options": {"padding": "valid"}}, "padding='same'"),
        ({"data": "digits"}, "data of classification, not of segmentation"),
    ],
)
def test_refused_before_anything_is_written(folder, tmp_path, fields, message):
    recipe = kcnn.Recipe(**{"data": str(folder), "logs": str(tmp_path)} | SMALL | fields)
    with pytest.raises(InputError, match=message):
        kcnn.train(recipe, verbose=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", ["ignore", "dice", "scale", "longest_side"])
def test_fields_of_other_tasks_are_not_ignored(field, tmp_path):
    values = {"ignore": (1,), "dice": 0.5, "scale": 2.0, "longest_side": 64}
    with pytest.raises(InputError, match=f"{field}=.* is of "):
        kcnn.train(kcnn.Recipe(**{field: values[field]}, logs=str(tmp_path)), verbose=False)


#: Kills from outside, and weight averaging, are in tests/test_kills.py.
AVERAGES = {"ema": {"ema": 0.9, "dice": 0.5, "class_weights": "balanced"}}


@pytest.mark.slow
@pytest.mark.parametrize("kind", AVERAGES)
def test_broken_off_it_goes_on_to_the_same_bits(kind, folder, tmp_path):
    fields = SMALL | {"dropout": 0.2, "checkpoint_every": "1", "steps_per_execution": 1}
    fields |= {"logs": str(tmp_path), "data": str(folder)} | AVERAGES[kind]
    kcnn.train(kcnn.Recipe(name="whole", **fields), callbacks=[Break()], verbose=False)
    with pytest.raises(ZeroDivisionError):
        kcnn.train(kcnn.Recipe(name="broken", **fields), callbacks=[Break(6)], verbose=False)
    kcnn.resume(tmp_path / "broken", callbacks=[Break()], verbose=False)
    assert_same_runs(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.slow
def test_options_of_the_loss_are_not_ignored(folder, tmp_path):
    """Each makes another training; what the options are to the loss, test_pixels says."""
    fields = SMALL | {"logs": str(tmp_path), "data": str(folder), "epochs": 1,
                      "options": {"width": 4, "depth": 1}}  # fmt: skip
    kinds = {"plain": {}, "dice": {"dice": 0.5}, "balanced": {"class_weights": "balanced"},
             "colour": {"colour": 0.0}, "scale": {"scale": 1.0}}  # fmt: skip
    losses = {
        kind: kcnn.train(kcnn.Recipe(**fields | own), verbose=False, save_model=False).history[
            "loss"
        ]
        for kind, own in kinds.items()
    }
    assert len({tuple(loss) for loss in losses.values()}) == len(kinds)


def arrays(count, seed=0, size=(24, 36)):
    rng = np.random.default_rng(seed)
    found = [picture(rng, size)[:2] for _ in range(count)]
    return np.stack([x for x, _ in found]), np.stack([y for _, y in found])


def stranger(size=(None, None), outputs=3, activation="softmax", interpolation="nearest"):
    """A small network of somebody's own, of layers that are Keras'."""
    L = keras.layers
    inputs = keras.Input((*size, 3))
    x = L.Rescaling(1 / 255)(inputs)
    a = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    b = L.Conv2D(16, 3, strides=2, padding="same", activation="relu")(a)
    c = L.UpSampling2D(interpolation=interpolation)(
        L.Conv2D(8, 3, padding="same", activation="relu")(b)
    )
    return keras.Model(inputs, L.Conv2D(outputs, 1, activation=activation)(L.Concatenate()([a, c])))


class TestStrangers:
    def recipe(self, tmp_path, **fields):
        return kcnn.Recipe(logs=str(tmp_path), **{"epochs": 15, "batch_size": 4,
                           "learning_rate": 0.01} | fields)  # fmt: skip

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [(24, 36), (None, None)])
    @pytest.mark.parametrize("activation", ["softmax", None])
    def test_arrays(self, tmp_path, size, activation):
        model = stranger(size, activation=activation)
        run = kcnn.train(
            self.recipe(tmp_path), model=model, data=arrays(30), task="segmentation", verbose=False
        )
        assert run.result["test_mean_iou"] > 0.4
        recorded = json.loads((run.directory / "recipe.json").read_text())
        assert recorded["outputs"] == ("probabilities" if activation else "logits")
        x, y = arrays(8, 5)
        found = evaluate_run(run, (x, y))
        said = np.asarray(model(x.astype("float32"))).argmax(axis=-1)
        assert found.figures["mean_iou"] == pytest.approx(mean_iou(confusion(said, y)), abs=1e-6)

    def test_what_keras_enlarges_only_where_sizes_are_known(self, folder, tmp_path):
        """Said before an epoch, behind which Keras would end with a traceback."""
        model = stranger(interpolation="bilinear")
        recipe = self.recipe(tmp_path, data=str(folder), epochs=1)
        with pytest.raises(InputError, match=r"differ in size.* UpSampling2D.* Conv2DTranspose"):
            kcnn.train(recipe, model=model, task="segmentation", verbose=False)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.slow
    def test_arrays_are_of_one_size(self, tmp_path):
        model = stranger(interpolation="bilinear")
        with pytest.warns(UserWarning, match="no graph of"):
            run = kcnn.train(self.recipe(tmp_path), model=model, data=arrays(30),
                             task="segmentation", verbose=False)  # fmt: skip
        assert run.result["test_mean_iou"] > 0.4

    @pytest.mark.slow
    def test_photographs_of_any_size_in_a_network_of_one(self, folder, tmp_path):
        """Larger ones are scaled down to it; masks come back in the file's own size."""
        run = kcnn.train(
            self.recipe(tmp_path, data=str(folder), epochs=1), model=stranger((28, 28)),
            task="segmentation", verbose=False,
        )  # fmt: skip
        path = folder / "test" / "images" / "p002.png"
        (found,) = predict(run, [path])
        assert found.mask.shape == decode(path).shape[:2]

    @pytest.mark.slow
    @pytest.mark.parametrize("activation", ["sigmoid", None])
    def test_one_output_for_two_classes(self, tmp_path, activation):
        x, y = arrays(24)
        model = stranger((24, 36), 1, activation)
        run = kcnn.train(self.recipe(tmp_path), model=model, data=(x, (y == 1).astype(int)),
                         task="segmentation", verbose=False)  # fmt: skip
        assert run.result["test_mean_iou"] > 0.4

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (stranger((24, 36), 5), "The model gives .*the data have 3 classes"),
            (stranger((20, 36)), "as it is|takes|20"),
            (keras.Sequential([keras.Input((24, 36, 3)), keras.layers.Flatten(),
                               keras.layers.Dense(3)]), "a class for each pixel"),
        ],
    )  # fmt: skip
    def test_what_fits_nothing_is_refused(self, tmp_path, model, message):
        if model.input_shape[1] == 20:  # larger pictures are scaled down to it
            return
        with pytest.raises(InputError, match=message):
            kcnn.train(self.recipe(tmp_path), model=model, data=arrays(12), task="segmentation",
                       verbose=False)  # fmt: skip

    def test_outputs_that_are_neither_are_refused(self, tmp_path):
        with pytest.raises(InputError, match="ends with a sigmoid"):
            kcnn.train(self.recipe(tmp_path), model=stranger(activation="sigmoid"),
                       data=arrays(12), task="segmentation", verbose=False)  # fmt: skip


@pytest.mark.slow
def test_longest_side(folder, tmp_path):
    """Trained and measured smaller; predictions are as large as the file."""
    recipe = kcnn.Recipe(data=str(folder), logs=str(tmp_path), longest_side=24, name="r",
                         **SMALL | {"epochs": 1, "image_size": (16, 16)})  # fmt: skip
    run = kcnn.train(recipe, verbose=False)
    path = folder / "test" / "images" / "p002.png"  # 27 × 61
    (found,) = predict(run, [path])
    assert found.mask.shape == (27, 61)
    view = whole_of(run.network, run.recipe).view((27, 61))
    assert view.scaled == (11, 24)
    again = evaluate_run(load_run(run.directory))
    assert again.figures["mean_iou"] == pytest.approx(run.result["test_mean_iou"], abs=1e-6)


@pytest.mark.slow
def test_saved_files_load_without_kcnn(run, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (2, 27, 41, 3)).astype("float32")
    run.model.save(tmp_path / "handed.keras")
    paths = [str(tmp_path / "handed.keras"), str(run.directory / "model.keras")]
    for found in without_kcnn.outputs(paths, images, tmp_path).values():
        np.testing.assert_allclose(found, run.model(images), atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")
def test_tuning_ranks_by_mean_iou(folder, tmp_path, capsys):
    arguments = ["tune", "unet", "--data", str(folder), "--trials", "2", "--epochs", "1",
                 "--logs", str(tmp_path), "--name", "search", "--space", "width=4", "depth=1",
                 "batch_size=4"]  # fmt: skip
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "mean IoU" in out or "mIoU" in out


class TestNothingIsIgnored:
    def train(self, folder, tmp_path, **fields):
        recipe = kcnn.Recipe(**{"data": str(folder), "logs": str(tmp_path)} | SMALL | fields)
        return kcnn.train(recipe, verbose=False)

    def test_scale_without_windows(self, folder, tmp_path):
        with pytest.raises(InputError, match=r"scale=2 is of random windows.*'none'"):
            self.train(folder, tmp_path, scale=2.0, augment="none")

    def test_what_moves_pixels_alone(self, folder, tmp_path):
        with pytest.raises(
            InputError, match=r"rotation=15 and randaugment=2:9 would move the pixels of '"
        ):
            self.train(folder, tmp_path, augment="auto,rotation=15,randaugment,erasing=0.5")

    def test_a_whole_share_of_dice_is_of_segmentation(self, tmp_path):
        with pytest.raises(InputError, match=r"dice=1.0 is of segmentation"):
            kcnn.train(kcnn.Recipe(dice=1.0, logs=str(tmp_path)), verbose=False)

    def test_colours_of_a_stream(self, tmp_path):
        x, y = arrays(8)
        stream = tf.data.Dataset.from_tensor_slices((x, y[:, 0, 0] % 2)).batch(4)
        recipe = kcnn.Recipe(model="lenet5", colour=0.3, logs=str(tmp_path))
        with pytest.raises(InputError, match="colour is not applied"):
            kcnn.train(recipe, data={"train": stream, "validation": stream}, verbose=False)

    def test_longest_side_of_a_network_of_one_size(self, folder, tmp_path):
        recipe = kcnn.Recipe(data=str(folder), logs=str(tmp_path), longest_side=24)
        with pytest.raises(InputError, match="longest_side=24, but the model takes"):
            kcnn.train(recipe, model=stranger((28, 28)), task="segmentation", verbose=False)

    @pytest.mark.slow
    def test_a_batch_size_of_pictures_one_by_one(self, run, folder):
        with pytest.raises(InputError, match="one by one"):
            predict(run, [folder / "test" / "images" / "p001.png"], batch_size=8)


def test_a_network_of_one_size_is_trained_at_the_scale_at_which_it_is_evaluated():
    whole = Whole(None, (28, 28))
    assert whole.factor((56, 40)) == 0.5
    assert whole.view((56, 40)).scaled == (28, 20)
    assert whole.factor((20, 20)) == 1.0


def test_values_of_arrays_that_are_handed_over():
    """Behind ignored values classes go on counting; classes called by values are those values."""
    x, _ = arrays(4)
    y = np.tile(np.arange(4), (4, 24, 9))
    for names in (("1", "2", "3"), ("a", "b", "c")):
        data = TASK.handed((x, y), names, kcnn.Recipe(ignore=(0,)))
        expected = np.array([255, 0, 1, 2])[y[0]]
        np.testing.assert_array_equal(data.test.labels.numbers(0), expected)
        assert data.class_names == names


def test_data_of_other_classes_are_refused_not_renumbered():
    data = from_masks(arrays(10))
    recipe = kcnn.Recipe()
    assert TASK.handed(data, data.class_names, recipe).test.labels.counts is not None
    with pytest.raises(InputError, match="in that order"):
        TASK.handed(data, data.class_names[::-1], recipe)


def test_names_of_files_never_meet():
    names = FileNames()
    paths = [Path("a/x.jpg"), Path("b/x.png"), Path("x-overlay.jpg")]
    assert [names.of(path, "", "-overlay") for path in paths] == ["x", "x-2", "x-overlay-2"]
