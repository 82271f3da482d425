"""An evaluation as files: figures, tables, pictures, and what was said of each image.

| File                         | What it holds                                                     |
|------------------------------|-------------------------------------------------------------------|
| `figures.json`               | all figures, as `result.json` names them without `test_`          |
| `by_class.csv`               | images, recall, precision with 95 % intervals, F1                 |
| `confusion.csv`, `.png`      | counts; rows are true, columns said                               |
| `predictions.csv`            | `file` or `index`, `label`, `prediction`, `confidence`            |
| `calibration.png`            | confidence against accuracy; with and without temperature scaling |
| `risk_by_coverage.png`       | what is wrong of what is answered, the surest first               |
| `two_classes.png`            | of two: ROC, precision by recall, and a threshold                 |

Of other tasks: `figures.json`, and the task's pictures.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console

from kcnn.data.sets.decoding import decode
from kcnn.draw import errors as draw
from kcnn.draw.pictures import as_bytes
from kcnn.errors import InputError
from kcnn.interpret.answers import Answers
from kcnn.interpret.calibration import (
    BINS,
    Calibration,
    best_temperature,
    calibration_curve,
    risk_coverage,
    softmax,
)
from kcnn.interpret.mistakes import by_class, wilson
from kcnn.interpret.two_classes import Thresholds, thresholds
from kcnn.runs.directory import Run
from kcnn.runs.inference import Evaluated, evaluated
from kcnn.storage import files
from kcnn.tasks.classification import ClassEvaluation
from kcnn.tasks.stored import StoredProblem
from kcnn.terminal import styled


@dataclass(frozen=True, eq=False)
class OnValidation:
    """What is chosen on validation, to be used on test.

    Attributes:
        temperature: By which logits are divided; None: none is best.
        threshold: Of two classes: what a probability of the second is to reach, for the best F1.
        why_not: Why there is none of the two, in words.
    """

    temperature: float | None = None
    threshold: float | None = None
    why_not: str = ""


def chosen_on_validation(
    run: Run, console: Console | None = None, batch_size: int | None = None
) -> OnValidation:
    """Temperature and threshold of a classifier, of the run's own validation split.

    Where the data are not there any more, or none is best, it says why.
    """
    try:
        found = evaluated(run, part="validation", batch_size=batch_size, console=console).evaluation
    except (InputError, OSError) as error:
        return OnValidation(why_not=str(error))
    assert isinstance(found, ClassEvaluation)
    answers, threshold = found.answers, None
    if answers.classes == 2 and len(np.unique(answers.truth)) == 2:
        threshold = thresholds(answers.truth == 1, answers.positive).best("f1")
    try:
        temperature = best_temperature(answers.truth, answers.log_probabilities)
    except InputError as error:
        return OnValidation(None, threshold, str(error))
    return OnValidation(temperature, threshold)


def write_evaluation(
    folder: Path, run: Run, found: Evaluated, console: Console | None = None
) -> list[Path]:
    """Write all that is known of an evaluation; the files.

    Args:
        folder: Made where it is not there; files of these names are replaced.
        run: That was evaluated.
        found: What `evaluated` gave.
        console: Is told where no temperature was found, and why.

    Raises:
        InputError: The folder cannot be made.
    """
    make_folder(folder)
    evaluation, names = found.evaluation, run.class_names
    content = {
        "images": evaluation.images,
        "loss": evaluation.loss,
        **evaluation.figures,
        **evaluation.details(names),
    }
    if isinstance(evaluation, ClassEvaluation):
        chosen = chosen_on_validation(run, console)
        if chosen.why_not and console is not None:
            console.print(styled(f"no temperature scaling: {chosen.why_not}"))
        content |= _with_choices(evaluation.answers, chosen)
        pictures: Mapping[str, bytes] = class_pictures(evaluation, names, chosen)
        tables = {
            "by_class": _class_rows(evaluation.confusion, names),
            "confusion": _confusion_rows(evaluation.confusion, names),
            "predictions": prediction_rows(found, names),
        }
    else:
        pictures = run.task.pictures(found.network, found.problem, found.part, evaluation)
        tables = {}
    files.write_json(folder / "figures.json", content)
    paths = [folder / "figures.json"]
    for name, rows in tables.items():
        paths.append(folder / f"{name}.csv")
        files.replace(paths[-1], partial(write_bytes, csv_bytes(rows)))
    for name, png in pictures.items():
        paths.append(folder / f"{name}.png")
        files.replace(paths[-1], partial(write_bytes, png))
    return paths


def make_folder(folder: Path) -> None:
    """Make it where it is not there.

    Raises:
        InputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot write to {str(folder)!r}: {error.strerror}. Choose another folder with --out."
        ) from error


def folder_of(run: Run, name: str) -> Path:
    """Where files of a run are written: in its folder, where it has one."""
    own = (run.directory / "recipe.json").is_file()
    return (run.directory if own else Path()) / name


