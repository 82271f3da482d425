"""A task that kcnn has never heard of: how bright is an image? Mean absolute error, low is good.

It is trained, tuned, resumed, evaluated and reported as the built-in one is: nothing above tasks
knows what is learned.
"""

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from oracles.images import write_image
from rich.console import Console
from rich.text import Text
from tensorboard.backend.event_processing import event_file_loader

import kcnn
from kcnn.figures import Figure
from kcnn.models import registry
from kcnn.runs.directory import load_run
from kcnn.runs.inference import evaluate_run, predict
from kcnn.startup import keras, tf
from kcnn.tasks.inputs import as_problem
from kcnn.tasks.task import ranking
from kcnn.training import train as doors
from kcnn.tuning import Options, search, tune

L = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras_tuner")


def column(labels):
    return tf.cast(tf.reshape(labels, [-1, 1]), tf.float32)


@dataclass(frozen=True)
class Errors:
    images: int
    loss: float
    figures: dict[str, float]

    def details(self, class_names) -> dict[str, Any]:
        return {"worst": 7.0}


class Brightness:
    name = "brightness"
    whole = False
    figures = (Figure("error", higher_is_better=False, short="err"),)

    def problem(self, data, recipe, model):
        return as_problem(data, recipe)

    def prepared(self, problem, recipe):
        return self

    def handed(self, data, class_names, recipe):
        return data

    def outputs(self, problem):
        return 1

    def check_options(self, options, outputs):
        pass

    def check(self, model, problem):
        pass

    def meaning(self, model, images, said):
        return None

    def knowing(self, meaning):
        return self

    def targets(self, problem, outputs):
        return column

    def batch(self, batch, recipe):
        return batch

    def compile(self, model, optimizer, recipe=None, **options):
        metric = keras.metrics.MeanAbsoluteError(name="error")
        model.compile(optimizer, "mean_squared_error", metrics=[metric], **options)

    def describe(self, problem):
        return "a number each"

    def validate(self, model, batches, callbacks):
        return model.evaluate(batches, callbacks=callbacks, return_dict=True, verbose=0)

    def evaluate(self, model, batches, console=None):
        pairs = [(model(x).numpy()[:, 0], y.numpy()[:, 0]) for x, y in batches]
        found, truth = (np.concatenate(part) for part in zip(*pairs, strict=True))
        errors = np.abs(found - truth)
        return Errors(len(errors), float((errors**2).mean()), {"error": float(errors.mean())})

    def tables(self, details):
        return []

    def predictions(self, model, outputs, paths, class_names, views=None):
        return [(path, float(value)) for path, value in zip(paths, outputs[:, 0], strict=True)]

    def pictures(self, model, problem, part, evaluation):
        return {}

    def writer(self, directory, class_names):
        return None

    def lines(self, predictions, top):
        return [Text(f"{path}  {value:.2f}") for path, value in predictions]


TASK = Brightness()


class Watcher(keras.callbacks.Callback):
    def get_state(self):
        return {}

    def set_state(self, state):
        pass


