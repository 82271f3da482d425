"""Detection: boxes [x_min, y_min, x_max, y_max] with class and confidence.

Labels are `kcnn.data.sets.boxes.Boxes`; targets (B, M + 1, 6) float32: rows [box, class, crowd],
rows of -1 that fill up, and last the part of the window that the picture covers. Outputs are those
of `kcnn.models.fcos`, loss and decoding of `kcnn.tasks.fcos`; the first figure is COCO's AP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kcnn.data import Data
from kcnn.data.batches.batch import Batch
from kcnn.data.batches.targets import Targets
from kcnn.data.batches.views import viewed
from kcnn.data.sets import boxes, sources
from kcnn.data.sets.annotations import View
from kcnn.data.sets.preflight import preflight
from kcnn.errors import InputError
from kcnn.figures import Figure
from kcnn.graph.forward import forward, progress, refuse_not_finite
from kcnn.recipes.recipe import Meaning, Recipe
from kcnn.startup import keras, tf
from kcnn.tasks import box_pictures, show
from kcnn.tasks.average_precision import AveragePrecision, average_precision, need_evaluator
from kcnn.tasks.box_errors import errors
from kcnn.tasks.decoding import compare, cut, detections, with_decoding
from kcnn.tasks.fcos import Detections, FCOSLoss, decode
from kcnn.tasks.inputs import refuse_other_classes, refuse_other_task
from kcnn.tasks.pictures import PictureProblem
from kcnn.tasks.problem import Problem

#: Columns of an output beside the classes' logits (`kcnn.models.fcos`).
_COLUMNS = 8
#: What outputs are, in files of other runtimes.
_BOXES = (
    "boxes (N, 100, 6): x_min, y_min, x_max, y_max in pixels of the picture that goes in, "
    "confidence, class; the most certain first; rows of zeros fill up"
)
_RAW = (
    "not decoded (N, places, 8 + classes): x_min, y_min, x_max, y_max, centerness as a logit, x, "
    "y, stride, a logit of each class. kcnn predict FILE decodes them; files of the other formats "
    "give boxes"
)


@dataclass(frozen=True)
class BoxTargets:
    """Boxes are their own targets."""

    def __call__(self, labels: tf.Tensor) -> tf.Tensor:
        return labels


@dataclass(frozen=True, eq=False)
class BoxEvaluation:
    """What detections are worth."""

    images: int
    loss: float  #: mean loss of a picture
    precision: AveragePrecision
    truths: Sequence[np.ndarray]  #: of each picture (M, 6)
    found: Sequence[Detections]  #: of each picture, in pixels of its view

    @property
    def figures(self) -> dict[str, float]:
        """AP, AP50, AP75 and average recall."""
        names = ("ap", "ap50", "ap75", "ar")
        return {name: _known(getattr(self.precision, name)) for name in names}

    def details(self, class_names: Sequence[str]) -> dict[str, Any]:
        """By class, and by the size of objects; None where there are none."""
        found = self.precision
        sizes = ("ap_small", "ap_medium", "ap_large")
        return {
            "ap_per_class": _named(class_names, found.ap_per_class),
            "ap50_per_class": _named(class_names, found.ap50_per_class),
            **{name: getattr(found, name) for name in sizes},
        }


@dataclass(frozen=True, eq=False)
class BoxPrediction:
    """What a run sees in one picture."""

    path: Path | None  #: None for an array
    size: tuple[int, int]  #: (H, W) of the file, upright
    boxes: np.ndarray  #: (D, 4) float32 [x_min, y_min, x_max, y_max] in the file's own pixels
    confidences: np.ndarray  #: (D,) in 0..1, the highest first
    classes: np.ndarray  #: (D,) class numbers
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Detection:
    """`kcnn.tasks.task.Task`, for boxes."""

    decoded: int | None = None  #: classes, of a network from a file that gives boxes already

    name = "detection"
    whole = True
    figures = (
        Figure("ap", title="AP"),
        Figure("ap50", title="AP50"),
        Figure("ap75", title="AP75"),
        Figure("ar", title="average recall"),
    )

    def problem(self, data: Any, recipe: Recipe, model: keras.Model | None) -> Problem:
        """Pictures with boxes: of a folder."""
        if not isinstance(data, Data):
            raise InputError(
                f"Data of detection are a folder of images with boxes (COCO, Pascal VOC, YOLO); "
                f"received {type(data).__name__}."
            )
        refuse_other_task(self, data)
        return PictureProblem(data)

    def prepared(self, problem: Problem, recipe: Recipe) -> Detection:
        """As it is, where there is something to measure."""
        need_evaluator()
        assert isinstance(problem, PictureProblem)
        held = problem.data.validation.labels
        if not len(held.classes[~held.crowd]):
            raise InputError(
                "The validation split has no box: epochs are chosen by average precision on it. "
                "Give it pictures with objects."
            )
        return self

    def handed(self, data: Any, class_names: Sequence[str], recipe: Recipe) -> Data:
        """Numbered as the run's classes are, by name."""
        if isinstance(data, Data):
            refuse_other_task(self, data)
            refuse_other_classes(data, class_names)
            return preflight(data)
        path = sources.find(str(data)) if isinstance(data, str | Path) else None
        if path is None or not path.is_dir():
            raise InputError(
                f"Data to be evaluated are a folder of images with boxes; received {data!r}."
            )
        found = boxes.handed(path, class_names, sources.label(str(data)))
        return preflight(found, skip_bad=recipe.skip_bad)

    def outputs(self, problem: Problem) -> int:
        """One for each class."""
        return len(problem.class_names)

    def check_options(self, options: Mapping[str, Any], outputs: int) -> None:
        """All of them will do."""

    def check(self, model: keras.Model, problem: Problem) -> None:
        """Refuse a model whose outputs are not those of a detector of kcnn's form."""
        classes, shape = len(problem.class_names), model.output_shape
        if not isinstance(shape, tuple) or len(shape) != 3 or shape[2] != _COLUMNS + classes:
            raise InputError(
                f"The model gives {shape}; a detector of {classes} classes gives (N, places, "
                f"{_COLUMNS + classes}) as kcnn.models.fcos says: x_min, y_min, x_max, y_max, "
                f"centerness, x, y, stride, and a logit of each class."
            )

    def meaning(self, model: keras.Model, images: Any, said: Meaning | None) -> None:
        """No question: outputs are logits, as `check` says."""

    def knowing(self, meaning: Meaning | None) -> Detection:
        """As it is."""
        return self

    def targets(self, problem: Problem, outputs: int) -> Targets:
        """Boxes as they are."""
        return BoxTargets()

    def batch(self, batch: Batch, recipe: Recipe) -> Batch:
        """As it is."""
        return batch

    def compile(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        recipe: Recipe | None = None,
        **options: Any,
    ) -> None:
        """Compile with FCOS' loss; to hand out, without: none of Keras' own would do."""
        model.compile(optimizer, None if recipe is None else FCOSLoss(), **options)

    def describe(self, problem: Problem) -> str:
        """The classes, with the number of boxes of each in the training pictures."""
        assert isinstance(problem, PictureProblem)
        labels = problem.data.train.labels
        counts, _ = labels.share(len(problem.class_names))
        order = np.argsort(-counts, kind="stable")
        named = [f"{problem.class_names[k]} {counts[k]:,}" for k in order]
        return f"{len(named)} classes, boxes in training: {', '.join(named)}"

    def validate(
        self, model: keras.Model, batches: tf.data.Dataset, callbacks: keras.callbacks.Callback
    ) -> dict[str, float]:
        """Loss and figures, by one pass with the traced step that `predict_on_batch` keeps."""
        callbacks.on_test_begin()
        found = _evaluated(model.predict_on_batch, model, batches, _numbered(model))
        logs = {"loss": found.loss, **found.figures}
        callbacks.on_test_end(logs)
        return logs

    def evaluate(
        self, model: keras.Model, batches: tf.data.Dataset, console: Console | None = None
    ) -> BoxEvaluation:
        """Loss and average precision over the batches, in one pass."""
        count = int(batches.cardinality())
        shown = progress(batches, "evaluating", count, console)
        if self.decoded is not None:
            return _decoded_evaluation(forward(model, count), shown, self.decoded)
        return _evaluated(forward(model, count), model, shown, _numbered(model))

    def tables(self, details: Mapping[str, Any]) -> list[Table]:
        """AP and AP50 by class."""
        titles = {"ap_per_class": "AP by class", "ap50_per_class": "AP50 by class"}
        return [
            show.bars(details[name], title) for name, title in titles.items() if name in details
        ]

    def predictions(
        self,
        model: keras.Model,
        outputs: Any,
        paths: Sequence[Path | None],
        class_names: Sequence[str],
        views: Sequence[View] | None = None,
    ) -> list[BoxPrediction]:
        """Boxes in pixels of the file, for each picture in its view."""
        assert views is not None, "pictures go in whole"
        refuse_not_finite(model, outputs)
        sizes = np.array([view.scaled for view in views])
        given = detections(outputs) if self.decoded is not None else decode(outputs, sizes)
        return [
            BoxPrediction(
                path, view.source, in_file(found.boxes, view), found.scores, found.classes,
                tuple(class_names),
            )
            for path, view, found in zip(paths, views, given, strict=True)
        ]  # fmt: skip

    def leaving(self, network: keras.Model, form: str) -> tuple[keras.Model, Any, str]:
        """The network with its decoding inside, how boxes are compared, and what outputs are.

        A `.keras` file stays as it is: it loads without kcnn, whose layer decodes.
        """
        if form == "keras":
            return network, None, _RAW
        return with_decoding(network), compare, _BOXES

    def pictures(
        self, model: keras.Model, problem: Problem, part: str, evaluation: BoxEvaluation
    ) -> dict[str, bytes]:
        """Precision against recall; the best, the middle and the worst picture."""
        assert isinstance(problem, PictureProblem)
        names, shown = problem.class_names, []
        scores = errors(evaluation.truths, evaluation.found, len(names)).f1
        for index, what in show.spread(scores):
            title = f"{what}: {problem.picture_name(part, index)}, F1 {scores[index]:.2f}"
            seen = seen_whole(problem, part, index)
            shown.append((title, seen, evaluation.truths[index], evaluation.found[index]))
        return {
            "predictions": box_pictures.rows(shown, part, names),
            "precision_recall": box_pictures.curves(evaluation.precision, names),
        }

    def writer(self, directory: Path, class_names: Sequence[str]) -> box_pictures.BoxWriter:
        """Pictures with boxes; all of them as COCO JSON and as CSV."""
        return box_pictures.BoxWriter(directory, tuple(class_names))

    def lines(self, predictions: Sequence[BoxPrediction], top: int) -> list[Text]:
        """Path, and how many of each class are seen, in columns."""
        rows = []
        for one in predictions:
            seen = one.classes[one.confidences >= box_pictures.SHOWN]
            counts = np.bincount(seen, minlength=len(one.class_names))
            order = [k for k in np.argsort(-counts, kind="stable") if counts[k]][: max(top, 1)]
            named = [f"{counts[k]} {one.class_names[k]}" for k in order] or ["nothing"]
            rows.append([str(one.path), *named, *[""] * (max(top, 1) - len(named))])
        return show.columns(rows)


