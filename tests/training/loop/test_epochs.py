"""The loop of our own calls callbacks as `fit` does, begins anywhere, and leaves no trace."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kcnn
from kcnn.recipes.defaults import resolve
from kcnn.recipes.families import OTHERS
from kcnn.training.attempt import build_metrics
from kcnn.training.loop import epochs
from kcnn.training.loop.optimizers import Update
from kcnn.training.loop.steps import Steps

STEPS, BATCH = 7, 4  # an epoch's, the last batch of two


def batches():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH * STEPS - 2, 5)).astype("float32")
    y = (x[:, 0] > 0).astype("int32") + (x[:, 1] > 0)
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)


def network(group=1):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, "softmax")])
    model.compile(
        keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"],
        steps_per_execution=group,
    )  # fmt: skip
    return model


def ours(model, callbacks, validation=None, until=3, **start):
    """Train in the loop of our own; its history."""
    recipe = kcnn.Recipe(optimizer="sgd", learning_rate=0.1, schedule="constant", warmup=0.0)
    recipe = resolve(recipe, family=OTHERS, images=26, image_shape=(5, 1, 1))
    steps = Steps(model, lambda element, resident: element, Update(model, recipe, STEPS))
    first = start.get("epoch", 0) * STEPS + start.get("step", 0)

    def evaluated(calls):
        return model.evaluate(validation, callbacks=calls, return_dict=True, verbose=0)

    return epochs.fit(
        model, steps, batches().repeat().skip(first), epochs=until, steps_per_epoch=STEPS,
        validation=validation and evaluated, callbacks=callbacks, start=epochs.Start(**start),
    )  # fmt: skip


def theirs(model, callbacks, validation=None, until=3, epoch=0):
    """Train in Keras' `fit`; its history."""
    # Data that end with the epoch: of endless ones it would take a last group whole.
    return model.fit(
        batches(), epochs=until, initial_epoch=epoch, validation_data=validation,
        callbacks=callbacks, shuffle=False, verbose=0,
    )  # fmt: skip


class Calls(keras.callbacks.Callback):
    """Every call of every hook with its number and logs; asks to stop at one of them."""

    def __init__(self, stop=None):
        super().__init__()
        self.seen, self._stop = [], stop
        for what in ("train", "epoch", "train_batch", "test", "test_batch"):
            for when in ("begin", "end"):
                setattr(self, f"on_{what}_{when}", self._hook(f"on_{what}_{when}"))

    def _hook(self, hook):
        def heard(*arguments, logs=None):
            number = [a for a in arguments if isinstance(a, int)]
            logs = next((a for a in arguments if isinstance(a, dict)), logs)
            assert all(type(value) is float for value in (logs or {}).values())
            rounded = None if logs is None else {k: round(v, 5) for k, v in logs.items()}
            self.seen.append((hook, *number, rounded, self.model.stop_training))
            if self._stop == (hook, *number):
                self.model.stop_training = True

        return heard


CASES = [
    {},
    {"validation": False},
    {"group": 3},  # 7 steps in calls of 3, 3 and 1
    {"group": 7},
    {"group": 100},
    {"until": 1},
    {"until": 0},
    {"epoch": 2},
    {"epoch": 3},
    {"stop": ("on_epoch_end", 1)},
    {"stop": ("on_epoch_begin", 1)},
    {"stop": ("on_train_batch_end", 3)},
    {"stop": ("on_train_batch_begin", 0), "group": 3},
    {"stop": ("on_test_batch_end", 2)},
    {"stop": ("on_train_begin",)},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_callbacks_are_called_as_by_fit(case):
    case = dict(case)
    group, stop = case.pop("group", 1), case.pop("stop", None)
    validation = batches().take(3) if case.pop("validation", True) else None
    heard = []
    for fit in (ours, theirs):
        calls = Calls(stop)
        history = fit(network(group), [calls], validation, **case)
        heard.append((calls.seen, calls.params, history.epoch, list(history.history)))
    assert heard[0] == heard[1]
    assert heard[0][0][0][0] == "on_train_begin"


def test_keras_own_callbacks_act_as_in_fit():
    """Early stopping that puts weights back, a rate that falls on a plateau, an own History."""
    found = []
    for fit in (ours, theirs):
        model, kinds = network(), keras.callbacks
        history = kinds.History()
        stopping = kinds.EarlyStopping("val_loss", patience=1, min_delta=1.0,
                                       restore_best_weights=True)  # fmt: skip
        rate = kinds.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1.0)
        returned = fit(model, [rate, stopping, history], batches().take(3), until=9)
        assert returned is history is model.history
        found.append((history.history, model.get_weights(), float(model.optimizer.learning_rate)))
    assert len(found[0][0]["loss"]) == 2
    assert found[0][2] == found[1][2] == pytest.approx(0.05)
    for name, values in found[0][0].items():
        assert values == pytest.approx(found[1][0][name], rel=1e-5), name
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("step", [1, 3, 6, 7])
def test_it_begins_within_an_epoch(step, group):
    """Without the steps before; when an epoch's are all done, with the validation."""
    model, calls, restored = network(group), Calls(), []

    def restore():
        restored.append(len(calls.seen))

    build_metrics(model, next(iter(batches())))

    ours(model, [calls], batches().take(1), until=2, step=step, restore=restore)
    begun = [number for hook, number, *_ in calls.seen if hook == "on_train_batch_begin"]
    assert begun == [*range(step, STEPS, group), *range(0, STEPS, group)]
    assert int(model.optimizer.iterations) == 2 * STEPS - step
    assert [hook for hook, *_ in calls.seen[: restored[0]]] == ["on_train_begin", "on_epoch_begin"]
    assert len(restored) == 1
    assert calls.seen[restored[0]][0] == ("on_test_begin" if step == 7 else "on_train_batch_begin")


