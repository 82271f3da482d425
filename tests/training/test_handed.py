"""Optimiser, loss and metrics of the user's own: Keras' `fit` is the oracle, and the same bits."""

import io
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from oracles.bits import assert_same_runs
from oracles.broken import DATA, Break
from rich.console import Console

import kcnn
from kcnn.models.registry import import_code
from kcnn.training.handed import handed, say_replaced

CODE = """
import keras

@keras.saving.register_keras_serializable("theirs")
class Cubic(keras.losses.Loss):
    def __init__(self, power=3.0, **options):
        super().__init__(**options)
        self.power = power

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** self.power, axis=-1)

    def get_config(self):
        return super().get_config() | {"power": self.power}
"""


def model():
    keras.utils.set_random_seed(3)
    layers = keras.layers
    parts = [layers.Flatten(), layers.Dense(6, "tanh"), layers.Dense(3, "softmax")]
    inputs = [keras.Input((8, 8, 1)), layers.Rescaling(1 / 255)]
    return keras.Sequential([*inputs, *parts], name="theirs")


def optimizer():
    """One that kcnn has by no name, with decay of all weights and a schedule of its own."""
    rate = keras.optimizers.schedules.ExponentialDecay(0.3, decay_steps=2, decay_rate=0.7)
    return keras.optimizers.Adagrad(rate, weight_decay=0.05, clipnorm=0.5)