TASK = Detection()


def seen_whole(problem: PictureProblem, part: str, index: int) -> np.ndarray:
    """A picture of a split as it goes in, without padding: detections are in its pixels."""
    image, view = problem.picture(part, index)
    return viewed(image, view)[: view.scaled[0], : view.scaled[1]]


def in_file(found: np.ndarray, view: View) -> np.ndarray:
    """Boxes (D, 4) of a whole view in pixels of the picture itself."""
    height, width = view.source
    factors = np.array([width / view.scaled[1], height / view.scaled[0]] * 2, "float32")
    return found * factors


def _evaluated(
    run: Any, model: keras.Model, batches: Any, class_names: Sequence[str]
) -> BoxEvaluation:
    loss, total, truths, found = FCOSLoss(reduction="none"), 0.0, list[np.ndarray](), []
    for images, truth in batches:
        outputs = run(images)
        refuse_not_finite(model, outputs)
        total += float(keras.ops.sum(loss(truth, outputs)))
        rows = np.asarray(truth)
        found += decode(outputs, rows[:, -1, [3, 2]])  # (H, W) of the picture in its window
        truths += list(rows[:, :-1])
    precision = average_precision(truths, found, class_names)
    return BoxEvaluation(len(found), total / len(found), precision, truths, found)


def _decoded_evaluation(run: Any, batches: Any, classes: int) -> BoxEvaluation:
    """Of a network that gives boxes: outputs, of which a loss is made, stay in the file."""
    truths, found = list[np.ndarray](), list[Detections]()
    for images, truth in batches:
        rows = np.asarray(truth)
        found += [
            cut(one, row[-1, [3, 2]])
            for one, row in zip(detections(run(images)), rows, strict=True)
        ]
        truths += list(rows[:, :-1])
    precision = average_precision(truths, found, [str(k) for k in range(classes)])
    return BoxEvaluation(len(found), np.nan, precision, truths, found)


def _named(class_names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(zip(class_names, values.values(), strict=True))


def _numbered(model: keras.Model) -> list[str]:
    """Class numbers as names: an evaluation is told no others."""
    return [str(k) for k in range(model.output_shape[-1] - _COLUMNS)]


def _known(value: float | None) -> float:
    if value is None:
        raise InputError("There is no box to be found in these pictures: AP says nothing of them.")
    return value
