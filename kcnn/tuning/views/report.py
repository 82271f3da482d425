"""What people see of a search: its space, a table of trials as they come, what it is worth."""

from __future__ import annotations

import contextlib
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kcnn.figures import Figure
from kcnn.recipes.domains import Choice, Range, searched, value_text
from kcnn.recipes.trust import words
from kcnn.runs.directory import Run
from kcnn.startup import keras
from kcnn.tasks.task import monitored
from kcnn.terminal import command, counted, printable, styled
from kcnn.tuning.options import Options
from kcnn.tuning.records import Ranking, Trial
from kcnn.tuning.space import Space

_ROWS = 15  # of the live table


def chance(trials: int, share: float = 0.05) -> float:
    """Probability that the best of so many random trials is among the best `share` of the space.

    1 - (1 - share)^n: each trial misses that share independently (Bergstra & Bengio 2012).
    """
    return 1.0 - (1.0 - share) ** trials


def space_table(space: Space) -> Table:
    """Each row: name, what is searched, on which scale, and when it counts."""
    table = Table(title="Search space", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for title in ("name", "values", "scale", "counts where"):
        table.add_column(title)
    scales = {"log": "logarithmic", "log1m": "logarithmic in 1 - value"}
    for name, row in space.rows.items():
        scale = "fixed"
        if isinstance(row, Range):
            scale = scales.get(row.scale, "linear") + (", whole" if row.whole else "")
        elif isinstance(row, Choice):
            scale = "choice"
        values = f"{row.low:g} to {row.high:g}" if isinstance(row, Range) else _choices(row)
        condition = space.condition(name)
        where = ""
        if condition and searched(space.rows[condition[0]]):
            where = f"{condition[0]} is {' or '.join(map(value_text, condition[1]))}"
        table.add_row(name, values, scale, where)
    return table


def trials_table(
    trials: Sequence[Trial], space: Space, ranking: Ranking, rows: int | None, width: int
) -> Table:
    """Trials by rank: score, time, hyperparameters; then those that failed and run.

    Args:
        trials: In any order.
        space: What is searched.
        ranking: What ranks them.
        rows: The most to show; None for all.
        width: Of the terminal: where a column for each hyperparameter does not fit, they share one.
    """
    names = list(space.searched)
    wide = width >= 32 + sum(max(10, len(name) + 2) for name in names)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title="Trials", title_justify="left")
    for title in ("rank", "trial", _title(ranking[0]), "s"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in names if wide else ("hyperparameters",):
        table.add_column(title)
    done = sorted(
        (t for t in trials if t.status == "completed"), key=lambda trial: trial.rank(ranking)
    )
    others = [t for t in trials if t.status != "completed"]
    kept = (done, others) if rows is None else (done[:rows], others[-3:])
    for rank, trial in enumerate((*kept[0], *kept[1]), 1):
        completed = trial.status == "completed"
        first = ["", str(trial.number), trial.status, f"{trial.seconds:.1f}"]
        if completed:
            first[0], first[2] = str(rank), _score(ranking, trial)
        cells = [_cell(trial, name) for name in names] if wide else [_values(trial, names)]
        best = "bold green" if rank == 1 else None
        style = best if completed else "red" if trial.status == "failed" else "cyan"
        table.add_row(*first, *cells, style=style)
    return table


class View:
    """The terminal: a table that lives, or in a file or pipe a line for each trial.

    Args:
        console: Where it goes.
        options: Of the search.
        ranking: What ranks its trials.
    """

    def __init__(self, console: Console, options: Options, ranking: Ranking) -> None:
        self.console, self.options, self.ranking = console, options, ranking
        self.trials: dict[int, Trial] = {}
        self.space = Space({})
        self._live: Live | None = None
        self._epoch = ""

    def begin(self, space: Space, options: Options, directory: Path) -> None:
        """What is about to be searched."""
        self.space = space
        self.console.print(space_table(space))
        self.console.print(f"{options.method} search, {directory}")
        look = command("tensorboard", "--logdir", directory)
        self.console.print(f"Look inside:  {look}\n", soft_wrap=True)

    @contextlib.contextmanager
    def resumable(self) -> Iterator[None]:
        """Say how to go on with a search that something outside of it has ended."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit, OSError):
            text = "Stopped. The same command goes on with the search."
            self.console.print(text, style="yellow")
            raise

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Keep the table up to date meanwhile."""
        if not self.console.is_terminal or self.console.quiet:
            yield
            self.console.print(self._table(None))
            return
        with Live(self._table(_ROWS), console=self.console, auto_refresh=False) as self._live:
            yield
            self._live.update(self._table(None), refresh=True)
        self._live = None

    def started(self, trial: Trial) -> None:
        """A trial begins."""
        known = self.trials.get(trial.number)
        if known is None or known.status == "running":  # else it will be read back
            self.trials[trial.number], self._epoch = trial, ""
        self._refresh()

    def ended(self, trial: Trial) -> None:
        """A trial has ended, or was there already."""
        known = self.trials.get(trial.number) == trial
        self.trials[trial.number], self._epoch = trial, ""
        self._refresh()
        if self._live is None and not known:
            self.console.print(self._line(trial), soft_wrap=True)

    def epochs(self) -> keras.callbacks.Callback:
        """A callback that shows how far the trial is."""
        return _Epochs(self)

    def epoch(self, number: int, logs: Mapping[str, float]) -> None:
        """An epoch of the running trial has ended."""
        figure = self.ranking[0]
        value = logs.get(f"val_{figure.name}")
        shown = "" if value is None else f", validation {figure.label} {figure.text(value)}"
        self._epoch = f"epoch {number}{shown}"
        self._refresh()

    def refused(self, reasons: Mapping[str, int]) -> None:
        """Combinations that could not be trained, and were drawn anew; an example of each kind."""
        kinds: dict[str, list[str]] = {}  # reasons that differ in numbers only
        for reason, count in reasons.items():
            kinds.setdefault(re.sub(r"[\d.e+-]*\d", "#", reason), []).extend([reason] * count)
        for alike in kinds.values():
            times = "once" if len(alike) == 1 else f"{len(alike)} times, such as"
            self.console.print(styled((f"Not tried, {times}:", "yellow"), f" {alike[0]}"))

    def compared(self, best: Sequence[Trial], found: Mapping[int, Sequence[float]]) -> None:
        """The best trials, with other seeds."""
        table = Table(box=SIMPLE_HEAD, title="The best, with other seeds", title_justify="left",
                      pad_edge=False)  # fmt: skip
        for title in ("trial", "in the search", "mean", "± sd", "lowest", "highest", "n"):
            table.add_column(title, justify="right")
        for trial in best:
            scores = found[trial.number]
            row = ["", "", "", ""]
            if scores:
                spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
                numbers = (statistics.fmean(scores), spread, min(scores), max(scores))
                row = [self.ranking[0].text(number) for number in numbers]
            first = _score(self.ranking, trial)
            table.add_row(str(trial.number), first, *row, str(len(scores)))
        self.console.print(table)

    def figures(self, paths: Sequence[Path]) -> None:
        """Where they are."""
        shown = "  ".join(printable(str(path)) for path in paths)
        self.console.print(f"Figures:  {shown}", soft_wrap=True)

    def result(self, best: Trial, run: Run | None, directory: Path) -> None:
        """The winner."""
        line = styled(f"Best: trial {best.number}, {_score(self.ranking, best)}")
        if run is not None:
            figure = monitored(run.task, run.recipe.monitor)
            validation, test = (
                run.result.get(f"{part}_{figure.name}") for part in ("validation", "test")
            )
            if validation is not None and test is not None:
                line.append(f"; trained anew, validation {figure.text(validation)}, test ")
                line.append(figure.text(test), "bold green")
        self.console.print(line)
        best_recipe = directory / "best.json"
        repeat = command("kcnn", "train", "--recipe", best_recipe, *words(self.options.model))
        self.console.print(f"Repeat it:  {repeat}", soft_wrap=True)

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._table(_ROWS), refresh=True)

    def _table(self, rows: int | None) -> Group:
        trials = list(self.trials.values())
        done = sum(trial.status == "completed" for trial in trials)
        parts: list[RenderableType] = [
            trials_table(trials, self.space, self.ranking, rows, self.console.width)
        ]
        parts += [Text(self._epoch, style="cyan")] if self._epoch else []
        tried = counted(done, "trial")
        if self.options.method == "random" and done == self.space.combinations:
            parts.append(Text(f"{tried}: all combinations of the space were tried."))
        elif self.options.method == "random" and done:
            gain = chance(done + 10) - chance(done)
            parts.append(
                Text(
                    f"{tried}: the best is among the best 5 % of the space with probability "
                    f"{chance(done):.0%} (1 - 0.95^{done}); ten more would add {gain:.0%}."
                )
            )
        return Group(*parts)

    def _line(self, trial: Trial) -> Text:
        number = f"trial {trial.number}  "
        if trial.status == "failed":
            return styled(number, ("failed", "red"), f"  {trial.reason}")
        score = _score(self.ranking, trial)
        values = _values(trial, list(self.space.searched))
        return styled(number, (score, "bold"), f"  {trial.seconds:.1f} s  {values}")


class _Epochs(keras.callbacks.Callback):
    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        pass

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._view.epoch(epoch + 1, logs or {})


def _choices(row: Any) -> str:
    return ", ".join(map(value_text, row.values)) if isinstance(row, Choice) else value_text(row)


def _cell(trial: Trial, name: str) -> str:
    return value_text(trial.values[name]) if name in trial.values else "-"


def _values(trial: Trial, names: Sequence[str]) -> str:
    """Those that count for the trial, as --space takes them."""
    return " ".join(f"{n}={value_text(trial.values[n])}" for n in names if n in trial.values)


def _title(figure: Figure) -> str:
    """Above its column: shares are what `validation` alone means."""
    return "validation" if figure.share else f"val. {figure.column}"


def _score(ranking: Ranking, trial: Trial) -> str:
    return ranking[0].text(trial.figures[ranking[0].name])
