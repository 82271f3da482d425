"""`ExactCheckpoint` in anybody's `fit`."""

import collections
import itertools
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles.bits import assert_same

import kcnn
from kcnn.callbacks import ExactCheckpoint
from kcnn.callbacks.checkpoint.files import newest
from kcnn.callbacks.checkpoint.state import restore_state, state_of
from kcnn.callbacks.checkpoint.variables import Snapshot
from kcnn.callbacks.records.guards import Tolerant
from kcnn.data.batches.order import plain_options

N, BATCH = 26, 4  # 7 steps an epoch, the last of two
STEPS = 7


class Leave(Exception):
    pass


class At(keras.callbacks.Callback):
    """Raise at the n-th call of a hook; without one, do nothing."""

    def __init__(self, hook=None, call=0):
        super().__init__()
        self._calls = itertools.count(1)
        if hook:
            setattr(self, hook, lambda *a, **k: self._leave(call))

    def _leave(self, call):
        if next(self._calls) == call:
            raise Leave


def model_and_data(seed=0, optimizer=None, group=1, metrics=("accuracy",)):
    """Dropout, BatchNorm, a random layer, and data that are a function of the epoch."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.GaussianNoise(0.1),
            keras.layers.Dense(8, "relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    optimizer = optimizer or keras.optimizers.Adam(0.01)
    model.compile(
        optimizer,
        "sparse_categorical_crossentropy",
        metrics=list(metrics),
        steps_per_execution=group,
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 6)).astype("float32")
    y = (x[:, 0] > 0).astype("int32") + (x[:, 1] > 0)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    return model, data.with_options(plain_options())  # its autotune can stall for seconds


def trained(directory, leave=None, callbacks=(), epochs=4, every="epoch", validation=True, **model):
    """Train in one go, or until `leave`; model, history, checkpoint."""
    model, data = model_and_data(**model)
    at = At(*leave) if leave else At()
    rest = [*callbacks, at]
    checkpoint = ExactCheckpoint(directory, callbacks=list(callbacks), every=every)
    history = model.fit(
        data, shuffle=False, epochs=epochs, callbacks=[checkpoint, *rest], verbose=0,
        initial_epoch=checkpoint.initial_epoch, validation_data=data if validation else None,
    )  # fmt: skip
    return model, history.history, checkpoint


def whole_state(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def _cosine():
    return keras.optimizers.schedules.CosineDecay(0.1, 28)


def stops():
    """Keras' own callbacks that have a state."""
    kinds = keras.callbacks
    return [
        kinds.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=1.0),
        kinds.EarlyStopping("val_loss", patience=3, min_delta=1.0, restore_best_weights=True),
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """State and history of the training that nothing ends early."""
    model, history, _ = trained(tmp_path_factory.mktemp("whole"), callbacks=stops())
    return whole_state(model), history


PLACES = [
    ("epoch", ("on_epoch_end", 1)),
    ("epoch", ("on_train_batch_end", 16)),
    (1, ("on_train_batch_end", 3)),
    (1, ("on_test_batch_end", 9)),
    (3, ("on_train_batch_end", 16)),
    (3, ("on_epoch_end", 3)),
    ("0.0 s", ("on_train_batch_end", 16)),
    ("0.0 s", ("on_test_batch_end", 9)),
    ("epoch", ("on_train_end", 1)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("every", "place"), PLACES, ids=str)
def test_goes_on_to_the_same_bits(every, place, whole, tmp_path):
    with pytest.raises(Leave):
        trained(tmp_path, place, stops(), every=every)
    model, history, _ = trained(tmp_path, callbacks=stops(), every=every)
    assert_same(whole_state(model), whole[0])
    assert history == whole[1]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)},
        {"optimizer": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)},
        {"optimizer": lambda: keras.optimizers.SGD(_cosine()), "group": 3},
        {
            "metrics": lambda: ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)],
            "validation": False,
        },
    ],
    ids=["nesterov", "ema", "schedule, groups", "metrics, no validation"],
)  # fmt: skip
def test_whatever_is_trained(options, tmp_path):
    def run(name, leave=None):
        made = {k: v() if callable(v) else v for k, v in options.items()}
        return trained(tmp_path / name, leave, every=3 if "group" in options else 2, **made)

    expected, history, _ = run("whole")
    with pytest.raises(Leave):
        run("broken", ("on_train_batch_end", 5))
    model, again, _ = run("broken")
    assert_same(whole_state(model), whole_state(expected))
    assert again == history


