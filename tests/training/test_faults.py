"""What ends a training early: nothing is lost, and the message says what to do."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles.bits import assert_same_runs

import kcnn
from kcnn.callbacks.checkpoint.files import newest
from kcnn.errors import NonFiniteError
from kcnn.recipes.defaults import resolve
from kcnn.recipes.families import OTHERS
from kcnn.runs.directory import RunDirectory
from kcnn.storage import files
from kcnn.storage.files import Lock
from kcnn.tasks.classification import Classification
from kcnn.training import diagnosis, explanation
from kcnn.training.trainer import Trainer

IMAGES, SIZE = 24, 16
BASE = {
    "model": "lenet5", "options": {"activation": "relu"}, "batch_size": 6, "epochs": 3,
    "optimizer": "momentum", "learning_rate": 0.02, "checkpoint_every": "1", "name": "run",
}  # fmt: skip


def arrays(images=IMAGES, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (images, SIZE, SIZE, 1)).astype("uint8"), np.arange(images) % 3


#: As good as never, and every step heard of.
HOURLY = {"checkpoint_every": "1 h", "steps_per_execution": 1}
DATA = {"train": arrays(), "validation": arrays(9, 1), "test": arrays(9, 2)}


def trained(logs, callbacks=(), **fields):
    recipe = kcnn.Recipe(logs=str(logs), **BASE | fields)
    return kcnn.train(recipe, data=DATA, callbacks=callbacks, verbose=False)


class Once(keras.callbacks.Callback):
    """Act before one training step; again only in a new object."""

    def __init__(self, act=None, step=0):
        super().__init__()
        self._act, self._left = act, step

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def on_train_batch_begin(self, batch, logs=None):
        self._left -= 1
        if self._act and self._left == 0:
            self._act(self)


class TestSignals:
    @pytest.mark.parametrize(
        ("number", "error"),
        [
            (signal.SIGINT, KeyboardInterrupt),
            (signal.SIGTERM, SystemExit),
            pytest.param(signal.SIGHUP, SystemExit, marks=pytest.mark.slow),
        ],
    )
    def test_the_step_is_finished_and_saved(self, number, error, tmp_path, capsys):
        ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {n: signal.getsignal(n) for n in ending}
        recipe = kcnn.Recipe(logs=str(tmp_path), **BASE | HOURLY)
        stop = Once(lambda _: os.kill(os.getpid(), number), 6)
        with pytest.raises(error) as raised:
            kcnn.train(recipe, data=DATA, callbacks=[stop])
        if error is SystemExit:
            assert raised.value.code == 128 + number
        assert newest(tmp_path / "run" / "checkpoints")[1]["step"] == 6
        assert "kcnn resume" in capsys.readouterr().out
        assert {n: signal.getsignal(n) for n in before} == before
        expected = trained(tmp_path, [Once()], **HOURLY | {"name": "whole"})
        kcnn.resume(tmp_path / "run", data=DATA, callbacks=[Once()], verbose=False)
        assert_same_runs(tmp_path / "run", expected.directory)

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    @pytest.mark.parametrize("where", ["evaluation", "writing"])
    def test_behind_the_last_step_it_says_how_to_go_on(
        self, where, number, tmp_path, capsys, monkeypatch
    ):
        def end(*_, **__):
            os.kill(os.getpid(), number)
            time.sleep(5)

        whole = trained(tmp_path, name="whole")
        with monkeypatch.context() as patch:
            if where == "evaluation":
                patch.setattr(Classification, "evaluate", end)
            else:
                patch.setattr(RunDirectory, "write_model", end)
            recipe = kcnn.Recipe(logs=str(tmp_path), **BASE)
            with pytest.raises((KeyboardInterrupt, SystemExit)):
                kcnn.train(recipe, data=DATA)
        assert f"kcnn resume {tmp_path / 'run'}" in capsys.readouterr().out
        run = kcnn.resume(tmp_path / "run", data=DATA, verbose=False)
        assert_same_runs(run.directory, whole.directory)

    def test_one_that_is_ignored_stays_ignored(self, tmp_path):
        """As SIGHUP is below nohup."""
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            hang_up = Once(lambda _: os.kill(os.getpid(), signal.SIGHUP), 2)
            assert trained(tmp_path, [hang_up], epochs=1).result["epochs"] == 1
        finally:
            signal.signal(signal.SIGHUP, before)

    def test_handlers_come_back_behind_a_whole_training(self, tmp_path):
        def own(number, frame):
            raise AssertionError

        before = signal.signal(signal.SIGTERM, own)
        try:
            trained(tmp_path, epochs=1)
            assert signal.getsignal(signal.SIGTERM) is own
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_in_a_thread_there_are_none(self, tmp_path):
        runs = []
        thread = threading.Thread(target=lambda: runs.append(trained(tmp_path, epochs=1)))
        thread.start()
        thread.join()
        assert runs[0].result["epochs"] == 1


class TestNotFinite:
    def poison(self, callback):
        kernel = callback.model.get_layer("predictions").kernel
        kernel.assign(kernel.value * np.inf)

    def test_stops_at_once_and_says_step_rate_and_layer(self, tmp_path):
        with pytest.raises(NonFiniteError) as raised:
            trained(tmp_path, learning_rate=1e30, warmup=0.0, checkpoint_every=None)
        message = str(raised.value)
        assert "not finite in step 2 (epoch 1), at learning rate" in message
        assert "first layer that gave such values is" in message
        assert f"kcnn resume {tmp_path / 'run'} --on-nan retry" in message
        assert isinstance(raised.value, FloatingPointError)
        assert not (tmp_path / "run" / "result.json").exists()

    def test_weights_that_are_not_finite_are_not_saved(self, tmp_path):
        with pytest.raises(NonFiniteError, match="step 6"):
            trained(tmp_path, [Once(self.poison, 6)])
        found = newest(tmp_path / "run" / "checkpoints")[1]
        assert found["step"] == 5
        assert all(np.isfinite(w).all() for w in found["variables"]["model"])

    def test_never_the_best(self, tmp_path):
        """Behind an epoch of good weights, an epoch that ends in infinity."""
        with pytest.raises(NonFiniteError):
            trained(tmp_path, [Once(self.poison, 4)], checkpoint_every="2")
        finite = []
        with h5py.File(tmp_path / "run" / "checkpoints" / "best.weights.h5") as file:
            file.visititems(
                lambda name, item: (
                    finite.append(np.isfinite(item[()]).all())
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
        assert len(finite) == 10  # kernels and biases
        assert all(finite)

    @pytest.mark.slow
    def test_retry_goes_back_with_a_lower_rate_and_ends(self, tmp_path):
        run = trained(
            tmp_path, [Once(self.poison, 6)], on_nan="retry",
            schedule="constant", warmup=0.0,
        )  # fmt: skip
        assert run.result["steps"] == 12
        assert run.history["learning_rate"] == pytest.approx([0.02, 0.002, 0.002])
        assert np.isfinite(run.history["loss"]).all()

    @pytest.mark.slow
    def test_retry_lowers_a_schedule_too_and_a_resume_keeps_it(self, tmp_path):
        class Leave(Once):
            pass

        def leave(callback):
            raise ZeroDivisionError

        callbacks = [Once(self.poison, 6), Leave(leave, 12)]
        with pytest.raises(ZeroDivisionError):
            trained(tmp_path, callbacks, on_nan="retry", warmup=0.0, schedule="cosine")
        run = kcnn.resume(tmp_path / "run", data=DATA, callbacks=[Once(), Leave()], verbose=False)
        whole = trained(tmp_path, name="whole", warmup=0.0, schedule="cosine")
        lowered, rates = (np.array(r.history["learning_rate"]) for r in (run, whole))
        assert lowered[:2] / rates[:2] == pytest.approx([1.0, 0.1])
        assert lowered[2] == rates[2] == 0.0

    @pytest.mark.slow
    def test_retries_are_bounded(self, tmp_path):
        with pytest.raises(NonFiniteError, match="at learning rate"):
            trained(tmp_path, learning_rate=1e30, warmup=0.0, on_nan="retry")

    def test_a_validation_that_is_never_finite(self, tmp_path):
        class Never(keras.callbacks.Callback):
            def on_test_begin(self, logs=None):
                self.weights = self.model.get_weights()
                self.model.set_weights([w * np.nan for w in self.weights])

            def on_test_end(self, logs=None):
                self.model.set_weights(self.weights)

        with pytest.raises(NonFiniteError, match="No epoch gave finite figures on validation"):
            trained(tmp_path, [Never()])

    def test_repeating_that_would_take_long_is_left_and_said(self, tmp_path, monkeypatch):
        monkeypatch.setattr(explanation, "_PATIENCE", -1.0)
        with pytest.raises(NonFiniteError, match=r"is not looked for: the \d steps since the last"):
            trained(tmp_path, learning_rate=1e30, warmup=0.0)

    def test_the_first_layer_is_found_in_a_known_network(self):
        inputs = keras.Input((4,))
        x = keras.layers.Dense(3, name="fine")(inputs)
        x = keras.layers.Dense(3, name="bad")(x)
        outputs = keras.layers.Dense(3, name="behind")(x)
        model = keras.Model(inputs, outputs)
        assert diagnosis.first_layer_not_finite(model, np.ones((2, 4))) is None
        model.get_layer("bad").kernel.assign(np.full((3, 3), np.nan))
        assert diagnosis.first_layer_not_finite(model, np.ones((2, 4))) == "bad"


class TestMemory:
    def test_message_gives_batch_estimate_and_what_fits(self, tmp_path, monkeypatch):
        def exhaust(_):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

        monkeypatch.setattr(diagnosis, "memory", lambda: 2_200_000)
        with pytest.raises(MemoryError) as raised:
            trained(tmp_path, [Once(exhaust, 2)])
        message = str(raised.value)
        assert "batch_size=6" in message
        assert "MiB to train" in message
        assert "Try batch_size=2" in message

    def test_not_even_one_image(self, monkeypatch):
        model = kcnn.build("lenet5")
        recipe = resolve(
            kcnn.Recipe(batch_size=1, optimizer="adam"),
            family=OTHERS, images=64, image_shape=(32, 32, 1),
        )  # fmt: skip
        assert "Not even one image fits" in str(diagnosis.out_of_memory(model, recipe))


class TestLogs:
    def test_logs_that_cannot_be_written_are_warned_of_once(self, tmp_path, monkeypatch, capsys):
        from kcnn.callbacks import MetricsTable

        def full(self, epoch, logs=None):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(MetricsTable, "on_epoch_end", full)
        recipe = kcnn.Recipe(logs=str(tmp_path), **BASE)
        run = kcnn.train(recipe, data=DATA)
        assert run.result["epochs"] == 3
        said = capsys.readouterr().out
        assert said.count("No space left") == 1
        assert "MetricsTable cannot write any more" in " ".join(said.split())

    @pytest.mark.slow
    def test_checkpoints_that_cannot_be_written_stop_and_the_one_before_stays(
        self, tmp_path, monkeypatch
    ):
        from kcnn.storage import archive

        write = archive.write

        def full(path, content):
            if content["step"] == 5:
                raise OSError(28, "No space left on device", str(path))
            write(path, content)

        monkeypatch.setattr(archive, "write", full)
        with pytest.raises(OSError, match=r"No space left.*epoch-0001-step-000001"):
            trained(tmp_path)
        monkeypatch.undo()
        assert newest(tmp_path / "run" / "checkpoints")[1]["step"] == 4
        run = kcnn.resume(tmp_path / "run", data=DATA, verbose=False)
        assert run.result["steps"] == 12


class TestOneWriter:
    def test_a_run_that_is_being_written_is_refused(self, tmp_path):
        (tmp_path / "run").mkdir()
        with Lock(tmp_path / "run"):
            for call in (lambda: trained(tmp_path), lambda: kcnn.resume(tmp_path / "run")):
                with pytest.raises(kcnn.InputError, match=r"being written|no recipe"):
                    call()

    def test_within_a_training(self, tmp_path):
        seen = []

        def second(_):
            for call in (lambda: trained(tmp_path), lambda: kcnn.resume(tmp_path / "run")):
                with pytest.raises(kcnn.InputError, match=f"written by process {os.getpid()}"):
                    call()
                seen.append(1)

        trained(tmp_path, [Once(second, 2)], epochs=1)
        assert len(seen) == 2
        assert not (tmp_path / "run" / Lock.NAME).exists()


class TestResumeRefuses:
    @pytest.fixture
    def broken(self, tmp_path):
        def leave(_):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            trained(tmp_path, [Once(leave, 6)])
        return tmp_path / "run"

    def untouched(self, path):
        return {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}

    def refused(self, path, match, **options):
        before = self.untouched(path)
        options = {"data": DATA, "callbacks": [Once()]} | options
        with pytest.raises(kcnn.InputError, match=match):
            kcnn.resume(path, verbose=False, **options)
        assert self.untouched(path) == before

    def edit(self, path, **fields):
        recorded = json.loads((path / "recipe.json").read_text())
        recorded["recipe"] |= fields
        (path / "recipe.json").write_text(json.dumps(recorded))

    def test_other_data(self, broken):
        other = DATA | {"train": arrays(seed=7)}
        self.refused(broken, r"(?s)fingerprint: .* there, .* here.*Nothing was changed", data=other)
        fewer = DATA | {"train": arrays(12)}
        self.refused(broken, "images: .*24.*12", data=fewer)

    def test_another_batch_size_seed_or_model_all_listed(self, broken):
        self.edit(broken, batch_size=4, seed=9, options={"activation": "tanh"})
        self.refused(broken, r"(?s)batch_size: 6 there, 4 here.*seed: 0 there, 9.*options: .*tanh")

    def test_another_network_of_the_same_name(self, broken):
        self.edit(broken, model="mlp", options={})
        self.refused(broken, "model: 'lenet5' there, 'mlp' here")

    def test_other_callbacks(self, broken):
        self.refused(broken, "callbacks: .*Once.* there", callbacks=[])

    def test_data_and_models_that_only_a_program_has(self, broken):
        self.refused(broken, r"trained on data of your own.*data=\.\.\.", data=None)
        self.edit(broken, model="own: tiny")
        self.refused(broken, r"trained on model of your own")

    def test_fewer_epochs_and_no_run(self, broken, tmp_path):
        self.refused(broken, "fewer do not end it: received epochs=2", epochs=2)
        with pytest.raises(kcnn.InputError, match="no run directory"):
            kcnn.resume(tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        with pytest.raises(kcnn.InputError, match="begun anew"):
            kcnn.resume(tmp_path / "empty")

    def test_a_name_that_an_unfinished_run_has(self, broken):
        with pytest.raises(kcnn.InputError, match="go on with it by kcnn resume"):
            trained(broken.parent)


class TestFinished:
    def test_a_finished_run_says_so_and_changes_nothing(self, tmp_path, capsys):
        first = trained(tmp_path)
        before = {p: p.read_bytes() for p in first.directory.rglob("*") if p.is_file()}
        again = kcnn.resume(first.directory, data=DATA)
        assert "is finished" in capsys.readouterr().out
        assert {p: p.read_bytes() for p in first.directory.rglob("*") if p.is_file()} == before
        assert again.result == first.result

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            pytest.param({"ema": 0.9}, marks=pytest.mark.slow),
            {"swa_start": 0.5},
            pytest.param({"ema": 0.9, "precision": "mixed_float16"}, marks=pytest.mark.slow),
        ],
        ids=str,
    )
    def test_more_epochs_extend_it_to_the_bits_of_one_training(self, fields, tmp_path):
        fields |= {"schedule": "constant", "warmup": 0.0}
        first, more = (4, 8) if "swa_start" in fields else (2, 5)
        trained(tmp_path, epochs=first, **fields)
        run = kcnn.resume(tmp_path / "run", epochs=more, data=DATA, verbose=False)
        whole = trained(tmp_path, epochs=more, name="whole", **fields)
        assert_same_runs(run.directory, whole.directory)
        assert run.result.get("averaged_snapshots") == whole.result.get("averaged_snapshots")
        assert (run.directory / f"result-{first}-epochs.json").is_file()
        assert kcnn.load_run(run.directory).recipe.epochs == more

    def test_a_run_that_was_stopped_early_is_not_extended(self, tmp_path):
        fields = {"early_stopping": 1, "learning_rate": 0.5, "epochs": 30}
        first = trained(tmp_path, **fields)
        assert first.result["epochs"] < 30
        with pytest.raises(kcnn.InputError, match="stopped early, in epoch"):
            kcnn.resume(first.directory, epochs=40, data=DATA, verbose=False)


@pytest.mark.slow
def test_a_death_behind_the_last_step_costs_nothing(tmp_path):
    """Killed while the result was being written: no step is repeated."""
    from kcnn.runs.directory import RunDirectory

    whole = trained(tmp_path, name="whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "write_model", lambda self, model: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            trained(tmp_path)
    run = kcnn.resume(tmp_path / "run", data=DATA, verbose=False)
    assert_same_runs(run.directory, whole.directory)


#: Says when Python has come to the command: what ends it before is not kcnn's.
PROGRAM = """
import sys
from kcnn.cli.start import main
print("started", flush=True)
sys.exit(main())
"""


def command(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_exit_statuses_of_the_command(number, status, tmp_path):
    arguments = ["--epochs", "500", "--name", "run", "--logs", str(tmp_path)]
    process = command("train", "lenet5", *arguments)
    wait_for(lambda: list((tmp_path / "run" / "checkpoints").glob("epoch-*.ckpt")), process)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    assert f"kcnn resume {tmp_path / 'run'}" in output.replace("\n", "")
    step = newest(tmp_path / "run" / "checkpoints")[1]["step"]
    assert step > 0


def wait_for(condition, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_ctrl_c_while_tensorflow_loads_is_one_line(tmp_path):
    for seconds in (0.3, 1.0, 2.0):
        process = command("train", "lenet5", "--logs", str(tmp_path))
        assert process.stdout.readline() == "started\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert errors == "kcnn: Interrupted.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_training_whose_reader_goes_comes_to_its_end(tmp_path):
    process = command("train", "lenet5", "--epochs", "3", "--name", "run", "--logs", str(tmp_path))
    for _ in range(2):
        process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        errors = process.stderr.read()
    assert process.wait(timeout=60) == 0, errors
    assert errors == "kcnn: nothing more is shown: Broken pipe. The work goes on.\n"
    assert (tmp_path / "run/result.json").is_file()


class TestStarts:
    """A start that fails leaves nothing that the next one would stumble over."""

    def test_no_folder_is_left_behind(self, tmp_path, monkeypatch):
        def fail(*_, **__):
            raise kcnn.InputError("no such thing")

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_attempt", fail)
            with pytest.raises(kcnn.InputError, match="no such thing"):
                trained(tmp_path)
        assert list(tmp_path.iterdir()) == []
        assert trained(tmp_path).result["epochs"] == BASE["epochs"]

    def test_one_that_was_killed_does_not_keep_the_name(self, tmp_path):
        (tmp_path / "run/checkpoints").mkdir(parents=True)
        (tmp_path / "run/.lock").write_text("process 1 on somewhere\n")
        assert trained(tmp_path).result["epochs"] == BASE["epochs"]

    def test_what_is_not_ours_is_not_taken(self, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run/notes.txt").write_text("mine")
        with pytest.raises(kcnn.InputError, match="There is a run in"):
            trained(tmp_path)
        assert (tmp_path / "run/notes.txt").read_text() == "mine"


@pytest.mark.slow
class TestEnds:
    def test_logs_that_were_moved_away_get_no_command(self, tmp_path, capsys):
        def move(_):
            (tmp_path / "run").rename(tmp_path / "moved")

        recipe = kcnn.Recipe(logs=str(tmp_path), **BASE)
        with pytest.raises(OSError, match="No such file"):
            kcnn.train(recipe, data=DATA, callbacks=[Once(move, 3)])
        out = capsys.readouterr().out
        assert "not there any more" in out
        assert "kcnn resume" not in out

    def test_a_finished_run_that_cannot_be_written_is_finished(self, tmp_path, capsys, monkeypatch):
        run = trained(tmp_path)

        def read_only(*_):
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(files, "create", read_only)
        assert kcnn.resume(run.directory, data=DATA).result == run.result
        assert "is finished" in capsys.readouterr().out

    @pytest.mark.parametrize("name", ["checkpoints", "train", "model.keras", ".result.json"])
    def test_links_in_a_run_are_not_followed(self, name, tmp_path):
        with pytest.raises(ZeroDivisionError):
            trained(tmp_path, [Once(lambda _: 1 / 0, 8)])
        target = tmp_path / "target"
        target.mkdir()
        (target / "epoch-0001-step-000000.ckpt").write_text("mine")
        path = tmp_path / "run" / name
        if path.is_dir():
            shutil.rmtree(path)
        path.symlink_to(target)
        with pytest.raises(kcnn.InputError, match="is a link to"):
            kcnn.resume(tmp_path / "run", data=DATA, verbose=False)
        assert (target / "epoch-0001-step-000000.ckpt").read_text() == "mine"
