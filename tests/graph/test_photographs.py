"""Photographs of any size: the same scale, the same middle, inside the network and outside of it.

The oracle for pixels is Pillow's own `ImageOps.fit`.
"""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import kcnn
from kcnn.data import evaluation_batches, load_data, load_image
from kcnn.graph.photographs import with_fitting, without_fitting
from kcnn.runs.inference import evaluate_run, predict
from kcnn.training.loop import engine as engines

HEIGHT, WIDTH = 24, 20
SCALE = 1.15  # 27.6 and 23.0: rows of a 28 by 23 image, from the second on
SIZES = [(24, 20), (28, 23), (61, 100), (100, 61), (31, 33), (5, 7), (240, 200)]  # (H, W)


def photograph(height, width, seed=0):
    """Smooth, with an edge: what a photograph is to a filter."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype="uint8"))
    pixels = np.array(small.resize((width, height), Image.Resampling.BICUBIC))
    pixels[height // 3 : height // 2, width // 4 :] = rng.integers(0, 256, 3)
    return pixels


def by_pillow(pixels, scale=SCALE, size=(HEIGHT, WIDTH)):
    """Fit to `scale` times the size, then the middle."""
    height, width = (round(scale * side) for side in size)
    image = ImageOps.fit(Image.fromarray(pixels), (width, height), Image.Resampling.BILINEAR)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return np.asarray(image)[top : top + size[0], left : left + size[1]]


def identity():
    inputs = keras.Input((HEIGHT, WIDTH, 3))
    return keras.Model(inputs, keras.layers.Activation("linear")(inputs))


class TestPixels:
    @pytest.mark.parametrize("scale", [1.0, SCALE, 1.5])
    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_in_the_graph_and_of_files(self, tmp_path, size, scale):
        pixels = photograph(*size)
        expected = by_pillow(pixels, scale).astype(int)
        found = np.asarray(with_fitting(identity(), scale)(pixels[None]))[0]
        Image.fromarray(pixels).save(tmp_path / "p.png")
        of_file = load_image(tmp_path / "p.png", (HEIGHT, WIDTH, 3), scale)
        assert abs(found - expected).max() <= 1  # of 255; ties of the rounding
        assert (found != expected).mean() < 0.1
        assert abs(of_file - expected).max() <= 1
        assert (of_file != expected).mean() < 0.1

    def test_evaluation_reads_them_so(self, tmp_path):
        rows = [photograph(*size, seed) for seed, size in enumerate(SIZES)]
        for number, pixels in enumerate(rows):
            folder = tmp_path / "images" / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number}.png")
        split = load_data(tmp_path / "images", validation=0.2).train
        expected = [by_pillow(np.asarray(Image.open(path))) for path in split.images]
        for cache in (None, "memory", tmp_path / "cache"):
            batches = evaluation_batches(
                split, 3, classes=2, image_size=(HEIGHT, WIDTH), scale=SCALE, cache=cache
            )
            found = np.concatenate([images.numpy() for images, _ in batches]).astype(int)
            assert abs(found - np.stack(expected)).max() <= 1


class TestNetwork:
    def test_there_and_back(self):
        network = kcnn.build("lenet5", input_shape=(HEIGHT, WIDTH, 3), classes=3)
        photographs = np.stack([photograph(90, 70, seed) for seed in range(4)])
        expected = np.asarray(network(np.stack([by_pillow(p) for p in photographs])))
        model = with_fitting(network, SCALE)
        assert model.input_shape == (None, None, None, 3)
        assert model.trainable_weights[0] is network.trainable_weights[0]
        np.testing.assert_allclose(model(photographs), expected, atol=0.01)
        back = without_fitting(model)
        fitted = np.stack([by_pillow(p) for p in photographs])
        np.testing.assert_array_equal(back(fitted), network(fitted))
        assert without_fitting(back) is back

    def test_the_mode_of_what_follows(self):
        """A layer in front that would put BatchNorm into training mode."""
        inputs = keras.Input((HEIGHT, WIDTH, 3))
        x = keras.layers.Resizing(12, 10)(inputs)
        network = keras.Model(inputs, keras.layers.BatchNormalization()(x))
        found = with_fitting(network, 1.0)(np.full((2, HEIGHT, WIDTH, 3), 7.0))
        np.testing.assert_allclose(found, 7 / np.sqrt(1.001), rtol=1e-6)
        np.testing.assert_array_equal(network.layers[-1].moving_mean, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes, dark and bright; each file has a size of its own, and a bright frame."""
    root, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 5), ("test", 5)):
        for name, level in (("dark", 80), ("bright", 100)):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                height, width = rng.integers(26, 60, 2)
                pixels = rng.integers(level, level + 90, (height, width, 3), dtype="uint8")
                pixels[:3], pixels[-3:] = 255, 255
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


