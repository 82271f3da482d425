"""A training that is decided in all parts, from its first step or from a checkpoint."""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from rich.console import Console

from kcnn import startup
from kcnn.callbacks import ExactCheckpoint
from kcnn.data import Feed, feed_batches
from kcnn.errors import NonFiniteError
from kcnn.recipes.recipe import Recipe
from kcnn.runs.directory import Run, RunDirectory
from kcnn.startup import keras, tf
from kcnn.tasks import objective
from kcnn.tasks.evaluate import evaluate_model
from kcnn.tasks.plan import Plan
from kcnn.tasks.problem import Problem
from kcnn.training import network, report
from kcnn.training.attempt import Attempt
from kcnn.training.loop import optimizers
from kcnn.training.loop.engine import Engine, engine
from kcnn.training.retry import RateScale

#: Fields that may differ when a run goes on: where it is written, how often, what is shown.
_FREE = {"epochs", "name", "logs", "data", "checkpoint_every", "on_nan", "histograms", "cache",
         "skip_bad"}  # fmt: skip


@dataclass
class Task:
    """What is to be trained, how, and where it is written."""

    recipe: Recipe  #: without open fields
    problem: Problem
    plan: Plan
    own: keras.Model | None  #: the user's model, trained in place; None: built by the recipe
    directory: RunDirectory
    console: Console
    why_precision: str
    save_model: bool = True  #: as a Keras file

    @cached_property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.problem.steps(self.recipe)

    @cached_property
    def outputs(self) -> int:
        """Outputs of the network."""
        return self.problem.outputs if self.own is None else self.own.output_shape[-1]

    @property
    def resume_command(self) -> str:
        """What goes on with the run."""
        return f"kcnn resume {shlex.quote(str(self.directory.path))}"

    def build(self, start: int) -> Engine:
        """The network with its initial weights, ready to train from step `start` on."""
        recipe, model, copy = self.recipe, self.own, None
        # Not TensorFlow's: setting it makes TensorFlow prepare every traced function anew, which
        # takes longer than a short training. Where it can matter, the engine sets it.
        random.seed(recipe.seed)
        np.random.seed(recipe.seed)
        if model is None:
            copy = partial(network.build_network, recipe, self.problem, self.plan)
            model = copy()
        made = engine(model, recipe, self.feed(start), self.steps, copy)
        made.function.step = start
        if start:
            objective.build_metrics(made.model)
        return made

    def feed(self, start: int) -> Feed:
        """The training steps from `start` on, without end."""
        size = self.plan.input_shape[:2]
        return self.problem.training(self.recipe, size, self.outputs, start)

    def evaluation(self, part: str) -> tf.data.Dataset:
        """A split in stored order."""
        batch_size = max(self.recipe.batch_size, 128)
        return self.problem.evaluation(part, batch_size, self.plan.input_shape[:2], self.outputs)

    def statistics_batches(self) -> tf.data.Dataset:
        """The training batches of an epoch behind the last, for BatchNorm's statistics."""
        return feed_batches(self.feed(self.recipe.epochs * self.steps), self.steps)

    def checkpoint(self) -> ExactCheckpoint:
        """The run's checkpoints, of which the newest is found where there is one."""
        fields = self.recipe.to_dict()
        identity = {name: fields[name] for name in fields if name not in _FREE}
        return ExactCheckpoint(
            self.directory.checkpoints,
            every=self.recipe.checkpoint_every or "auto",
            data="step",
            identity=identity | {"data": self.problem.fingerprint},
        )

    def run(self, callbacks: Sequence[keras.callbacks.Callback], begin: Callable[[], None]) -> Run:
        """Train, choose, test, save, report.

        Args:
            callbacks: Of the user's own.
            begin: Called when nothing can be refused any more, before anything is written.
        """
        with startup.many_networks():
            return self._run(callbacks, begin)

    def _run(self, callbacks: Sequence[keras.callbacks.Callback], begin: Callable[[], None]) -> Run:
        attempt = self._trained(callbacks, begin)
        attempt.choose()
        trained, steps = attempt.engine.model, attempt.engine.function.step
        model = attempt.engine.hand_out()
        if model is not trained:  # compiled, as the user would expect of a trained one
            objective.compile_model(model, optimizers.optimizer(self.recipe, self.steps))
        test = None
        if self.problem.sizes["test"]:
            test = evaluate_model(model, self.evaluation("test"))
        result = attempt.result(model, steps, test)
        attempt.save(model, result)
        report.results(self.console, result, self.problem.class_names, self.directory.path)
        return Run(
            directory=self.directory.path,
            recipe=self.recipe,
            history=attempt.history,
            model=model,
            result=result,
            data=self.problem.description(),
        )

    def _trained(
        self, callbacks: Sequence[keras.callbacks.Callback], begin: Callable[[], None]
    ) -> Attempt:
        rate = RateScale(self.recipe, self.steps)
        while True:
            attempt = Attempt(self, rate, callbacks)
            if not rate.retries:
                attempt.checkpoint.check(attempt.engine.model)
                begin()
                report.header(self, attempt.engine.model, attempt.checkpoint.step)
            try:
                with self._resumable():
                    attempt.fit()
                return attempt
            except NonFiniteError as error:
                where = attempt.explain(error)
                if not rate.may_retry:
                    raise NonFiniteError(
                        f"{where} Checkpoints before it are kept. Try a tenth of that rate, or go "
                        f"on from the last of them with it: {self.resume_command} --on-nan retry",
                        error.step,
                    ) from error
                rate.lower()
                self.console.print(
                    f"[yellow]{where} Going back one checkpoint, with {rate.scale:g} of the rate."
                )

    @contextmanager
    def _resumable(self) -> Iterator[None]:
        """Say how to go on with a training that something outside of it has ended."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit, OSError, MemoryError):
            self.console.print(f"[yellow]Stopped. Go on with:[/]  {self.resume_command}")
            raise
