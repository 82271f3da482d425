"""A training goes by the figure that is asked for: weights, rate, stopping, record; and goes on."""

import io
import json

import keras
import numpy as np
import pytest
from oracles.bits import assert_same_runs
from rich.console import Console
from sklearn.metrics import f1_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

import kcnn
from kcnn.tasks.task import find, monitored, ranking
from kcnn.training import report
from kcnn.training.setup import decide

PEAK = 0.01
RECIPE = {
    "model": "mlp", "options": {"width": 8}, "epochs": 8, "batch_size": 16, "learning_rate": PEAK,
    "warmup": 0.0, "monitor": "macro_f1", "schedule": "plateau", "plateau_factor": 0.3,
    "plateau_patience": 1, "early_stopping": 2, "checkpoint_every": "2", "weight_decay": 0.03,
}  # fmt: skip


def arrays(images, seed):
    """Three classes, half of the images of the first, which pixels hardly tell apart."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, images, p=[0.5, 0.3, 0.2])
    pixels = rng.integers(0, 170, (images, 6, 6, 1)) + 12 * labels[:, None, None, None]
    return pixels.astype("uint8"), labels


DATA = {"train": arrays(64, 0), "validation": arrays(30, 1), "test": arrays(30, 2)}


class Watched(keras.callbacks.Callback):
    """What scikit-learn says behind each epoch; breaks off in one, behind its checkpoint."""

    def __init__(self, stop=None):
        super().__init__()
        self.stop, self.found = stop, []

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def on_epoch_end(self, epoch, logs=None):
        images, labels = DATA["validation"]
        said = np.asarray(self.model(images, training=False)).argmax(axis=1)
        self.found.append(f1_score(labels, said, average="macro", zero_division=0.0))

    def on_train_batch_end(self, batch, logs=None):
        if len(self.found) == self.stop and batch > 1:
            raise ZeroDivisionError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing broke off, and what scikit-learn saw in it."""
    watched = Watched()
    recipe = kcnn.Recipe(logs=str(tmp_path_factory.mktemp("logs")), name="whole", **RECIPE)
    return kcnn.train(recipe, data=DATA, callbacks=[watched], verbose=False), watched.found


def test_it_is_measured_behind_each_epoch_as_scikit_learn_does(whole):
    run, found = whole
    assert run.history["val_macro_f1"] == pytest.approx(found)
    assert len(set(found)) > 2


def test_it_chooses_the_weights_and_when_to_stop(whole):
    run, found = whole
    best = max(epoch for epoch, value in enumerate(found, 1) if value == max(found))
    assert run.result["kept_epoch"] == best
    assert run.result["epochs"] == best + 2 < 8
    assert run.result["monitor"] == "validation_macro_f1"
    assert run.result["validation_macro_f1"] == pytest.approx(max(found))
    assert 0 < run.result["test_macro_f1"] < 1
    assert best - 1 != np.argmin(run.history["val_loss"])


def test_the_rates_are_those_of_kerass_callback(whole):
    """Fed with the same figures; a rate is on record before its epoch's end lowers it."""
    run, found = whole
    expected = keras_rates(found, patience=1, factor=0.3, mode="max", peak=PEAK)
    assert run.history["learning_rate"] == pytest.approx([PEAK, *expected[:-1]], rel=1e-6)
    assert len(set(expected)) > 2


def test_it_is_shown_and_on_record(whole):
    run, found = whole
    setup = decide(run.recipe, data=DATA, console=Console(quiet=True))
    console = Console(file=io.StringIO(), width=400)
    report.header(console, setup, run.model, run.directory, 0)
    shown = console.file.getvalue()
    assert "the weights of the best macro F1 are kept; the rate times 0.3 after 1 epoch" in shown
    assert "stops after 2 epochs without a better macro F1" in shown
    recorded = json.loads((run.directory / "recipe.json").read_text())["recipe"]
    assert recorded["monitor"] == "macro_f1"
    events = EventAccumulator(str(run.directory), {"tensors": 0}).Reload()
    written = [float(make_ndarray(e.tensor_proto)) for e in events.Tensors("macro_f1/validation")]
    assert written == pytest.approx(found)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [4, 6])
def test_broken_off_behind_a_plateau_it_goes_on_to_the_same_bits(stop, whole, tmp_path):
    """Within the epoch that waits, and within the one whose rate is lower."""
    run, _ = whole
    assert run.history["learning_rate"][6] < PEAK
    recipe = kcnn.Recipe(logs=str(tmp_path), name="broken", **RECIPE)
    with pytest.raises(ZeroDivisionError):
        kcnn.train(recipe, data=DATA, callbacks=[Watched(stop)], verbose=False)
    kcnn.resume(tmp_path / "broken", data=DATA, callbacks=[Watched()], verbose=False)
    assert_same_runs(tmp_path / "broken", run.directory)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("macro_f", r"loss, balanced_accuracy, macro_f1, .* received 'macro_f'. Did you mean 'mac"),
        ("val_loss", "Did you mean 'loss'"),
        ("roc_auc", "of two classes; the data have 3"),
        ("top5_accuracy", "of more than 5 classes; the data have 3"),
    ],
)
def test_what_the_data_do_not_have_is_refused_before_anything_is_written(name, said, tmp_path):
    recipe = kcnn.Recipe(model="mlp", monitor=name, logs=str(tmp_path / "logs"))
    with pytest.raises(kcnn.InputError, match=said):
        kcnn.train(recipe, data=DATA, verbose=False)
    assert not (tmp_path / "logs").exists()


def test_of_two_classes_both_have_to_be_in_validation(tmp_path):
    pixels, labels = arrays(30, 3)
    data = {"train": (pixels, labels % 2), "validation": (pixels, labels * 0)}
    recipe = kcnn.Recipe(model="mlp", monitor="roc_auc", logs=str(tmp_path / "logs"))
    with pytest.raises(kcnn.InputError, match="the validation split has one"):
        kcnn.train(recipe, data=data, verbose=False)


@pytest.mark.parametrize(
    ("task", "name", "mode"),
    [
        ("classification", None, "max"), ("classification", "calibration_error", "min"),
        ("segmentation", "dice", "max"), ("segmentation", "loss", "min"),
        ("detection", "ap50", "max"),
    ],
)  # fmt: skip
def test_every_task_has_figures_and_their_direction(task, name, mode):
    figure = monitored(find(task), name)
    assert figure.mode == mode
    assert figure == (find(task).figures[0] if name is None else figure)
    ranked = ranking(find(task), monitor=name)
    assert ranked[0] == figure
    assert len(ranked) == len(set(ranked))


def keras_rates(values, patience, factor, mode, peak=1.0):
    """Behind each epoch, by Keras' own callback."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(peak), "mse")
    theirs = keras.callbacks.ReduceLROnPlateau("val_x", factor, patience, mode=mode)
    theirs.set_model(model)
    theirs.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        theirs.on_epoch_end(epoch, {"val_x": value})
        rates.append(float(model.optimizer.learning_rate.numpy()))
    return rates
