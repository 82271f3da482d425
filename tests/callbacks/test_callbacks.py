"""Callbacks in anybody's `fit`: files and events read back by other means."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import kcnn.callbacks
from kcnn.callbacks import BestWeights, ExactCheckpoint, Meter, MetricsTable, Progress, TensorBoard
from kcnn.figures import Figure

ACCURACY = Figure("accuracy", share=True, short="acc")


def small_fit(callbacks, epochs=3, validation=True):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2, "softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int32")
    data = (x[:10], y[:10]) if validation else None
    history = model.fit(
        x, y, epochs=epochs, validation_data=data, callbacks=callbacks, verbose=0, batch_size=8
    )
    return model, history.history


def events(directory):
    accumulator = EventAccumulator(str(directory), size_guidance={"tensors": 0, "histograms": 0})
    return accumulator.Reload()


def scalars(directory):
    from tensorflow import make_ndarray

    found = events(directory)
    return {
        tag: [float(make_ndarray(event.tensor_proto)) for event in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
        if found.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }


class TestMeter:
    def test_adds_rate_time_and_speed_to_every_epoch(self):
        _, history = small_fit([Meter(images=40)])
        assert history["learning_rate"] == pytest.approx([0.01] * 3)
        for seconds, speed in zip(history["seconds"], history["images_per_second"], strict=True):
            assert speed == pytest.approx(40 / seconds)

    @pytest.mark.slow
    def test_leaves_validation_out_of_the_time(self):
        import time

        class SlowValidation(keras.callbacks.Callback):
            def on_test_batch_begin(self, batch, logs=None):
                time.sleep(0.5)

        _, history = small_fit([Meter(images=40), SlowValidation()], epochs=3)
        assert min(history["seconds"]) < 0.5  # two validation batches sleep for a second


class TestBestWeights:
    def follow(self, tmp_path, figures):
        """Feed (accuracy, loss) of each epoch; the epoch that is kept."""
        model, _ = small_fit([], epochs=1)
        best = BestWeights(tmp_path / "best.weights.h5", 100, ACCURACY)
        best.set_model(model)
        for epoch, (accuracy, loss) in enumerate(figures):
            for weight in model.weights:
                weight.assign(np.full(weight.shape, epoch + 1.0))
            best.on_epoch_end(epoch, {"val_accuracy": accuracy, "val_loss": loss})
        best.restore()
        assert all((weight.numpy() == best.epoch).all() for weight in model.weights)
        return best.epoch

    def test_what_is_clearly_higher_wins(self, tmp_path):
        assert self.follow(tmp_path, [(0.5, 1.0), (0.9, 2.0), (0.8, 0.1)]) == 2

    def test_within_one_standard_error_the_latest(self, tmp_path):
        """At 0.9 of 100 images it is sqrt(0.9 * 0.1 / 100) = 0.03."""
        assert self.follow(tmp_path, [(0.90, 1.0), (0.88, 2.0), (0.86, 0.1)]) == 2

    def test_it_does_not_drift_away_from_the_highest(self, tmp_path):
        assert self.follow(tmp_path, [(0.90, 1.0), (0.88, 1.0), (0.86, 1.0), (0.84, 1.0)]) == 2

    def test_a_later_high_counts_against_what_follows(self, tmp_path):
        assert self.follow(tmp_path, [(0.90, 1.0), (0.96, 1.0), (0.93, 1.0)]) == 2

    def test_a_loss_that_is_not_finite_is_never_best(self, tmp_path):
        nan, inf = float("nan"), float("inf")
        assert self.follow(tmp_path, [(0.9, nan), (0.2, 1.0), (0.8, inf), (0.9, nan)]) == 2

    def test_a_full_disk_leaves_the_epoch_before(self, tmp_path, monkeypatch):
        import shutil
        import types

        model, _ = small_fit([], epochs=1)
        best = BestWeights(tmp_path / "best.weights.h5", 100, ACCURACY)
        best.set_model(model)
        best.on_epoch_end(0, {"val_accuracy": 0.5, "val_loss": 1.0})
        before = best.path.read_bytes()
        monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1))

        def epoch():
            best.on_epoch_end(1, {"val_accuracy": 0.9, "val_loss": 1.0})
            best.write()  # where the epoch was too short to write again

        with pytest.raises(OSError, match="No space left to write"):
            epoch()
        assert best.path.read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["best.weights.h5"]

    def test_leaves_one_file(self, tmp_path):
        self.follow(tmp_path, [(0.5, 1.0), (0.6, 1.0)])
        assert [path.name for path in tmp_path.iterdir()] == ["best.weights.h5"]

    def test_the_file_follows_and_the_model_stays_as_it_is(self, tmp_path):
        """Best in the second of three: its weights are in the file, the last in the model."""
        model, _ = small_fit([], epochs=1)
        best = BestWeights(tmp_path / "best.weights.h5", 100, ACCURACY)
        best.set_model(model)
        for epoch, accuracy in enumerate((0.5, 0.9, 0.5)):
            model.set_weights([np.full(w.shape, epoch + 1.0) for w in model.weights])
            best.on_epoch_end(epoch, {"val_accuracy": accuracy, "val_loss": 1.0})
        best.on_train_end()
        assert all((weight.numpy() == 3).all() for weight in model.weights)
        model.load_weights(best.path)
        assert all((weight.numpy() == 2).all() for weight in model.weights)


class TestTensorBoard:
    @pytest.fixture(scope="class")
    @staticmethod
    def run(tmp_path_factory):
        directory = tmp_path_factory.mktemp("run")
        board = TensorBoard(
            directory,
            texts={"recipe": "| a | b |"},
            hparams={"model": "toy", "learning_rate": 0.01, "image_size": (8, 8)},
            histogram_freq=1,
        )
        _, history = small_fit([Meter(40), board])
        return directory, history

    def test_scalars_of_training_and_validation(self, run):
        directory, history = run
        found = scalars(directory)
        for name in ("learning_rate", "images_per_second"):
            assert found[name] == pytest.approx(history[name], rel=1e-5)
        for name in ("loss", "accuracy"):
            assert found[f"{name}/train"] == pytest.approx(history[name], rel=1e-5)
            assert found[f"{name}/validation"] == pytest.approx(history[f"val_{name}"], rel=1e-5)
        assert [path for path in directory.iterdir() if path.is_dir()] == []  # one run
        assert [event.step for event in events(directory).Tensors("loss/train")] == [1, 2, 3]

    def test_histograms(self, run):
        found = events(run[0])
        tags = found.Tags()["tensors"]
        kernels = [tag for tag in tags if "kernel" in tag]
        assert len(kernels) == 2
        assert len(found.Tensors(kernels[0])) == 3

    def test_text_graph_and_hparams(self, run):
        from tensorboard.plugins.hparams import plugin_data_pb2

        found = events(run[0])
        assert found.Tags()["graph"]
        names = {node.name.split("/")[1] for node in found.Graph().node if "/" in node.name}
        assert any("dense" in name for name in names)
        (text,) = found.Tensors("recipe")
        assert b"| a | b |" in text.tensor_proto.string_val[0]
        content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        info = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
        assert info.hparams["learning_rate"].number_value == 0.01
        assert info.hparams["model"].string_value == "toy"
        assert info.hparams["image_size"].string_value == "(8, 8)"

    @pytest.mark.parametrize("kind", [TensorBoard, keras.callbacks.TensorBoard])
    def test_batches_are_counted_on_behind_a_checkpoint(self, tmp_path, kind):
        def steps(epochs):
            keras.utils.set_random_seed(0)
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            model.compile("sgd", "mse")
            board = kind(str(tmp_path / f"board {epochs}"), update_freq=1)
            checkpoint = ExactCheckpoint(tmp_path / "checkpoints", callbacks=[board])
            model.fit(
                np.ones((12, 4)), np.ones((12, 1)), batch_size=4, shuffle=False, verbose=0,
                epochs=epochs, callbacks=[checkpoint, board],
                initial_epoch=checkpoint.initial_epoch,
            )  # fmt: skip
            found = events(tmp_path / f"board {epochs}" / "train")
            return [event.step for event in found.Tensors("batch_loss")]

        assert steps(2) == [1, 2, 3, 4, 5, 6]
        assert steps(3) == [7, 8, 9]

    def test_kerastuner_knows_it_by_name(self):
        assert kcnn.callbacks.TensorBoard.__name__ == "TensorBoard"


class TestProgress:
    def shown(self, **options):
        text = io.StringIO()
        console = Console(file=text, width=100, **options)
        small_fit([Meter(40), Progress(console, [ACCURACY])], epochs=2)
        return text.getvalue()

    def test_a_pipe_gets_one_line_an_epoch(self):
        lines = self.shown().splitlines()
        assert len(lines) == 3
        assert lines[0].split() == ["epoch", "loss", "accuracy", "val", "loss", "val", "acc",
                                    "images/s", "time"]  # fmt: skip
        assert lines[2].split()[0] == "2/2"

    def test_a_terminal_gets_a_bar_as_well(self):
        shown = self.shown(force_terminal=True)
        assert "epoch 1/2" in shown
        assert "━" in shown

    def test_without_validation(self):
        text = io.StringIO()
        small_fit([Progress(Console(file=text))], epochs=1, validation=False)
        assert "1/1" in text.getvalue()


class TestInAnybodysProgram:
    """Callbacks that only watch end no training of a stranger's: what they miss is one line."""

    def fit(self, model, data, *callbacks):
        model.compile("sgd", "mse")
        return model.fit(data, epochs=2, callbacks=list(callbacks), verbose=0, shuffle=False)

    def test_a_graph_of_a_class_of_its_own(self, tmp_path):
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = keras.layers.Dense(1)

            def call(self, x):
                return self.dense(x)

        data = tf.data.Dataset.from_tensors((np.ones((4, 3)), np.ones((4, 1))))
        with pytest.warns(UserWarning, match="TensorBoard gets no graph of .*own"):
            history = self.fit(Own(), data, TensorBoard(tmp_path))
        assert len(history.epoch) == 2
        assert list(tmp_path.rglob("events*"))

    def test_a_graph_of_a_model_with_a_dict_of_inputs(self, tmp_path):
        inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((2,), name="b")}
        both = keras.layers.Concatenate()(list(inputs.values()))
        model = keras.Model(inputs, keras.layers.Dense(1)(both))
        x = {"a": np.ones((4, 3)), "b": np.ones((4, 2))}
        self.fit(model, tf.data.Dataset.from_tensors((x, np.ones((4, 1)))), TensorBoard(tmp_path))

    def test_a_figure_that_is_missing(self, tmp_path):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        data = tf.data.Dataset.from_tensors((np.ones((4, 3)), np.ones((4, 1))))
        best = BestWeights(tmp_path / "best.weights.h5", 4)
        with pytest.warns(UserWarning, match=r"goes by val_loss, .* not have: it has loss") as said:
            history = self.fit(model, data, best)
        assert len(said) == 1
        assert len(history.epoch) == 2
        assert best.epoch == 0

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (TensorBoard, "TensorBoard cannot write any more"),
            (lambda path: MetricsTable(path / "m.csv"), "MetricsTable cannot write any more"),
            (lambda path: BestWeights(path / "b.weights.h5", 4), "the best weights stay in memory"),
        ],
        ids=["TensorBoard", "MetricsTable", "BestWeights"],
    )
    def test_a_folder_that_cannot_be_written(self, tmp_path, make, said):
        (tmp_path / "file").write_text("not a folder")
        made = make(tmp_path / "file" / "inside")
        with pytest.warns(UserWarning, match=said) as warned:
            _, history = small_fit([made], epochs=3)
        assert len(warned) == 1
        assert len(history["loss"]) == 3
        if isinstance(made, BestWeights):
            assert made.epoch == 1 + int(np.argmin(history["val_loss"]))
