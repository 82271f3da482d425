"""The callbacks of a training: what measures, chooses, averages, records and shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from kcnn.callbacks import (
    BestWeights,
    EvaluateEMA,
    Health,
    Meter,
    MetricsTable,
    Progress,
    StochasticWeightAveraging,
    TensorBoard,
    Tolerant,
)
from kcnn.callbacks.averaging.refusals import refuse_keepers
from kcnn.callbacks.records.hparams import Status
from kcnn.data import feed_batches
from kcnn.figures import LOSS
from kcnn.runs.directory import RunDirectory
from kcnn.startup import keras, tf
from kcnn.training import report
from kcnn.training.loop.schedules import swa_epoch
from kcnn.training.pictures import callback
from kcnn.training.setup import Setup

Callbacks = list[keras.callbacks.Callback]

#: Images on which health is looked at.
_LOOKED_AT = 32


@dataclass(frozen=True)
class Watchers:
    """Those that a training asks for something, and those that only watch."""

    best: BestWeights
    meter: Meter
    progress: Progress
    swa: StochasticWeightAveraging | None
    board: TensorBoard
    recorders: Callbacks
    averages: Callbacks  #: put the raw weights back when all have seen the average

    @classmethod
    def of(
        cls,
        setup: Setup,
        directory: RunDirectory,
        console: Console,
        model: keras.Model,
        best: Path | None,
        json_lines: bool = False,
    ) -> Watchers:
        """Those that the recipe asks for.

        Args:
            setup: What is trained.
            directory: What is recorded goes there.
            console: What is shown goes there.
            model: That is trained.
            best: The file of the best weights; None keeps them in memory alone.
            json_lines: Show epochs as lines of JSON.
        """
        task, sizes = setup.task, setup.problem.sizes
        first = task.figures[:1]  # what decides; all are on record
        more = [] if setup.monitor in (*first, LOSS) else [setup.monitor]
        progress = Progress(console, first, validated=more, json_lines=json_lines)
        kept = BestWeights(best, sizes["validation"], setup.monitor)
        kept.raises = True  # a run that cannot be kept is stopped, and goes on
        board = _board(setup, directory, model)
        return cls(
            best=kept,
            meter=Meter(sizes["train"]),
            progress=progress,
            swa=_averaging(setup),
            board=board,
            recorders=[
                *_recorders(setup, board, directory, console),
                progress,
                *_stopping(setup),
            ],
            averages=[EvaluateEMA()] if setup.recipe.ema is not None else [],
        )

    def mark(self, status: Status) -> None:
        """Put an end on the row in TensorBoard's HParams tab, as far as it can be written."""
        with contextlib.suppress(OSError, tf.errors.OpError):
            self.board.end(status)

    def in_order(
        self,
        rates: Sequence[keras.callbacks.Callback],
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> Callbacks:
        """All of them, with those that set the rate and the user's own in their places.

        Raises:
            InputError: One of the user's would keep other weights than it says.
        """
        swa = [self.swa] if self.swa else []
        ordered = [
            self.meter, *rates, *swa, self.best, *callbacks, *self.recorders, *self.averages,
        ]  # fmt: skip
        if self.swa:
            refuse_keepers(self.swa, ordered)
        return ordered


def _averaging(setup: Setup) -> StochasticWeightAveraging | None:
    recipe = setup.recipe
    if recipe.swa_start is None:
        return None
    # The rate is the schedule's affair: a function of the step, which resuming repeats.
    return StochasticWeightAveraging(
        start=swa_epoch(recipe),
        every=recipe.swa_every,
        data=setup.statistics_batches(),
        validate=recipe.swa_validation,
        validation_data=setup.evaluation("validation"),
    )


def _board(setup: Setup, directory: RunDirectory, model: keras.Model) -> TensorBoard:
    texts = {
        "recipe": report.recipe_markdown(setup.recipe),
        "model": report.model_markdown(model, setup.plan),
    }
    return TensorBoard(
        directory.path,
        texts=texts,
        hparams=report.hparams(setup.recipe),
        histogram_freq=int(setup.recipe.histograms),
    )


def _health(setup: Setup) -> Health | None:
    """On some of the first training batch, which is of all classes and the same when resumed."""
    if not setup.recipe.health:
        return None
    images, targets, *_ = next(iter(feed_batches(setup.feed(0), 1)))
    return Health(images[:_LOOKED_AT], targets[:_LOOKED_AT])


def _recorders(
    setup: Setup, board: TensorBoard, directory: RunDirectory, console: Console
) -> Callbacks:
    """Logs, whose loss ends no training; first what adds to them."""

    def warn(message: str) -> None:
        console.print(message, style="yellow")

    tolerant = partial(Tolerant, errors=(OSError, tf.errors.OpError), say=warn)
    # Of anybody's model: what cannot be shown of it is none of a training's business.
    health, pictures = (
        [Tolerant(one, errors=(Exception,), say=warn)] if one else []
        for one in (_health(setup), callback(setup, directory))
    )
    return [*health, tolerant(board), *pictures, tolerant(MetricsTable(directory.metrics))]


def _stopping(setup: Setup) -> Callbacks:
    patience = setup.recipe.early_stopping
    if not patience:
        return []
    figure = setup.awaited
    return [
        keras.callbacks.EarlyStopping(f"val_{figure.name}", patience=patience, mode=figure.mode)
    ]
