"""A run's network for another runtime, compared on the run's own images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from kcnn.errors import InputError
from kcnn.graph.export import Exported, export
from kcnn.graph.formats import FORMATS
from kcnn.runs.directory import Run
from kcnn.runs.exported import leaving_network, notes_of
from kcnn.runs.inference import split_batches
from kcnn.terminal import memory_text, styled

#: Images that are compared, and by which int8 chooses its scales.
_COMPARED, _CALIBRATED = 64, 128


def export_run(
    run: Run,
    form: str,
    *,
    precision: str = "float32",
    out: Path | None = None,
    accept: bool = False,
    console: Console,
) -> Exported:
    """Write the network of a run for another runtime.

    Args:
        run: A finished one.
        form: A name of `kcnn.graph.formats.FORMATS`.
        precision: One of the format's.
        out: The file; the default lies in the run's folder, with the format's ending.
        accept: Keep an int8 network that loses more than a point of accuracy.
        console: Is told on which images it was compared, and what outputs are beside classes.

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
    network, compare, meaning = leaving_network(run), None, {}
    if hasattr(run.task, "leaving"):  # a task of one's own need not have it
        network, compare, outputs = run.task.leaving(network, form)
        console.print(styled(f"outputs: {outputs}"))
        meaning = {"outputs": outputs}
    logits = getattr(run.task, "logits", None)  # where nobody said, the network ends so
    return export(
        network, path, format=form, precision=precision, images=images, calibration=calibration,
        metadata=notes_of(run, network) | meaning, compare=compare, accept=accept,
        validation=split_batches(run, "validation") if precision == "int8" else None,
        outputs=None if logits is None else "logits" if logits else "probabilities",
    )  # fmt: skip


def table(found: Exported) -> Table:
    """What was written, and how far it is from the network."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold cyan")
    rows.add_column(overflow="fold")
    rows.add_row("file", styled(str(found.path)))
    rows.add_row("format", f"{found.form}, {found.precision}, {memory_text(found.size)}")
    kind = "made-up images" if found.made_up else "images of the run"
    rows.add_row("compared", f"{found.images} {kind}, loaded in its own runtime")
    rows.add_row("difference", f"{found.difference:.1e} of the largest output, at most")
    rows.add_row("same class", f"{found.agreement:.2%}")
    if found.accuracy is not None:
        rows.add_row("validation", f"{found.accuracy:.2f} %; in float32 {found.before:.2f} %")
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
