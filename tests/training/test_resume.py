"""A training that is broken off anywhere goes on to the same bits."""

import keras
import numpy as np
import pytest
from oracles.bits import assert_same, assert_same_runs

import kcnn
from kcnn.callbacks.checkpoint.files import newest
from kcnn.startup import tf

IMAGES, SIZE = 40, 12  # 7 steps an epoch in batches of 6, the last of 4
BASE = {
    "model": "resnet20", "options": {"depths": (1,), "widths": (4,)}, "dropout": 0.3,
    "augment": "crop-flip", "mixup": 0.2, "batch_size": 6, "learning_rate": 0.02, "epochs": 4,
    "seed": 5, "checkpoint_every": "2", "optimizer": "nesterov",
}  # fmt: skip


def arrays(images, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    pixels = rng.integers(0, 128, (images, SIZE, SIZE, 3)) + 40 * labels[:, None, None, None]
    return pixels.astype("uint8"), labels


DATA = {"train": arrays(IMAGES, 0), "validation": arrays(9, 1), "test": arrays(9, 2)}


class Break(keras.callbacks.Callback):
    """Raise at the n-th call of one hook; nothing is saved by that."""

    def __init__(self, hook=None, call=0):
        super().__init__()
        self._left, self._hook = call, hook
        if hook:
            setattr(self, hook, self._count)

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def _count(self, *args, **kwargs):
        self._left -= 1
        if self._left == 0:
            raise ZeroDivisionError(self._hook)


def plateau():
    return keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=10.0)


def whole(logs, fields, more):
    recipe = kcnn.Recipe(logs=str(logs), name="whole", **BASE | fields)
    return kcnn.train(recipe, data=DATA, callbacks=[Break(), *more()], verbose=False)


def broken(logs, fields, more, hook, call):
    recipe = kcnn.Recipe(logs=str(logs), name="broken", **BASE | fields)
    with pytest.raises(ZeroDivisionError):
        kcnn.train(recipe, data=DATA, callbacks=[Break(hook, call), *more()], verbose=False)
    return logs / "broken"


def resumed(path, more=list, **options):
    return kcnn.resume(path, data=DATA, callbacks=[Break(), *more()], verbose=False, **options)


CONSTANT = {"schedule": "constant", "warmup": 0.0}
KINDS = {
    "nesterov, cosine": ({}, list),
    "adamw, cutmix": ({"optimizer": "adamw", "mixup": 0.0, "cutmix": 1.0}, list),
    "rmsprop, best": ({"optimizer": "rmsprop", "learning_rate": 1e-3}, list),
    "reduce on plateau": (CONSTANT | {"optimizer": "adam"}, lambda: [plateau()]),
    "early stopping": (CONSTANT | {"early_stopping": 2, "epochs": 20, "learning_rate": 0.3}, list),
    "swa": ({"swa_start": 0.5, "swa_learning_rate": 0.01, "swa_validation": True}, list),
    "ema": ({"ema": 0.9}, list),
    "all that is random": (
        {"augment": "crop-flip,rotation=15,zoom=0.1,colour=0.4,erasing=0.5,randaugment=2:9"}, list,
    ),
    "mixed float16": ({"precision": "mixed_float16"}, list),
}  # fmt: skip
#: When is saved, and calls of hooks: in the first epoch, within a later one, in validation, at an
#: epoch's end.
FIRST = "nesterov, cosine"  #: of them; the others come with the slow tests