def class_pictures(
    evaluation: ClassEvaluation, class_names: Sequence[str], chosen: OnValidation
) -> dict[str, bytes]:
    """PNGs by name: confusion, calibration, risk by coverage; of two classes every threshold."""
    answers = evaluation.answers
    curve = calibration_curve(answers.confidence, answers.right)
    panels = [_bins("as it is", curve)]
    if chosen.temperature is not None:
        scaled = _scaled(answers, chosen.temperature)
        panels.append(_bins(f"divided by T = {chosen.temperature:.2f}", scaled))
    risk = risk_coverage(answers.confidence, answers.right)
    made = {
        "confusion": draw.confusion_matrix(evaluation.confusion, class_names),
        "calibration": draw.calibration_curves(panels),
        "risk_by_coverage": draw.risk_by_coverage(risk.coverage, risk.risk),
    }
    if answers.classes == 2 and evaluation.confusion.any(axis=1).all():
        ranked = thresholds(answers.truth == 1, answers.positive)
        made["two_classes"] = draw.two_class_curves(
            ranked.roc,
            ranked.precision_recall,
            (ranked.roc_auc, ranked.average_precision),
            class_names[1],
            None if chosen.threshold is None else _rates(ranked, chosen.threshold),
        )
    return made


def prediction_rows(found: Evaluated, class_names: Sequence[str]) -> Iterator[list[Any]]:
    """A heading, then `file` or `index`, `label`, `prediction`, `confidence` of each image."""
    evaluation = found.evaluation
    assert isinstance(evaluation, ClassEvaluation)
    answers, sources = evaluation.answers, image_files(found)
    yield ["index" if sources is None else "file", "label", "prediction", "confidence"]
    named: Iterable[Any] = range(len(answers)) if sources is None else sources
    for source, true, said, confidence in zip(
        named, answers.truth, answers.said, answers.confidence, strict=True
    ):
        yield [str(source), class_names[true], class_names[said], f"{confidence:.6g}"]


def image_files(found: Evaluated) -> Sequence[Path] | None:
    """The files of the images that were evaluated, in their order; None where they are none."""
    if not isinstance(found.problem, StoredProblem):
        return None
    return getattr(found.problem.data, found.part).files


def picture(found: Evaluated, index: int) -> np.ndarray:
    """An image that was evaluated, to be looked at: (H, W, 3) or (H, W, 1) uint8.

    Files are as they are, upright; arrays of other ranges go from black to white.

    Raises:
        InputError: The file is gone or damaged; the images passed by in a stream.
    """
    if (sources := image_files(found)) is not None:
        return decode(sources[index])
    if not isinstance(found.problem, StoredProblem):
        raise InputError("Images of a stream cannot be looked at again.")
    image = getattr(found.problem.data, found.part).array[index]
    return as_bytes(image[..., :3] if image.shape[-1] >= 3 else image[..., :1])


def _with_choices(answers: Answers, chosen: OnValidation) -> dict[str, Any]:
    """What the temperature and the threshold that were chosen on validation are worth here."""
    content: dict[str, Any] = {"calibration_bins": BINS}
    if chosen.temperature is not None:
        scaled = _scaled(answers, chosen.temperature)
        content |= {"temperature": chosen.temperature, "calibration_error_scaled": scaled.error}
    if chosen.threshold is not None:
        said, positive = answers.positive >= chosen.threshold, answers.truth == 1
        both = int((said & positive).sum())
        content["threshold"] = {
            "value": chosen.threshold,
            "accuracy": float((said == positive).mean()),
            "recall": both / max(int(positive.sum()), 1),
            "precision": both / max(int(said.sum()), 1),
        }
    return content


def _scaled(answers: Answers, temperature: float) -> Calibration:
    confidence = softmax(answers.log_probabilities, temperature).max(axis=1)
    return calibration_curve(confidence, answers.right)


def _bins(title: str, curve: Calibration) -> draw.Bins:
    right = np.rint(np.nan_to_num(curve.accuracy) * curve.images)
    low, high = wilson(right, curve.images)
    text = f"{title}: calibration error {curve.error:.3f}"
    return draw.Bins(text, curve.edges, curve.images, curve.confidence, curve.accuracy, low, high)


def _rates(ranked: Thresholds, threshold: float) -> tuple[float, float, float] | None:
    """False positive rate, recall and precision at a threshold; None where it says no."""
    said = np.flatnonzero(ranked.threshold >= threshold)
    if not len(said):
        return None
    true, false = int(ranked.true[said[-1]]), int(ranked.false[said[-1]])
    return false / ranked.negatives, true / ranked.positives, true / (true + false)


def _class_rows(counts: np.ndarray, names: Sequence[str]) -> Iterator[list[Any]]:
    yield [
        "class", "images", "said", "right", "recall", "recall_low", "recall_high", "precision",
        "precision_low", "precision_high", "f1",
    ]  # fmt: skip
    rows = by_class(counts)
    for k, name in enumerate(names):
        shares = [rows.recall[k], *rows.recall_interval[k]]
        shares += [rows.precision[k], *rows.precision_interval[k], rows.f1[k]]
        texts = ["" if np.isnan(value) else f"{value:.6g}" for value in shares]
        yield [name, rows.images[k], rows.said[k], rows.right[k], *texts]


def _confusion_rows(counts: np.ndarray, names: Sequence[str]) -> Iterator[list[Any]]:
    yield ["true \\ said", *names]
    for name, row in zip(names, counts, strict=True):
        yield [name, *row]


def csv_bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as comma-separated values; the bytes of names of files as they are."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    try:
        return os.fsencode(text.getvalue())
    except UnicodeEncodeError:  # of an archive: half a character, which is in no name of a file
        return text.getvalue().encode("utf-8", "backslashreplace")


def write_bytes(content: bytes, file: IO[bytes]) -> None:
    """What `kcnn.storage.files.replace` is to write."""
    file.write(content)
