"""Train, choose, test, save, report; again after a loss that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rich.console import Console

from kcnn import startup
from kcnn.callbacks import ExactCheckpoint
from kcnn.callbacks.checkpoint import signals
from kcnn.errors import NonFiniteError
from kcnn.runs.directory import Run, RunDirectory, resume_command
from kcnn.startup import keras
from kcnn.tasks.problem import description
from kcnn.terminal import styled
from kcnn.training import report
from kcnn.training.attempt import Attempt, begun
from kcnn.training.explanation import explain
from kcnn.training.loop.compiled import compile_handed_out
from kcnn.training.loop.engine import Engine
from kcnn.training.outcome import Report, result_of, save
from kcnn.training.pictures import of_the_end
from kcnn.training.plateau import Plateau
from kcnn.training.probe import Probe, probe
from kcnn.training.retry import RateScale
from kcnn.training.setup import Setup
from kcnn.training.watchers import Watchers


@dataclass(frozen=True)
class Trainer:
    """Trains a `Setup` into a run directory.

    Args:
        setup: What is trained.
        directory: Where it is written.
        console: What is shown.
        callbacks: Of the user's own.
        save_model: Write the network as a Keras file.
        json_lines: Show epochs as lines of JSON.
        named: Fields of the recipe as the run's checkpoints know them, where those lie elsewhere.
    """

    setup: Setup
    directory: RunDirectory
    console: Console
    callbacks: Sequence[keras.callbacks.Callback] = ()
    save_model: bool = True
    json_lines: bool = False
    named: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def probe(self) -> Probe | None:
        """The end of a frozen network on features that are computed once, where that will do.

        The user's own callbacks are called on all of the network.
        """
        return None if self.callbacks else probe(self.setup, self.console)

    @property
    def resume_command(self) -> str:
        """What goes on with the run."""
        return resume_command(self.directory.path, self.setup.recipe)

    def run(self, begin: Callable[[], None]) -> Run:
        """Train, choose, test, save, report.

        Args:
            begin: Called when nothing can be refused any more, before anything is written.
        """
        with startup.many_networks(), self._resumable(), signals.raised():
            attempt = self._trained(begin)
            with _marked(attempt):
                return self._finished(attempt)

    def _finished(self, attempt: Attempt) -> Run:
        setup = self.setup
        attempt.choose()
        steps = attempt.engine.steps.step
        model = attempt.engine.hand_out()
        model = self.probe.trained() if self.probe else model
        # Compiled, as the user would expect of a trained one; how theirs is compiled is theirs.
        given: keras.Model = setup.own or model
        handed = setup.handed_out(given)
        for one in {given, handed}:
            if one is not setup.own or not given.compiled:
                compile_handed_out(setup.task, one, setup.recipe)
        found = Report.of(setup, model)
        result = result_of(setup, attempt, model, steps, found)
        shown = dict(found.pictures(setup, model)) if found else {}
        # A training that shows nothing, as in loops of them, draws nothing unasked.
        drawn = self.save_model and (setup.recipe.images_every or not self.console.quiet)
        inside = of_the_end(setup, self.directory, model, self._warn) if drawn else {}
        task, keep = setup.task, self.save_model
        save(self.directory, task, attempt, handed, result, keep, self._warn, shown, inside)
        report.results(self.console, setup, result, self.directory.path)
        return Run(
            directory=self.directory.path,
            recipe=setup.recipe,
            history=attempt.history,
            model=handed,
            result=result,
            data=description(setup.problem),
            task=setup.task,
        )

    def _trained(self, begin: Callable[[], None]) -> Attempt:
        rate = RateScale(self.setup.recipe, self.setup.steps)
        while True:
            attempt = self._attempt(rate)
            if not rate.retries:
                attempt.checkpoint.check(attempt.engine.model)
                begin()
                self._header(attempt)
            try:
                with _marked(attempt):
                    attempt.fit()
                return attempt
            except NonFiniteError as error:
                where = explain(attempt.setup, self.directory, attempt, rate, error)
                if not rate.may_retry:
                    raise NonFiniteError(
                        f"{where} Checkpoints before it are kept. Try a tenth of that rate, or go "
                        f"on from the last of them with it: {self.resume_command} --on-nan retry",
                        error.step,
                    ) from error
                rate.lower()
                self._warn(f"{where} Going back one checkpoint, with {rate.scale:g} of the rate.")

    def _header(self, attempt: Attempt) -> None:
        model, start = self._network(attempt.engine), attempt.checkpoint.step
        report.header(self.console, self.setup, model, self.directory.path, start)

    def _attempt(self, rate: RateScale) -> Attempt:
        checkpoint = self._checkpoint()
        setup = self.probe.setup if self.probe else self.setup
        engine = begun(setup, checkpoint.step)
        rate.begin(engine.update, checkpoint.step)
        best = self.directory.best_weights if self.save_model else None
        network = self._network(engine)
        watchers = Watchers.of(
            self.setup, self.directory, self.console, network, best, self.json_lines
        )
        rates: list[keras.callbacks.Callback] = [rate]
        if self.setup.recipe.schedule == "plateau":
            rates.append(Plateau(self.setup.recipe, self.setup.awaited, engine.update))
        checkpoint.callbacks = watchers.in_order(rates, self.callbacks)
        return Attempt(setup, checkpoint, engine, watchers)

    def _network(self, engine: Engine) -> keras.Model:
        """All of the network that an engine trains."""
        return self.probe.network if self.probe else engine.model

    def _checkpoint(self) -> ExactCheckpoint:
        """The run's checkpoints, of which the newest is found where there is one."""
        recipe = self.setup.recipe
        return ExactCheckpoint(
            self.directory.checkpoints,
            every=recipe.checkpoint_every or "auto",
            identity=recipe.identity()
            | dict(self.named)
            | {"data": self.setup.problem.fingerprint},
            older=recipe.older(),
        )

    def _warn(self, message: str) -> None:
        self.console.print(message, style="yellow")

    @contextmanager
    def _resumable(self) -> Iterator[None]:
        """Say how to go on with a training that something outside of it has ended."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit, OSError, MemoryError):
            if not self.directory.path.is_dir():
                gone = f"The run's folder is not there any more: {self.directory.path}"
                self.console.print(gone, style="yellow", soft_wrap=True)
                raise
            if not self.directory.is_begun:
                raise
            line = styled(("Stopped. Go on with:", "yellow"), f"  {self.resume_command}")
            self.console.print(line, soft_wrap=True)
            raise


@contextmanager
def _marked(attempt: Attempt) -> Iterator[None]:
    """Let TensorBoard show how a training ended that does not come to its end."""
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, (KeyboardInterrupt, SystemExit))
        attempt.watchers.mark("stopped" if stopped else "failed")
        raise
