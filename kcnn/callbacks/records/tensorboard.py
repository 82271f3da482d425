"""TensorBoard: the figures of a training, its texts, its HParams row, and a graph that opens."""

from __future__ import annotations

import html
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from kcnn.callbacks.checkpoint.state import restore_state, state_of
from kcnn.callbacks.records.guards import forgiving
from kcnn.callbacks.records.hparams import HParams, Status
from kcnn.startup import keras, tf
from kcnn.terminal import printable

Logs = dict[str, Any] | None


@forgiving(lambda: (OSError, tf.errors.OpError))
class TensorBoard(keras.callbacks.Callback):
    """Write what TensorBoard shows of a training: figures, texts, hyperparameters, the graph.

    A training is one run there, where Keras' own callback makes two: TensorBoard shows forty at
    once. Of a figure `loss/train` and `loss/validation` stand beside each other, and on one chart
    in the tab Custom Scalars; other figures of the logs (see `Meter`) have their name. Epochs count
    from 1. The class is called as Keras' is: KerasTuner gives only a class of that name a
    directory for each trial.

    Args:
        log_dir: The run's directory. Where it cannot be written, a warning says so, and training
            goes on without it.
        texts: Markdown by title, for the Text tab.
        hparams: Hyperparameters of the run, a row in the HParams tab.
        histogram_freq: Write histograms of the weights every so many epochs; 0 for none.
        write_graph: Write the inference graph, its nodes grouped by layer. (Keras writes a
            conceptual graph on which TensorBoard's default view fails.)
        **options: Others of `keras.callbacks.TensorBoard`, such as `profile_batch`; what they ask
            for is written by it, below `train/`.
    """

    def __init__(
        self,
        log_dir: str | Path = "logs",
        *,
        texts: Mapping[str, str] | None = None,
        hparams: Mapping[str, Any] | None = None,
        histogram_freq: int = 0,
        write_graph: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        self.log_dir = str(log_dir)
        self.texts = dict(texts or {})
        self.hparams = dict(hparams or {})
        self.histogram_freq = histogram_freq
        self._graph = write_graph
        self._keras: keras.callbacks.TensorBoard | None = None
        if options:
            self._keras = keras.callbacks.TensorBoard(self.log_dir, write_graph=False, **options)
        self._row: HParams | None = None

    def get_state(self) -> Any:
        """That of Keras' own, where there is one."""
        return {} if self._keras is None else state_of(self._keras)

    def set_state(self, state: Any) -> None:
        """Put back what `get_state` gave."""
        if self._keras is not None:
            restore_state(self._keras, state)

    def set_model(self, model: keras.Model) -> None:
        """Of the training."""
        super().set_model(model)
        if self._keras is not None:
            self._keras.log_dir = self.log_dir  # perhaps another one by now
            self._keras.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        """Epochs and steps."""
        super().set_params(params)
        if self._keras is not None:
            self._keras.set_params(params)

    def on_train_begin(self, logs: Logs = None) -> None:
        self._hand_on("on_train_begin", logs)
        self._laid_out = False
        self._run_writer = tf.summary.create_file_writer(os.fsencode(self.log_dir))
        with self._run_writer.as_default():
            for title, text in self.texts.items():
                tf.summary.text(title, text, step=0)
        self._run_writer.flush()
        if self.hparams:
            self._row = HParams(self.log_dir, self.hparams)
            self._row.raises = True
            self._row.on_train_begin()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._hand_on("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._hand_on("on_train_batch_end", batch, logs)

    def on_test_begin(self, logs: Logs = None) -> None:
        self._hand_on("on_test_begin", logs)

    def on_test_end(self, logs: Logs = None) -> None:
        self._hand_on("on_test_end", logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._hand_on("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._hand_on("on_epoch_end", epoch, None)  # the figures are written here
        with self._run_writer.as_default():
            self._lay_out(logs or {})
            for name, value in (logs or {}).items():
                tf.summary.scalar(_tag(name, logs or {}), value, step=epoch + 1)
            if self.histogram_freq and (epoch + 1) % self.histogram_freq == 0:
                for weight in self.model.weights:
                    values = keras.ops.convert_to_numpy(weight)
                    tf.summary.histogram(weight.path, values, step=epoch + 1)
        self._run_writer.flush()
        if self._graph:  # after the first epoch: tracing it shall not keep training waiting
            self._graph = False
            self._write_graph()

    def on_train_end(self, logs: Logs = None) -> None:
        self._hand_on("on_train_end", logs)
        self._run_writer.close()
        if self._row is not None:
            self._row.on_train_end()

    def end(self, status: Status) -> None:
        """Put another end on the training's row than that it is finished."""
        if self._row is not None:
            self._row.write(status)

    def _hand_on(self, hook: str, *arguments: Any) -> None:
        if self._keras is not None:
            getattr(self._keras, hook)(*arguments)

    def _lay_out(self, logs: Mapping[str, Any]) -> None:
        """Training and validation of a figure on one chart, in the tab Custom Scalars."""
        pairs = [name for name in logs if f"val_{name}" in logs]
        if self._laid_out or not pairs:
            return
        self._laid_out = True
        from tensorboard.plugins.custom_scalar import layout_pb2, summary

        charts = [
            layout_pb2.Chart(
                title=name,
                multiline=layout_pb2.MultilineChartContent(
                    tag=[rf"^{re.escape(name)}/(train|validation)$"]
                ),
            )
            for name in pairs
        ]
        category = layout_pb2.Category(title="training and validation", chart=charts)
        layout = summary.pb(layout_pb2.Layout(category=[category]))
        tf.summary.experimental.write_raw_pb(layout.SerializeToString(), step=0)

    def _write_graph(self) -> None:
        """Of anybody's model: one that cannot be traced ends no training."""
        if (backend := keras.backend.backend()) != "tensorflow":
            warnings.warn(
                f"TensorBoard gets no graph of {self.model.name!r}: TensorFlow writes it, and the "
                f"backend is {backend}.",
                stacklevel=2,
            )
            return
        try:
            graph = _inference_graph(self.model)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            warnings.warn(
                f"TensorBoard gets no graph of {self.model.name!r}; it cannot be traced: {reason}",
                stacklevel=2,
            )
            return
        with self._run_writer.as_default():
            tf.summary.graph(graph)
        self._run_writer.flush()


def markdown(text: str) -> str:
    """Text of anybody as it stands in a cell of Markdown: no markup, no HTML, one line."""
    line = html.escape(printable(text), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", line)


def write_scalars(log_dir: str | Path, values: Mapping[str, float]) -> None:
    """Add figures of a whole run, such as those on the test split, to `log_dir`."""
    with tf.summary.create_file_writer(os.fsencode(log_dir)).as_default() as writer:
        for name, value in values.items():
            tf.summary.scalar(name, value, step=0)
        writer.close()


def write_pictures(log_dir: str | Path, pictures: Mapping[str, bytes], step: int = 0) -> None:
    """Add pictures, the bytes of PNGs by name, to `log_dir`."""
    with tf.summary.create_file_writer(os.fsencode(log_dir)).as_default() as writer:
        for name, png in pictures.items():
            tf.summary.image(name, tf.io.decode_png(png, 3)[tf.newaxis], step=step)
        writer.close()


def _tag(name: str, logs: Mapping[str, Any]) -> str:
    """What a figure of the logs is called; sections of TensorBoard go by what is before a slash."""
    if name.startswith("val_"):
        return f"{name.removeprefix('val_')}/validation"
    return f"{name}/train" if f"val_{name}" in logs else name


#: Graphs by model: one that is trained again is not traced again.
_graphs: WeakKeyDictionary[keras.Model, Any] = WeakKeyDictionary()


def _inference_graph(model: keras.Model) -> Any:
    if model not in _graphs:
        _graphs[model] = _traced_inference(model)
    return _graphs[model]


def _traced_inference(model: keras.Model) -> Any:
    if not getattr(model, "inputs", None):
        raise TypeError("it is of a class of its own, without a graph of layers")
    single = isinstance(model, keras.Sequential)
    inputs = model.inputs[0] if single else model.input  # a tensor, or a list or dict of them
    signature = keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)

    @tf.function(input_signature=[signature])
    def inference(inputs: Any) -> Any:
        return model(inputs, training=False)

    return inference.get_concrete_function().graph
