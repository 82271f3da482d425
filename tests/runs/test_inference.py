"""Evaluation and prediction in the large: the same figures as by the plain model."""

import io
import logging
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from rich.console import Console

import kcnn
from kcnn.cli.main import main
from kcnn.graph.forward import batch_size_for, forward, refuse_not_finite
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.runs import inference
from kcnn.runs.directory import Run
from kcnn.runs.inference import evaluate_run, predict, predictions
from kcnn.tasks import classification
from kcnn.tasks.classification import TASK

L = keras.layers
CLASSES = 5


@pytest.fixture
def model():
    """A small ResNet with statistics and weights far from their initial values."""
    model = kcnn.build("resnet20", depths=(1, 1, 1), input_shape=(12, 10, 3), classes=CLASSES)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        name = weight.path.rsplit("/", 1)[-1]
        if name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif name in ("beta", "bias", "moving_mean"):
            weight.assign(rng.normal(size=weight.shape) * 0.3)
    return model


def arrays(n=100, shape=(12, 10, 3), classes=CLASSES):
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, *shape)).astype("float32"), rng.integers(0, classes, n)


def dataset(images, labels, batch_size, classes=CLASSES):
    one_hot = np.eye(classes, dtype="float32")[labels]
    return tf.data.Dataset.from_tensor_slices((images, one_hot)).batch(batch_size)


def console(terminal):
    return Console(force_terminal=terminal, width=100, file=io.StringIO())


class TestEvaluateModel:
    @pytest.mark.parametrize("batch_size", [100, 34, 7, 1], ids=lambda n: f"batches of {n}")
    def test_figures_are_those_of_the_plain_model(self, model, batch_size):
        images, labels = arrays()
        plain = np.asarray(model(images, training=False))
        found = TASK.evaluate(model, dataset(images, labels, batch_size))
        assert found.images == 100
        assert found.accuracy == (plain.argmax(1) == labels).mean()
        expected = -np.log(plain[np.arange(100), labels]).mean()
        assert found.loss == pytest.approx(expected, rel=1e-4)
        counted = np.zeros((CLASSES, CLASSES), int)
        np.add.at(counted, (labels, plain.argmax(1)), 1)
        np.testing.assert_array_equal(found.confusion, counted)

    def test_a_stream_of_unknown_length(self, model):
        images, labels = arrays()
        batches = dataset(images, labels, 10).filter(lambda x, y: True)
        assert TASK.evaluate(model, batches).images == 100

    def test_one_sigmoid(self):
        model = keras.Sequential(
            [
                keras.Input((12, 10, 3)),
                L.Conv2D(4, 3),
                L.BatchNormalization(),
                L.Flatten(),
                L.Dense(1, "sigmoid"),
            ]
        )
        images, labels = arrays(classes=2)
        batches = tf.data.Dataset.from_tensor_slices((images, labels[:, None].astype("float32")))
        found = TASK.evaluate(model, batches.batch(10))
        expected = (np.asarray(model(images))[:, 0] > 0.5) == labels
        assert found.accuracy == expected.mean()
        assert found.confusion.shape == (2, 2)

    def test_progress_on_a_terminal_only_and_for_long_work_only(self, model):
        images, labels = arrays()
        batches = {size: dataset(images, labels, size) for size in (10, 50)}
        for terminal, size, shown in ((True, 10, True), (True, 50, False), (False, 10, False)):
            output = console(terminal)
            TASK.evaluate(model, batches[size], console=output)
            assert ("evaluating" in output.file.getvalue()) == shown


