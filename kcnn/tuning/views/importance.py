"""Which hyperparameters a search's scores depend on, and how far to believe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.figures import Figure
from kcnn.recipes.domains import Choice, Range
from kcnn.tuning.records import Ranking, Trial
from kcnn.tuning.space import Space

_FORESTS, _NOISE = 5, 5  # forests, and columns of random numbers in each


def costs(trials: Sequence[Trial], objective: Figure) -> np.ndarray:
    """What is to be low, such as a loss; an error of 0 counts as half of the smallest other."""
    found = np.array([objective.cost(trial.figures[objective.name]) for trial in trials])
    if not objective.share:
        return found
    positive = found[found > 1e-9]
    return np.maximum(found, positive.min() / 2 if len(positive) else 1e-3)


@dataclass(frozen=True)
class Importance:
    """How much the rank of a trial depends on each hyperparameter."""

    by_name: Mapping[str, tuple[float, float]]  #: mean and standard deviation over the forests
    noise: float  #: what a hyperparameter that counts for nothing reaches, in one of twenty
    score: float  #: R² on trials that a tree has not seen; 0 or below: it has learned nothing


def importance(space: Space, trials: Sequence[Trial], ranking: Ranking) -> Importance:
    """How much the rank of a trial depends on each hyperparameter.

    Random forests (Breiman 2001, section 10) predict the rank; the importance of a hyperparameter
    is what their R² on the trials that a tree has not seen loses when its values are mixed up
    among these. Forests on few trials see patterns in chance: each has columns of random numbers
    beside the hyperparameters, and what those reach is the level of noise.

    Where a hyperparameter does not count for a trial, as `swa_start` without `swa`, it has a value
    drawn from the trials where it does: a value of its own would tell the forest which they are,
    and the child would carry its parent's importance.

    Args:
        space: What was searched.
        trials: Completed.
        ranking: What ranks them.

    Returns:
        Of those that vary; with five forests, each with other draws.
    """
    from sklearn.ensemble import RandomForestRegressor

    columns = {
        name: np.array([_position(row, trial.values.get(name, _MISSING)) for trial in trials])
        for name, row in space.searched.items()
    }
    columns = {n: c for n, c in columns.items() if len(np.unique(c[~np.isnan(c)])) > 1}
    ranks = np.argsort(np.argsort(costs(trials, ranking[0]), kind="stable"), kind="stable")
    target, losses, scores = ranks / max(len(ranks) - 1, 1), [], []
    for number in range(_FORESTS):
        draws = np.random.default_rng(number)
        filled = [_filled(column, draws) for column in columns.values()]
        noise = [draws.permutation(len(trials)) / len(trials) for _ in range(_NOISE)]
        inputs = np.array(filled + noise).T
        forest = RandomForestRegressor(
            100, oob_score=True, random_state=number, min_samples_leaf=2
        ).fit(inputs, target)
        losses.append(_out_of_bag(forest, inputs, target, draws))
        scores.append(forest.oob_score_)
    found, known = np.array(losses), len(columns)
    pairs = zip(found.mean(axis=0), found.std(axis=0), strict=True)
    by_name = {n: (float(m), float(s)) for n, (m, s) in zip(columns, pairs, strict=False)}
    level = float(np.quantile(found[:, known:], 0.95))
    return Importance(by_name, max(level, 0.0), float(np.mean(scores)))


_MISSING = object()  # a hyperparameter that does not count for a trial


def _position(row: Range | Choice, value: Any) -> float:
    return np.nan if value is _MISSING else row.position(value)


def _filled(column: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    missing = np.isnan(column)
    return np.where(missing, draws.choice(column[~missing], len(column)), column)


def _out_of_bag(
    forest: Any, inputs: np.ndarray, target: np.ndarray, draws: np.random.Generator
) -> np.ndarray:
    """Loss of R² by column, (C,), when its values are mixed up: of each tree on unseen trials."""
    spread, losses = max(float(np.var(target)), 1e-12), np.zeros(inputs.shape[1])
    for tree, seen in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        unseen = np.setdiff1d(np.arange(len(target)), seen)
        rows, truth = inputs[unseen], target[unseen]
        before = np.mean((tree.predict(rows) - truth) ** 2)
        for column in range(inputs.shape[1]):
            mixed = rows.copy()
            mixed[:, column] = draws.permutation(mixed[:, column])
            after = np.mean((tree.predict(mixed) - truth) ** 2)
            losses[column] += (after - before) / spread
    return losses / len(forest.estimators_)
