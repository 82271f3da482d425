"""TensorBoard: Keras' callback, with the run's texts, its HParams row, and a graph that opens."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from kcnn.callbacks.records.guards import forgiving
from kcnn.callbacks.records.hparams import Column, write_columns, write_row
from kcnn.figures import LOSS, Figure
from kcnn.startup import keras, tf

Logs = dict[str, Any] | None


@forgiving(lambda: (OSError, tf.errors.OpError))
class TensorBoard(keras.callbacks.TensorBoard):
    """`keras.callbacks.TensorBoard` that also writes texts, hyperparameters and a usable graph.

    Scalars are whatever the logs hold (see `Meter`), under `train/` and `validation/`. The
    class keeps its parent's name: KerasTuner gives only a class named `TensorBoard` a
    directory for each trial.

    Args:
        log_dir: The run's directory. Where it cannot be written, a warning says so, and training
            goes on without it.
        texts: Markdown by title, for the Text tab.
        hparams: Hyperparameters of the run, a row in the HParams tab.
        figures: Those of the task, columns of the HParams tab beside the loss.
        write_graph: Write the inference graph, its nodes grouped by layer. (Keras writes a
            conceptual graph on which TensorBoard's default view fails.)
        **options: Others of `keras.callbacks.TensorBoard`.
    """

    def __init__(
        self,
        log_dir: str | Path = "logs",
        *,
        texts: Mapping[str, str] | None = None,
        hparams: Mapping[str, Any] | None = None,
        figures: Sequence[Figure] = (),
        write_graph: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(log_dir=str(log_dir), write_graph=False, **options)
        self.texts = dict(texts or {})
        self.hparams = dict(hparams or {})
        self.figures = tuple(figures)
        self._graph = write_graph

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        self._run_writer = tf.summary.create_file_writer(self.log_dir)
        with self._run_writer.as_default():
            for title, text in self.texts.items():
                tf.summary.text(title, text, step=0)
            if self.hparams:
                write_columns(dict.fromkeys(self.hparams), _columns(self.figures))
                write_row(self.hparams, Path(self.log_dir).name)
        self._run_writer.flush()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        super().on_epoch_end(epoch, logs)
        if self._graph:  # after the first epoch: tracing it shall not keep training waiting
            self._graph = False
            self._write_graph()

    def on_train_end(self, logs: Logs = None) -> None:
        super().on_train_end(logs)
        self._run_writer.close()

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


def write_scalar(log_dir: str | Path, name: str, value: float) -> None:
    """Add one figure of a whole run, such as one on the test split, to `log_dir`."""

    with tf.summary.create_file_writer(str(log_dir)).as_default() as writer:
        tf.summary.scalar(name, value, step=0)
        writer.close()


def _columns(figures: Sequence[Figure]) -> list[Column]:
    test = [Column(f"test_{figure.name}", "", f"test {figure.label}") for figure in figures]
    epochs = [
        Column(f"epoch_{figure.name}", "validation", f"validation {figure.label}")
        for figure in (*figures, LOSS)
    ]
    return test + epochs


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
