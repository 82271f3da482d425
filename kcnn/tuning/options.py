"""What a search is asked for: each field is a flag of the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

from tyro.conf import Positional

from kcnn.errors import InputError
from kcnn.terminal import command

Method = Literal["random", "hyperband", "bayesian"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """A search: on what, by which method, how many trials of what length.

    Raises:
        InputError: A value outside its range, at construction.
    """

    model: Positional[str] = "lenet5"
    """Network: a name of `kcnn list`, or FILE.py:NAME for one of your own."""
    data: str = "digits"
    """What kcnn train takes: digits, a .npz file, a folder of class folders, of masks, of boxes."""
    trials: int = 20
    """Number of trials. A finished search goes on with a larger one; hyperband counts by itself."""
    epochs: int | None = None
    """Epochs of a trial (hyperband: of the longest); the default is that of kcnn train."""
    method: Method = "random"
    """random search; hyperband, which gives many trials few epochs; bayesian optimisation."""
    objective: str | None = None
    """What ranks the trials: validation_loss, or validation_ and a figure of the network's task;
    the default is that of monitor. The test split is read once, by the winner."""
    monitor: str | None = None
    """Figure on validation by which each trial keeps its weights, as of kcnn train, such as
    macro_f1; it ranks the trials, too. The default is the task's first."""
    seed: int = 0
    """Decides the trials, their weights and data order, and the validation split."""
    space: tuple[str, ...] = ()
    """Rows of the search space: NAME=LOW:HIGH[:log] NAME=A,B,C NAME=VALUE."""
    space_file: str | None = None
    """A Python file whose mapping `space` changes the search space; rows of --space come later."""
    validation: float = 0.1
    """Share of the training images to choose on, or their number."""
    ignore: tuple[int, ...] | None = None
    """Values of masks that are no class, as of kcnn train."""
    top: int = 3
    """How many of the best trials --repeats compares."""
    repeats: int = 0
    """Train each of the best trials again with so many other seeds: which was only lucky?"""
    winner: bool = True
    """Train the winner at the end, and read the test split with it."""
    save_models: bool = False
    """Keep the network of each trial, as model.keras; without, `kcnn train --recipe` and the
    trial's file below `trials` train it again, to the same bits."""
    workers: int = 1
    """Trials side by side, each in a process of its own; random search only. With several GPUs,
    one GPU each."""
    listen: str | None = None
    """HOST:PORT for workers on other machines, which share the folder of runs. Without any
    password: in a network you trust. The default: this machine alone."""
    join: str | None = None
    """HOST:PORT where a search on another machine listens: lend it this machine's workers."""
    memory: float | None = None
    """GiB that a training may take; combinations above are not tried. The default: all there is."""
    name: str | None = None
    """The search's folder below `logs`; the default is made of data, model, method and seed."""
    logs: str = "logs"
    """Root folder of runs; tensorboard --logdir takes the search's own folder."""

    def __post_init__(self) -> None:
        for name, low in (("trials", 1), ("top", 1), ("repeats", 0), ("seed", 0), ("workers", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise InputError(f"{name} is a whole number from {low} up; received {value!r}.")
        if self.method not in get_args(Method):
            raise InputError(
                f"method is one of {', '.join(get_args(Method))}; received {self.method!r}."
            )
        self._check_workers()
        if self.repeats == 1:
            raise InputError("repeats=1 shows no spread: take 0 for none, or 2 and more.")
        if self.memory is not None and not self.memory > 0:
            raise InputError(f"memory is a number of GiB above 0; received {self.memory!r}.")

    @property
    def parallel(self) -> bool:
        """Whether trials run in processes of their own."""
        return self.workers > 1 or self.listen is not None or self.join is not None

    def _check_workers(self) -> None:
        if self.parallel and self.method != "random":
            raise InputError(
                f"{self.method} decides by the trials that have ended: with workers, that would "
                f"depend on which was faster. Take --method random, or one worker."
            )
        if self.listen and self.join:
            raise InputError("A search listens, or joins another one; received both.")
        for address in filter(None, (self.listen, self.join)):
            host, colon, port = address.rpartition(":")
            if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
                raise InputError(f"An address is HOST:PORT; received {address!r}.")


def refuse_roles() -> None:
    """Refuse an environment that gives this process a part in KerasTuner's own protocol.

    It would wait, without a word, for a chief that is not there.

    Raises:
        InputError: With the variables.
    """
    if found := sorted(name for name in os.environ if name.startswith("KERASTUNER_")):
        raise InputError(
            f"The environment has {', '.join(found)}, KerasTuner's own way to share a search. "
            f"kcnn shares one by --workers, --listen and --join: unset the variables "
            f"({command('unset', *found)})."
        )


ENDED, REFUSED = 0, 2  # exit statuses
