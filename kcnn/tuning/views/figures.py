"""Figures of a search, as PNG: score by hyperparameter, best so far, importance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kcnn.figures import Figure
from kcnn.recipes.domains import Choice, Range, value_text
from kcnn.terminal import printable
from kcnn.tuning.records import Ranking, Trial
from kcnn.tuning.space import Space
from kcnn.tuning.views.importance import costs, importance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Picture

_FEWEST, _MANY = 10, 30  # trials, to tell what is important; to believe a good fit of so few points
_BLUE, _GREY, _RED = "#2563a8", "#9aa0a6", "#c0392b"


def draw(directory: Path, space: Space, trials: Sequence[Trial], ranking: Ranking) -> list[Path]:
    """Write the figures into `directory`; the one of importance takes ten completed trials."""
    done = [trial for trial in trials if trial.status == "completed"]
    made = {
        "scores": _scores(space, trials, ranking),
        "best_so_far": _best_so_far(done, ranking),
    }
    if len(done) >= _FEWEST and len({str(trial.values) for trial in done}) > 1:
        made["importance"] = _importance(space, done, ranking)
    paths = []
    for name, figure in made.items():
        paths.append(directory / f"{name}.png")
        figure.savefig(paths[-1], dpi=120)
    return paths


def _figure(width: float, height: float) -> Picture:
    from matplotlib.figure import Figure as Picture

    return Picture((width, height), layout="constrained")


def _scores(space: Space, trials: Sequence[Trial], ranking: Ranking) -> Picture:
    """A panel for each hyperparameter."""
    rows = {n: row for n, row in space.searched.items() if any(n in t.values for t in trials)}
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    figure = _figure(3.2 * columns, 2.7 * lines + 0.4)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    done = [trial for trial in trials if trial.status == "completed"]
    heights = dict(zip((t.number for t in done), costs(done, ranking[0]), strict=True))
    best = min(done, key=lambda trial: trial.rank(ranking)).number
    for axes, (name, row) in zip(grid.flat, rows.items(), strict=False):
        _panel(axes, name, row, trials, heights, best)
    for axes in grid.flat[len(rows) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"validation {ranking[0].cost_label}")
    _cost_axis(grid[0, 0], ranking[0], heights.values())
    failed = sum(trial.status == "failed" for trial in trials)
    more = f"; ×: {failed} that failed" if failed else ""
    figure.suptitle(f"{len(done)} trials, lower is better{more}; star: the best", fontsize=10)
    return figure


def _panel(
    axes: Axes,
    name: str,
    row: Range | Choice,
    trials: Sequence[Trial],
    heights: dict[int, float],
    best: int,
) -> None:
    inside = [trial for trial in trials if name in trial.values]
    done = [trial for trial in inside if trial.number in heights]
    spread = np.random.default_rng(0)

    def place(trial: Trial) -> float:
        if isinstance(row, Choice):  # beside each other, where many have one value
            return row.position(trial.values[name]) + spread.uniform(-0.15, 0.15)
        value = trial.values[name]
        return 1 - value if row.scale == "log1m" else value

    places = [place(trial) for trial in done]
    axes.scatter(places, [heights[t.number] for t in done], s=18, color=_BLUE, alpha=0.7, lw=0)
    for x, trial in zip(places, done, strict=True):
        if trial.number == best:
            axes.scatter([x], [heights[best]], s=120, marker="*", color=_RED, zorder=3)
    failed = [place(trial) for trial in inside if trial.status == "failed"]
    top = axes.get_xaxis_transform()  # the height is a share of the panel
    axes.scatter(failed, [0.96] * len(failed), marker="x", s=22, color=_GREY, transform=top)
    axes.set_xlabel(name, parse_math=False)
    if isinstance(row, Choice):
        labels = [printable(value_text(value)) for value in row.values]
        turned = 20 if max(map(len, labels)) > 9 else 0
        places_of = range(len(labels))
        axes.set_xticks(places_of, labels, rotation=turned, fontsize=8, parse_math=False)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    else:
        _range_axis(axes, row)
    axes.grid(alpha=0.25)


def _range_axis(axes: Axes, row: Range) -> None:
    """The whole range, on its scale."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    low, high = row.low, row.high
    if row.scale == "linear":
        margin = 0.05 * (high - low)
        axes.set_xlim(low - margin, high + margin)
        return
    axes.set_xscale("log")
    if row.scale == "log":
        margin = (high / low) ** 0.05
        axes.set_xlim(low / margin, high * margin)
        axes.xaxis.set_minor_formatter(NullFormatter())
        return
    margin = ((1 - low) / (1 - high)) ** 0.05  # the distance from 1, drawn from large to small
    axes.set_xlim((1 - low) * margin, (1 - high) / margin)
    shown = [v for v in (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999) if low <= v <= high]
    axes.xaxis.set_major_locator(FixedLocator([1 - v for v in shown]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{1 - x:.6g}"))


def _best_so_far(done: Sequence[Trial], ranking: Ranking) -> Picture:
    from matplotlib.ticker import MaxNLocator

    figure = _figure(6.4, 3.6)
    axes = figure.subplots()
    values = costs(done, ranking[0])
    order = np.arange(1, len(values) + 1)
    axes.scatter(order, values, s=16, color=_GREY, label="each trial", lw=0)
    axes.step(order, np.minimum.accumulate(values), where="post", color=_BLUE, label="best so far")
    axes.set_xlabel("completed trials")
    axes.set_xlim(0.5, len(values) + 0.5)  # the first trial is the first
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.set_ylabel(f"validation {ranking[0].cost_label}")
    _cost_axis(axes, ranking[0], values)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure


def _importance(space: Space, done: Sequence[Trial], ranking: Ranking) -> Picture:
    found = importance(space, done, ranking)
    by_name, score = found.by_name, found.score
    names = sorted(by_name, key=lambda name: by_name[name][0])
    figure = _figure(6.4, 0.32 * len(names) + 1.5)
    axes = figure.subplots()
    means, spreads = zip(*(by_name[name] for name in names), strict=True)
    colours = [_BLUE if mean > found.noise else _GREY for mean in means]
    axes.barh(range(len(names)), means, xerr=spreads, color=colours, ecolor="#555555")
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.axvline(found.noise, color=_RED, lw=1, ls="--", label="level of noise")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.set_xlabel("loss of R² on unseen trials when its values are mixed up")
    believed = "a hint" if score > 0.1 else "no better than chance"
    if score > 0.5 and len(done) >= _MANY:
        believed = "trust it"
    axes.set_title(
        f"Importance, from {len(done)} trials; out-of-bag R² {score:.2f}: {believed}", fontsize=9
    )
    axes.grid(axis="x", alpha=0.25)
    return figure


def _cost_axis(axes: Axes, objective: Figure, values: Iterable[float]) -> None:
    """Logarithmic: halving the error is the same step everywhere."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if min(values) <= 0:
        return  # a figure without bounds has no ratios
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: f"{100 * y:g} %" if objective.share else f"{y:g}")
    )
