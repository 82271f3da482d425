"""A run's network for another runtime, compared on the run's own images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from kcnn.errors import InputError
from kcnn.graph.export import Exported, export
from kcnn.graph.formats import FORMATS
from kcnn.graph.outputs import gives_logits
from kcnn.graph.runtimes import Runs
from kcnn.runs.directory import Run
from kcnn.runs.exported import leaving_network, notes_of
from kcnn.runs.inference import split_batches
from kcnn.terminal import memory_text, styled

#: Images that are compared, and by which int8 chooses its scales.
_COMPARED, _CALIBRATED = 64, 128
#: Points of accuracy that int8 may cost.
_MAY_COST = 1.0


@dataclass(frozen=True)
class Outcome:
    """An export, and what it is worth on validation where that was looked at."""

    exported: Exported
    accuracy: float | None = None  #: per cent, of the file
    before: float | None = None  #: of the network


def export_run(
    run: Run,
    form: str,
    *,
    precision: str = "float32",
    out: Path | None = None,
    accept: bool = False,
    console: Console,
) -> Outcome:
    """Write the network of a run for another runtime.

    Args:
        run: A finished one.
        form: A name of `kcnn.graph.formats.FORMATS`.
        precision: One of the format's.
        out: The file; the default lies in the run's folder, with the format's ending.
        accept: Keep an int8 network that loses more than a point of accuracy.
        console: Is told on which images it was compared.

    Raises:
        InputError: As `export`; int8 that loses more than a point, or of a task without accuracy.
    """
    if form not in FORMATS:
        raise InputError(f"format is {', '.join(FORMATS)}; received {form!r}.")
    if precision == "int8" and run.task.name != "classification":
        raise InputError(
            f"int8 is accepted by its accuracy, and this run is of {run.task.name}. Take float16."
        )
    suffix = FORMATS[form].suffix or "-savedmodel"
    name = "model" if precision == "float32" and form != "keras" else f"model-{precision}"
    path = out or run.directory / f"{name}{suffix}"
    images, calibration = _images(run, precision, console)
    network, compare = leaving_network(run), None
    if hasattr(run.task, "leaving"):  # a task of one's own need not have it
        network, compare = run.task.leaving(network, form)
    accuracy: list[float] = []  # of int8, and of the network

    def worth(runs: Runs) -> None:
        before = _accuracy(run, lambda batch: np.asarray(network(batch, training=False)))
        accuracy[:] = [_accuracy(run, runs), before]
        if before - accuracy[0] > _MAY_COST and not accept:
            raise InputError(
                f"In int8 the network is right on {accuracy[0]:.2f} % of the validation images, in "
                f"float32 on {before:.2f} %: it is not kept. --accept keeps it all the same; "
                f"--precision float16 costs next to nothing."
            )

    found = export(
        network, path, format=form, precision=precision, images=images, calibration=calibration,
        metadata=notes_of(run, network), check=worth if precision == "int8" else None,
        compare=compare,
    )  # fmt: skip
    return Outcome(found, *accuracy)


def table(outcome: Outcome) -> Table:
    """What was written, and how far it is from the network."""
    found = outcome.exported
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold cyan")
    rows.add_column(overflow="fold")
    rows.add_row("file", styled(str(found.path)))
    rows.add_row("format", f"{found.form}, {found.precision}, {memory_text(found.size)}")
    kind = "made-up images" if found.made_up else "images of the run"
    rows.add_row("compared", f"{found.images} {kind}, loaded in its own runtime")
    rows.add_row("difference", f"{found.difference:.1e} of the largest output, at most")
    rows.add_row("same class", f"{found.agreement:.2%}")
    if outcome.accuracy is not None:
        rows.add_row("validation", f"{outcome.accuracy:.2f} %; in float32 {outcome.before:.2f} %")
    return rows


def _images(
    run: Run, precision: str, console: Console
) -> tuple[Sequence[np.ndarray] | None, Sequence[np.ndarray] | None]:
    """Images of validation to compare on, and of training for int8."""
    try:
        compared = _taken(split_batches(run, "validation"), _COMPARED)
        if precision != "int8":
            return compared, None
        return compared, _taken(split_batches(run, "train"), _CALIBRATED)
    except InputError as error:
        if precision == "int8":
            raise
        console.print(styled(f"compared on made-up images, as the run's are not there: {error}"))
        return None, None


def _taken(batches: Iterator[tuple[Any, Any]], count: int) -> list[np.ndarray]:
    found, left = list[np.ndarray](), count
    for images, _ in batches:
        part = np.asarray(images, np.float32)[:left]
        if not found and len(part) > 6:  # as a server sees them
            found += [part[:1], part[1:6], part[6:]]
        else:
            found.append(part)
        left -= len(part)
        if left <= 0:
            break
    return found


def _accuracy(run: Run, runs: Runs) -> float:
    """Per cent of the validation images that are right."""
    logits = getattr(run.task, "logits", None)
    middle = 0.0 if (gives_logits(run.network) if logits is None else logits) else 0.5
    right = total = 0
    for images, truth in split_batches(run, "validation"):
        outputs = runs(np.asarray(images, np.float32))
        labels = np.asarray(truth)
        if outputs.shape[-1] == 1:
            found = (outputs[..., 0] > middle).astype(np.int64)
            labels = labels.reshape(-1)
        else:
            found = outputs.argmax(axis=-1)
            labels = labels.argmax(axis=-1) if labels.ndim == 2 else labels
        right += int((found == labels).sum())
        total += len(labels)
    return 100.0 * right / total
