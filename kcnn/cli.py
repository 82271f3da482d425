"""The command line: each command is a dataclass whose fields are its flags."""

from __future__ import annotations

import ast
import dataclasses
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import tyro
from tyro.conf import Positional

from kcnn.errors import InputError
from kcnn.training.recipe import Recipe
from kcnn.training.recipes import named_recipe
from kcnn.tuning.options import Options


@dataclass(frozen=True)
class List:
    """Table of the networks: parameters, multiply-accumulates, memory, paper."""

    pattern: Positional[str] = "*"
    """Which: resnet*, or FILE.py:* for your own."""
    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        """Print the table."""
        from kcnn.tables import console, list_table

        console().print(list_table(self.pattern))


@dataclass(frozen=True)
class Show:
    """A network layer by layer: output shape, parameters, MACs, receptive field."""

    model: Positional[str]
    """A name of kcnn list, or FILE.py:NAME for one of your own."""
    input_shape: tuple[int, int, int] | None = None
    """Height, width and channels of the images; the default is the paper's."""
    classes: int | None = None
    """Number of classes; the default is the paper's."""
    batch_size: int = 32
    """Images per step, for the estimate of the memory that training takes."""
    options: dict[str, str] = field(default_factory=dict)
    """Options of the network, as NAME VALUE: width 256 depth 3."""
    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        """Print the table."""
        from kcnn.models.build import card
        from kcnn.tables import console, show_tables

        found = card(
            self.model,
            input_shape=self.input_shape,
            classes=self.classes,
            **_values(self.options),
        )
        console().print(show_tables(found, self.batch_size))


@dataclass(frozen=True, kw_only=True)
class Train(Recipe):
    """Train a network and write one run directory."""

    model: Positional[str] = "lenet5"
    """Network: a name of kcnn list, or FILE.py:NAME for one of your own."""
    options: dict[str, str] = field(default_factory=dict)
    """The network's own options (see kcnn show), as NAME VALUE: width 256 depth 3."""
    recipe: str | None = None
    """Start from the recipe of that name (fast) or file (a run's recipe.json); flags change it."""
    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        """Train."""
        from kcnn.training.train import train

        names = [f.name for f in dataclasses.fields(Recipe)]
        fields = {name: getattr(self, name) for name in names}
        train(Recipe(**fields | {"options": _values(self.options)}))


@dataclass(frozen=True)
class Resume:
    """Go on with a run that was ended, to the same bits as if it never had been."""

    run_directory: Positional[Path]
    """A folder below logs."""
    epochs: int | None = None
    """More epochs than before extend the run, a finished one, too."""
    on_nan: Literal["stop", "retry"] | None = None
    """When the loss is not finite; the default is the run's own."""
    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        """Go on."""
        from kcnn.training.train import resume

        resume(self.run_directory, epochs=self.epochs, on_nan=self.on_nan)


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a run on the test split, of its own data or of other data."""

    run_directory: Positional[Path]
    """A folder below logs."""
    data: str | None = None
    """Other data than the run's own: a name, a .npz file or a folder."""
    batch_size: int | None = None
    """Images that the network takes at once; by default as many as its memory suggests."""
    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        """Print loss, accuracy and accuracy by class."""
        from kcnn.tables import console
        from kcnn.training.inference import evaluate_run
        from kcnn.training.report import print_evaluation
        from kcnn.training.run import load_run

        run, terminal = load_run(self.run_directory), console()
        found = evaluate_run(run, self.data, batch_size=self.batch_size, console=terminal)
        print_evaluation(terminal, found, run.class_names)


@dataclass(frozen=True)
class Predict:
    """Say what image files show."""

    run_directory: Positional[Path]
    """A folder below logs."""
    images: Positional[tuple[Path, ...]]
    """Image files: JPEG, PNG, BMP, GIF, WebP."""
    top: int = 3
    """How many of the most probable classes to name."""
    batch_size: int | None = None
    """Images that the network takes at once; by default as many as its memory suggests."""
    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        """Print class names and probabilities."""
        from kcnn.tables import console
        from kcnn.training.inference import predict
        from kcnn.training.report import print_predictions
        from kcnn.training.run import load_run

        run, terminal = load_run(self.run_directory), console()
        found = predict(run, self.images, batch_size=self.batch_size, console=terminal)
        print_predictions(terminal, found, self.top)


@dataclass(frozen=True, kw_only=True)
class Tune(Options):
    """Search for the recipe that does best on the validation split, and train it."""

    debug: bool = False
    """Show the traceback of an error."""

    def run(self) -> None:
        """Search; the same command goes on where it was ended."""
        from kcnn.tuning.search import tune

        names = [f.name for f in dataclasses.fields(Options)]
        tune(Options(**{name: getattr(self, name) for name in names}))


_COMMANDS = {
    "list": List,
    "show": Show,
    "train": Train,
    "resume": Resume,
    "tune": Tune,
    "evaluate": Evaluate,
    "predict": Predict,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 2 for bad input, 130 after Ctrl-C, 143 after SIGTERM."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if arguments == ["--version"]:
        print(f"kcnn {metadata.version('kcnn')}")
        return 0
    try:
        _parsed(arguments).run()
    except InputError as error:
        return _fail(str(error), 2, debug)
    except (FloatingPointError, MemoryError, OSError) as error:  # OSError: a full disk, say
        return _fail(str(error), 1, debug)
    except KeyboardInterrupt:
        return _fail("Interrupted.", 130, debug)
    return 0


def _parsed(arguments: list[str]) -> Any:
    """The command, with its flags as fields."""
    if arguments[:1] == ["train"] and (name := _recipe_name(arguments)):
        base = named_recipe(name)
        fields = {f.name: getattr(base, f.name) for f in dataclasses.fields(Recipe)}
        options = {key: str(value) for key, value in base.options.items()}
        default = Train(**fields | {"options": options})
        return tyro.cli(Train, args=arguments[1:], prog="kcnn train", default=default)
    return tyro.extras.subcommand_cli_from_dict(
        _COMMANDS, args=arguments or ["--help"], prog="kcnn", description=_DESCRIPTION
    )


def _recipe_name(arguments: list[str]) -> str | None:
    """What follows --recipe: it decides the other flags' defaults, so it is read before them."""
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument.startswith("--recipe="):
            return argument.partition("=")[2]
        if argument == "--recipe":
            return following
    return None


_DESCRIPTION = "Classic convolutional networks in Keras: build by name, train with one command."


def _fail(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"kcnn: {message}", file=sys.stderr)
    return status


def _values(options: dict[str, str]) -> dict[str, Any]:
    """Options as Python values: numbers, true and false, tuples; anything else stays text."""
    words = {"true": True, "false": False, "none": None}
    values = {}
    for name, text in options.items():
        try:
            values[name] = words.get(text.lower(), text)
            if values[name] == text:
                values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values


if __name__ == "__main__":
    sys.exit(main())
