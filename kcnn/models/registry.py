"""Names of networks: which builder makes one, and the facts its paper published.

A builder is a function that returns a plain `keras.Model`. Its keywords are its options; a
registered name gives some of them the values of its row in the paper's table. Imports no Keras,
so that `kcnn list` answers at once.
"""

import contextlib
import fnmatch
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from kcnn import startup
from kcnn.errors import InputError, did_you_mean
from kcnn.models.options import TOP_OPTIONS, table
from kcnn.recipes.families import OTHERS, Family

#: The families of this package; each module registers its own rows when it is imported.
_FAMILIES = ("mlp", "lenet", "alexnet", "vgg", "resnet", "unet", "fcn", "fcos")

#: Values that ask for nothing: a family that lacks the option already honours them.
_NEUTRAL: Mapping[str, Any] = MappingProxyType(
    {"batchnorm": False, "dropout": 0.0, "residual": False, "stem": "auto"}
    | {"include_top": True, "pooling": None, "classifier_activation": "softmax"}
)


@dataclass(frozen=True)
class Note:
    """A line of a card that holds with some options alone."""

    text: str
    only: Mapping[str, Any]  #: by name: the values of options with which it holds


def note(text: str, **only: Any) -> Note:
    """A note that holds where options have these values."""
    return Note(text, only)


