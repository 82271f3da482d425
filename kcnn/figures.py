"""Figures of merit: what one is called, which way is better, and how it is written.

A figure NAME is `NAME` and `val_NAME` in the logs of a training, `validation_NAME` and `test_NAME`
in results. What decides, ranks, shows or records figures is told which they are, and names none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure of merit.

    Args:
        name: In logs and results.
        higher_is_better: Which way is better.
        share: It is a share of the images, from 0 to 1: written in percent, and uncertain as
            counting is.
        short: What stands above a narrow column.
        opposite: What 1 minus a share is called.
        title: What people read; its name, where that is empty.
    """

    name: str
    higher_is_better: bool = True
    share: bool = False
    short: str = ""
    opposite: str = ""
    title: str = ""

    @property
    def label(self) -> str:
        """What people read."""
        return self.title or self.name.replace("_", " ")

    @property
    def column(self) -> str:
        """The title of a narrow column."""
        return self.short or self.label

    @property
    def mode(self) -> str:
        """Which way is better, as Keras' and KerasTuner's objectives say it: "max" or "min"."""
        return "max" if self.higher_is_better else "min"

    def key(self, value: float) -> float:
        """What sorts the best first."""
        return -value if self.higher_is_better else value

    def best(self, first: float | None, second: float) -> float:
        """The better of the two; the second where there is no first."""
        return second if first is None else min(first, second, key=self.key)

    def margin(self, value: float, images: int) -> float:
        """The standard error of a share that was counted on so many images; of others 0."""
        return math.sqrt(max(value * (1.0 - value), 0.0) / images) if self.share else 0.0

    def text(self, value: float) -> str:
        """As people read it."""
        return f"{value:.2%}" if self.share else f"{value:.4f}"

    @property
    def cost_label(self) -> str:
        """What `cost` is called."""
        if not self.higher_is_better:
            return self.label
        return self.opposite or f"1 - {self.label}"

    def cost(self, value: float) -> float:
        """What is to be low: the value, or its distance from 1 where high ones are better."""
        return 1.0 - value if self.higher_is_better else value


#: Every task has it.
LOSS = Figure("loss", higher_is_better=False)


def of_split(split: str, loss: float, figures: Mapping[str, float]) -> dict[str, float]:
    """Figures as a result names them: `test_accuracy`, ..., `test_loss`."""
    named = {f"{split}_{name}": value for name, value in figures.items()}
    return {**named, f"{split}_loss": loss}
