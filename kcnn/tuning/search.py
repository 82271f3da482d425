"""`kcnn.tune`: a search, in one directory, that can be broken off anywhere."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from kcnn import startup, terminal
from kcnn.errors import InputError
from kcnn.models import registry
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras, need_tensorflow
from kcnn.storage import files
from kcnn.tasks.task import Task, find, ranking
from kcnn.tuning import finals, manifest, splits
from kcnn.tuning.feasibility import Feasibility
from kcnn.tuning.options import Options, refuse_roles
from kcnn.tuning.overrides import space_file, space_of
from kcnn.tuning.records import Found, Ranking, Records, Trial, trial_seed
from kcnn.tuning.space import Space
from kcnn.tuning.trials import Trials
from kcnn.tuning.views import figures
from kcnn.tuning.views.report import View

if TYPE_CHECKING:
    import keras_tuner

Callbacks = Callable[[], Sequence[keras.callbacks.Callback]]


def tune(
    options: Options | None = None,
    *,
    space: Mapping[str, Any] | None = None,
    data: Any = None,
    task: str | Task | None = None,
    callbacks: Callbacks = tuple,
    verbose: bool = True,
) -> Found:
    """Search for the recipe that does best on the validation split, and train it.

    Each trial is a `kcnn.train` in a directory of its own. Trials are ranked by the weights that
    were kept: with weight averaging, by the average. The same options give the same trials,
    scores and winner, whether or not the search was killed meanwhile: called again, it goes on.

    Args:
        options: What is searched, how long; the default takes 20 random trials of LeNet-5.
        space: Changes of the search space by name, as in a file for `options.space_file`.
        data: The user's own data in place of `options.data`, as `kcnn.train` takes them.
        task: What is learned, where it is not what the network is for.
        callbacks: Makes further Keras callbacks for one trial, new ones each time.
        verbose: Show the space, the trials and the result.

    Raises:
        InputError: Bad input; a directory with another search; a space of which nothing can be
            trained; no trial that completed.
        OSError: The disk is full. The same call goes on.
        KeyboardInterrupt, SystemExit: Behind a checkpoint. The same call goes on.
    """
    need_tensorflow("kcnn.tune")
    options = options or Options()
    refuse_roles()
    if options.parallel and (data is not None or task is not None or callbacks is not tuple):
        raise InputError(
            "Workers are other processes: they load data by name, and have no task or callbacks of "
            "yours. Save arrays as an .npz, or take one worker."
        )
    console = terminal.console(quiet=not verbose)
    startup.load()
    search = _Search.prepared(options, space, data, task, console)
    search.directory.mkdir(parents=True, exist_ok=True)
    with search.view.resumable():
        return search.joined() if options.join else search.led(callbacks)


def work(options: Options, role: str) -> None:
    """A chief's or a worker's part of a search; KerasTuner reads the role from the environment."""
    startup.load()
    search = _Search.prepared(options, None, None, None, terminal.console(quiet=True))
    search.settle()
    search.run(tuple, role)


@dataclass
class _Search:
    options: Options
    task: Task
    base: Recipe
    space: Space
    data: Any  #: as the caller gave it
    splits: Any  #: all of them
    feasibility: Feasibility
    view: View

    def __post_init__(self) -> None:
        assert self.base.epochs is not None  # `prepared` has resolved them
        self.epochs: int = self.base.epochs
        self.refused: dict[str, int] = {}  # combinations that were not tried, by reason
        self.seen: list[Trial] = []
        self.ranking: Ranking = self.view.ranking  # the first figure is the objective
        self.origin: dict[int, int] = {}  # of trials: the one whose seed they have

    @classmethod
    def prepared(
        cls,
        options: Options,
        changes: Mapping[str, Any] | None,
        data: Any,
        task: str | Task | None,
        console: Console,
    ) -> _Search:
        task = find(task or registry.lookup(options.model).task)
        ranked = ranking(task, options.objective, options.monitor)
        changes = (space_file(options.space_file) if options.space_file else {}) | dict(
            changes or {}
        )
        base = Recipe(
            model=options.model,
            data=options.data,
            epochs=options.epochs,
            validation=options.validation,
            ignore=options.ignore,
            monitor=options.monitor,
            seed=options.seed,
            split_seed=options.seed,
        )
        whole = splits.whole(data, base, task)
        problem = task.problem(splits.without_test(whole), base, None)
        if options.monitor is not None:
            task.prepared(problem, base)  # refuses a figure that the data do not have
        space = space_of(options.model, options.space, changes, problem.image_shape)
        memory = None if options.memory is None else int(options.memory * 2**30)
        feasibility = Feasibility(task, problem, memory)
        base = dataclasses.replace(base, epochs=feasibility.resolved(base).epochs)
        feasibility.refuse_depths(base, space)
        if data is not None:
            base = dataclasses.replace(base, data=f"own: {problem.name}")
        view = View(console, options, ranked)
        return cls(options, task, base, space, data, whole, feasibility, view)

    @property
    def directory(self) -> Path:
        """Of the search; the same for the same data, model, method and seed."""
        options = self.options
        model = Path(options.model.rpartition(":")[2]).name
        name = options.name or (
            f"{self.feasibility.problem.name}-{model}-{options.method}-{options.seed}"
        )
        if "/" in name or name in ("", ".", ".."):
            raise InputError(f"name is the name of a folder below `logs`; received {name!r}.")
        return Path(options.logs) / name

    def identity(self) -> dict[str, Any]:
        """What makes this search the one it is."""
        recipe = self.base.to_dict()
        return {
            "method": self.options.method,
            "objective": f"validation_{self.ranking[0].name}",
            "space": self.space.texts(),
            "recipe": {
                name: recipe[name] for name in ("model", "epochs", "validation", "monitor", "seed")
            },
            "data": self.feasibility.problem.fingerprint,
            "images": dict(self.feasibility.problem.sizes),
        }

    def settle(self) -> None:
        """Be the search of the directory, with the memory that it began with.

        Raises:
            InputError: The directory holds another one.
        """
        memory = self.feasibility.memory
        found = manifest.check_or_write(self.directory, self.identity(), memory)
        if self.options.memory is None:  # which is free, and another sum each time
            self.feasibility.memory = found

    def run_workers(self) -> None:
        """Trials side by side, until there are none left to begin."""
        from kcnn.tuning import workers

        records = Records(self.directory)

        def poll() -> None:
            for number in range(self.options.trials):
                trial = records.read(number)
                if trial and trial != self.view.trials.get(number):
                    (self.view.started if trial.status == "running" else self.view.ended)(trial)

        with self.view.live():
            workers.run(self.directory, self.options, self.space.texts(), poll)

    def run(self, callbacks: Callbacks, role: str = "") -> None:
        """All trials that are not there yet; with a role, what KerasTuner's chief leaves to it."""
        from kcnn.tuning.oracles import Tuner, named_in_utf_8, oracle  # loads KerasTuner

        data = splits.without_test(self.splits)
        trials = Trials(self.directory, self.task, data, self.options.save_models)
        asked = oracle(self.options, self.ranking[0], self.space, self._refusal, self.epochs)
        # Workers' trials have been shown.
        folder = self.directory / "workers" / role if role else self.directory
        live = contextlib.nullcontext() if self.options.parallel else self.view.live()
        with live, named_in_utf_8(folder) as folder:
            tuner = Tuner(asked, folder, lambda trial: self._trial(trials, trial, callbacks))
            tuner.run_all()

    def _hp(self, values: Mapping[str, Any]) -> keras_tuner.HyperParameters:
        hp = self.space.declared()
        hp.values = dict(values)
        return hp

    def _refusal(self, values: Mapping[str, Any]) -> str | None:
        try:
            base = dataclasses.replace(
                self.base, epochs=values.get("tuner/epochs", self.base.epochs)
            )
            why = self.feasibility.refusal(self.space.recipe(self._hp(values), base))
        except InputError as error:
            why = str(error)
        if why:
            self.refused[why] = self.refused.get(why, 0) + 1
        return why

    def _trial(
        self, trials: Trials, asked: keras_tuner.engine.trial.Trial, callbacks: Callbacks
    ) -> float | None:
        """Run what KerasTuner asks for; its score, None where it failed."""
        number, values = int(asked.trial_id), asked.hyperparameters.values
        # A trial of hyperband that goes on is trained anew for longer, with its first seed: a
        # learning rate that has come down to 0 cannot go on.
        past = values.get("tuner/trial_id")
        origin = number if past is None else self.origin[int(past)]
        self.origin[number] = origin
        hp = self._hp(values)
        epochs = values.get("tuner/epochs", self.base.epochs)
        seed = trial_seed(self.options.seed, origin)
        trial = Trial(number, self.space.choose(hp), epochs, seed)
        recipe = dataclasses.replace(self.space.recipe(hp, self.base), epochs=epochs, seed=seed)
        self.view.started(trial)
        ended = trials.run(trial, recipe, lambda: [*callbacks(), self.view.epochs()])
        self.seen.append(ended)
        self.view.ended(ended)
        return ended.score(self.ranking)

    def led(self, callbacks: Callbacks) -> Found:
        """Run a search as its only writer, and say what it has found."""
        with files.Lock(self.directory):
            self.settle()
            self.view.begin(self.space, self.options, self.directory)
            if self.options.parallel:
                self.run_workers()
            self.run(callbacks)  # behind workers: reads, and trains what a lost machine left
            return self.finish()

    def joined(self) -> Found:
        """Lend workers to a search that another machine leads, and say what it has found."""
        files.refuse_links(self.directory)
        self.settle()
        self.view.begin(self.space, self.options, self.directory)
        self.run_workers()
        self.seen = [t for t in self.view.trials.values() if t.status != "running"]
        ranked, failed = self._ranked()
        final = self._finals()
        return Found(self.directory, (*ranked, *failed), final.recipe(ranked[0]), {}, None)

    def _finals(self) -> finals.Finals:
        common = self.directory, self.space, self.base, self.epochs, self.task
        return finals.Finals(*common, self.options, self.view)

    def _ranked(self) -> tuple[list[Trial], list[Trial]]:
        """Completed trials, the best first; and those that failed."""
        completed = [trial for trial in self.seen if trial.status == "completed"]
        failed = [trial for trial in self.seen if trial.status == "failed"]
        if not completed:
            reasons = "\n".join(f"  trial {t.number}: {t.reason}" for t in failed[:3])
            raise InputError(f"None of the {len(failed)} trials completed:\n{reasons}")
        return sorted(completed, key=lambda t: t.rank(self.ranking)), failed

    def finish(self) -> Found:
        """Rank, compare, draw, train the winner."""
        options = self.options
        self.view.refused(self.refused)
        ranked, failed = self._ranked()
        final = self._finals()
        repeats = {}
        if options.repeats:
            repeats = final.compared(ranked[: options.top], splits.without_test(self.splits))
        best = finals.winner(ranked, repeats, self.ranking[0])
        recipe = final.write_best(best)
        self.view.figures(figures.draw(self.directory, self.space, self.seen, self.ranking))
        run = None
        if options.winner:
            run = final.trained(best, recipe, None if self.data is None else self.splits)
        self.view.result(best, run, self.directory)
        return Found(self.directory, (*ranked, *failed), recipe, repeats, run)
