"""One call of `fit`: a network, its callbacks, and what comes of it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from kcnn.callbacks import (
    BestWeights,
    EvaluateEMA,
    Meter,
    MetricsTable,
    Progress,
    StochasticWeightAveraging,
    TensorBoard,
    Tolerant,
)
from kcnn.callbacks.checkpoint.files import newest
from kcnn.callbacks.checkpoint.variables import Snapshot
from kcnn.callbacks.records.tensorboard import write_scalar
from kcnn.devices.names import device_name
from kcnn.errors import NonFiniteError
from kcnn.startup import keras, tf
from kcnn.tasks.evaluate import Evaluation, evaluate_model
from kcnn.training import diagnosis, report
from kcnn.training.loop.schedules import swa_epoch
from kcnn.training.retry import RateScale

_PATIENCE = 120.0  # seconds of training that are repeated to find the first layer


class Attempt:
    """A training from the newest checkpoint, or from the beginning where there is none.

    Args:
        task: What is trained.
        rate: The factor of the learning rate, over all attempts.
        callbacks: Of the user's own.

    Attributes:
        engine: The network and its training function.
        checkpoint: Where it begins, and what it saves.
        history: After `fit`, figures by name, one an epoch.
    """

    def __init__(
        self, task: Any, rate: RateScale, callbacks: Sequence[keras.callbacks.Callback]
    ) -> None:
        self.task, self.rate = task, rate
        self.checkpoint = task.checkpoint()
        self.engine = task.build(self.checkpoint.step)
        self.history: dict[str, list[float]] = {}
        best = task.directory.best_weights if task.save_model else None
        self.best = BestWeights(best, task.problem.sizes["validation"])
        self.meter = Meter(task.problem.sizes["train"])
        self.progress = Progress(task.console)
        self.swa = self._averaging()
        averages = [EvaluateEMA()] if task.recipe.ema is not None else []
        self.checkpoint.callbacks = [
            self.meter,
            rate,
            *([self.swa] if self.swa else []),
            self.best,
            *callbacks,
            *self._recorders(),
            *averages,  # puts the raw weights back when all have seen the average
        ]

    def _averaging(self) -> StochasticWeightAveraging | None:
        recipe = self.task.recipe
        if recipe.swa_start is None:
            return None
        # The rate is the schedule's affair: a function of the step, which resuming repeats.
        return StochasticWeightAveraging(
            start=swa_epoch(recipe),
            every=recipe.swa_every,
            data=self.task.statistics_batches(),
            validate=recipe.swa_validation,
            validation_data=self.task.evaluation("validation"),
        )

    def _recorders(self) -> list[keras.callbacks.Callback]:
        recipe, directory = self.task.recipe, self.task.directory
        tolerant = partial(Tolerant, errors=(OSError, tf.errors.OpError), say=self._warn)
        board = TensorBoard(
            directory.path,
            texts={
                "recipe": report.recipe_markdown(recipe),
                "model": report.model_markdown(self.engine.model),
            },
            hparams=report.hparams(recipe),
            histogram_freq=int(recipe.histograms),
        )
        recorders = [tolerant(board), tolerant(MetricsTable(directory.metrics)), self.progress]
        if recipe.early_stopping:
            stopping = keras.callbacks.EarlyStopping("val_loss", patience=recipe.early_stopping)
            recorders.append(stopping)
        return recorders

    def _warn(self, message: str) -> None:
        self.task.console.print(f"[yellow]{message}[/]")

    def fit(self) -> None:
        """Train to the end, or to whatever comes first.

        Raises:
            NonFiniteError: A loss was not finite.
            OutOfMemoryError: A step found no memory; with a batch size that would.
            KeyboardInterrupt, SystemExit: By SIGINT and SIGTERM, behind a checkpoint.
            OSError: A checkpoint cannot be written.
        """
        task, model = self.task, self.engine.model
        self._started = time.monotonic()
        try:
            with self.checkpoint.on_signals():
                history = model.fit(
                    self.engine.feed.steps,
                    epochs=task.recipe.epochs,
                    initial_epoch=self.checkpoint.initial_epoch,
                    steps_per_epoch=task.steps,
                    validation_data=task.evaluation("validation"),
                    callbacks=[self.checkpoint, *self.checkpoint.callbacks],
                    shuffle=False,  # the batches come in their order
                    verbose=0,
                )
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise diagnosis.out_of_memory(model, task.recipe) from error
        finally:  # an exception does not reach callbacks
            self.progress.close()
            self.best.write()
        items = history.history.items()
        self.history = {name: [float(v) for v in values] for name, values in items}

    # After a failure

    def explain(self, error: NonFiniteError) -> str:
        """Step, rate and first layer of a loss that was not finite, in words."""
        task, done = self.task, error.step - 1
        optimizer = self.engine.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        rate = optimizer.learning_rate if optimizer.schedule is None else optimizer.schedule(done)
        text = f"{error} (epoch {done // task.steps + 1}), at learning rate {float(rate):.3g}"
        layer = self._first_layer(done)
        return (
            f"{text}; the first layer that gave such values is {layer!r}." if layer else f"{text}."
        )

    def _first_layer(self, done: int) -> str | None:
        """Repeat the training up to `done` steps, and look at what the layers give in the next.

        It is repeated from the last checkpoint; where that would take long, it is left.
        """
        task, engine = self.task, self.engine
        _, found = newest(task.directory.checkpoints)
        start = found["step"] if found else 0
        if (engine.copy is None and not found) or time.monotonic() - self._started > _PATIENCE:
            return None
        again = task.build(start) if engine.copy else engine
        again.feed = task.feed(start)
        again.function.step, again.function.resident = start, again.feed.resident
        self.rate.set_model(again.model)
        self.rate.on_train_begin()
        if found:
            kinds = ("model", "optimizer")
            Snapshot.restore(again.model, {kind: found["variables"][kind] for kind in kinds})
        again.model.reset_metrics()
        steps = iter(again.feed.steps)
        try:
            while again.function.step < done:
                left = done - again.function.step
                again.function.run(steps, min(left, task.recipe.steps_per_execution))
        except NonFiniteError:  # callbacks that acted meanwhile were not repeated
            return None
        images, _ = again.feed.batch(next(steps), again.feed.resident)
        return diagnosis.first_layer_not_finite(again.model, images)

    # After the training

    @property
    def averaged(self) -> bool:
        """Whether the weights are the average of weight averaging."""
        return self.swa is not None and self.swa.averaged_weights is not None

    def choose(self) -> None:
        """Put the weights to keep into the network."""
        if self.task.recipe.select == "best" and not self.averaged:
            self.best.restore()

    def result(self, model: keras.Model, steps: int, test: Evaluation | None) -> dict[str, Any]:
        """What `result.json` holds.

        Args:
            model: With the weights that are kept.
            steps: Steps that were done.
            test: On the test split, where there is one.
        """
        history, kept_epoch, figures = self.history, self.best.epoch, self.best.logs
        epochs = len(history["loss"])
        if self.averaged:
            on_validation = evaluate_model(model, self.task.evaluation("validation"))
            figures = {"val_accuracy": on_validation.accuracy, "val_loss": on_validation.loss}
            kept_epoch = epochs
        elif self.task.recipe.select == "last":
            figures = {name: values[-1] for name, values in history.items()}
            kept_epoch = epochs
        speeds = history["images_per_second"]
        result = {
            "test_accuracy": test and test.accuracy,
            "test_loss": test and test.loss,
            "validation_accuracy": figures["val_accuracy"],
            "validation_loss": figures["val_loss"],
            "epochs": epochs,
            "kept_epoch": kept_epoch,
            "steps": steps,
            "seconds": self.meter.total,
            "seconds_per_epoch": self.meter.total / epochs,
            # The first epoch traces the step.
            "images_per_second": sorted(speeds[1:] or speeds)[len(speeds[1:]) // 2],
            "parameters": sum(math.prod(w.shape) for w in model.trainable_weights),
            "device": device_name(),
        }
        if self.averaged:
            result["averaged_snapshots"] = self.swa.snapshots
        if test is not None:
            names = self.task.problem.class_names
            result["test_accuracy_per_class"] = dict(
                zip(names, test.accuracy_per_class, strict=True)
            )
        return result

    def save(self, model: keras.Model, result: dict[str, Any]) -> None:
        """Write models, test accuracy and result; the run is complete then."""
        directory = self.task.directory
        if self.task.save_model:
            self._save_models(model)
        if result["test_accuracy"] is not None:
            try:
                write_scalar(directory.path, "test_accuracy", result["test_accuracy"])
            except (OSError, tf.errors.OpError) as error:
                self._warn(f"TensorBoard does not get the test accuracy ({error}).")
        directory.write_result(result)

    def _save_models(self, model: keras.Model) -> None:
        directory = self.task.directory
        if self.averaged:
            kept = model.get_weights()
            model.set_weights(self.swa.raw_weights)
            directory.write_model(model, "model-raw.keras")
            model.set_weights(kept)
        directory.write_model(model)
