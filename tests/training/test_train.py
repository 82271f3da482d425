"""`kcnn.train`: what it leaves behind, that it repeats, and what it takes."""

import csv
import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kcnn
from kcnn.runs.directory import load_run
from kcnn.runs.inference import evaluate_run, predict


def recipe(tmp_path, **fields):
    return kcnn.Recipe(**{"epochs": 1, "logs": str(tmp_path), **fields})


def toy_arrays(n=64, classes=3, shape=(12, 12, 3), seed=0):
    """Images whose brightness is their class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    images = rng.integers(0, 40, (n, *shape)) + labels[:, None, None, None] * 80
    return images.astype("uint8"), labels


def own_model(outputs=3, activation="softmax", shape=(12, 12, 3)):
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(16, "tanh"),
            keras.layers.Dense(outputs, activation=activation),
        ]
    )


class TestRunDirectory:
    def test_holds_everything(self, digits_run):
        names = {path.name for path in digits_run.directory.iterdir()}
        assert {"recipe.json", "metrics.csv", "checkpoints", "model.keras", "result.json"} <= names
        folders = [path.name for path in digits_run.directory.iterdir() if path.is_dir()]
        assert folders == ["checkpoints"]  # one run in TensorBoard
        assert list(digits_run.directory.glob("events.out.tfevents.*"))

    def test_result_has_the_documented_figures(self, digits_run):
        result = json.loads((digits_run.directory / "result.json").read_text())
        assert result.keys() >= {
            "test_accuracy", "test_loss", "validation_accuracy", "epochs", "steps", "seconds",
            "images_per_second", "parameters", "device",
        }  # fmt: skip
        assert result["parameters"] == 61_706
        assert result["epochs"] == 2
        assert result["steps"] == 2 * 41  # 1293 images in batches of 32
        assert 0.8 < result["test_accuracy"] <= 1.0

    def test_test_figures_agree_with_numpy(self, digits_run):
        data = kcnn.load_data("digits")
        probabilities = digits_run.model.predict(data.test.images, verbose=0)
        right = probabilities.argmax(axis=1) == data.test.labels
        picked = probabilities[np.arange(len(right)), data.test.labels]
        assert digits_run.test_metrics["accuracy"] == pytest.approx(right.mean())
        assert digits_run.test_metrics["loss"] == pytest.approx(-np.log(picked).mean(), rel=1e-4)
        for name, accuracy in digits_run.result["test_accuracy_per_class"].items():
            assert accuracy == pytest.approx(right[data.test.labels == int(name)].mean())

    def test_metrics_csv_is_the_history(self, digits_run):
        with (digits_run.directory / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [float(row["val_loss"]) for row in rows] == digits_run.history["val_loss"]
        assert [row["epoch"] for row in rows] == ["1", "2"]
        assert digits_run.history.keys() >= {
            "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second",
        }  # fmt: skip

    def test_recipe_json_repeats_the_run(self, digits_run):
        recorded = json.loads((digits_run.directory / "recipe.json").read_text())
        assert kcnn.Recipe.from_dict(recorded["recipe"]) == digits_run.recipe
        assert recorded["data"]["fingerprint"] == kcnn.load_data("digits").fingerprint
        assert recorded["versions"]["keras"] == keras.__version__

    def test_the_saved_model_takes_raw_images_and_needs_no_kcnn_object(self, digits_run):
        model = keras.saving.load_model(digits_run.directory / "model.keras")
        raw = kcnn.load_data("digits").test.images[:20]
        assert raw.dtype == np.uint8
        assert raw.shape == (20, 8, 8, 1)
        np.testing.assert_array_equal(
            model.predict(raw, verbose=0), digits_run.model.predict(raw, verbose=0)
        )

    def test_normalisation_is_that_of_the_training_split(self, digits_run):
        train = kcnn.load_data("digits").train.images.astype("float64") / 1.0
        layer = digits_run.model.get_layer("normalize")
        (scale,), (offset,) = layer.scale, layer.offset
        assert scale == pytest.approx(1 / train.std(), rel=1e-5)
        assert offset == pytest.approx(-train.mean() / train.std(), rel=1e-5)
        assert not layer.weights

    def test_load_run_gives_it_back(self, digits_run):
        again = load_run(digits_run.directory)
        assert again.recipe == digits_run.recipe
        assert again.result == digits_run.result
        assert again.class_names == tuple("0123456789")
        assert again.history["loss"] == digits_run.history["loss"]

    def test_evaluate_gives_the_recorded_accuracy(self, digits_run):
        evaluation = evaluate_run(load_run(digits_run.directory))
        assert evaluation.accuracy == digits_run.result["test_accuracy"]
        assert evaluation.confusion.sum() == 360

    def test_without_its_network(self, tmp_path, digits_run):
        run = kcnn.train(kcnn.Recipe(epochs=2, logs=str(tmp_path)), save_model=False, verbose=False)
        assert not [p for p in run.directory.rglob("*") if p.suffix in (".keras", ".h5")]
        assert run.result["test_loss"] == digits_run.result["test_loss"]
        for go_on in (kcnn.load_run, kcnn.resume):
            with pytest.raises(kcnn.InputError, match="its network was not saved"):
                go_on(run.directory)

    def test_a_name_that_is_taken_is_refused(self, digits_run):
        again = kcnn.Recipe(name="digits run", logs=str(digits_run.directory.parent))
        with pytest.raises(kcnn.InputError, match="already"):
            kcnn.train(again, verbose=False)


class TestRepeats:
    def test_same_seed_same_bits_other_seed_other_bits(self, tmp_path):
        fields = {"model": "mlp", "dropout": 0.3, "options": {"width": 16}, "logs": str(tmp_path)}

        def weights(seed):
            run = kcnn.train(kcnn.Recipe(epochs=2, seed=seed, **fields), verbose=False)
            return run.history["loss"], [w.numpy() for w in run.model.trainable_weights]

        (loss, first), (again, second), (other, _) = weights(3), weights(3), weights(4)
        assert loss == again != other
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.slow
    def test_other_seed_same_split(self, tmp_path):
        def mean(**seeds):
            recipe = kcnn.Recipe(model="mlp", epochs=1, logs=str(tmp_path), **seeds)
            run = kcnn.train(recipe, verbose=False)
            evaluate_run(run)  # on the same split, or it would be refused
            return run.model.get_layer("normalize").offset[0], run.model.get_weights()

        one, other = mean(seed=1), mean(seed=2, split_seed=1)
        assert one[0] == other[0]
        assert not np.array_equal(one[1][0], other[1][0])
        assert one[0] != mean(seed=2)[0]


class TestChoosing:
    def test_best_weights_are_those_of_the_best_epoch(self, tmp_path):
        """A rate that wrecks the last epoch: `best` keeps an earlier one, `last` the wreck."""
        fields = {
            "model": "mlp", "epochs": 4, "optimizer": "sgd", "schedule": "constant",
            "warmup": 0.0, "learning_rate": 0.05, "logs": str(tmp_path),
        }  # fmt: skip

        class Wreck(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 3:
                    for weight in self.model.trainable_weights:
                        weight.assign(-weight)

        best = kcnn.train(kcnn.Recipe(**fields), callbacks=[Wreck()], verbose=False)
        last = kcnn.train(kcnn.Recipe(**fields, select="last"), callbacks=[Wreck()], verbose=False)
        kept = best.result["kept_epoch"]
        assert kept <= 3
        assert last.result["kept_epoch"] == 4
        assert best.result["validation_accuracy"] == best.history["val_accuracy"][kept - 1]
        assert last.result["validation_accuracy"] == last.history["val_accuracy"][3]
        assert best.result["test_accuracy"] > last.result["test_accuracy"]

    def test_early_stopping_stops(self, tmp_path):
        run = kcnn.train(
            recipe(
                tmp_path, model="mlp", epochs=30, early_stopping=2, learning_rate=0.3,
                optimizer="sgd", options={"width": 64},
            ),
            verbose=False,
        )  # fmt: skip
        losses = run.history["val_loss"]
        assert len(losses) < 30
        assert len(losses) - 1 - int(np.argmin(losses)) == 2

    def test_a_loss_that_is_not_finite_is_said(self, tmp_path):
        with pytest.raises(FloatingPointError, match=r"\(epoch 1\), at learning rate"):
            kcnn.train(
                recipe(tmp_path, model="mlp", optimizer="sgd", learning_rate=1e30, warmup=0.0),
                verbose=False,
            )


class TestWhatItTakes:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        "fields",
        [
            {"optimizer": "nesterov", "schedule": "step", "label_smoothing": 0.1},
            {"optimizer": "rmsprop", "mixup": 0.2},
            {"optimizer": "adam", "cutmix": 1.0, "precision": "mixed_bfloat16"},
            {"batchnorm": True, "dropout": 0.2, "jit": True},
        ],
    )
    def test_options_train(self, tmp_path, fields):
        run = kcnn.train(recipe(tmp_path, **fields), verbose=False)
        assert np.isfinite(run.history["loss"]).all()
        assert run.result["test_accuracy"] > 0.15  # one in ten is chance

    def test_precision_is_put_back(self, tmp_path):
        kcnn.train(recipe(tmp_path, precision="mixed_bfloat16", model="mlp"), verbose=False)
        assert keras.config.dtype_policy().name == "float32"

    def test_image_size_is_the_networks_and_the_model_takes_raw_images(self, tmp_path):
        run = kcnn.train(recipe(tmp_path, image_size=(20, 24)), verbose=False)
        assert run.model.input_shape == (None, 8, 8, 1)
        assert run.model.get_layer("resize").output.shape == (None, 20, 24, 1)

    def test_large_images_are_reduced(self, tmp_path):
        images, labels = toy_arrays(shape=(40, 40, 1))
        run = kcnn.train(
            recipe(tmp_path, image_size=(16, 16)), data=(images, labels), verbose=False
        )
        assert run.model.get_layer("conv1").input.shape == (None, 16, 16, 1)

    def test_two_classes_are_binary(self, tmp_path):
        images, labels = toy_arrays(classes=2)
        run = kcnn.train(
            recipe(tmp_path, model="mlp", epochs=10, label_smoothing=0.1),
            data=(images, labels),
            verbose=False,
        )
        assert run.model.output_shape == (None, 1)
        assert run.result["test_accuracy"] == 1.0
        assert run.history["accuracy"][-1] == 1.0  # also with smoothed labels
        assert list(run.result["test_accuracy_per_class"]) == ["0", "1"]

    def test_an_own_model_on_own_arrays(self, tmp_path):
        model = own_model()
        run = kcnn.train(
            recipe(tmp_path, epochs=30, batch_size=8, learning_rate=0.03, augment="none"),
            model=model,
            data=toy_arrays(),
            verbose=False,
        )
        assert run.model is model
        assert run.recipe.model == "own: sequential"  # without Keras' counter: sequential_97
        assert run.recipe.data == "own: arrays"
        assert run.result["test_accuracy"] == 1.0
        assert load_run(run.directory).model.input_shape == (None, 12, 12, 3)

    @pytest.mark.slow
    def test_an_own_model_without_shapes_yet(self, tmp_path):
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.scale = keras.layers.Rescaling(1 / 255)
                self.pool = keras.layers.GlobalAveragePooling2D()
                self.hidden = keras.layers.Dense(16, "tanh")
                self.top = keras.layers.Dense(3, "softmax")

            def call(self, x):
                return self.top(self.hidden(self.pool(self.scale(x))))

        own = Own()
        parts = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
                 keras.layers.Dense(16, "tanh"), keras.layers.Dense(3, "softmax")]  # fmt: skip
        for model in (own, keras.Sequential(parts)):
            given = recipe(tmp_path, epochs=30, batch_size=8, learning_rate=0.02, augment="none")
            run = kcnn.train(given, model=model, data=toy_arrays(), verbose=False)
            assert run.result["test_accuracy"] == 1.0
            np.testing.assert_array_equal(
                model(toy_arrays()[0][:5]).numpy(), run.model(toy_arrays()[0][:5]).numpy()
            )

    @pytest.mark.parametrize("method", ["train_step", "compute_loss"])
    def test_a_step_of_its_own_that_could_not_be_done_is_refused(self, method, tmp_path):
        call = {"call": lambda self, x: x, method: lambda self, *a, **k: None}
        model = type("Own", (keras.Model,), call)()
        with pytest.raises(kcnn.InputError, match=f"class Own has a {method} of its own"):
            kcnn.train(recipe(tmp_path), model=model, data=toy_arrays(), verbose=False)
        assert not list(tmp_path.iterdir())

    @pytest.mark.slow
    def test_logits_are_recognised(self, tmp_path):
        run = kcnn.train(
            recipe(tmp_path, epochs=30, batch_size=8, learning_rate=0.03, augment="none"),
            model=own_model(activation=None),
            data=toy_arrays(),
            verbose=False,
        )
        assert run.result["test_accuracy"] == 1.0
        assert run.result["test_loss"] == pytest.approx(
            _cross_entropy(run.model, run.recipe), rel=1e-4
        )

    @pytest.mark.parametrize("parts", [2, 3])
    def test_tuples_of_pairs(self, tmp_path, parts):
        """What `keras.datasets` give: train and test; of three, validation between them."""
        sizes = {2: (40, 9), 3: (30, 6, 9)}[parts]
        data = tuple(toy_arrays(n, seed=seed) for seed, n in enumerate(sizes))
        run = kcnn.train(recipe(tmp_path, model="mlp", epochs=1), data=data, verbose=False)
        expected = {2: (36, 4, 9), 3: (30, 6, 9)}[parts]
        assert tuple(run.data["images"].values()) == expected

    def test_separate_arrays_stay_separate(self, tmp_path):
        parts = {
            part: toy_arrays(n, seed=seed)
            for seed, (part, n) in enumerate({"train": 30, "validation": 6, "test": 9}.items())
        }
        run = kcnn.train(recipe(tmp_path, model="mlp"), data=parts, verbose=False)
        assert run.data["images"] == {"train": 30, "validation": 6, "test": 9}

    @pytest.mark.parametrize("one_hot", [False, True])
    def test_streams(self, tmp_path, one_hot):
        def stream(n, seed):
            images, labels = toy_arrays(n, seed=seed)
            labels = np.eye(3, dtype="float32")[labels] if one_hot else labels
            return tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)

        run = kcnn.train(
            recipe(tmp_path, model="mlp", epochs=10, options={"width": 16}),
            data={"train": stream(60, 0), "validation": stream(12, 1), "test": stream(12, 2)},
            verbose=False,
        )
        assert run.result["steps"] == 10 * 8
        assert run.result["test_accuracy"] == 1.0
        images = toy_arrays(60, seed=0)[0].astype("float64")
        layer = run.model.get_layer("normalize")
        normalised = images * layer.scale + layer.offset
        np.testing.assert_allclose(normalised.mean((0, 1, 2)), 0.0, atol=1e-5)
        np.testing.assert_allclose(normalised.std((0, 1, 2)), 1.0, rtol=1e-4)

    def test_a_registered_network_of_the_users_own(self, tmp_path):
        source = tmp_path / "my models.py"
        source.write_text(
            "import keras, kcnn\n"
            "@kcnn.register('tiny_train', input_shape=(8, 8, 1), classes=10)\n"
            "def tiny(input_shape, classes, width=4):\n"
            "    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(),\n"
            "        keras.layers.Dense(width), keras.layers.Dense(classes, 'softmax')])\n"
        )
        run = kcnn.train(
            recipe(tmp_path, model=f"{source}:tiny_train", options={"width": 5}), verbose=False
        )
        assert run.result["parameters"] == 64 * 5 + 5 + 5 * 10 + 10
        assert load_run(run.directory).model.input_shape == (None, 8, 8, 1)


def _cross_entropy(model, recipe):
    data = kcnn.from_arrays(toy_arrays(), seed=recipe.seed, validation_size=recipe.validation)
    logits = model.predict(data.test.images.astype("float32"), verbose=0).astype("float64")
    log_sum = np.log(np.exp(logits).sum(axis=1))
    return (log_sum - logits[np.arange(len(logits)), data.test.labels]).mean()


class TestBadInput:
    def refused(self, match, tmp_path, **arguments):
        given = recipe(tmp_path, **arguments.pop("fields", {}))
        with pytest.raises(kcnn.InputError, match=match):
            kcnn.train(given, verbose=False, **arguments)
        assert not [p for p in tmp_path.iterdir() if p.is_dir()]  # nothing was begun

    def test_unknown_model_data_and_option(self, tmp_path):
        self.refused("Did you mean 'lenet5'", tmp_path, fields={"model": "lenet"})
        self.refused("digits", tmp_path, fields={"data": "digit"})
        self.refused("widht", tmp_path, fields={"model": "mlp", "options": {"widht": 3}})
        self.refused("residual", tmp_path, fields={"residual": True})

    def test_image_size_too_small(self, tmp_path):
        self.refused("conv2.*16×16", tmp_path, fields={"image_size": (10, 10)})

    def test_batch_larger_than_the_data(self, tmp_path):
        self.refused("batch_size=5000", tmp_path, fields={"batch_size": 5000})

    def test_own_arrays(self, tmp_path):
        images, labels = toy_arrays()
        broken = images.astype("float32")
        broken[3, 0, 0, 0] = np.nan
        self.refused("NaN", tmp_path, data=(broken, labels))
        self.refused(None, tmp_path, data=(images[:1], labels[:1]))
        self.refused(None, tmp_path, data=(images[:0], labels[:0]))
        self.refused(None, tmp_path, data=(images, labels * 0))
        self.refused(None, tmp_path, data=(images, labels - 1))
        self.refused(None, tmp_path, data=(images, labels[:-1]))
        self.refused("'train'", tmp_path, data={"learn": (images, labels)})
        self.refused("received ndarray", tmp_path, data=images)

    def test_randaugment_of_other_than_bytes(self, tmp_path):
        images, labels = toy_arrays()
        data = images.astype("float32") / 255, labels
        match = "randaugment is of images from 0 to 255 as uint8; those of '.* are float32"
        self.refused(match, tmp_path, data=data, fields={"augment": "randaugment"})

    def test_streams(self, tmp_path):
        stream = tf.data.Dataset.from_tensor_slices(toy_arrays())
        both = {"train": stream.batch(8), "validation": stream.batch(8)}
        self.refused("cannot be split", tmp_path, data=stream)
        self.refused("validation", tmp_path, data={"train": stream.batch(8)})
        self.refused(r"\.batch", tmp_path, data={"train": stream, "validation": stream})
        self.refused("never ends", tmp_path, data=both | {"train": stream.batch(8).repeat()})
        self.refused("mixup", tmp_path, data=both, fields={"mixup": 0.2})
        self.refused("augment", tmp_path, data=both, fields={"augment": "flip"})
        self.refused("batch_size", tmp_path, data=both, fields={"batch_size": 4})
        self.refused("empty", tmp_path, data=both | {"train": stream.batch(8).take(0)})

    def test_own_model_whose_shapes_do_not_fit(self, tmp_path):
        self.refused(
            r"\(10, 10, 3\).*\(12, 12, 3\)", tmp_path, model=own_model(shape=(10, 10, 3)),
            data=toy_arrays(),
        )  # fmt: skip
        self.refused("7 outputs.*3 classes", tmp_path, model=own_model(7), data=toy_arrays())
        self.refused(
            "as it is", tmp_path, model=own_model(), data=toy_arrays(), fields={"batchnorm": True}
        )

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        blocked = tmp_path / "file"
        blocked.write_text("")
        with pytest.raises(kcnn.InputError, match="Cannot write runs"):
            kcnn.train(kcnn.Recipe(logs=str(blocked / "logs")), verbose=False)

    def test_runs_that_are_none(self, tmp_path, digits_run):
        with pytest.raises(kcnn.InputError, match="no run directory"):
            load_run(tmp_path / "nowhere")
        with pytest.raises(kcnn.InputError, match="not a finished run"):
            load_run(tmp_path)
        copy = tmp_path / "damaged"
        copy.mkdir()
        for name in ("recipe.json", "result.json", "metrics.csv"):
            (copy / name).write_bytes((digits_run.directory / name).read_bytes())
        (copy / "model.keras").write_bytes(b"PK not a model")
        with pytest.raises(kcnn.InputError, match=r"model\.keras"):
            load_run(copy)

    def test_data_that_changed_or_does_not_fit_the_run(self, tmp_path, digits_run):
        images, labels = toy_arrays(classes=3, shape=(8, 8, 1))
        other = kcnn.from_arrays((images, labels), class_names=["1", "b", "c"])
        with pytest.raises(kcnn.InputError, match=r"does not know: b, c\. It knows 0, 1, 2"):
            evaluate_run(digits_run, other)
        run = kcnn.train(recipe(tmp_path, model="mlp"), data=(images, labels), verbose=False)
        with pytest.raises(kcnn.InputError, match="caller's own"):
            evaluate_run(load_run(run.directory))


class TestPredict:
    def test_names_probabilities_and_formats(self, tmp_path, digits_run):

        data = kcnn.load_data("digits")
        paths = []
        for index, suffix in enumerate((".png", ".bmp", ".gif")):
            path = tmp_path / f"Ziffer {index} ü{suffix}"
            Image.fromarray(data.test.images[index, :, :, 0]).save(path)
            paths.append(path)
        expected = digits_run.model.predict(data.test.images[:3], verbose=0)
        for row, prediction in zip(expected, predict(digits_run, paths), strict=True):
            assert prediction.class_name == str(row.argmax())
            assert prediction.probability == pytest.approx(row.max(), rel=1e-4)
            assert sum(prediction.probabilities.values()) == pytest.approx(1.0, rel=1e-4)

    def test_missing_and_broken_files_are_named(self, tmp_path, digits_run):
        broken = tmp_path / "broken.png"
        broken.write_bytes(b"no image")
        for path in (broken, tmp_path / "missing.png"):
            with pytest.raises(kcnn.InputError, match=path.name):
                predict(digits_run, [path])


class TestFolders:
    """Photographs in folders: generated, small, some of them broken."""

    @pytest.fixture
    def folder(self, tmp_path):

        rng = np.random.default_rng(0)
        root = tmp_path / "Bilder und mehr"
        for label, name in enumerate(("dunkel", "hell", "mittel")):
            (root / name).mkdir(parents=True)
            for index in range(16):
                height, width = rng.integers(30, 60, 2)
                level = (20, 220, 120)[label]
                pixels = rng.integers(level - 20, level + 20, (height, width, 3)).astype("uint8")
                suffix = (".png", ".jpg", ".bmp", ".webp")[index % 4]
                Image.fromarray(pixels).save(root / name / f"bild {index}{suffix}")
        return root

    def fields(self, folder, tmp_path, **more):
        return recipe(
            tmp_path / "logs", model="lenet5", data=str(folder), image_size=(20, 20), epochs=8,
            batch_size=8, **more,
        )  # fmt: skip

    def test_train_evaluate_and_predict(self, folder, tmp_path):
        run = kcnn.train(self.fields(folder, tmp_path), verbose=False)
        assert run.class_names == ("dunkel", "hell", "mittel")
        assert run.result["test_accuracy"] > 0.8
        again = load_run(run.directory)
        assert evaluate_run(again).accuracy == run.result["test_accuracy"]
        paths = [folder / "dunkel" / "bild 0.png", folder / "hell" / "bild 1.jpg"]
        assert [p.class_name for p in predict(again, paths)] == ["dunkel", "hell"]

    @pytest.mark.slow
    def test_bad_files_stop_or_are_left_out(self, folder, tmp_path):
        bad = folder / "hell" / "bild 3.webp"
        bad.write_bytes(bad.read_bytes()[:60])
        (folder / "hell" / "leer.jpg").write_bytes(b"")
        with pytest.raises(kcnn.InputError, match=r"2 of 49(.|\n)*bild 3\.webp(.|\n)*leer\.jpg"):
            kcnn.train(self.fields(folder, tmp_path), verbose=False)
        with pytest.raises(kcnn.InputError, match="2 of 49"):
            kcnn.train(self.fields(folder, tmp_path), data=kcnn.load_data(folder), verbose=False)
        run = kcnn.train(self.fields(folder, tmp_path, skip_bad=True), verbose=False)
        assert sum(run.data["images"].values()) == 47
        assert evaluate_run(load_run(run.directory)).images == run.data["images"]["test"]

    @pytest.mark.slow
    def test_another_picture_of_the_same_size_is_noticed(self, folder, tmp_path):
        run = kcnn.train(self.fields(folder, tmp_path), verbose=False)
        path = folder / "hell" / "bild 0.png"
        before = path.stat()
        pixels = np.array(Image.open(path))
        for value in range(256):  # until a picture is as long
            Image.fromarray(np.full_like(pixels, value)).save(path)
            if path.stat().st_size <= before.st_size:
                break
        with path.open("ab") as file:
            file.write(bytes(before.st_size - path.stat().st_size))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(kcnn.InputError, match="fingerprint"):
            kcnn.resume(run.directory, epochs=9, verbose=False)
        with pytest.raises(kcnn.InputError, match="has changed since the run"):
            evaluate_run(kcnn.load_run(run.directory))

    def test_the_data_that_changed_is_noticed(self, folder, tmp_path):
        run = kcnn.train(self.fields(folder, tmp_path), verbose=False)
        (folder / "hell" / "bild 0.png").unlink()
        with pytest.raises(kcnn.InputError, match="has changed since the run"):
            evaluate_run(load_run(run.directory))


@pytest.mark.slow
class TestRealData:
    def test_npz_by_name(self, tmp_path, real_data, monkeypatch):
        monkeypatch.setenv("KCNN_DATA", str(real_data))
        given = recipe(tmp_path, model="lenet5", data="cat_vs_noncat", epochs=6)
        run = kcnn.train(given, verbose=False)
        assert run.model.output_shape == (None, 1)
        assert run.data["images"]["test"] == 50
        assert run.result["test_accuracy"] > 0.5

    def test_photographs(self, tmp_path, real_data):
        given = recipe(
            tmp_path, model="resnet20", data=str(real_data / "imagenette_small"), epochs=1,
            image_size=(32, 32), options={"depths": (1, 1, 1)},
        )  # fmt: skip
        run = kcnn.train(given, verbose=False)
        assert run.data["images"]["test"] == 200
        assert np.isfinite(run.history["loss"]).all()


def test_what_is_printed_is_a_line(digits_run):
    """In a notebook or a debugger, whatever they hold."""
    shown = repr(digits_run)
    assert shown.startswith("<Run ")
    accuracy = digits_run.result["validation_accuracy"]
    assert f"lenet5 on digits, validation accuracy {accuracy:.2%}" in shown
    assert repr(kcnn.card("lenet5")) == (
        "<Card 'lenet5': 32×32×1 to 10, 61,706 parameters, 417 k MACs>"
    )
    data = repr(kcnn.load_data("digits"))
    assert max(map(len, (shown.partition(": ")[2], data))) < 120
    assert "\n" not in shown + data
