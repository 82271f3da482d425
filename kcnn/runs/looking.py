"""The parts of a run's report: each looks at one thing, and gives text, tables and PNGs.

What cannot be shown of a network or task says why; the report goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kcnn import interpret
from kcnn.data import load_image
from kcnn.draw.curves import training_curves
from kcnn.draw.page import Grid, Part, Picture
from kcnn.errors import InputError
from kcnn.figures import LOSS
from kcnn.interpret.maps import FeatureMaps
from kcnn.recipes.recipe import Recipe
from kcnn.runs.directory import Run
from kcnn.runs.evaluation import chosen_on_validation, class_pictures
from kcnn.runs.inference import Evaluated
from kcnn.startup import keras
from kcnn.tasks.classification import ClassEvaluation
from kcnn.terminal import shape_text

#: Images of which colours are taken; whose maps tell dead units.
_SAMPLE, _MAPS = 512, 64
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Seen:
    """A run, its evaluation, and some of the images as the network gets them."""

    run: Run  #: its network is the one that was evaluated
    found: Evaluated
    images: np.ndarray  #: (N, H, W, C), at most `_SAMPLE`, the first of the split

    @property
    def network(self) -> keras.Model:
        """Without what fits photographs."""
        return self.found.network

    @property
    def limits(self) -> tuple[float, float] | None:
        """What is black and white in pictures; None: what their own values are."""
        low, high = (self.run.data.get("pixels") or {}).get("range") or (0, 255)
        return None if low == high else (min(low, 0), 255 if 1 < high <= 255 else high)

    @property
    def is_classifier(self) -> bool:
        """Whether there is one answer to each image."""
        return isinstance(self.found.evaluation, ClassEvaluation)

    @cached_property
    def maps(self) -> list[FeatureMaps]:
        """Of the first image, early to late; dead units by some more."""
        return interpret.feature_maps(self.network, self.images[:_MAPS], keep=1)

    def batches(self) -> Iterator[np.ndarray]:
        """All images of the split, as the network gets them."""
        run, problem = self.run, self.found.problem
        targets = run.task.targets(problem, self.network.output_shape[-1])
        size, scale = self.network.input_shape[1:3], run.recipe.evaluation_scale
        for images, _ in problem.evaluation(self.found.part, _BATCH, size, targets, scale):
            yield np.asarray(images)

    def at(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The images (N, H, W, C) of those numbers, in the order given."""
        if self.is_classifier and max(indices, default=0) < len(self.images):
            return self.images[np.asarray(indices, int)]  # all are of one size
        wanted, first, kept = {int(k) for k in indices}, 0, dict[int, np.ndarray]()
        for batch in self.batches():
            for k in range(first, first + len(batch)):
                if k in wanted:
                    kept[k] = batch[k - first]
            first += len(batch)
            if len(kept) == len(wanted):
                break
        return np.stack([kept[int(k)] for k in indices])


def sample(run: Run, found: Evaluated) -> Seen:
    """With the first images of the split; of pictures of any size, those of the first's size."""
    seen, kept, count = Seen(run, found, np.zeros(0)), list[np.ndarray](), 0
    for batch in seen.batches():
        if kept and batch.shape[1:] != kept[0].shape[1:]:
            continue
        kept.append(batch[: _SAMPLE - count])
        count += len(kept[-1])
        if count >= _SAMPLE:
            break
    return dataclasses.replace(seen, images=np.concatenate(kept))


def training(run: Run, found: Evaluated) -> Part:
    """What was trained on what, and its curves."""
    data, result, recipe = run.data, run.result, run.recipe
    parts = data.get("images") or {}
    rows = [
        ("network", recipe.model),
        ("parameters", f"{run.network.count_params():,}"),
        ("images in", shape_text(found.network.input_shape[1:])),
        ("data", f"{data['name']}: {data['provenance']}"),
        ("images", ", ".join(f"{part} {count:,}" for part, count in parts.items())),
        ("classes", f"{len(run.class_names):,}"),
    ]
    if result:
        rows += [
            ("epochs", f"{result['epochs']:,}, kept: {result['kept_epoch']:,}"),
            ("time", f"{result['seconds']:,.0f} s, {result['images_per_second']:,.0f} images/s"),
            ("device", str(result.get("device", ""))),
        ]
    panels = {}
    for figure in (LOSS, *run.task.figures):
        if f"val_{figure.name}" in run.history:
            pair = run.history.get(figure.name, []), run.history[f"val_{figure.name}"]
            panels[figure.label] = {run.directory.name: pair}
    content: list[Picture | Grid] = [Grid(rows)]
    if panels:
        caption = "By epoch: thick on validation, thin on training images as they are augmented."
        content.append(Picture(training_curves(panels), caption))
    return Part("The training", "", content)


