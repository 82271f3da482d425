"""`kcnn inspect`: what a run has learned and how it errs, as pictures and one page of HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from kcnn.draw.page import Part, page
from kcnn.errors import InputError
from kcnn.figures import LOSS
from kcnn.graph.folding import fold_batchnorm
from kcnn.runs import looking, looking_errors, looking_inside
from kcnn.runs.directory import Run
from kcnn.runs.evaluation import folder_of, make_folder, write_bytes
from kcnn.runs.inference import evaluated
from kcnn.runs.reading import image_paths
from kcnn.startup import tf
from kcnn.storage import files
from kcnn.terminal import shows_bars


def inspect_run(
    run: Run,
    images: Sequence[str | Path] = (),
    *,
    data: Any = None,
    out: Path | None = None,
    console: Console,
) -> list[Path]:
    """Write PNGs and `report.html`, which opens from disk without network; the files.

    Args:
        run: A finished one.
        images: Files of which the evidence is shown; none: one image of each class.
        data: Other data than the run's own, to look at.
        out: The folder; the default is `inspect` in the run's, or here for what has none.
        console: A terminal there shows a bar.

    Raises:
        InputError: The data are not there or have changed; an image cannot be read; the folder
            cannot be written.
    """
    folder, paths = out or folder_of(run, "inspect"), image_paths(images)
    given = looking.read(run, paths)
    make_folder(folder)
    part = "test" if data is not None or _has_test(run) else "validation"
    quick = _folded(run)
    found = evaluated(quick, data, part=part, console=console)
    seen = looking.sample(quick, found)
    todo: list[tuple[str, Callable[[], Part | list[Part]]]] = [
        ("The training", partial(looking.training, run, found)),
        ("How it errs", partial(looking.errors, seen)),
        ("Worst mistakes", partial(looking_errors.mistakes, seen)),
        ("Filters, early to late", partial(looking_inside.filters, run)),
        ("Feature maps", partial(looking_inside.maps, seen)),
        ("What excites units", partial(looking_inside.exciting, seen)),
        ("Preferred pictures", partial(looking_inside.preferred, seen)),
        ("Where the evidence lies", partial(looking_inside.evidence, seen, given)),
        ("The recipe", partial(looking.recipe, run)),
    ]
    parts = _made(todo, console)
    content = page(_title(run), str(run.directory), _cards(run, found), parts)
    written = []
    for name, png in looking.as_pngs(parts).items():
        written.append(folder / f"{name}.png")
        files.replace(written[-1], partial(write_bytes, png))
    written.append(folder / "report.html")
    # Half a character, of a file's name, is in no page.
    files.replace(written[-1], partial(write_bytes, content.encode("utf-8", "replace")))
    return written


def _made(
    todo: Sequence[tuple[str, Callable[[], Part | list[Part]]]], console: Console
) -> list[Part]:
    parts = list[Part]()
    with Progress(console=console, transient=True, disable=not shows_bars(console)) as bar:
        task = bar.add_task("", total=len(todo))
        for title, make in todo:
            bar.update(task, description=title)
            try:
                made = make()
            except (InputError, tf.errors.OpError) as error:
                made = looking.refused(title, error)
            parts += made if isinstance(made, list) else [made]
            bar.advance(task)
    return parts


def _folded(run: Run) -> Run:
    """The run with BatchNorm folded, where that can be: less to compute on every way."""
    try:
        return replace(run, model=fold_batchnorm(run.network))
    except InputError:  # a layer of somebody's own, which cannot be copied
        return run


def _has_test(run: Run) -> bool:
    return bool((run.data.get("images") or {}).get("test", 1))


def _title(run: Run) -> str:
    return f"{run.recipe.model} on {run.data['name']}"


def _cards(run: Run, found: Any) -> list[tuple[str, str]]:
    """What to see first."""
    evaluation = found.evaluation
    cards = [
        (figure.text(evaluation.figures[figure.name]), f"{found.part} {figure.label}")
        for figure in run.task.figures
    ]
    cards.append((LOSS.text(evaluation.loss), f"{found.part} loss"))
    cards.append((f"{evaluation.images:,}", f"{found.part} images"))
    cards.append((f"{run.network.count_params():,}", "parameters"))
    if run.result:
        cards.append((f"{run.result['seconds']:,.0f} s", "of training"))
    return cards
