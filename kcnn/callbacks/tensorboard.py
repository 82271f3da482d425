"""TensorBoard: Keras' callback, with the run's recipe, model table and HParams row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

Logs = dict[str, Any] | None


class TensorBoard(keras.callbacks.TensorBoard):
    """`keras.callbacks.TensorBoard` that also writes texts and hyperparameters.

    Scalars are whatever the logs hold (see `Meter`), under `train/` and `validation/`. The
    class keeps its parent's name: KerasTuner gives only a class named `TensorBoard` a
    directory for each trial.

    Args:
        log_dir: The run's directory.
        texts: Markdown by title, for the Text tab.
        hparams: Hyperparameters of the run, a row in the HParams tab.
        **options: Those of `keras.callbacks.TensorBoard`.
    """

    def __init__(
        self,
        log_dir: str | Path = "logs",
        *,
        texts: Mapping[str, str] | None = None,
        hparams: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(log_dir=str(log_dir), **options)
        self.texts = dict(texts or {})
        self.hparams = {name: _plain(value) for name, value in (hparams or {}).items()}

    def on_train_begin(self, logs: Logs = None) -> None:
        super().on_train_begin(logs)
        import tensorflow as tf
        from tensorboard.plugins.hparams import api

        self._run_writer = tf.summary.create_file_writer(self.log_dir)
        with self._run_writer.as_default():
            for title, text in self.texts.items():
                tf.summary.text(title, text, step=0)
            if self.hparams:
                api.hparams(self.hparams, trial_id=Path(self.log_dir).name)
        self._run_writer.flush()

    def on_train_end(self, logs: Logs = None) -> None:
        super().on_train_end(logs)
        self._run_writer.close()


def _plain(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