@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end", "on_epoch_end"])
@pytest.mark.slow
def test_nothing_stays_on_the_model_whatever_ends_fit(hook, tmp_path):
    """Another `fit` then trains every step, also where this one ended while it skipped some."""
    with pytest.raises(Leave):
        trained(tmp_path, ("on_train_batch_end", 5), every=1)
    model, data = model_and_data()
    checkpoint = ExactCheckpoint(tmp_path, every=1)
    with pytest.raises(Leave):
        model.fit(data, shuffle=False, callbacks=[checkpoint, At(hook, 1)], verbose=0)
    skipped = int(model.optimizer.iterations)
    assert skipped == (STEPS if hook == "on_epoch_end" else 0)
    model.fit(data, shuffle=False, verbose=0)
    assert int(model.optimizer.iterations) == skipped + STEPS
    assert model.train_function.__module__.startswith("keras.")
    _, whole, _ = trained(tmp_path)  # and the checkpoint is as good as before
    assert len(whole["loss"]) == 4


@pytest.mark.slow
def test_a_loop_of_ones_own_begins_within_an_epoch(tmp_path):
    """With `initial_batch` and `restore`, in place of going through the steps done."""
    with pytest.raises(Leave):
        trained(tmp_path, ("on_train_batch_end", STEPS + 3), every=1, validation=False)
    model, data = model_and_data()
    checkpoint = ExactCheckpoint(tmp_path, every=1)
    place = checkpoint.initial_epoch, checkpoint.initial_batch, checkpoint.step
    assert place == (1, 2, STEPS + 2)
    Snapshot.build_metrics(model, next(iter(data)))
    calls = keras.callbacks.CallbackList([checkpoint], add_history=True, model=model, epochs=4)
    calls.on_train_begin()
    for epoch in range(1, 4):
        model.reset_metrics()
        calls.on_epoch_begin(epoch)
        begin = checkpoint.initial_batch if epoch == 1 else 0
        if begin:
            checkpoint.restore()
        for batch, (x, y) in enumerate(data.skip(begin), begin):
            calls.on_train_batch_begin(batch)
            # Keras' step, but for its function: dropout's seeds are variables of the model.
            model.train_on_batch(x, y, return_dict=True)
            calls.on_train_batch_end(batch)
        calls.on_epoch_end(epoch, model.get_metrics_result())
    whole, _, _ = trained(tmp_path / "whole", validation=False)
    assert_same(whole_state(model), whole_state(whole))
    with pytest.raises(RuntimeError, match="once"):
        checkpoint.restore()


@pytest.mark.slow
def test_a_data_set_that_begins_with_the_step(tmp_path):
    """kcnn's own batches, whose order and augmentation go on at any step."""
    rng = np.random.default_rng(0)
    split = kcnn.from_arrays(
        (rng.integers(0, 256, (40, 6, 6, 3)).astype("uint8"), np.arange(40) % 3)
    )

    def run(name, leave=None):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [keras.Input((6, 6, 3)), keras.layers.Flatten(), keras.layers.Dropout(0.5),
             keras.layers.Dense(3, "softmax")]
        )  # fmt: skip
        model.compile("adam", "categorical_crossentropy")
        checkpoint = ExactCheckpoint(tmp_path / name, every=2, data="step")
        batches = kcnn.data.training_batches(
            split.train, 4, classes=3, seed=5, augment="crop-flip", start=checkpoint.step
        )
        steps = kcnn.data.steps_per_epoch(len(split.train), 4)
        callbacks = [checkpoint, At(*leave) if leave else At()]
        model.fit(
            batches, shuffle=False, epochs=3, steps_per_epoch=steps, callbacks=callbacks, verbose=0,
            initial_epoch=checkpoint.initial_epoch,
        )  # fmt: skip
        return model

    expected = run("whole")
    with pytest.raises(Leave):
        run("broken", ("on_train_batch_end", 12))
    assert_same(whole_state(run("broken")), whole_state(expected))