class TestForward:
    def test_many_batches_are_traced_once_for_all_sizes(self, model):
        images, _ = arrays()
        expected = np.asarray(model(images, training=False))
        calls = []

        class Counting(L.Layer):  # of a class of its own: in the traced network, and unfolded
            def call(self, x):
                calls.append(x.shape)
                return x

        counted = keras.Sequential([keras.Input((12, 10, 3)), Counting(), model])
        calls.clear()
        run = forward(counted, batches=50)
        for n in (30, 30, 7, 1, 100):
            np.testing.assert_allclose(run(images[:n]), expected[:n], rtol=1e-4, atol=1e-6)
        assert calls == [(None, 12, 10, 3)]

    def test_raw_bytes_and_floats(self, model):
        images = (arrays()[0] * 50 + 100).clip(0, 255).astype("uint8")
        for batches in (1, 50):
            run = forward(model, batches)
            np.testing.assert_allclose(
                run(images), run(images.astype("float32")), rtol=1e-4, atol=1e-6
            )

    @pytest.mark.parametrize("last", [L.BatchNormalization, L.Activation])
    def test_logits_become_probabilities_whatever_is_folded(self, last):
        """BatchNorm at the end hides that the layer before it is linear."""
        more = {"activation": "softmax"} if last is L.Activation else {}
        model = keras.Sequential(
            [
                keras.Input((12, 10, 3)),
                L.Flatten(),
                L.Dense(CLASSES),
                L.BatchNormalization(),
                last(**more),
            ]
        )
        images, _ = arrays()
        few, many = forward(model, 1)(images), forward(model, 50)(images)
        np.testing.assert_allclose(many, few, rtol=1e-4, atol=1e-6)

    def test_a_layer_that_cannot_be_copied_runs_all_the_same(self, model):
        inputs = keras.Input((12, 10, 3))
        own = keras.Model(inputs, model(L.Lambda(lambda x: 2.0 * x)(inputs)))
        images, _ = arrays()
        expected = np.asarray(model(2 * images, training=False))
        np.testing.assert_allclose(forward(own, 50)(images), expected, rtol=1e-4, atol=1e-6)

    def test_a_layer_that_asks_for_sizes_in_python(self):
        """Keras' bilinear enlarging: a trace for each size."""
        inputs = keras.Input((None, None, 3))
        own = keras.Model(inputs, L.UpSampling2D(interpolation="bilinear")(inputs))
        run = forward(own, 50)
        for shape in ((12, 10, 3), (6, 8, 3)):
            images, _ = arrays(4, shape)
            found = np.asarray(run(images))
            assert found.shape == (4, 2 * shape[0], 2 * shape[1], 3)
            np.testing.assert_allclose(found, np.asarray(own(images)), rtol=1e-6)
            between = 0.75 * images[:, 0, 0] + 0.25 * images[:, 0, 1]
            np.testing.assert_allclose(found[:, 0, 1], between, rtol=1e-5, atol=1e-6)

    def test_the_given_model_stays(self, model):
        before = [w.numpy().copy() for w in model.weights]
        forward(model, 50)(arrays()[0])
        for weight, value in zip(model.weights, before, strict=True):
            np.testing.assert_array_equal(weight, value)

    def test_many_models_in_one_process_bring_no_warning_of_tracing(self, model):
        heard = []
        handler = logging.Handler()
        handler.emit = heard.append
        tf.get_logger().addHandler(handler)
        try:
            for n in range(2, 12):
                forward(model, 50)(arrays(n)[0])
        finally:
            tf.get_logger().removeHandler(handler)
        assert heard == []


class TestBatchSize:
    def test_falls_with_the_memory_of_an_image(self):
        def size(name, **options):
            return batch_size_for(kcnn.build(name, **options))

        sizes = []
        for side in (32, 64, 96, 192):
            sizes.append(size("resnet20", input_shape=(side, side, 3), stem="cifar"))
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] > sizes[-1]
        assert all(n & (n - 1) == 0 for n in sizes)  # powers of two
        assert size("lenet5") == 1024  # not beyond
        assert size("resnet20", input_shape=(1200, 1200, 3), stem="cifar") == 1  # not below

    def test_a_model_that_hides_its_layers_gets_a_small_one(self):
        class Hidden(keras.Model):
            def call(self, x):
                return x

        inputs = keras.Input((12, 10, 3))
        assert batch_size_for(keras.Model(inputs, Hidden()(inputs))) == 32


def run_of(model):
    names = [f"class {n}" for n in range(model.output_shape[-1])]
    data = {"class_names": names, "source": None}
    recipe = ResolvedRecipe(
        epochs=1, batch_size=1, optimizer="sgd", learning_rate=0.1, schedule="constant", warmup=0.0,
        weight_decay=0.0, evaluation_scale=1.0, precision="float32", steps_per_execution=1,
    )  # fmt: skip
    return Run(None, recipe, {}, model, {}, data, TASK)


