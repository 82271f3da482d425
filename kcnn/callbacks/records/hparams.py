"""TensorBoard's HParams tab: a row for each run, what was set and how it ended.

No run declares the table's columns. TensorBoard takes the first such declaration for all runs of a
folder, and hides what differs in others; without any it makes the union.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from kcnn.callbacks.records.guards import forgiving
from kcnn.startup import keras, tf
from kcnn.terminal import printable

#: What HParams takes as a value.
_PLAIN = (bool, int, float)
#: Replaced as a whole: of two ends TensorBoard would believe the first. It looks for "tfevents".
_FILE = "events.out.tfevents.0000000000.hparams"

Status = Literal["running", "finished", "failed", "stopped"]
Logs = dict[str, Any] | None


@forgiving(lambda: (OSError, tf.errors.OpError))
class HParams(keras.callbacks.Callback):
    """A run's row in TensorBoard's HParams tab: what was set, and how it ended.

    Figures come from the run's scalars. A process that is killed leaves "running" behind.

    Args:
        log_dir: The run's directory.
        values: What was set, by name; what is no bool or number becomes text.
    """

    def __init__(self, log_dir: str | Path, values: Mapping[str, Any]) -> None:
        super().__init__()
        self.log_dir = str(log_dir)
        self.values = {
            n: v if isinstance(v, _PLAIN) else printable(str(v)) for n, v in values.items()
        }
        self._begun: float | None = None

    def get_state(self) -> dict[str, float]:
        """Nothing: a clock is no part of a training."""
        return {}

    def set_state(self, state: dict[str, float]) -> None:
        """Nothing to do."""

    def on_train_begin(self, logs: Logs = None) -> None:
        self._begun = time.time()
        Path(self.log_dir).mkdir(parents=True, exist_ok=True)
        self.write("running")

    def on_train_end(self, logs: Logs = None) -> None:
        self.write("finished")

    def write(self, status: Status) -> None:
        """Replace the row.

        Raises:
            OSError, OpError: It cannot be written.
        """
        from tensorboard.plugins.hparams import api as hp
        from tensorboard.plugins.hparams import api_pb2, summary

        began = self._begun or time.time()
        ended = 0.0 if status == "running" else time.time()
        kinds = {"running": "RUNNING", "finished": "SUCCESS", "failed": "FAILURE"}
        kind = getattr(api_pb2, f"STATUS_{kinds.get(status, 'UNKNOWN')}")
        rows = [
            hp.hparams_pb(self.values, trial_id=_trial(self.log_dir), start_time_secs=began),
            summary.session_end_pb(kind, ended),
        ]
        directory = Path(self.log_dir)
        with tempfile.TemporaryDirectory(dir=directory) as folder:
            with tf.summary.create_file_writer(os.fsencode(folder)).as_default() as writer:
                for row in rows:
                    tf.summary.experimental.write_raw_pb(row.SerializeToString(), step=0)
                writer.close()
            (written,) = Path(folder).iterdir()
            written.replace(directory / _FILE)


def _trial(log_dir: str) -> str:
    """A name that no other run has: TensorBoard makes one row of those that share it."""
    path = Path(log_dir).resolve()
    digest = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:6]
    return printable(f"{path.name}, {path.parent.name} {digest}")