class TestAModelOfOnesOwn:
    """It is trained in place; how it is compiled, and its train function, are not touched."""

    DATA = (np.random.default_rng(0).integers(0, 256, (48, 6, 6, 1)), np.arange(48) % 3)

    def model(self, compiled=True):
        inputs = keras.Input((6, 6, 1))
        flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(flat), name="theirs")
        if compiled:
            model.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def trained(self, tmp_path, model, callbacks=()):
        recipe = kcnn.Recipe(epochs=2, batch_size=8, logs=str(tmp_path))
        pixels, labels = self.DATA
        data = pixels.astype("uint8"), labels
        return kcnn.train(recipe, model=model, data=data, callbacks=callbacks, verbose=False)

    @pytest.mark.parametrize("begun", [False, True], ids=["fresh", "with a train function"])
    def test_its_own_fit_goes_on(self, begun, tmp_path):
        model, expected = self.model(), self.model()
        pixels, labels = self.DATA
        if begun:
            model.fit(pixels, labels, verbose=0)
        before = vars(model) | {"weights": model.get_weights()}
        run = self.trained(tmp_path, model)
        assert run.model is model
        assert not np.array_equal(model.get_weights()[0], before["weights"][0])
        for name in ("optimizer", "train_function", "test_function", "loss", "history"):
            assert vars(model).get(name) is before.get(name), name
        assert model.metrics_names == expected.metrics_names
        model.fit(pixels, labels, verbose=0)  # its labels are numbers, kcnn's are one-hot rows

    def test_also_after_an_exception(self, tmp_path):
        model, optimizer = (made := self.model()), made.optimizer
        calls = Calls()
        calls.on_epoch_end = lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            self.trained(tmp_path, model, [calls])
        assert model.optimizer is optimizer
        assert model.train_function is None

    @pytest.mark.slow
    def test_one_that_is_not_compiled_is_compiled_with_keras_own(self, tmp_path):
        run = self.trained(tmp_path, self.model(compiled=False))
        pixels, labels = self.DATA
        assert type(run.model.optimizer).__module__.startswith("keras.")
        run.model.fit(pixels, keras.ops.one_hot(labels, 3), verbose=0)

    def test_a_class_of_ones_own_is_compiled_anew(self, tmp_path):
        """Its step reads there what the training's loss and optimiser are."""

        class Theirs(keras.Model):
            def train_step(self, data):
                seen.append(self.optimizer)
                return super().train_step(data)

        seen, made = [], self.model()
        model = Theirs(made.inputs, made.outputs)
        model.compile("rmsprop", "sparse_categorical_crossentropy")
        self.trained(tmp_path, model)
        assert type(seen[0]).__name__ != "RMSprop"
        assert model.train_function is None
        assert not {"apply", "update_step"} & set(vars(model.optimizer))


@pytest.mark.parametrize("meddle", ["compile", "make_train_function"])
def test_compiling_anew_in_the_midst_is_refused(meddle, tmp_path):
    class Meddles(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if meddle == "compile":
                self.model.compile("adam", "categorical_crossentropy")
            else:
                self.model.make_train_function(force=True)

    recipe = kcnn.Recipe(model="mlp", options={"width": 8}, epochs=2, logs=str(tmp_path))
    with pytest.raises(kcnn.InputError, match="compiled the model anew, or made its train_func"):
        kcnn.train(recipe, callbacks=[Meddles()], verbose=False)