@pytest.mark.slow
def test_a_data_set_that_begins_with_the_step_in_a_new_process(tmp_path):
    """Whose compiled metrics Keras has not built yet, and which makes nothing of a batch."""

    def stepwise(directory, leave=None):
        model, data = model_and_data(metrics=("accuracy",))
        checkpoint = ExactCheckpoint(directory, every=1, data="step")
        callbacks = [checkpoint, At(*leave)] if leave else [checkpoint]
        history = model.fit(
            data.repeat().skip(checkpoint.step), steps_per_epoch=STEPS, epochs=4, shuffle=False,
            initial_epoch=checkpoint.initial_epoch, callbacks=callbacks, verbose=0,
        )  # fmt: skip
        return whole_state(model), history.history

    with pytest.raises(Leave):
        stepwise(tmp_path / "left", ("on_train_batch_end", STEPS + 3))
    state, history = stepwise(tmp_path / "left")
    expected, whole = stepwise(tmp_path / "whole")
    assert_same(state, expected)
    assert history == whole


class TestConfiguration:
    """What a callback is made with is the program's affair; what it has seen is the training's."""

    def resumed(self, directory, callbacks, epochs=4, **options):
        model, data = model_and_data()
        checkpoint = ExactCheckpoint(directory, callbacks=callbacks)
        model.fit(
            data, shuffle=False, epochs=epochs, callbacks=[checkpoint, *callbacks], verbose=0,
            initial_epoch=checkpoint.initial_epoch, validation_data=data,
        )  # fmt: skip
        return model

    @pytest.mark.slow
    def test_patience_is_that_of_the_program(self, tmp_path):
        kinds = keras.callbacks
        short, long = (kinds.EarlyStopping("val_loss", patience=p, min_delta=9.0) for p in (9, 50))
        self.resumed(tmp_path, [short], epochs=2)
        assert short.wait > 0
        self.resumed(tmp_path, [long], epochs=4)
        assert (long.patience, long.wait) == (50, short.wait + 2)
        assert long.min_delta == -9.0  # of a loss, as Keras turns it

    @pytest.mark.slow
    def test_so_is_the_folder(self, tmp_path):
        kinds = keras.callbacks
        before = kinds.ModelCheckpoint(str(tmp_path / "old.keras"), save_best_only=True)
        self.resumed(tmp_path / "run", [before], epochs=2)
        (tmp_path / "old.keras").unlink()
        later = kinds.ModelCheckpoint(str(tmp_path / "new.keras"), save_best_only=True)
        self.resumed(tmp_path / "run", [later], epochs=4)
        assert not (tmp_path / "old.keras").exists()
        assert later.filepath == str(tmp_path / "new.keras")
        assert later.best <= before.best

    @pytest.mark.slow
    def test_a_counter_that_is_also_an_argument_is_state(self, tmp_path):
        class Counts(keras.callbacks.Callback):
            def __init__(self, count=0, step=1):
                super().__init__()
                self.count, self.step = count, step

            def on_epoch_end(self, epoch, logs=None):
                self.count += self.step

        self.resumed(tmp_path, [Counts(step=2)], epochs=2)
        again = Counts(step=5)
        self.resumed(tmp_path, [again], epochs=4)
        assert again.count == 2 * 2 + 2 * 5