def images(count, seed):
    """Noise about a brightness of 0..4, and that number."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(count) % 5
    pixels = rng.integers(0, 50, (count, 8, 8, 1)) + 50 * numbers[:, None, None, None]
    return pixels.astype("uint8"), numbers


DATA = {"train": images(160, 0), "validation": images(40, 1), "test": images(30, 2)}


@pytest.fixture(autouse=True)
def network():
    @kcnn.register("meter", input_shape=(8, 8, 1), classes=1, task=TASK)
    def meter(input_shape, classes=1, width=4):
        return keras.Sequential(
            [
                keras.Input(input_shape),
                L.GlobalAveragePooling2D(),
                L.Dense(width, "relu"),
                L.Dense(classes),
            ]
        )


def recipe(tmp_path, **fields):
    given = {"epochs": 4, "batch_size": 16, "learning_rate": 0.03, "logs": str(tmp_path)}
    return kcnn.Recipe(model="meter", **given | fields)


def error_by_numpy(model, part):
    pixels, numbers = DATA[part]
    return np.abs(model.predict(pixels.astype("float32"), verbose=0)[:, 0] - numbers).mean()


def shown_by(monkeypatch, module):
    """What goes to the terminal."""
    text = io.StringIO()
    console = Console(file=text, width=100)
    monkeypatch.setattr(module.terminal, "console", lambda quiet=False: console)
    return text


def test_trained_and_reported(tmp_path, monkeypatch):
    text = shown_by(monkeypatch, doors)
    run = kcnn.train(recipe(tmp_path, name="run"), data=DATA)
    assert run.result["test_error"] == pytest.approx(error_by_numpy(run.model, "test"), rel=1e-4)
    expected = error_by_numpy(run.model, "validation")
    assert run.result["validation_error"] == pytest.approx(expected, rel=1e-4)
    assert run.test_metrics.keys() == {"loss", "error"}
    assert run.result["test_worst"] == 7.0
    errors = run.history["val_error"]
    assert run.result["kept_epoch"] == 1 + int(np.argmin(errors))  # the lowest, not the highest
    for words in ("a number each", "val err", "test error", "validation error"):
        assert words in text.getvalue(), words
    assert not any("accuracy" in name for name in (*run.result, *run.history))
    assert "accuracy" not in text.getvalue()
    with (run.directory / "metrics.csv").open() as file:
        assert {"error", "val_error"} <= next(csv.DictReader(file)).keys()
    assert json.loads((run.directory / "recipe.json").read_text())["task"] == "brightness"


def test_the_kept_epoch_is_the_lowest_and_not_the_last(tmp_path):

    class Spoil(Watcher):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                self.model.trainable_variables[-1].assign_add([100.0])

    run = kcnn.train(recipe(tmp_path, name="run"), data=DATA, callbacks=[Spoil()], verbose=False)
    errors = run.history["val_error"]
    assert errors[3] > 50
    assert run.result["kept_epoch"] == 1 + np.argmin(errors) < 4
    assert run.result["validation_error"] == pytest.approx(min(errors), rel=1e-5)


@pytest.mark.slow
def test_resumed_to_the_same_bits(tmp_path):
    whole = kcnn.train(recipe(tmp_path, name="whole"), data=DATA, verbose=False)

    class Stop(Watcher):
        stops = True

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2 and self.stops:
                raise KeyboardInterrupt

    broken = recipe(tmp_path, name="broken", checkpoint_every="1")
    with pytest.raises(KeyboardInterrupt):
        kcnn.train(broken, data=DATA, callbacks=[Stop()], verbose=False)

    Stop.stops = False
    run = kcnn.resume(tmp_path / "broken", data=DATA, callbacks=[Stop()], verbose=False)
    for ours, theirs in zip(run.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert run.result["test_error"] == whole.result["test_error"]


def test_loaded_evaluated_and_predicted(tmp_path, monkeypatch):
    made = kcnn.train(recipe(tmp_path, name="run"), data=DATA, verbose=False)
    assert load_run(made.directory).task is TASK  # by its network
    monkeypatch.delitem(registry._ENTRIES, "meter")
    with pytest.raises(kcnn.InputError, match=r"A task is one of classification.*'brightness'"):
        load_run(made.directory)
    run = load_run(made.directory, task=TASK)
    assert evaluate_run(run, kcnn.from_arrays(**DATA)).figures == pytest.approx(
        {"error": made.result["test_error"]}
    )
    pixels = np.full((8, 8, 1), 120, "uint8")
    write_image(tmp_path / "grey.png", (120, 120, 120), (8, 8))
    ((path, value),) = predict(run, [tmp_path / "grey.png"])
    assert path.name == "grey.png"
    expected = run.model.predict(pixels[None].astype("float32"), verbose=0)[0, 0]
    assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_tuned(tmp_path, monkeypatch):
    text = shown_by(monkeypatch, search)
    options = Options(
        model="meter", trials=3, epochs=2, repeats=2, top=2, name="search", logs=str(tmp_path),
        space=("batch_size=16", "width=2,4", "learning_rate=1e-3:1e-1:log", "optimizer=adam"),
    )  # fmt: skip
    found = tune(options, data=DATA)
    errors = [trial.figures["error"] for trial in found.trials]
    assert errors == sorted(errors)
    assert set(found.trials[0].figures) == {"error", "loss"}
    manifest = json.loads((found.directory / "search.json").read_text())["search"]
    assert manifest["objective"] == "validation_error"
    means = {number: np.mean(scores) for number, scores in found.repeats.items()}
    best = json.loads((found.directory / "best.json").read_text())["search"]
    assert best["trial"] == min(means, key=means.get)
    assert repr(found).endswith(")>")
    assert found.run.result["test_error"] == pytest.approx(
        error_by_numpy(found.run.model, "test"), rel=1e-4
    )
    assert "val. err" in text.getvalue()
    assert "accuracy" not in text.getvalue()
    assert "%" not in text.getvalue().split("Best:")[1]
    for trial in found.trials:
        kept = [t for t in tags(found.directory / f"trial-{trial.number:04d}") if "kept/" in t]
        assert kept == ["kept/validation_error", "kept/validation_loss"]
    assert tune(options, data=DATA, verbose=False).trials == found.trials  # read back

    with pytest.raises(kcnn.InputError, match=r"validation_error, validation_loss; received 'val"):
        tune(Options(model="meter", objective="validation_accuracy"), data=DATA, verbose=False)


def tags(directory):
    """What TensorBoard has of a run, by name."""
    found = set()
    for path in directory.glob("events*"):
        for event in event_file_loader.EventFileLoader(str(path)).Load():
            found |= {value.tag for value in event.summary.value}
    return sorted(found)


def test_what_ranks_trainings():
    assert [figure.name for figure in ranking(TASK)] == ["error", "loss"]
    assert [figure.name for figure in ranking(TASK, "validation_loss")] == ["loss", "error"]
