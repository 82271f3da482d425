"""Commands that train: begin a run, go on with one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Fixed, Positional, Suppress

from kcnn.cli.command import Command, Shown
from kcnn.cli.models import values
from kcnn.errors import InputError
from kcnn.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Train(Recipe, Shown, Command):
    """Train a network and write one run directory."""

    model: Positional[str] = "lenet5"
    """Network: a name of kcnn list, or FILE.py:NAME for one of your own."""
    options: dict[str, str] = field(default_factory=dict)
    """The network's own options (see kcnn show), as NAME VALUE: width 256 depth 3."""
    compiled: Suppress[Fixed[Mapping[str, Any]]] = field(default_factory=dict)
    rates: Suppress[Fixed[tuple[tuple[int, float], ...]]] = ()
    recipe: str | None = None
    """Start from the recipe of that name (fast) or file (a run's recipe.json); flags change it."""
    trust: str | None = None
    """The Python file or module of the recipe's network, whose code may run here."""

    def run(self) -> None:
        """Train."""
        from kcnn.training.train import train

        if self.trust is not None and self.recipe is None:
            raise InputError(
                f"--trust is for the network of a --recipe from a file; received {self.trust!r} "
                f"without one. A network that you name yourself needs no word more."
            )
        if self.trust is not None and self.compiled:
            from kcnn.models.registry import import_code

            import_code(self.trust)
        names = [f.name for f in dataclasses.fields(Recipe)]
        fields = {name: getattr(self, name) for name in names}
        recipe = Recipe(**fields | {"options": values(self.options)})
        self.show_result(train(recipe, verbose=self.verbose))


@dataclass(frozen=True)
class Resume(Shown, Command):
    """Go on with a run that was ended, to the same bits as if it never had been."""

    run_directory: Positional[Path]
    """A folder below logs."""
    epochs: int | None = None
    """More epochs than before extend the run, a finished one, too."""
    learning_rate: float | None = None
    """Another peak learning rate from here on; the run's record has it, with its step."""
    on_nan: Literal["stop", "retry"] | None = None
    """When the loss is not finite; the default is the run's own."""
    trust: str | None = None
    """The Python file or module of the run's network, loss, metrics; its code may run here."""
    cache: str | None = None
    """Where decoded image files are kept: 'memory', or a folder; not as the run's recipe says."""

    def run(self) -> None:
        """Go on."""
        from kcnn.training.train import resume

        run = resume(
            self.run_directory,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            on_nan=self.on_nan,
            trust=self.trust,
            cache=self.cache,
            verbose=self.verbose,
        )
        self.show_result(run)
