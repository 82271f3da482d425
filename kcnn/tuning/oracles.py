"""KerasTuner's oracles, drawing only what can be trained, and the tuner that asks them.

Nothing of KerasTuner's is read back from its files. An oracle's answers are a function of its seed
and of what came of the trials before: a search that goes on asks a new one the same questions, and
answers those of finished trials from their records. So its files cannot be damaged, and whether a
search was interrupted makes no difference. (KerasTuner's own reload changed the winner.)
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.errors import FatalError

from kcnn.errors import InputError
from kcnn.figures import Figure
from kcnn.tuning.options import Options
from kcnn.tuning.space import Space, drawn, quantized

_TRIES = 500  # draws in a row, of which none can be trained

#: Values of hp -> why they cannot be trained, or None.
Refusal = Callable[[Mapping[str, Any]], str | None]


class _Feasible:
    """Draw anew: for a trial that cannot be trained, for one tried before, and at an early end.

    KerasTuner ends a search when twenty draws in a row were tried before, which of six combinations
    misses the last in one search of forty.
    """

    draws: bool  #: every trial is a draw, so that there is one as long as something is untried
    refusal: Refusal
    rows: Space
    search_seed: int
    trials: Mapping[str, Any]  #: of KerasTuner's oracles, as is
    get_space: Callable[[], Any]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the Gaussian process on few trials
            response = super().populate_space(trial_id)  # type: ignore[misc] # of the oracle
        tried = {_key(trial.hyperparameters.values) for trial in self.trials.values()}
        combinations, own, why = self.rows.combinations or math.inf, {}, None
        if response["status"] == "RUNNING":
            values = quantized(self.rows, response["values"])
            again = self.draws and _key(values) in tried  # as Bayesian optimisation proposes
            if "tuner/trial_id" in values or ((why := self.refusal(values)) is None and not again):
                return response | {"values": values}
            own = {name: value for name, value in values.items() if name.startswith("tuner/")}
        elif not self.draws or len(tried) >= combinations:
            return response
        seeds = _seeds(self.search_seed, int(trial_id))
        few = combinations < _TRIES
        tries = 20 * int(combinations) if few else _TRIES
        for _ in range(tries):
            values = quantized(self.rows, drawn(self.get_space(), seeds))
            if _key(values) in tried:
                continue
            if (why := self.refusal(values)) is None:
                return {"status": "RUNNING", "values": values | own}
        if few and tried:
            return {"status": "STOPPED", "values": None}  # what is left cannot be trained
        raise InputError(
            f"Of {tries} draws from the search space, none can be trained. The last: {why} "
            f"Narrow the space by --space, or train for more epochs."
        )


class _Random(_Feasible, keras_tuner.oracles.RandomSearchOracle):
    draws = True


class _Bayesian(_Feasible, keras_tuner.oracles.BayesianOptimizationOracle):
    draws = True


class _Hyperband(_Feasible, keras_tuner.oracles.HyperbandOracle):
    draws = False


def oracle(
    options: Options, objective: Figure, space: Space, refusal: Refusal, epochs: int
) -> keras_tuner.oracles.RandomSearchOracle:
    """The oracle that a search asks.

    Args:
        options: Method, trials, seed.
        objective: What ranks trials, on validation.
        space: What is searched.
        refusal: Why values cannot be trained; None where they can.
        epochs: Of the longest trial, for hyperband.
    """
    common = {
        "objective": keras_tuner.Objective(f"validation_{objective.name}", objective.mode),
        "hyperparameters": space.declared(),
        "tune_new_entries": False,
        # KerasTuner takes 0 for "any", and row d of trial t is drawn by seed + t·D + d: seeds near
        # each other would draw the same trials.
        "seed": 1 + int(np.random.SeedSequence(options.seed).generate_state(1)[0]) % (2**31 - 1),
        "max_consecutive_failed_trials": sys.maxsize,
    }
    if options.method == "hyperband":
        made = _Hyperband(max_epochs=epochs, **common)
    elif options.method == "bayesian":
        # KerasTuner's default, three for each row, would leave nothing but random trials.
        first = max(3, options.trials // 3)
        made = _Bayesian(max_trials=options.trials, num_initial_points=first, **common)
    else:
        made = _Random(max_trials=options.trials, **common)
    made.refusal, made.rows, made.search_seed = refusal, space, options.seed
    made.verbose = 0
    return made


class Tuner(BaseTuner):
    """Ask the oracle, train, tell the oracle.

    Args:
        oracle: From `oracle`.
        directory: Where KerasTuner writes; emptied.
        run: KerasTuner's trial -> its score; None where it failed.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        directory: Path,
        run: Callable[[keras_tuner.engine.trial.Trial], float | None],
    ) -> None:
        super().__init__(oracle, directory=directory, project_name="keras_tuner", overwrite=True)
        self._run = run

    def run_trial(self, trial: keras_tuner.engine.trial.Trial) -> dict[str, float]:
        """Train; called by KerasTuner, which takes any exception for the trial's own."""
        try:
            outcome = self._run(trial)
        except Exception as error:
            raise FatalError(str(error)) from error
        # Not a number is KerasTuner's mark of a failed trial, too; for an exception it prints a
        # traceback of its own.
        return {self.oracle.objective.name: math.nan if outcome is None else outcome}

    def run_all(self) -> None:
        """Search to the end.

        Raises:
            Exception: Whatever `run` raised.
        """
        with warnings.catch_warnings():
            # KerasTuner 1.4.8 calls threading.currentThread().getName().
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # of a failed trial
            try:
                self.search()
            except FatalError as error:
                raise error.__cause__ from None


def _seeds(seed: int, number: int) -> Iterator[int]:
    random = np.random.default_rng([seed, number, 1])
    while True:
        yield int(random.integers(2**31))


def _key(values: Mapping[str, Any]) -> str:
    own = {name: value for name, value in values.items() if not name.startswith("tuner/")}
    return json.dumps(own, sort_keys=True)


@contextlib.contextmanager
def named_in_utf_8(folder: Path) -> Iterator[Path]:
    """Where KerasTuner may write: TensorFlow, which does it, takes names in UTF-8 alone."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as other:  # nothing there is read back
            yield Path(other)
    else:
        yield folder