def recipe(folder, tmp_path, **more):
    fields = {"model": "lenet5", "data": str(folder), "image_size": (HEIGHT, WIDTH), "epochs": 2,
              "batch_size": 8, "logs": str(tmp_path / "logs"), "name": "run"}  # fmt: skip
    return kcnn.Recipe(**fields | more)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    return kcnn.train(recipe(folder, tmp_path_factory.mktemp("logs")), verbose=False)


def test_files(folder):
    found = sorted((folder / "test").rglob("*.png"))
    return found, [np.asarray(Image.open(path)) for path in found]


test_files.__test__ = False


def probabilities(network, pixels):
    """Of the second class."""
    return np.asarray(network(np.stack(pixels), training=False))[:, 0]


class TestRun:
    def test_predictions_are_at_the_scale_of_the_training(self, run, folder):
        paths, pixels = test_files(folder)
        found = [p.probabilities["dark"] for p in predict(run, paths)]
        network = without_fitting(run.model)
        expected = probabilities(network, [by_pillow(p) for p in pixels])
        np.testing.assert_allclose(found, expected, atol=2e-3)
        at_one = probabilities(network, [by_pillow(p, 1.0) for p in pixels])
        assert abs(found - at_one).max() > 2e-2  # the frame is not cut off

    def test_figures_are_at_the_scale_of_the_training(self, run, folder):
        paths, pixels = test_files(folder)
        y = np.array([path.parent.name == "dark" for path in paths])
        p = probabilities(without_fitting(run.model), [by_pillow(p) for p in pixels])
        loss = -np.log(np.where(y, p, 1 - p)).mean()
        assert run.result["test_loss"] == pytest.approx(loss, rel=1e-2)
        for data in (None, str(folder)):
            again = evaluate_run(kcnn.load_run(run.directory), data)
            assert again.loss == pytest.approx(run.result["test_loss"], rel=1e-5)

    @pytest.mark.parametrize("where", ["in the process", "from its file"])
    def test_the_network_takes_photographs_of_any_size(self, run, folder, where):
        model = run.model if where == "in the process" else kcnn.load_run(run.directory).model
        paths, pixels = test_files(folder)
        expected = [p.probabilities["dark"] for p in predict(run, paths)]
        for call in (
            model,
            lambda x: model(x, training=False),
            lambda x: model.predict(x, verbose=0),
        ):
            found = [float(np.asarray(call(one[None]))[0, 0]) for one in pixels]
            np.testing.assert_allclose(found, expected, atol=2e-3)
        batch = np.stack([pixels[0], pixels[0][:, ::-1]])
        np.testing.assert_allclose(model(batch)[0], model(batch[:1])[0], atol=1e-6)

    def test_layers_are_those_of_its_graph(self, run):
        inside = keras.Model(run.model.input, run.model.get_layer("conv1").output)
        assert inside(np.zeros((1, 50, 60, 3))).shape[1:3] == (HEIGHT - 4, WIDTH - 4)

    def test_as_a_saved_model(self, run, folder, tmp_path):
        _, pixels = test_files(folder)
        run.model.export(tmp_path / "saved", verbose=False)
        loaded = tf.saved_model.load(tmp_path / "saved")
        for one in pixels[:3]:
            found = loaded.serve(one[None].astype("float32"))
            np.testing.assert_allclose(found, run.model(one[None]), atol=1e-5)

    def test_folded(self, run):
        folded = kcnn.fold_batchnorm(run.model)
        image = photograph(50, 70)[None]
        np.testing.assert_allclose(folded(image), run.model(image), atol=1e-5)

    def test_a_model_of_ones_own(self, folder, tmp_path):
        own = keras.Sequential(
            [keras.Input((HEIGHT, WIDTH, 3)), keras.layers.Rescaling(1 / 255),
             keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")]
        )  # fmt: skip
        run = kcnn.train(recipe(folder, tmp_path, image_size=None), model=own, verbose=False)
        image = photograph(50, 70)
        expected = own(by_pillow(image)[None])
        assert own.compiled
        assert run.model.compiled
        for model in (run.model, kcnn.load_run(run.directory).model):
            np.testing.assert_allclose(model(image[None]), expected, atol=5e-3)

    @pytest.mark.parametrize(
        ("fields", "said"),
        [({}, "evaluated: the middle at 1.15 times that"), ({"augment": "none"}, "the middle")],
    )
    def test_it_is_in_the_header(self, folder, tmp_path, capsys, fields, said):
        kcnn.train(recipe(folder, tmp_path, epochs=1, **fields))
        header = " ".join(capsys.readouterr().out.split())
        assert f"{said} " in header
        assert ("1.15" in header) == (not fields)

    def test_the_scale_can_be_said(self, folder, tmp_path):
        run = kcnn.train(recipe(folder, tmp_path, evaluation_scale=1.0), verbose=False)
        _, pixels = test_files(folder)
        expected = probabilities(without_fitting(run.model), [by_pillow(p, 1.0) for p in pixels])
        found = [float(np.asarray(run.model(one[None]))[0, 0]) for one in pixels]
        np.testing.assert_allclose(found, expected, atol=2e-3)

    def test_without_a_crop_it_is_the_whole_photograph(self, folder, tmp_path):
        run = kcnn.train(recipe(folder, tmp_path, augment="flip", epochs=1), verbose=False)
        assert run.recipe.evaluation_scale == 1.0

    def test_of_a_run_of_before(self, run):
        fields = kcnn.load_run(run.directory).recipe.to_dict()
        del fields["evaluation_scale"]
        assert type(run.recipe).recorded(fields).evaluation_scale == 1.0

    def test_it_is_of_files(self, tmp_path):
        arrays = np.random.default_rng(0).integers(0, 255, (40, 24, 24, 3)), np.arange(40) % 2
        with pytest.raises(kcnn.InputError, match=r"evaluation_scale=1\.2 is of image files"):
            kcnn.train(
                kcnn.Recipe(evaluation_scale=1.2, logs=str(tmp_path)), data=arrays, verbose=False
            )
        with pytest.raises(kcnn.InputError, match="a factor from 1 up"):
            kcnn.Recipe(evaluation_scale=0.9)

    @pytest.mark.slow
    def test_where_the_engine_is_kept(self, folder, run, tmp_path):
        """The next training of the same network does not write into the one handed out."""
        engines.forget()
        first = kcnn.train(recipe(folder, tmp_path, name="one"), verbose=False)
        before = first.model.get_weights()
        kcnn.train(recipe(folder, tmp_path, name="two", seed=1), verbose=False)
        for a, b in zip(before, first.model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_file_loads_in_plain_keras(run, folder, tmp_path, backend):
    if backend != "tensorflow":
        pytest.importorskip(backend)
    image = photograph(64, 48)
    np.save(tmp_path / "image.npy", image[None])
    code = (
        "import sys; sys.modules['kcnn'] = None; import keras, numpy as np;"
        "model = keras.models.load_model(sys.argv[1]);"
        "np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))"
    )
    paths = [
        str(run.directory / "model.keras"),
        *(str(tmp_path / f"{n}.npy") for n in ("image", "out")),
    ]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, env={"KERAS_BACKEND": backend})
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"), run.model.predict(image[None], verbose=0), atol=1e-3
    )
