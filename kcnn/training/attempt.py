"""One way through the steps: a network, from its newest checkpoint to the end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from kcnn.callbacks import ExactCheckpoint
from kcnn.devices.memory import is_exhausted
from kcnn.errors import NonFiniteError
from kcnn.graph.cost import sized
from kcnn.startup import keras, tf
from kcnn.training import diagnosis
from kcnn.training.loop import epochs
from kcnn.training.loop.engine import Engine, engine
from kcnn.training.network import twin
from kcnn.training.setup import Setup
from kcnn.training.watchers import Watchers


@dataclass
class Attempt:
    """A training from the newest checkpoint, or from the beginning where there is none."""

    setup: Setup
    checkpoint: ExactCheckpoint  #: where it begins, and what it saves
    engine: Engine  #: the network and its steps
    watchers: Watchers
    history: dict[str, list[float]] = field(default_factory=dict)  #: figures, one an epoch
    checkpoint_step: int = 0  #: the step with which it began
    started: float = 0.0  #: when it began, on the monotonic clock

    def fit(self) -> None:
        """Train to the end, or to whatever comes first.

        Raises:
            NonFiniteError: A loss was not finite.
            OutOfMemoryError: A step found no memory; with a batch size that would.
            KeyboardInterrupt, SystemExit: By SIGINT and SIGTERM, behind a checkpoint.
            OSError: A checkpoint cannot be written.
        """
        setup, engine, checkpoint = self.setup, self.engine, self.checkpoint
        model, validation = engine.model, setup.evaluation("validation")
        self.started, self.checkpoint_step = time.monotonic(), checkpoint.step
        try:
            with checkpoint.on_signals():
                history = epochs.fit(
                    model,
                    engine.steps,
                    engine.feed.steps,
                    epochs=setup.recipe.epochs,
                    steps_per_epoch=setup.steps,
                    validation=lambda calls: setup.task.validate(model, validation, calls),
                    callbacks=[checkpoint, *checkpoint.callbacks],
                    start=epochs.Start(
                        checkpoint.initial_epoch, checkpoint.initial_batch, checkpoint.restore
                    ),
                )
        except (tf.errors.OpError, MemoryError) as error:
            if is_exhausted(error):
                counted = sized(model, setup.plan.network_shape)
                raise diagnosis.out_of_memory(counted, setup.recipe) from error
            raise
        finally:  # an exception does not reach callbacks
            self.engine.steps.freezing.release()
            self.watchers.progress.close()
            self.watchers.best.write()
        items = history.history.items()
        self.history = {name: [float(v) for v in values] for name, values in items}

    @property
    def averaged(self) -> bool:
        """Whether the weights are the average of weight averaging."""
        swa = self.watchers.swa
        return swa is not None and swa.averaged_weights is not None

    def choose(self) -> None:
        """Put the weights to keep into the network.

        Raises:
            NonFiniteError: No epoch gave finite figures on validation.
        """
        if self.setup.recipe.select != "best" or self.averaged:
            return
        best = self.watchers.best
        if not best.epoch:
            loss = self.history["val_loss"][-1]
            raise NonFiniteError(
                f"No epoch gave finite figures on validation (its loss is {loss}): there are no "
                f"weights to keep. Look at the validation images, or try a lower learning rate.",
                self.engine.steps.step,
            )
        best.restore()


def begun(setup: Setup, start: int) -> Engine:
    """The network with its initial weights, ready to train from step `start` on."""
    recipe = setup.recipe
    setup.draw_alike()
    own = setup.own
    copy, model = (setup.network, setup.network()) if own is None else (None, twin(own))
    made = engine(model, recipe, setup.task, setup.feed(start), setup.steps, copy, setup.targets)
    made.steps.step = start
    if start:
        build_metrics(made.model, setup.some_batch())
    return made


def build_metrics(model: keras.Model, batch: tuple[tf.Tensor, tf.Tensor]) -> None:
    """Let Keras make the variables of compiled metrics, which it does at the first batch."""
    images, truth = batch[0][:1], batch[1][:1]
    outputs = model(images, training=False)
    model.compute_metrics(images, truth, outputs)
    model.reset_metrics()
