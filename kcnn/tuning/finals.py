"""Behind the search: the best trials with other seeds, `best.json`, and the winner's test."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcnn.figures import Figure
from kcnn.recipes.recipe import Recipe
from kcnn.runs.directory import Run, load_run, versions
from kcnn.storage import files
from kcnn.tasks.task import Task
from kcnn.training.train import resume, train
from kcnn.tuning.options import Options
from kcnn.tuning.records import Ranking, Trial, trial_name, trial_seed
from kcnn.tuning.space import Space, as_recipe
from kcnn.tuning.trials import Trials, set_aside
from kcnn.tuning.views.report import View

_OTHER_SEEDS = 1_000_000  # numbers of trials never come up to it


def winner(
    ranked: Sequence[Trial], repeats: Mapping[int, Sequence[float]], objective: Figure
) -> Trial:
    """The best trial: with repeats, the one whose mean over the other seeds is best.

    The score that put it among the best is not counted: it was picked for being high.
    """
    known = [trial for trial in ranked if repeats.get(trial.number)]
    if not known:
        return ranked[0]
    return min(known, key=lambda trial: objective.key(statistics.fmean(repeats[trial.number])))


@dataclass(frozen=True)
class Finals:
    """What comes behind the last trial.

    Args:
        directory: Of the search.
        space: What was searched.
        base: Fields that all trials have in common.
        epochs: Of the longest trial.
        task: That is to be solved.
        options: Of the search.
        view: What is shown.
    """

    directory: Path
    space: Space
    base: Recipe
    epochs: int
    task: Task
    options: Options
    view: View

    @property
    def _ranking(self) -> Ranking:
        return self.view.ranking

    def recipe(self, trial: Trial) -> Recipe:
        """What `trial` trained, for as long as the longest: where it was that, to the same bits."""
        return as_recipe(trial.values, dataclasses.replace(self.base, seed=trial.seed))

    def compared(self, best: Sequence[Trial], data: Any) -> dict[int, tuple[float, ...]]:
        """Train each again with other seeds, the same for all; scores by the trial's number."""
        trials = Trials(self.directory / "repeats", self.task, data, self.options.save_models)
        found: dict[int, tuple[float, ...]] = {}
        for trial in best:
            scores: list[float] = []
            for index in range(self.options.repeats):
                seed = trial_seed(self.options.seed, _OTHER_SEEDS + index)
                number = trial.number * 1000 + index
                again = Trial(number, trial.values, self.epochs, seed)
                ended = trials.run(again, self.recipe(again))
                if (score := ended.score(self._ranking)) is not None:
                    scores.append(score)
            found[trial.number] = tuple(scores)
        self.view.compared(best, found)
        return found

    def write_best(self, best: Trial) -> Recipe:
        """`best.json`, which `kcnn train --recipe` repeats."""
        recipe = self.recipe(best)
        content = {
            "recipe": recipe.to_dict(),
            "search": {
                "trial": best.number,
                "objective": f"validation_{self._ranking[0].name}",
                "score": best.score(self._ranking),
                "method": self.options.method,
                "space": self.space.texts(),
            },
            "versions": versions(),
        }
        files.write_json(self.directory / "best.json", content)
        return recipe

    def trained(self, best: Trial, recipe: Recipe, data: Any) -> Run:
        """The winner, trained as `best.json` says; the one time that the test split is read."""
        name = f"winner-of-{trial_name(best.number)}"
        path = self.directory / name
        ended = (path / "result.json").is_file()
        if ended and (path / "model.keras").is_file():
            return load_run(path, task=self.task)
        options = {"data": data, "task": self.task, "verbose": False}
        if (path / "recipe.json").is_file() and not ended:
            return resume(path, **options)
        set_aside(path)  # killed before its first step, or without its network
        recipe = dataclasses.replace(recipe, name=name, logs=str(self.directory))
        return train(recipe, **options)
