"""How accuracy falls where pictures are moved or spoilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kcnn.draw.errors import BLUE, GREY
from kcnn.draw.pictures import figure, plain, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DIRECTIONS = ("down", "up", "right", "left")


def shift_curve(accuracy: np.ndarray, chance: float | None = None) -> bytes:
    """A PNG of accuracies (K + 1, 4) where pictures move by 0 to K pixels in four directions.

    Args:
        accuracy: Down, up, right, left.
        chance: The accuracy of guessing, marked.
    """
    from matplotlib.ticker import MaxNLocator

    made = figure(5.0, 3.6)
    axes = made.subplots()
    for column, name in enumerate(_DIRECTIONS):
        axes.plot(100 * accuracy[:, column], color=BLUE, alpha=0.35, lw=1,
                  ls=("-", "--", "-.", ":")[column], label=name)  # fmt: skip
    axes.plot(100 * accuracy.mean(axis=1), color=BLUE, lw=2, marker=".", label="mean")
    _chance(axes, chance)
    axes.set_xlabel("pictures moved by (pixels)")
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, 101)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    return png(made)


def corruption_curves(
    accuracy: Mapping[str, np.ndarray],
    clean: float,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    chance: float | None = None,
) -> bytes:
    """A PNG with a panel for each corruption: accuracy by severity, from 0, which is clean.

    Args:
        accuracy: By name, (S,).
        clean: Of the pictures as they are.
        severities: S of them.
        chance: The accuracy of guessing, marked.
    """
    across = min(len(accuracy), 5)
    lines = -(-len(accuracy) // across)
    made = figure(2.1 * across + 0.4, 2.0 * lines + 0.4)
    grid = made.subplots(lines, across, squeeze=False, sharex=True, sharey=True)
    for axes, (name, values) in zip(grid.flat, accuracy.items(), strict=False):
        axes.plot([0, *severities], 100 * np.insert(values, 0, clean), color=BLUE, marker=".")
        _chance(axes, chance)
        axes.set_title(f"{plain(name.replace('_', ' '))}\nmean {values.mean():.1%}", fontsize=8)
        axes.set_ylim(0, 101)
        axes.set_xticks([0, *severities])
        axes.grid(alpha=0.25)
    for axes in grid.flat[len(accuracy) :]:
        axes.set_visible(False)
    made.supxlabel("severity", fontsize=9)
    made.supylabel("accuracy (%)", fontsize=9)
    return png(made)


def _chance(axes: Axes, chance: float | None) -> None:
    if chance is not None:
        axes.axhline(100 * chance, color=GREY, lw=1, ls="--")
