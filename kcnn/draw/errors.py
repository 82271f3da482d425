"""How a classifier errs, drawn: confusion, calibration, risk by coverage, ROC, precision by recall.

Every function takes arrays and gives the bytes of a PNG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kcnn.draw.pictures import figure, plain, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, GREY, RED = "#2563a8", "#9aa0a6", "#c0392b"
#: Classes up to which cells hold their counts, and up to which axes hold their names.
_COUNTS, _NAMES = 20, 60


def confusion_matrix(counts: np.ndarray, class_names: Sequence[str]) -> bytes:
    """Counts (K, K), rows true, columns said; colour is the share of the row.

    Args:
        counts: Integers.
        class_names: K names, of anybody.
    """
    from matplotlib.colors import Normalize, PowerNorm

    classes = len(counts)
    side = min(max(0.42 * classes, 3.6), 11.0)
    longest = min(max(map(len, class_names)), 20) if classes <= _NAMES else 3
    made = figure(side + 0.075 * longest + 1.1, side + 0.06 * longest + 0.6)
    axes = made.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    # Without counts in the cells, the rare ones are to be seen by their colour.
    scale = Normalize(0.0, 1.0) if classes <= _COUNTS else PowerNorm(0.5, 0.0, 1.0)
    shown = axes.imshow(shares, cmap="Blues", norm=scale, interpolation="nearest")
    if classes <= _COUNTS:
        size = 9 if counts.max() < 1000 else 7
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.55 else "black"
                axes.text(
                    column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size
                )
    if classes <= _NAMES:
        names, small = [_short(name) for name in class_names], 9 if classes <= 30 else 6
        turned = 0 if longest <= 2 else 60 if longest > 3 else 45
        axes.set_xticks(
            range(classes), names, fontsize=small, rotation=turned, rotation_mode="anchor",
            ha="right" if turned else "center",
        )  # fmt: skip
        axes.set_yticks(range(classes), names, fontsize=small)
    axes.set_xlabel("said")
    axes.set_ylabel("true")
    made.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8, aspect=30)
    return png(made)


@dataclass(frozen=True, eq=False)
class Bins:
    """Confidence against accuracy, bin by bin, to be drawn."""

    title: str
    edges: np.ndarray  #: (B + 1,)
    images: np.ndarray  #: (B,)
    confidence: np.ndarray  #: (B,) means; NaN in empty bins
    accuracy: np.ndarray  #: (B,)
    low: np.ndarray  #: (B,) lower ends of the intervals of the accuracy
    high: np.ndarray  #: (B,)


def calibration_curves(panels: Sequence[Bins]) -> bytes:
    """Panels side by side, such as before and after temperature scaling."""
    made = figure(3.9 * len(panels), 4.6)
    grid = made.subplots(
        2, len(panels), squeeze=False, sharex=True, sharey="row", height_ratios=(4, 1)
    )
    for column, bins in enumerate(panels):
        _reliability(grid[0, column], bins)
        below = grid[1, column]
        below.bar(bins.edges[:-1], bins.images, np.diff(bins.edges), align="edge", color=GREY)
        below.set_xlabel("confidence")
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("images")
    grid[0, 0].legend(frameon=False, fontsize=8, loc="lower right")
    return png(made)


def _reliability(axes: Axes, bins: Bins) -> None:
    held = bins.images > 0
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="as right as it says")
    accuracy, place = bins.accuracy[held], bins.confidence[held]
    spread = np.abs(np.stack([accuracy - bins.low[held], bins.high[held] - accuracy]))
    axes.errorbar(
        place, accuracy, yerr=spread, fmt="o", ms=4, color=BLUE, elinewidth=1,
        label="mean of a bin, 95 % interval",
    )  # fmt: skip
    axes.set_title(plain(bins.title), fontsize=9)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.25)


def risk_by_coverage(coverage: np.ndarray, risk: np.ndarray) -> bytes:
    """Share that is wrong (M,) among the share (M,) that is answered, the surest first."""
    made = figure(4.8, 3.6)
    axes = made.subplots()
    axes.step(
        np.insert(100 * coverage, 0, 0.0), 100 * np.append(risk, risk[-1]), where="post", color=BLUE
    )
    axes.axhline(100 * risk[-1], color=GREY, lw=1, ls="--", label=f"all: {risk[-1]:.2%} wrong")
    axes.set_xlabel("images that are answered, the surest first (%)")
    axes.set_ylabel("of those wrong (%)")
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    return png(made)


def precision_recall(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]], classes: int
) -> bytes:
    """Precision by recall of each class against all others, over each other.

    Args:
        curves: By name, of anybody: precision and recall (M,) each, and the average precision.
        classes: How many there are, of which these are the worst.
    """
    from matplotlib import colormaps

    made = figure(6.4, 4.2)
    axes = made.subplots()
    colours = colormaps["tab10"]
    for index, (name, (precision, recall, average)) in enumerate(curves.items()):
        axes.step(
            np.insert(recall, 0, 0.0), np.insert(precision, 0, precision[0]),
            color=colours(index % 10), lw=1.2, label=f"{average:.3f} {_short(name)}",
        )  # fmt: skip
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.25)
    title = "average precision" if classes == len(curves) else f"the worst of {classes} classes"
    made.legend(loc="outside right upper", fontsize=8, frameon=False, title=title, title_fontsize=8)
    return png(made)


def two_class_curves(
    roc: tuple[np.ndarray, np.ndarray],
    precision_recall: tuple[np.ndarray, np.ndarray],
    areas: tuple[float, float],
    positive: str,
    chosen: tuple[float, float, float] | None = None,
) -> bytes:
    """ROC, and precision by recall, side by side.

    Args:
        roc: False and true positive rates, (M + 1,) each.
        precision_recall: Precision and recall, (M,) each.
        areas: Under ROC; average precision.
        positive: The class that is looked for, of anybody's name.
        chosen: (false positive rate, recall, precision) of a threshold that is marked.
    """
    made = figure(8.0, 4.0)
    left, right = made.subplots(1, 2)
    left.plot(*roc, color=BLUE)
    left.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    left.set_title(f"ROC AUC {areas[0]:.4f}", fontsize=10)
    left.set_xlabel("false positive rate")
    left.set_ylabel("true positive rate")
    precision, recall = precision_recall
    right.step(np.insert(recall, 0, 0.0), np.insert(precision, 0, precision[0]), color=BLUE)
    right.axhline(precision[-1], color=GREY, lw=1, ls="--")
    right.set_title(f"average precision {areas[1]:.4f}", fontsize=10)
    right.set_xlabel("recall")
    right.set_ylabel("precision")
    if chosen is not None:
        left.plot(*chosen[:2], "o", color=RED, label="chosen on validation")
        right.plot(*chosen[1:], "o", color=RED)
        left.legend(frameon=False, fontsize=8, loc="lower right")
    for axes in (left, right):
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.25)
    made.suptitle(f"looked for: {_short(positive)}", fontsize=10)
    return png(made)


def _short(name: str, most: int = 20) -> str:
    return plain(name if len(name) <= most else f"{name[: most - 1]}…")