def errors(seen: Seen) -> list[Part]:
    """Figures with intervals, confusion and calibration; of other tasks their own pictures."""
    evaluation, names = seen.found.evaluation, seen.run.class_names
    if not isinstance(evaluation, ClassEvaluation):
        task, found = seen.run.task, seen.found
        shown = task.pictures(found.network, found.problem, found.part, evaluation)
        made = [Picture(png, name.replace("_", " ")) for name, png in shown.items()]
        return [Part("How it errs", _figures(seen), made)]
    # Batches of which there are enough for a trace: layer by layer, a thousand images take longer.
    chosen = chosen_on_validation(seen.run, batch_size=_BATCH)
    drawn = class_pictures(evaluation, names, chosen)
    why = f"No temperature scaling: {chosen.why_not}" if chosen.why_not else ""
    content: list[Picture | Grid] = [
        Picture(drawn.pop("confusion"), "Rows are true, columns said."),
        _by_class(evaluation, names),
    ]
    captions = {
        "calibration": "Confidence against accuracy; beside it divided by a temperature that was "
        "chosen on validation.",
        "risk_by_coverage": "What is wrong of what is answered, the surest first.",
        "two_classes": "Every threshold; the one marked was chosen on validation.",
    }
    sure: list[Picture | Grid] = [Picture(png, captions[name]) for name, png in drawn.items()]
    return [Part("How it errs", _figures(seen), content), Part("How sure it is", why, sure)]


def _figures(seen: Seen) -> str:
    evaluation, part = seen.found.evaluation, seen.found.part
    told = [
        f"{figure.label} {figure.text(evaluation.figures[figure.name])}"
        for figure in seen.run.task.figures
    ]
    text = f"On {evaluation.images:,} images ({part}): {', '.join(told)}."
    if isinstance(evaluation, ClassEvaluation):
        right = int(evaluation.answers.right.sum())
        low, high = interpret.wilson(np.array([right]), np.array([evaluation.images]))
        text += f" The accuracy's 95 % interval: {low[0]:.2%} to {high[0]:.2%} (Wilson)."
    return text


def _by_class(evaluation: ClassEvaluation, names: Sequence[str]) -> Grid:
    rows = interpret.by_class(evaluation.confusion)
    order = np.argsort(np.where(np.isnan(rows.recall), 2.0, rows.recall), kind="stable")[:20]

    def share(value: float, ends: np.ndarray) -> str:
        return "" if np.isnan(value) else f"{value:.1%} ({ends[0]:.0%} to {ends[1]:.0%})"

    return Grid(
        [
            (names[k], f"{rows.images[k]:,}", share(rows.recall[k], rows.recall_interval[k]),
             share(rows.precision[k], rows.precision_interval[k]))
            for k in order if rows.images[k] or rows.said[k]
        ],
        ("class, the worst first", "images", "recall (95 %)", "precision (95 %)"),
    )  # fmt: skip


def read(run: Run, paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """Image files as the network gets them, (H, W, C) each, by their names.

    Raises:
        InputError: One is missing, or no image; the network takes pictures of any size.
    """
    if paths and run.task.whole:
        raise InputError(
            f"Evidence is shown of classifiers; this run is of {run.task.name}. What it says of "
            f"pictures, kcnn predict draws."
        )
    shape, scale = run.network.input_shape[1:], run.recipe.evaluation_scale
    return {path.name: load_image(path, shape, scale) for path in paths}


def recipe(run: Run) -> Part:
    """All that repeats the training."""
    base, own = Recipe(), run.recipe.to_dict()
    rows = [(name, str(value)) for name, value in own.items() if value != getattr(base, name, None)]
    text = "Fields that are not the defaults of an empty recipe; recipe.json has them all."
    code = f"kcnn train --recipe {run.directory / 'recipe.json'}"
    return Part("The recipe", text, [Grid(rows, ("field", "value"))], code)


def refused(title: str, error: Exception) -> Part:
    """In the place of a part that cannot be made."""
    return Part(title, f"Not shown: {error}")


def as_pngs(parts: Sequence[Part]) -> dict[str, bytes]:
    """The pictures of the parts, by a name for their files."""
    found: dict[str, bytes] = {}
    for part in parts:
        stem = "-".join("".join(c if c.isalnum() else " " for c in part.title.lower()).split())
        pictures = [one for one in part.content if isinstance(one, Picture)]
        for index, one in enumerate(pictures, 1):
            found[f"{stem}-{index}" if len(pictures) > 1 else stem] = one.png
    return found
