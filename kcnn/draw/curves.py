"""Figures over the epochs of several trainings, over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kcnn.draw.pictures import figure, plain, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: A training's figure on training images, and on validation: one value an epoch each.
Pair = tuple[Sequence[float], Sequence[float]]
#: Colours that differ for most eyes (Okabe & Ito 2008), then their dashes.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_ACROSS = 3  # panels


def training_curves(panels: Mapping[str, Mapping[str, Pair]]) -> bytes:
    """A PNG with a panel for each figure: validation solid, training thin.

    Args:
        panels: By title of the figure, by name of the training: values by epoch, from 1.
    """
    across = min(len(panels), _ACROSS)
    lines = -(-len(panels) // across)
    names = list(dict.fromkeys(name for rows in panels.values() for name in rows))
    made = figure(4.4 * across, 3.3 * lines + 0.25 * len(names) + 0.5)
    grid = made.subplots(lines, across, squeeze=False)
    for axes, (title, rows) in zip(grid.flat, panels.items(), strict=False):
        for name, pair in rows.items():
            _lines(axes, pair, _COLOURS[names.index(name) % len(_COLOURS)])
        axes.set_title(plain(title), fontsize=10)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.25)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    made.legend(
        handles=_handles(names), loc="outside lower center", ncols=1, fontsize=9, frameon=False
    )
    return png(made)


def _lines(axes: Axes, pair: Pair, colour: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for values, width, alpha in zip(pair, (1.0, 1.8), (0.45, 1.0), strict=True):
        marker = "." if len(values) < 3 else ""
        axes.plot(range(1, len(values) + 1), values, color=colour, lw=width, alpha=alpha,
                  marker=marker)  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def _handles(names: Sequence[str]) -> list:
    from matplotlib.lines import Line2D

    shown = [
        Line2D([], [], color=_COLOURS[k % len(_COLOURS)], lw=1.8, label=plain(name)[:60])
        for k, name in enumerate(names)
    ]
    thin = Line2D([], [], color="#555555", lw=1.0, alpha=0.6, label="thin: on training images")
    return [*shown, thin]
