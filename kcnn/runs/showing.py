"""`kcnn show RUN`: what a run's directory says of its training, before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table

from kcnn.recipes.recipe import Recipe
from kcnn.runs.directory import rates_text, recipe_of
from kcnn.runs.record import read_history, read_recorded
from kcnn.storage.files import read_json
from kcnn.terminal import styled


def run_table(path: Path) -> Table:
    """Recipe, changes of the rate, how far it is, and figures of a run, finished or not.

    Raises:
        InputError: A file in it is damaged.
    """
    recorded = read_recorded(path)
    recipe, data = recipe_of(path, recorded), recorded["data"]
    done = len(read_history(path).get("loss", []))
    rows = {
        "model": recipe.model,
        "data": f"{data['name']}, {data['images']['train']:,} training images",
        "epochs": f"{done} of {recipe.epochs}",
        "learning rate": rates_text(recipe) if recipe.rates else f"{recipe.learning_rate:g}",
    }
    off = Recipe().to_dict()
    shown = ("model", "data", "epochs", "learning_rate", "rates", "name", "logs")
    for name, value in recipe.to_dict().items():
        if name not in shown and value not in (off[name], "none"):
            rows[name.replace("_", " ")] = _text(value)
    if (path / "result.json").is_file():
        result = read_json(path / "result.json")
        figures = {n: v for n, v in result.items() if n.startswith(("test_", "validation_"))}
        for name, value in figures.items():
            if isinstance(value, float):
                rows[name.replace("_", " ")] = f"{value:.4f}"
    table = Table(title=str(path), title_justify="left", show_header=False)
    table.add_column(style="bold cyan")
    table.add_column(overflow="fold")
    for title, text in rows.items():
        table.add_row(title, styled(text))
    return table


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