@pytest.mark.slow
def test_sets_and_deques_are_state(tmp_path):
    class Remembers(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.last, self.seen = collections.deque(maxlen=2), set()
            self.pairs = {"all": [(0, frozenset({1}))]}

        def on_epoch_end(self, epoch, logs=None):
            self.last.append(epoch)
            self.seen.add(epoch)

    first, again = Remembers(), Remembers()
    trained(tmp_path, callbacks=[first], epochs=3)
    trained(tmp_path, callbacks=[again], epochs=4)
    assert again.last == collections.deque([2, 3], maxlen=2)
    assert again.last.maxlen == 2
    assert again.seen == {0, 1, 2, 3}
    assert again.pairs == first.pairs


def test_what_cannot_be_kept_is_said(tmp_path):
    class Holds(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.models, self.function, self.nothing = [object()], len, []

    with pytest.warns(UserWarning, match="Holds.models is not kept in checkpoints"):
        trained(tmp_path, callbacks=[Holds()], epochs=1)


@pytest.mark.slow
def test_an_average_behind_loss_scaling(tmp_path):
    """float16's optimiser wraps the one that averages: the raw weights go on, not the averages."""

    def scaled():
        inner = keras.optimizers.SGD(0.05, momentum=0.9, use_ema=True, ema_momentum=0.9)
        return keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0)

    trained(tmp_path / "parts", epochs=2, optimizer=scaled())
    parts, _, _ = trained(tmp_path / "parts", epochs=4, optimizer=scaled())
    whole, _, _ = trained(tmp_path / "whole", epochs=4, optimizer=scaled())
    assert_same(whole_state(parts), whole_state(whole))


@pytest.mark.slow
def test_pythons_and_numpys_random_numbers_go_on(tmp_path):
    class Draw(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.drawn = []

        def on_epoch_end(self, epoch, logs=None):
            self.drawn.append([random.random(), float(np.random.rand())])

    def run(name, leave=None):
        draw = Draw()
        trained(tmp_path / name, leave, [draw])
        return draw.drawn

    expected = run("whole")
    with pytest.raises(Leave):
        run("broken", ("on_epoch_begin", 3))
    assert run("broken") == expected


class TestFiles:
    def test_the_last_two_are_kept(self, tmp_path):
        trained(tmp_path, epochs=5)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["epoch-0004-step-000000.ckpt", "epoch-0005-step-000000.ckpt"]

    @pytest.mark.slow
    @pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "remove"])
    def test_a_damaged_latest_falls_back_to_the_one_before(self, damage, tmp_path):
        expected, history, _ = trained(tmp_path / "whole")
        with pytest.raises(Leave):
            trained(tmp_path / "broken", ("on_train_batch_begin", 3 * STEPS))
        latest = max((tmp_path / "broken").iterdir())
        content = bytearray(latest.read_bytes())
        content[len(content) // 2] ^= 1
        changed = {"truncate": content[: len(content) // 2], "empty": b"", "flip": content}
        if damage == "remove":
            latest.unlink()
            ExactCheckpoint(tmp_path / "broken")
        else:
            latest.write_bytes(changed[damage])
            with pytest.warns(UserWarning, match="is damaged.*goes on from epoch-0001"):
                ExactCheckpoint(tmp_path / "broken")
        if damage != "remove":
            with pytest.warns(UserWarning, match="damaged"):
                model, again, _ = trained(tmp_path / "broken")
        else:
            model, again, _ = trained(tmp_path / "broken")
        assert_same(whole_state(model), whole_state(expected))
        assert again == history

    def test_none_that_is_whole(self, tmp_path):
        trained(tmp_path, epochs=2)
        for path in tmp_path.iterdir():
            path.write_bytes(b"")
        with pytest.raises(kcnn.InputError, match=r"No checkpoint in .* is whole"):
            ExactCheckpoint(tmp_path)

    @pytest.mark.slow
    def test_a_half_written_file_of_a_dead_process_is_taken_away(self, tmp_path):
        (tmp_path / ".epoch-0001-step-000000.ckpt").write_bytes(b"half")
        trained(tmp_path, epochs=1)
        assert [p.name for p in tmp_path.iterdir()] == ["epoch-0001-step-000000.ckpt"]

    @pytest.mark.slow
    def test_a_full_disk_leaves_the_one_before(self, tmp_path):
        """A limit on the size of files, in a process of its own."""
        program = (
            "import resource, signal, sys; sys.path[:0] = sys.argv[2:]\n"
            "import test_exact as t\n"
            "from kcnn.storage import archive\n"
            "write, calls = archive.write, []\n"
            "def limited(path, content):\n"
            "    calls.append(1)\n"
            "    if len(calls) == 3:\n"
            "        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, -1))\n"
            "    write(path, content)\n"
            "archive.write = limited\n"
            "try:\n"
            "    t.trained(sys.argv[1])\n"
            "except OSError as error:\n"
            "    sys.stdout.write(f'{error.errno}')\n"
        )
        here = Path(__file__).parent
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path), str(here), str(here.parents[1])],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout == "27", done.stderr  # EFBIG
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["epoch-0001-step-000000.ckpt", "epoch-0002-step-000000.ckpt"]
        expected, history, _ = trained(tmp_path / "whole")
        model, again, _ = trained(tmp_path)
        assert_same(whole_state(model), whole_state(expected))
        assert again == history


class TestRefusals:
    @pytest.mark.parametrize("every", [0, -1, True, "often", "5 parsecs", 1.5])
    def test_every(self, every, tmp_path):
        with pytest.raises(kcnn.InputError, match="every is 'epoch'"):
            ExactCheckpoint(tmp_path, every=every)

    def test_keep_and_data(self, tmp_path):
        with pytest.raises(kcnn.InputError, match="keep is"):
            ExactCheckpoint(tmp_path, keep=0)
        with pytest.raises(kcnn.InputError, match="data is"):
            ExactCheckpoint(tmp_path, data="batch")

    @pytest.mark.slow
    def test_another_model(self, tmp_path):
        trained(tmp_path, epochs=1)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        before = model.get_weights()
        checkpoint = ExactCheckpoint(tmp_path)
        x, y = np.zeros((4, 6)), np.zeros(4)
        with pytest.raises(
            kcnn.InputError, match=r"(?s)model: \d+ variables there, 2 here.*Nothing"
        ):
            model.fit(
                x, y, shuffle=False, callbacks=[checkpoint], initial_epoch=1, epochs=2, verbose=0
            )
        assert_same(model.get_weights(), before)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (lambda: keras.optimizers.SGD(0.05, momentum=0.9), lambda: keras.optimizers.Lion(0.01)),
            (lambda: keras.optimizers.Adam(0.01), lambda: keras.optimizers.AdamW(0.01)),
        ],
    )
    def test_another_optimiser_of_the_same_shapes(self, first, second, tmp_path):
        trained(tmp_path, epochs=1, optimizer=first())
        with pytest.raises(kcnn.InputError, match=r"optimizer: \w+ there, \w+ here"):
            trained(tmp_path, epochs=2, optimizer=second())

    def test_another_precision(self, tmp_path):
        trained(tmp_path, epochs=1)
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            with pytest.raises(
                kcnn.InputError, match="precision: float32 there, mixed_bfloat16 here"
            ):
                trained(tmp_path, epochs=2)
        finally:
            keras.config.set_dtype_policy("float32")

    def test_a_second_fit_over_the_files_of_a_first_that_has_ended(self, tmp_path):
        model, data = model_and_data()
        checkpoint = ExactCheckpoint(tmp_path)
        model.fit(data, shuffle=False, epochs=3, callbacks=[checkpoint], verbose=0)
        kept = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(kcnn.InputError, match=r"of a training that has ended.* find\(\)"):
            model.fit(data, shuffle=False, callbacks=[checkpoint], verbose=0)
        assert sorted(path.name for path in tmp_path.iterdir()) == kept
        checkpoint.find()
        model.fit(data, shuffle=False, epochs=4, callbacks=[checkpoint], verbose=0,
                  initial_epoch=checkpoint.initial_epoch)  # fmt: skip
        assert int(model.optimizer.iterations) == 4 * STEPS

    def test_another_identity(self, tmp_path):
        model, data = model_and_data()
        model.fit(
            data,
            shuffle=False,
            callbacks=[ExactCheckpoint(tmp_path, identity={"seed": 1})],
            verbose=0,
        )
        again = ExactCheckpoint(tmp_path, identity={"seed": 2})
        with pytest.raises(kcnn.InputError, match="seed: 1 there, 2 here"):
            model.fit(data, shuffle=False, epochs=2, initial_epoch=1, callbacks=[again], verbose=0)

    def test_a_name_that_identities_had_not_yet(self, tmp_path):
        """It is what training did then; whoever asks for another value is told so."""
        model, data = model_and_data()
        first = ExactCheckpoint(tmp_path, identity={"seed": 1})
        model.fit(data, shuffle=False, callbacks=[first], verbose=0)
        older = {"crop": "middle", "seed": 5}  # the seed is there
        again = ExactCheckpoint(tmp_path, identity={"seed": 1, "crop": "none"}, older=older)
        with pytest.raises(kcnn.InputError, match="crop: 'middle' there, 'none' here"):
            model.fit(data, shuffle=False, epochs=2, initial_epoch=1, callbacks=[again], verbose=0)
        again = ExactCheckpoint(tmp_path, identity={"seed": 1, "crop": "middle"}, older=older)
        model.fit(data, shuffle=False, epochs=2, initial_epoch=1, callbacks=[again], verbose=0)

    def test_the_wrong_epoch(self, tmp_path):
        trained(tmp_path, epochs=2)
        model, data = model_and_data()
        with pytest.raises(kcnn.InputError, match=r"initial_epoch=checkpoint\.initial_epoch"):
            model.fit(
                data, shuffle=False, epochs=3, callbacks=[ExactCheckpoint(tmp_path)], verbose=0
            )

    def test_other_groups_within_an_epoch(self, tmp_path):
        with pytest.raises(Leave):
            trained(tmp_path, ("on_train_batch_end", 6), every=5)
        with pytest.raises(kcnn.InputError, match="no multiple of steps_per_execution=2"):
            trained(tmp_path, group=2)

    def test_a_model_without_weights_yet(self, tmp_path):
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        with pytest.raises(kcnn.InputError, match=r"keras\.Input"):
            model.fit(
                np.zeros((2, 2)), np.zeros(2), callbacks=[ExactCheckpoint(tmp_path)], verbose=0
            )

    def test_a_directory_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        model, data = model_and_data()
        with pytest.raises(kcnn.InputError, match="Cannot write checkpoints"):
            model.fit(
                data, shuffle=False, callbacks=[ExactCheckpoint(tmp_path / "file" / "x")], verbose=0
            )


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    class Poison(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.trainable_weights[0].assign(np.full((6, 8), np.nan))

    with pytest.raises(FloatingPointError, match="not finite behind step 14"):
        trained(tmp_path, callbacks=[Poison()])
    assert newest(tmp_path)[1]["epoch"] == 1


def test_on_signals_ends_fit_behind_the_step(tmp_path):
    class Kill(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    model, data = model_and_data()
    checkpoint = ExactCheckpoint(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as raised, checkpoint.on_signals():
        model.fit(data, shuffle=False, epochs=3, callbacks=[checkpoint, Kill()], verbose=0)
    assert raised.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    assert newest(tmp_path)[1]["step"] == 5


@pytest.mark.slow
def test_a_second_signal_ends_the_process_at_once(tmp_path):
    program = (
        "import os, signal, sys; from kcnn.callbacks import ExactCheckpoint\n"
        "with ExactCheckpoint(sys.argv[1]).on_signals():\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('goes on', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('never', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (143, "goes on\n"), done.stderr


def test_the_cycle_of_state_is_closed_for_keras_own_callbacks():
    for callback in stops():
        callback.best, callback.wait = 0.5, 3
        twin = type(callback)("val_loss")
        restore_state(twin, state_of(callback))
        assert (twin.best, twin.wait) == (0.5, 3)
    assert state_of(keras.callbacks.CSVLogger("x.csv")) == {}


def test_tolerant_warns_once_and_leaves_the_callback_alone():
    class Full(keras.callbacks.Callback):
        calls = 0

        def on_epoch_end(self, epoch, logs=None):
            self.calls += 1
            raise OSError("disk full")

    full, said = Full(), []
    model, data = model_and_data()
    model.fit(data, shuffle=False, epochs=3, callbacks=[Tolerant(full, say=said.append)], verbose=0)
    assert full.calls == 1
    assert len(said) == 1
    assert "Full cannot write any more (disk full)" in said[0]


def test_tolerant_lets_other_errors_through():
    class Broken(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyError("x")

    model, data = model_and_data()
    with pytest.raises(KeyError):
        model.fit(data, shuffle=False, callbacks=[Tolerant(Broken())], verbose=0)


JAX = """
import sys
import keras
import numpy as np
from kcnn.callbacks import ExactCheckpoint
from kcnn.errors import InputError

class Leave(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            raise ZeroDivisionError

def run(name, *callbacks):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6,)), keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(),
              keras.layers.Dropout(0.4), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).normal(size=(20, 6))
    checkpoint = ExactCheckpoint(f"{sys.argv[1]}/{name}")
    history = model.fit(x, x[:, 0] > 0, epochs=5, batch_size=4, shuffle=False, verbose=0,
                        callbacks=[checkpoint, *callbacks], initial_epoch=checkpoint.initial_epoch)
    return [np.asarray(v) for v in [*model.variables, *model.optimizer.variables]], history.history

whole, expected = run("whole")
try:
    run("broken", Leave())
except ZeroDivisionError:
    pass
again, history = run("broken")
same = all(a.tobytes() == b.tobytes() for a, b in zip(whole, again, strict=True))
try:
    ExactCheckpoint(sys.argv[1], every=3)
except InputError as error:
    print(same, history == expected, "between epochs only" in str(error))
"""


@pytest.mark.slow
def test_on_jax_between_epochs(tmp_path):
    pytest.importorskip("jax", reason="needs jax: pip install kcnn[oracle]")
    done = subprocess.run(
        [sys.executable, "-c", JAX, str(tmp_path)],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["True"] * 3, done.stderr