def compiled():
    made = model()
    top2 = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")
    made.compile(optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy", top2])
    return made


def recipe(logs, **fields):
    base = {"epochs": 4, "batch_size": 24, "augment": "none", "select": "last", "name": "run"}
    return kcnn.Recipe(logs=str(logs), **base | fields)


def test_a_compiled_model_comes_to_what_fit_comes_to(tmp_path):
    """All images in a batch: their order is none."""
    ours, theirs = compiled(), compiled()
    before = ours.optimizer
    run = kcnn.train(recipe(tmp_path), model=ours, data=DATA, keep_compiled=True, verbose=False)
    history = theirs.fit(*DATA["train"], batch_size=24, epochs=4, verbose=0).history
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    for name in ("loss", "accuracy", "top2"):
        assert run.history[name] == pytest.approx(history[name], abs=1e-6), name
    expected = theirs.evaluate(*DATA["test"], return_dict=True, verbose=0)
    for name in ("loss", "accuracy", "top2"):
        assert run.result[f"test_{name}"] == pytest.approx(expected[name], abs=1e-6), name
    assert run.result["validation_top2"] == run.history["val_top2"][-1]
    assert ours.optimizer is before  # how it is compiled stays as it is
    assert int(before.iterations) == 0
    recorded = json.loads((run.directory / "recipe.json").read_text())["recipe"]
    assert recorded["optimizer"] == "own: Adagrad"
    assert recorded["schedule"] == "own: ExponentialDecay"
    assert (recorded["learning_rate"], recorded["weight_decay"]) == (pytest.approx(0.3), 0.05)


@pytest.mark.slow
def test_it_goes_on_to_the_same_bits_with_the_code_that_is_trusted(tmp_path):
    code = tmp_path / "their losses.py"
    code.write_text(CODE)
    import_code(code)
    cubic = keras.saving.get_custom_objects()["theirs>Cubic"]
    own = {"optimizer": keras.optimizers.Adadelta(0.5), "loss": cubic(power=2.0)}
    fields = {"model": "mlp", "options": {"width": 4}, "batch_size": 6, "checkpoint_every": "2"}
    fields["steps_per_execution"] = 1
    for name, step in (("whole", None), ("broken", 7)):
        asked = recipe(tmp_path, epochs=2, **fields | {"name": name})
        try:
            kcnn.train(asked, data=DATA, callbacks=[Break(step)], verbose=False, **own)
        except ZeroDivisionError:
            assert name == "broken"
    del keras.saving.get_custom_objects()["theirs>Cubic"]  # as in a new process
    again = {"data": DATA, "callbacks": [Break()], "verbose": False}
    from kcnn.models import registry

    registry._IMPORTED_FILES.clear()
    with pytest.raises(kcnn.InputError, match=r"loss is of code of their losses.*--trust FILE"):
        kcnn.resume(tmp_path / "broken", **again)
    run = kcnn.resume(tmp_path / "broken", trust=code, **again)
    assert_same_runs(tmp_path / "broken", tmp_path / "whole")
    images, labels = DATA["test"]
    difference = np.eye(3)[labels] - run.model.predict(images, verbose=0)
    assert run.result["test_loss"] == pytest.approx((difference**2).mean(), rel=1e-5)
    assert run.recipe.compiled["loss"]["config"]["power"] == 2.0
    # Handed over again, all of it repeats; without the optimizer's fields standing in its way.
    assert handed(run.recipe, optimizer=own["optimizer"]).compiled == run.recipe.compiled


@keras.saving.register_keras_serializable("test_handed")
class Forgets(keras.losses.Loss):
    def __init__(self, power=3.0, **options):
        super().__init__(**options)

    def call(self, y_true, y_pred):
        return keras.ops.abs(y_true - y_pred)


def unregistered(y_true, y_pred):
    return keras.ops.abs(y_true - y_pred)


ADAM = keras.optimizers.Adam


@pytest.mark.parametrize(
    ("fields", "given", "said"),
    [
        ({}, lambda: {"loss": lambda t, p: t - p}, "loss has a lambda in it"),
        ({}, lambda: {"loss": unregistered}, "register_keras_serializable"),
        ({}, lambda: {"loss": Forgets()}, r"Forgets.get_config\(\) has no power"),
        ({}, lambda: {"loss": "crossentropie"}, "no loss called 'crossentropie'"),
        ({}, lambda: {"loss": {"a": "mse"}}, "for the one output"),
        ({}, lambda: {"metrics": "mse"}, "metrics is a list"),
        ({}, lambda: {"metrics": [["mse"]]}, "for the one output"),
        ({}, lambda: {"optimizer": "adam"}, r"kcnn.Recipe\(optimizer='adam'\)"),
        ({}, lambda: {"optimizer": ADAM(use_ema=True)}, "keeps an average of the weights"),
        ({"learning_rate": 0.1}, lambda: {"optimizer": ADAM()}, "learning_rate=0.1 would not"),
        ({"momentum": 0.5}, lambda: {"optimizer": ADAM()}, "momentum=0.5 would not count"),
        ({"on_nan": "retry"}, lambda: {"optimizer": optimizer()}, "its ExponentialDecay's"),
        ({}, lambda: {"keep_compiled": True}, "received none"),
        ({}, lambda: {"keep_compiled": True, "model": model()}, "is not compiled"),
        ({}, lambda: {"keep_compiled": True, "model": compiled(), "loss": "mse"}, "loss, too"),
    ],
)
def test_what_cannot_be_recorded_or_would_not_count_is_refused(fields, given, said):
    with pytest.raises(kcnn.InputError, match=said):
        handed(kcnn.Recipe(**fields), **given())


@pytest.mark.parametrize(
    ("fields", "given", "said"),
    [
        ({}, {"metrics": [keras.metrics.MeanSquaredError("accuracy")]}, "called 'accuracy'"),
        ({"mixup": 0.2}, {"loss": "sparse_categorical_crossentropy"}, "mixup=0.2 makes shares"),
    ],
)
def test_what_does_not_go_with_the_task_is_refused(fields, given, said, tmp_path):
    with pytest.raises(kcnn.InputError, match=said):
        kcnn.train(recipe(tmp_path, model="mlp", **fields), data=DATA, verbose=False, **given)
    assert not list(tmp_path.iterdir())


def test_what_a_model_was_compiled_with_is_not_replaced_in_silence():
    text, found = io.StringIO(), kcnn.Recipe(optimizer="momentum", learning_rate=0.01)
    setup = SimpleNamespace(recipe=found, task=SimpleNamespace(name="classification"))
    say_replaced(Console(file=text, width=300), setup, compiled())
    assert text.getvalue().strip() == (
        "theirs was compiled with Adagrad and sparse_categorical_crossentropy: it is trained "
        "with momentum at 0.01 and the loss of classification. keep_compiled=True keeps its own."
    )
    kept = handed(kcnn.Recipe(), model=compiled(), keep_compiled=True)
    setup.recipe, text = kept, io.StringIO()
    say_replaced(Console(file=text), setup, compiled())
    assert text.getvalue() == ""


def test_a_recipe_without_what_was_handed_over_is_refused():
    with pytest.raises(kcnn.InputError, match=r"kcnn.train\(recipe, optimizer=...\)"):
        kcnn.Recipe(optimizer="own: Adagrad")
