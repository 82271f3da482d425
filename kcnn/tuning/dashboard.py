"""What TensorBoard's HParams tab shows of a search: one experiment, a session for each trial."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kcnn.callbacks.records.hparams import Column, write_columns, write_row
from kcnn.callbacks.records.tensorboard import write_scalar
from kcnn.figures import Figure
from kcnn.recipes.domains import Choice, Range, value_text
from kcnn.startup import keras, tf
from kcnn.tuning.space import Space

#: TensorBoard looks for "tfevents" in names. The domains it takes from any of the runs: all have
#: the same.
_FILE = "events.out.tfevents.0000000000.search"


def write_domains(directory: Path, space: Space, figures: Sequence[Figure]) -> None:
    """The hyperparameters with their domains, and what is measured."""
    _write(directory, lambda: _config(space, figures))


def _columns(figures: Sequence[Figure]) -> Iterator[Column]:
    for figure in figures:  # titles are short: axes stand close beside each other
        title = f"val {figure.label}"
        yield Column(f"score/{figure.name}", "", title, "of the weights that were kept")
    first = figures[0]
    text = f"validation {first.label} behind the last epoch"
    yield Column(f"epoch_{first.name}", "validation", "last epoch", text)


def _config(space: Space, figures: Sequence[Figure]) -> None:
    domains = {name: _domain(row) for name, row in space.searched.items()}
    write_columns(domains, _columns(figures))


class Session(keras.callbacks.Callback):
    """Write a trial's hyperparameters when its training begins, in place of the whole recipe's.

    Args:
        directory: Of the run.
        space: What is searched.
        figures: What is measured.
        values: Those of the trial; rows that do not count for it are left out.
    """

    writes_hparams = True

    def __init__(
        self, directory: Path, space: Space, figures: Sequence[Figure], values: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self._directory, self._space, self._figures = directory, space, figures
        self._values = {
            name: _plain(row, values[name])
            for name, row in space.searched.items()
            if name in values
        }

    def get_state(self) -> dict[str, Any]:
        """Nothing: it writes the same each time."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Nothing to do."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        def summaries() -> None:
            _config(self._space, self._figures)
            write_row(self._values, self._directory.name)

        _write(self._directory, summaries)


def write_score(directory: Path, figures: Mapping[str, float]) -> None:
    """What ranks a run: its figures on validation, of the weights that were kept."""
    for name, value in figures.items():
        write_scalar(directory, f"score/{name}", value)


def _domain(row: Range | Choice) -> Any:
    from tensorboard.plugins.hparams import api

    if isinstance(row, Choice):
        return api.Discrete([_plain(row, value) for value in row.values])
    return (
        api.IntInterval(row.low, row.high)
        if row.whole
        else api.RealInterval(float(row.low), float(row.high))
    )


def _plain(row: Range | Choice, value: Any) -> Any:
    """HParams takes one plain type for all values of a hyperparameter."""
    if isinstance(row, Range):
        return value
    kinds = {type(v) for v in row.values}
    return value if len(kinds) == 1 and kinds <= {bool, int, float, str} else value_text(value)


def _write(directory: Path, summaries: Any) -> None:
    """An event file of that name, the same each time it is written."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        with tf.summary.create_file_writer(folder).as_default() as writer:
            summaries()
            writer.close()
        (written,) = Path(folder).iterdir()
        written.replace(directory / _FILE)
