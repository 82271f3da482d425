"""One trace serves every training of the same network, and no training touches another's."""

import contextlib
import logging
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.training.loop import engine as engines

IMAGES, SIZE = 24, 16
BASE = {
    "model": "lenet5", "options": {"activation": "relu"}, "batch_size": 6, "epochs": 2,
    "optimizer": "momentum", "learning_rate": 0.02, "select": "last",
}  # fmt: skip


def arrays(images=IMAGES, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (images, SIZE, SIZE, 1)).astype("uint8"), np.arange(images) % 3


DATA = {"train": arrays(), "validation": arrays(9, seed=1), "test": arrays(9, seed=2)}


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """The engines that are kept: none of another test."""
    fresh = type(engines._engines)()
    monkeypatch.setattr(engines, "_engines", fresh)
    return fresh


def trained(tmp_path, callbacks=(), data=DATA, **fields):
    recipe = kcnn.Recipe(logs=str(tmp_path), **BASE | fields)
    return kcnn.train(recipe, data=data, callbacks=callbacks, verbose=False)


def alone(tmp_path, **fields):
    """The same training where no engine is kept."""
    engines._engines.clear()
    return trained(tmp_path, **fields)


def traces(kept):
    return [e.steps._several[False].experimental_get_tracing_count() for e in kept.values()]


def same(ours, theirs):
    for a, b in zip(ours.model.weights, theirs.model.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    for name in set(ours.history) - {"seconds", "images_per_second"}:
        assert ours.history[name] == theirs.history[name], name


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "rmsprop", "adam", "adamw"])
def test_every_optimiser_begins_again(optimizer, kept, tmp_path):
    fields = {"optimizer": optimizer, "schedule": "constant", "warmup": 0.0, "momentum": None}
    first = trained(tmp_path, **fields)
    assert traces(kept) == [1]
    again = trained(tmp_path, **fields)
    assert traces(kept) == [1]
    same(first, again)


@pytest.mark.slow
def test_loss_scaling_begins_again(kept, tmp_path):
    """Under float16 the optimiser holds its scale, too."""
    first = trained(tmp_path, precision="mixed_float16")
    again = trained(tmp_path, precision="mixed_float16")
    assert traces(kept) == [1]
    same(first, again)
    assert math.isfinite(again.history["loss"][-1])


OTHER_NUMBERS = [
    {"learning_rate": 0.005, "momentum": 0.5, "warmup": 1.5},
    {"seed": 7, "name": "another run", "epochs": 1},
]


@pytest.mark.parametrize("change", OTHER_NUMBERS, ids=str)
def test_other_numbers_need_no_new_trace_and_give_the_bits_of_a_fresh_start(change, kept, tmp_path):
    first = {"warmup": 0.5, "schedule": "cosine", "weight_decay": 0.1}
    trained(tmp_path, **first)
    (engine,) = kept.values()
    second = trained(tmp_path / "second", **first | change)
    assert list(kept.values()) == [engine]
    assert traces(kept) == [1]
    same(second, alone(tmp_path / "alone", **first | change))


@pytest.mark.slow
def test_other_decay_and_other_images_need_none_either(kept, tmp_path):
    trained(tmp_path, weight_decay=0.1)
    data = DATA | {"train": arrays(seed=9)}
    # Their statistics are part of the network: kept equal by training on the same multiset.
    order = np.random.default_rng(0).permutation(IMAGES)
    data["train"] = DATA["train"][0][order], DATA["train"][1][order]
    second = trained(tmp_path, data=data, weight_decay=0.3)
    assert traces(kept) == [1]
    engines._engines.clear()
    same(second, trained(tmp_path, data=data, weight_decay=0.3))


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "adam"},
        {"options": {"activation": "tanh"}},
        {"batchnorm": True},
        {"augment": "flip"},
        {"label_smoothing": 0.1},
        {"schedule": "step"},
        {"precision": "mixed_bfloat16"},
        {"steps_per_execution": 1},
        {"batch_size": 8},
    ],
    ids=str,
)
def test_what_a_trace_fixes_gets_an_engine_of_its_own_or_a_new_trace(change, kept, tmp_path):
    trained(tmp_path)
    second = trained(tmp_path, **change)
    same(second, alone(tmp_path, **change))