@dataclass(frozen=True)
class Entry:
    """One registered network: a row of its paper's table."""

    name: str
    builder: Callable[..., Any]
    input_shape: tuple[int, int, int]  #: (H, W, C) of the paper
    classes: int
    paper: str = ""
    parameters: int | None = None  #: trainable parameters at the default input, published
    macs: int | None = None  #: multiply-accumulates of one image at the default input
    notes: tuple[str | Note, ...] = ()  #: deviations from the paper, one line each
    settings: Mapping[str, Any] = field(default_factory=dict)  #: the row: builder's keywords
    family: Family = OTHERS
    task: Any = "classification"  #: by name, or a `kcnn.tasks.task.Task`

    @property
    def task_name(self) -> str:
        """What the network is for, in a word."""
        return self.task if isinstance(self.task, str) else str(self.task.name)

    @property
    def is_kcnns_own(self) -> bool:
        """Whether kcnn itself registers it: then its options say what its outputs are."""
        return self.builder.__module__.startswith("kcnn.models.")

    @property
    def options(self) -> dict[str, Any]:
        """The builder's options, with this row's defaults."""
        options: dict[str, Any] = {}
        for name, parameter in inspect.signature(self.builder).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                options |= {top: _NEUTRAL.get(top) for top in TOP_OPTIONS}
            elif name not in ("input_shape", "preprocessing"):
                options[name] = parameter.default
        return options | dict(self.settings)

    def notes_with(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """The lines that hold with the options of which some are `given`."""
        options, lines = self.options | dict(given), []
        for line in self.notes:
            if isinstance(line, str):
                lines.append(line)
            elif all(options.get(name) == value for name, value in line.only.items()):
                lines.append(line.text)
        return tuple(lines)

    @property
    def takes_preprocessing(self) -> bool:
        """Whether the builder puts preprocessing layers in front of the network by itself."""
        return "preprocessing" in inspect.signature(self.builder).parameters

    def accepted(self, requested: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the `requested` options that the builder is to be called with.

        Raises:
            InputError: An option that the network does not have, with a value that asks for
                something.
        """
        options, accepted = self.options, {}
        for name, value in requested.items():
            if name in options:
                accepted[name] = table(self.builder)[name].value(name, value)
            elif name not in _NEUTRAL or value != _NEUTRAL[name]:
                raise InputError(
                    f"{self.name} has no option {name!r} (received {name}={value!r})."
                    f"{did_you_mean(name, options)} Its options: {', '.join(sorted(options))}."
                )
        return accepted


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str,
    *,
    input_shape: tuple[int, int, int],
    classes: int = 1000,
    paper: str = "",
    parameters: int | None = None,
    macs: int | None = None,
    notes: tuple[str | Note, ...] = (),
    family: Family = OTHERS,
    task: Any = "classification",
    **settings: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated builder under `name`.

    The builder is called as `builder(input_shape=(H, W, C), classes=..., **options)` and
    returns a `keras.Model`; its further keywords become options of `kcnn.build`, of
    `kcnn.Recipe` and of the command line.

    Args:
        name: The name that `kcnn.build` takes; letters, digits, `_`, `-`, `.`.
        input_shape: Default image shape (H, W, C).
        classes: Default number of classes.
        paper: Where the network was published.
        parameters: Published number of trainable parameters at the defaults.
        macs: Published multiply-accumulates of one image at the defaults.
        notes: Deviations from the paper, one line each; a `note` where some options alone have it.
        family: A row of `kcnn.recipes.families`: defaults of training, and what is searched.
        task: What the network is for: the name of a task, or a `kcnn.tasks.task.Task` of your own.
        **settings: This name's values of the builder's own keywords.

    Raises:
        InputError: The name is taken, or the builder does not take `input_shape`.

    Example:
        >>> @kcnn.register("tiny", input_shape=(28, 28, 1), classes=10)
        ... def tiny(input_shape, classes, width=16):
        ...     return keras.Sequential([...])
    """

    def decorate(builder: Callable[..., Any]) -> Callable[..., Any]:
        _load_families()
        _register(
            Entry(
                name=name,
                builder=builder,
                input_shape=input_shape,
                classes=classes,
                paper=paper,
                parameters=parameters,
                macs=macs,
                notes=family.notes + tuple(notes),
                family=family,
                task=task,
                settings=MappingProxyType(settings),
            )
        )
        return builder

    return decorate


def lookup(name: str) -> Entry:
    """The entry registered as `name`, or as `FILE.py:NAME` or `package.module:NAME`.

    The two long forms import that file or module first, which is to register NAME.

    Raises:
        InputError: Nothing is registered under that name; suggests the nearest.
    """
    if not isinstance(name, str):
        raise InputError(f"A model is given by its name, a string; received {name!r}.")
    if name.startswith("own: "):
        raise InputError(
            f"The recipe is of a model of your own ({name.removeprefix('own: ')}), which it does "
            f"not hold: kcnn.train(recipe, model=...) in your program trains it again."
        )
    name = _import_source(name)
    _load_families()
    if name not in _ENTRIES:
        raise InputError(
            f"Unknown model {name!r}.{did_you_mean(name, _ENTRIES)} "
            f"Known: {', '.join(list_models())}. A model of your own: register it with "
            f"@kcnn.register, and name it on the command line as FILE.py:NAME."
        )
    return _ENTRIES[name]


def list_models(pattern: str = "*") -> list[str]:
    """Names of the registered models that match `pattern` (`resnet*`), sorted."""
    pattern = _import_source(pattern)
    _load_families()
    return sorted(fnmatch.filter(_ENTRIES, pattern))


def _register(entry: Entry) -> None:
    if not isinstance(entry.name, str) or not re.fullmatch(r"[\w.-]+", entry.name):
        raise InputError(
            f"A model's name has letters, digits, '_', '-' and '.'; received {entry.name!r}."
        )
    if entry.name in _ENTRIES:
        raise InputError(
            f"A model named {entry.name!r} is registered already (by "
            f"{_ENTRIES[entry.name].builder.__module__}). Choose another name."
        )
    if "input_shape" not in inspect.signature(entry.builder).parameters:
        raise InputError(
            f"The builder of {entry.name!r} must take `input_shape`, the image shape (H, W, C)."
        )
    _ENTRIES[entry.name] = entry


def _load_families() -> None:
    for family in _FAMILIES:
        importlib.import_module(f"kcnn.models.{family}")


def _import_source(name: str) -> str:
    """Import what stands before the colon of `name`; return what stands behind."""
    source, colon, name_in_source = name.rpartition(":")
    if not colon:
        return name
    startup.load()  # before it does: in silence
    if source.endswith(".py"):
        _import_file(Path(source))
    else:
        try:
            if not all(map(str.isidentifier, source.split("."))):
                raise ModuleNotFoundError(f"{source!r} is no module's name")
            with _registered_whole(source):
                importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise InputError(
                f"Cannot import {source!r} to find the model {name_in_source!r}: {error}. "
                f"Give FILE.py:NAME or package.module:NAME."
            ) from error
    return name_in_source


def import_code(source: str | os.PathLike[str]) -> None:
    """Run a Python file, or import a module, once: it registers what is its own.

    Raises:
        InputError: There is none.
    """
    _import_source(f"{os.fspath(source)}:*")


def is_imported(name: str) -> bool:
    """Whether looking `name` up runs no code that has not run in this process."""
    source, colon, _ = name.rpartition(":")
    if not colon:
        return True
    if source.endswith(".py"):
        return Path(source).resolve() in _IMPORTED_FILES
    return source in sys.modules


_IMPORTED_FILES: set[Path] = set()


def _import_file(path: Path) -> None:
    resolved = path.resolve()
    if resolved in _IMPORTED_FILES:
        return
    if not resolved.is_file():
        raise InputError(f"There is no file {str(path)!r} to import a model from.")
    run_file(resolved)
    _IMPORTED_FILES.add(resolved)


def run_file(path: Path) -> ModuleType:
    """The module that a Python file makes, whatever the file's name ends with."""
    loader = SourceFileLoader(path.stem, str(path))
    module = ModuleType(loader.name)
    module.__file__ = str(path)
    with _registered_whole(module.__name__):
        sys.modules.setdefault(module.__name__, module)  # dataclasses look their module up
        try:
            loader.exec_module(module)
        except BaseException:
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]
            raise
    return module


@contextlib.contextmanager
def _registered_whole(module: str) -> Iterator[None]:
    """A module that fails has registered nothing: mended, it can be imported again."""
    before = set(_ENTRIES)
    try:
        yield
    except BaseException:
        for name in _ENTRIES.keys() - before:
            home = _ENTRIES[name].builder.__module__
            if home == module or home not in sys.modules:
                del _ENTRIES[name]
        raise