@pytest.fixture
def files(tmp_path):
    """Ten images, each other than the others, and their pixels."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (10, 12, 10, 3)).astype("uint8")
    paths = [tmp_path / f"image {n} ä.png" for n in range(10)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths, pixels


class TestPredict:
    @pytest.mark.parametrize("batch_size", [None, 1, 3, 10, 64])
    def test_order_and_figures_for_every_batch_size(self, model, files, batch_size):
        paths, pixels = files
        expected = np.asarray(model(pixels.astype("float32"), training=False))
        found = predict(run_of(model), paths, batch_size=batch_size)
        assert [prediction.path for prediction in found] == paths
        for prediction, row in zip(found, expected, strict=True):
            assert prediction.class_name == f"class {row.argmax()}"
            assert prediction.probability == pytest.approx(row.max(), rel=1e-4)
            assert list(prediction.probabilities.values()) == pytest.approx(
                sorted(row, reverse=True), rel=1e-4, abs=1e-6
            )

    def test_none(self, model):
        assert predict(run_of(model), []) == []

    def test_a_bad_file_behind_good_ones_is_named(self, model, files, tmp_path):
        (tmp_path / "bad.png").write_bytes(b"no image")
        with pytest.raises(kcnn.InputError, match=r"bad\.png"):
            predict(run_of(model), [*files[0], tmp_path / "bad.png"], batch_size=2)

    def test_decoding_is_at_most_one_batch_ahead(self, model, files, monkeypatch):
        loaded = []
        load = inference.load_image
        monkeypatch.setattr(
            inference, "load_image", lambda *args, **given: loaded.append(1) or load(*args, **given)
        )
        found = predictions(run_of(model), files[0], batch_size=2)
        assert next(found).path == files[0][0]
        assert 2 <= len(loaded) <= 4
        found.close()
        assert len(loaded) <= 4

    def test_progress_on_a_terminal(self, model, files):
        output = console(terminal=True)
        predict(run_of(model), files[0], batch_size=1, console=output)
        assert "predicting" in output.file.getvalue()


class TestBatchSizeOption:
    @pytest.mark.parametrize("size", [0, -3])
    def test_below_one_is_refused(self, model, files, size):
        with pytest.raises(kcnn.InputError, match=f"received {size}"):
            predict(run_of(model), files[0], batch_size=size)
        with pytest.raises(kcnn.InputError, match=f"received {size}"):
            evaluate_run(run_of(model), kcnn.from_arrays(arrays()), batch_size=size)

    def test_reaches_the_network(self, model, monkeypatch):
        seen = []

        def recorded(model, batches):
            run = forward(model, batches)
            return lambda images: seen.append(len(images)) or run(images)

        monkeypatch.setattr(classification, "forward", recorded)
        names = [f"class {n}" for n in range(CLASSES)]
        images, labels = arrays(60)
        data = kcnn.from_arrays((images, labels), test=(images, labels), class_names=names)
        sizes = {None: [60], 25: [25, 25, 10]}
        figures = []
        for given, expected in sizes.items():
            seen.clear()
            found = evaluate_run(run_of(model), data, batch_size=given)
            assert seen == expected
            figures.append((found.accuracy, pytest.approx(found.loss, rel=1e-4)))
        assert figures[0] == figures[1]


class TestNotFinite:
    """No figure is made of what is no number."""

    @pytest.fixture
    def spoiled(self, digits_run, tmp_path):
        """A run with a weight that is NaN, and a picture."""
        run = tmp_path / "run"
        shutil.copytree(digits_run.directory, run)
        model = keras.saving.load_model(run / "model.keras")
        kernel = model.layers[-1].kernel
        kernel.assign(kernel.numpy() * np.nan)
        model.save(run / "model.keras")
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "x.png")
        return run, tmp_path / "x.png", kernel.path

    def test_evaluate_and_predict_say_so(self, spoiled, capsys):
        run, picture, path = spoiled
        for arguments in (["evaluate", str(run)], ["predict", str(run), str(picture)]):
            assert main(arguments) == 1
            captured = capsys.readouterr()
            assert "are not finite; its weights" in captured.err
            assert path in captured.err
            assert "%" not in captured.out
            assert "Traceback" not in captured.err

    def test_infinite_outputs_of_finite_weights(self):
        first = keras.Input((2,))
        model = keras.Model(first, L.Rescaling(1e30)(L.Rescaling(1e30)(first)))
        with pytest.raises(FloatingPointError, match=r"2 of 3 images .* its weights are finite"):
            refuse_not_finite(model, model(np.array([[0.0, 0], [1, 1], [0, 1]], "float32")))


class TestTensorFlowsErrors:
    """What it raises while it computes becomes a sentence."""

    @pytest.mark.parametrize(
        ("error", "kind", "message"),
        [
            (tf.errors.ResourceExhaustedError(None, None, "OOM when"), MemoryError, "Out of mem"),
            (
                tf.errors.InternalError(None, None, "could not create a primitive"),
                MemoryError, "Out of memory with 4 images",
            ),
            (
                tf.errors.InvalidArgumentError(None, None, "bad \x1b[31m\nmore"),
                kcnn.InputError, "cannot compute .*: bad",
            ),
        ],
    )  # fmt: skip
    def test_are_said(self, error, kind, message, model, monkeypatch):
        def fail(*_, **__):
            raise error

        run = forward(model, 1)
        monkeypatch.setattr(type(model), "__call__", fail)
        with pytest.raises(kind, match=message) as caught:
            run(np.zeros((4, 12, 10, 3), "float32"))
        assert "\x1b" not in str(caught.value)
