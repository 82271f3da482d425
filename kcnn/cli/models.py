"""Commands about networks: what there is, and one layer by layer."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from kcnn.cli.command import Command


@dataclass(frozen=True)
class List(Command):
    """Networks, by task: parameters, multiply-accumulates, memory, paper."""

    pattern: Positional[str] = "*"
    """Which: resnet*, or FILE.py:* for your own."""
    weights: bool = False
    """Published weights of these networks: accuracy, size, licence, source."""

    def run(self) -> None:
        """Print the table."""
        from kcnn.models.tables import list_tables, weights_table
        from kcnn.terminal import console

        console().print((weights_table if self.weights else list_tables)(self.pattern))


@dataclass(frozen=True)
class Show(Command):
    """A network layer by layer: shapes, parameters, MACs, receptive field; or a run: its recipe."""

    model: Positional[str]
    """A name of kcnn list, FILE.py:NAME for one of your own; or a run, a folder below logs."""
    input_shape: tuple[int, int, int] | None = None
    """Height, width and channels of the images; the default is the paper's."""
    classes: int | None = None
    """Number of classes; the default is the paper's."""
    batch_size: int = 32
    """Images per step, for the estimate of the memory that training takes."""
    options: dict[str, str] = field(default_factory=dict)
    """Options of the network, as NAME VALUE: width 256 depth 3."""

    def run(self) -> None:
        """Print the table."""
        from kcnn.models.build import card
        from kcnn.models.tables import show_tables
        from kcnn.recipes.checks import mapping
        from kcnn.terminal import console

        if (Path(self.model) / "recipe.json").is_file():
            from kcnn.runs.showing import run_table

            console().print(run_table(Path(self.model)))
            return
        found = card(
            self.model,
            input_shape=self.input_shape,
            classes=self.classes,
            **mapping("options", values(self.options)),
        )
        console().print(show_tables(found, self.batch_size))


def values(options: dict[str, str]) -> dict[str, Any]:
    """Options as Python values: numbers, true and false, tuples; anything else stays text."""
    words = {"true": True, "false": False, "none": None}
    values = {}
    for name, text in options.items():
        try:
            values[name] = words.get(text.lower(), text)
            if values[name] == text:
                values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            values[name] = text
    return values