PLACES = [
    ("1", ("on_epoch_end", 3)),
    ("3", ("on_test_batch_end", 2)),
    (None, ("on_train_batch_end", 5)),
    pytest.param("1", ("on_test_batch_end", 2), marks=pytest.mark.slow),
    pytest.param("3", ("on_train_batch_end", 11), marks=pytest.mark.slow),
    pytest.param(None, ("on_train_batch_end", 11), marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """The runs that nothing broke off, each trained once."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = whole(tmp_path_factory.mktemp("whole"), *KINDS[kind])
        return made[kind]

    return of


@pytest.mark.parametrize(
    "kind",
    [kind if kind == FIRST else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS],
)
def test_goes_on_to_the_same_bits(kind, wholes, tmp_path):
    """Broken off three times in a row, at different places."""
    fields, more = KINDS[kind]
    expected = wholes(kind)
    path = broken(tmp_path, fields, more, "on_train_batch_end", 5)
    with pytest.raises(ZeroDivisionError):
        kcnn.resume(path, data=DATA, callbacks=[Break("on_test_begin", 2), *more()], verbose=False)
    run = resumed(path, more)
    assert_same_runs(path, expected.directory)
    assert_same(run.history, expected.history)
    assert_same(run.model.get_weights(), expected.model.get_weights())
    if kind == "early stopping":
        assert expected.result["epochs"] < 20
    if kind == "reduce on plateau":
        rates = expected.history["learning_rate"]
        assert rates[-1] < rates[0]


@pytest.mark.parametrize(("every", "place"), PLACES, ids=str)
def test_wherever_it_is_broken_off(every, place, wholes, tmp_path):
    fields = {"checkpoint_every": every, "steps_per_execution": 2}
    path = broken(tmp_path, fields, list, *place)
    resumed(path)
    expected = wholes("nesterov, cosine").directory
    for run in (path, expected):
        assert newest(run / "checkpoints")[1]["step"] == 28
    ours, theirs = (newest(run / "checkpoints")[1] for run in (path, expected))
    assert_same(ours["variables"], theirs["variables"])
    assert_same(ours["history"], theirs["history"])


@pytest.mark.slow
def test_a_stream_of_ones_own_goes_on(tmp_path):
    """A `tf.data.Dataset`: its batch size is on record, and no wish of the user's."""
    rng, numbers = np.random.default_rng(0), np.arange(60) % 4
    pixels = rng.integers(0, 60, (60, 12, 12, 1)) + 45 * numbers[:, None, None, None]
    stream = tf.data.Dataset.from_tensor_slices((pixels.astype("uint8"), numbers)).batch(8)
    data = {"train": stream, "validation": stream}
    recipe = {"model": "mlp", "options": {"width": 8}, "epochs": 4, "checkpoint_every": "3"}
    given = {"data": data, "verbose": False}
    run = kcnn.Recipe(logs=str(tmp_path), name="whole", **recipe)
    whole = kcnn.train(run, callbacks=[Break()], **given)
    with pytest.raises(ZeroDivisionError):
        kcnn.train(
            kcnn.Recipe(logs=str(tmp_path), name="run", **recipe),
            callbacks=[Break("on_epoch_begin", 3)], **given,
        )  # fmt: skip
    again = kcnn.resume(tmp_path / "run", callbacks=[Break()], **given)
    assert_same(again.model.get_weights(), whole.model.get_weights())
    with pytest.raises(kcnn.InputError, match=r"received batch_size=5; it has batches of 8"):
        kcnn.train(kcnn.Recipe(logs=str(tmp_path), batch_size=5), **given)


def _stream(shuffle=None):
    rng, numbers = np.random.default_rng(0), np.arange(60) % 4
    pixels = rng.integers(0, 60, (60, 12, 12, 1)) + 45 * numbers[:, None, None, None]
    made = tf.data.Dataset.from_tensor_slices((pixels.astype("uint8"), numbers))
    if shuffle is not None:
        made = made.shuffle(60, **shuffle)
    return made.batch(8)


def test_a_stream_with_other_batches_is_noticed(tmp_path):
    """By the first of them; another order is another training."""
    recipe = kcnn.Recipe(
        model="mlp", options={"width": 8}, epochs=2, logs=str(tmp_path), name="run"
    )
    fixed = {"reshuffle_each_iteration": False}
    data = {"train": _stream(fixed | {"seed": 1}), "validation": _stream()}
    kcnn.train(recipe, data=data, verbose=False)
    other = {"train": _stream(fixed | {"seed": 2}), "validation": _stream()}
    with pytest.raises(kcnn.InputError, match=r"fingerprint: 'first batch .* there, 'first batch"):
        kcnn.resume(tmp_path / "run", epochs=3, data=other, verbose=False)
    again = {"train": _stream(fixed | {"seed": 1}), "validation": _stream()}
    assert (
        len(kcnn.resume(tmp_path / "run", epochs=3, data=again, verbose=False).history["loss"]) == 3
    )


@pytest.mark.slow
def test_a_stream_that_is_shuffled_anew_is_said(tmp_path, capsys):
    recipe = kcnn.Recipe(model="mlp", options={"width": 8}, epochs=1, logs=str(tmp_path))
    kcnn.train(recipe, data={"train": _stream({}), "validation": _stream()})
    assert "other ones at each reading" in capsys.readouterr().out
    kcnn.train(recipe, data={"train": _stream(), "validation": _stream()})
    assert "at each reading" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_of_ones_own_goes_on_under_another_number(tmp_path):
    """Keras numbers models in a process: sequential, sequential_1."""

    def made():
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Flatten(), keras.layers.Dense(4, "softmax")]
        return keras.Sequential(
            [keras.Input((12, 12, 1)), keras.layers.Rescaling(1 / 255), *layers]
        )

    recipe = kcnn.Recipe(epochs=1, logs=str(tmp_path), name="run")
    data = {"train": _stream(), "validation": _stream()}
    first, second = made(), made()
    assert first.name != second.name
    kcnn.train(recipe, model=first, data=data, verbose=False)
    run = kcnn.resume(tmp_path / "run", epochs=2, model=second, data=data, verbose=False)
    assert len(run.history["loss"]) == 2
    with pytest.raises(
        kcnn.InputError, match=r"model of your own \(sequential\), which it does not"
    ):
        kcnn.train(kcnn.named_recipe(tmp_path / "run" / "recipe.json"), verbose=False)
    with pytest.raises(kcnn.InputError, match=r"data of your own \(tf.data\), which it does not"):
        kcnn.train(kcnn.named_recipe(tmp_path / "run" / "recipe.json"), model=made(), verbose=False)