def test_a_finished_run_keeps_its_model(tmp_path):
    first = trained(tmp_path)
    weights = first.model.get_weights()
    second = trained(tmp_path, seed=3)
    assert second.model is not first.model
    for a, b in zip(first.model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        not np.array_equal(a, b) for a, b in zip(second.model.get_weights(), weights, strict=True)
    )


@pytest.mark.slow
def test_the_model_that_is_handed_out_can_be_trained_on(tmp_path):
    """It is compiled, and what is done to it does not reach the next training."""
    first = trained(tmp_path)
    images, labels = DATA["train"]
    first.model.fit(images, keras.ops.one_hot(labels, 3), verbose=0)
    first.model.trainable = False
    same(trained(tmp_path), alone(tmp_path))


class _Meddling(keras.callbacks.Callback):
    def __init__(self, meddle):
        super().__init__()
        self.meddle = meddle

    def on_train_end(self, logs=None):
        self.meddle(self.model)


def _freeze(model):
    model.layers[-1].trainable = False


def _recompile(model):
    model.compile("adam", "categorical_crossentropy")


def _fail(model):
    raise RuntimeError("on purpose")


@pytest.mark.slow
@pytest.mark.parametrize("meddle", [_freeze, _recompile, _fail])
def test_a_callback_that_meddles_does_not_reach_the_next_training(meddle, tmp_path):
    with contextlib.suppress(RuntimeError):
        trained(tmp_path, [_Meddling(meddle)])
    same(trained(tmp_path), alone(tmp_path))


@pytest.mark.slow
def test_a_training_within_a_training(tmp_path):
    inner = []

    class Nested(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            inner.append(trained(tmp_path, seed=4))

    outer = trained(tmp_path, [Nested()], epochs=1)
    same(inner[0], alone(tmp_path, seed=4))
    same(outer, alone(tmp_path, epochs=1))


def test_a_model_of_ones_own_is_trained_in_place(kept, tmp_path):
    model = kcnn.build("lenet5", input_shape=(SIZE, SIZE, 1), classes=3)
    before = model.get_weights()
    recipe = kcnn.Recipe(epochs=1, batch_size=6, logs=str(tmp_path))
    run = kcnn.train(recipe, model=model, data=DATA, verbose=False)
    assert run.model is model
    assert not kept
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert any(changed)


@pytest.mark.slow
def test_many_networks_are_no_reason_to_warn(kept, tmp_path):
    """TensorFlow takes their steps for one function that is traced again and again."""
    logger, said = tf.get_logger(), []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    try:
        for width in (8, 9, 10, 11, 12, 13):
            trained(tmp_path, epochs=1, model="mlp", options={"width": width})
        assert said == []
        for _ in range(8):  # elsewhere it is
            tf.function(lambda x: x)(1)
        assert "retracing" in said[0]
    finally:
        logger.removeHandler(handler)


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["_KEPT", "_WEIGHTS"])
def test_few_are_kept(kept, tmp_path, limit, monkeypatch):
    run = trained(tmp_path, epochs=1)
    monkeypatch.setattr(engines, limit, 2 if limit == "_KEPT" else 2 * run.model.count_params())
    for activation in ("relu", "sigmoid", "elu"):
        trained(tmp_path, epochs=1, options={"activation": activation})
    assert len(kept) == 2
    assert [a for text, *_ in kept for a in ("sigmoid", "elu") if f'"{a}"' in text] == [
        "sigmoid",
        "elu",
    ]  # the latest used
    held = [e.steps.resident for e in kept.values()]
    assert held == [()] * 2  # not the data
