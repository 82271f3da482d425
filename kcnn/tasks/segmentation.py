"""Segmentation: one of several classes for each pixel.

Labels are masks; targets are (B, H, W) uint8 class numbers, 255 where a pixel does not count.
Outputs are (B, H, W, K) probabilities or logits; of two classes (B, H, W, 1) will do. The loss is
that of `kcnn.tasks.pixels`; the first figure is the mean IoU, of one confusion matrix over a split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kcnn.data import Data
from kcnn.data.batches.batch import Batch
from kcnn.data.sets import mask_folders, sources
from kcnn.data.sets.annotations import View
from kcnn.data.sets.decoding import decode
from kcnn.data.sets.forms import parts_of
from kcnn.data.sets.mask_arrays import from_masks
from kcnn.data.sets.masks import IGNORED
from kcnn.data.sets.preflight import preflight
from kcnn.draw import pictures as draw
from kcnn.errors import InputError
from kcnn.figures import Figure
from kcnn.graph.forward import forward, progress, refuse_not_finite
from kcnn.graph.outputs import gives_logits, meaning
from kcnn.recipes.class_weights import by_class
from kcnn.recipes.recipe import Meaning, Recipe
from kcnn.startup import keras, tf
from kcnn.tasks import mask_pictures, pixels, show
from kcnn.tasks.inputs import refuse_other_classes, refuse_other_task
from kcnn.tasks.pictures import PictureProblem
from kcnn.tasks.problem import Problem

#: Pixels of real pictures at which a stranger's outputs are looked at.
_LOOKED_AT = 4096


@dataclass(frozen=True)
class MaskTargets:
    """Masks are their own targets."""

    def __call__(self, labels: tf.Tensor) -> tf.Tensor:
        return labels


@dataclass(frozen=True)
class PixelEvaluation:
    """What a model got right, pixel by pixel."""

    images: int
    loss: float  #: the mean of the pictures' mean cross-entropy in nats
    confusion: np.ndarray  #: (K, K) pixels; rows are true, columns predicted
    by_picture: np.ndarray  #: (images,) mean IoU of each picture

    @property
    def figures(self) -> dict[str, float]:
        """Mean IoU, pixel accuracy, Dice."""
        return pixels.of_confusion(self.confusion)

    def details(self, class_names: Sequence[str]) -> dict[str, Any]:
        """The IoU of each class, by its name; None for one that is nowhere."""
        values = pixels.iou_per_class(self.confusion)
        named = zip(class_names, values, strict=True)
        return {"iou_per_class": {n: None if np.isnan(v) else float(v) for n, v in named}}


@dataclass(frozen=True, eq=False)
class MaskPrediction:
    """What a run says of one picture."""

    path: Path | None  #: None for an array
    mask: np.ndarray  #: (H, W) uint8 class numbers, of the file's own size
    class_names: tuple[str, ...]

    @property
    def shares(self) -> dict[str, float]:
        """Of the picture, how much is of each class; the largest first."""
        counts = np.bincount(self.mask.reshape(-1), minlength=len(self.class_names))
        order = np.argsort(-counts, kind="stable")
        return {self.class_names[k]: float(counts[k] / self.mask.size) for k in order}


@dataclass
class MaskWriter:
    """Writes each mask as `NAME.png`, a palette PNG, and over its picture as `NAME-overlay.png`."""

    directory: Path
    colours: np.ndarray
    names: show.FileNames = field(default_factory=show.FileNames)

    def add(self, prediction: MaskPrediction) -> Path:
        """Write the two files of a picture; the overlay's path."""
        assert prediction.path is not None, "files are written of files"
        name = self.names.of(prediction.path, "", "-overlay")
        self.directory.mkdir(parents=True, exist_ok=True)
        draw.write_mask(self.directory / f"{name}.png", prediction.mask, self.colours)
        seen = draw.overlay(decode(prediction.path), prediction.mask, self.colours)
        path = self.directory / f"{name}-overlay.png"
        draw.write_image(path, seen)
        return path

    def close(self) -> list[Path]:
        """Nothing is left to write."""
        return []


@dataclass(frozen=True)
class Segmentation:
    """`kcnn.tasks.task.Task`, for a class of each pixel."""

    logits: bool | None = None  #: whether outputs are logits; None: as the model's graph ends
    class_weights: tuple[float, ...] | None = None  #: of the loss
    dice: float = 0.0  #: of the loss

    name = "segmentation"
    whole = True
    figures = (
        Figure("mean_iou", short="mIoU", title="mean IoU"),
        Figure("pixel_accuracy", short="pixels"),
        Figure("dice", title="Dice"),
    )

    def problem(self, data: Any, recipe: Recipe, model: keras.Model | None) -> Problem:
        """Pictures with masks: of a folder, or arrays."""
        if isinstance(data, Data):
            refuse_other_task(self, data)
            return PictureProblem(data)
        parts = parts_of(data)
        if parts is None or any(not isinstance(p, tuple | list) for p in parts.values()):
            raise InputError(
                f"Data of segmentation are a folder of images and masks, a pair (images, masks) of "
                f"arrays, or a mapping of 'train', 'validation' and 'test' to such pairs; received "
                f"{type(data).__name__}."
            )
        found = from_masks(
            **parts,
            ignore=recipe.ignore,
            seed=recipe.seed_of_split,
            validation_size=recipe.validation_size,
        )
        return PictureProblem(preflight(found))

    def prepared(self, problem: Problem, recipe: Recipe) -> Segmentation:
        """With the weights of the classes, and the share of the Dice loss."""
        weights = _weights(recipe.class_weights, problem)
        return replace(self, class_weights=weights, dice=recipe.dice)

    def handed(self, data: Any, class_names: Sequence[str], recipe: Recipe) -> Data:
        """Numbered as the run's classes are, by name."""
        if isinstance(data, Data):
            refuse_other_task(self, data)
            refuse_other_classes(data, class_names)
            return preflight(data)
        if not isinstance(data, str | Path):
            return preflight(_handed_arrays(data, class_names, recipe))
        path = sources.find(str(data))
        if path is None or not path.is_dir():
            raise InputError(
                f"Data to be evaluated are a folder of images and masks; there is none at {data!r}."
            )
        found = mask_folders.masks_to_evaluate(
            path, class_names, name=sources.label(str(data)), ignore=recipe.ignore
        )
        return preflight(found, skip_bad=recipe.skip_bad)

    def outputs(self, problem: Problem) -> int:
        """One for each class."""
        return len(problem.class_names)

    def check_options(self, options: Mapping[str, Any], outputs: int) -> None:
        """Outputs as large as the picture that are probabilities of classes, or their logits."""
        if options.get("padding") == "valid":
            raise InputError(
                "padding='valid' gives masks that are smaller than the picture; kcnn train needs "
                "padding='same'. kcnn.build('unet', padding='valid') gives the paper's network."
            )
        allowed = ("softmax", "linear", None)
        if (given := options.get("classifier_activation", "softmax")) not in allowed:
            raise InputError(
                f"classifier_activation={given!r} gives no probabilities of {outputs} classes that "
                f"exclude each other. Leave it out for softmax; None is for logits."
            )

    def check(self, model: keras.Model, problem: Problem) -> None:
        """Refuse a model whose outputs are not a class for each pixel."""
        classes, shape = len(problem.class_names), model.output_shape
        fits = isinstance(shape, tuple) and len(shape) == 4 and shape[1:3] == model.input_shape[1:3]
        allowed = (1, 2) if classes == 2 else (classes,)
        if not fits or shape[-1] not in allowed:
            raise InputError(
                f"The model gives {shape}; a class for each pixel of {model.input_shape} is "
                f"(N, {model.input_shape[1]}, {model.input_shape[2]}, {classes}): the data have "
                f"{classes} classes."
            )

    def meaning(self, model: keras.Model, images: Any, said: Meaning | None) -> Meaning:
        """Probabilities or logits, by some of the pixels."""
        outputs = keras.ops.convert_to_numpy(model(images, training=False))
        flat = outputs.reshape(-1, outputs.shape[-1])
        return meaning(model, flat[:: max(1, len(flat) // _LOOKED_AT)], said)

    def knowing(self, meaning: Meaning | None) -> Segmentation:
        """Where it is known which of the two they are."""
        return replace(self, logits=None if meaning is None else meaning == "logits")

    def gives_logits(self, model: keras.Model) -> bool:
        """Whether outputs of `model` are logits."""
        return gives_logits(model) if self.logits is None else self.logits

    def targets(self, problem: Problem, outputs: int) -> MaskTargets:
        """Masks as they are."""
        return MaskTargets()

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
        """Compile with the loss of `pixels` and its figures; to hand out, with Keras' own."""
        outputs, logits = model.output_shape[-1], self.gives_logits(model)
        classes = max(outputs, 2)
        if recipe is None:
            losses, metrics = _of_keras(outputs, logits)
        else:
            losses = pixels.PixelLoss(logits, self.class_weights, self.dice)
            metrics = [pixels.PixelFigure(name, classes, logits) for name in pixels.FIGURES]
        model.compile(optimizer, losses, metrics=metrics, **options)

    def describe(self, problem: Problem) -> str:
        """The classes, with the share of each in the training pixels."""
        assert isinstance(problem, PictureProblem)
        masks = problem.data.train.labels
        named = sorted(zip(masks.shares, problem.class_names, strict=True), reverse=True)
        text = ", ".join(f"{name} {share:.1%}" for share, name in named)
        ignored = f"; {masks.ignored_share:.1%} ignored" if masks.ignored_share else ""
        return f"{len(named)} classes: {text}{ignored}"

    def validate(
        self, model: keras.Model, batches: tf.data.Dataset, callbacks: keras.callbacks.Callback
    ) -> dict[str, float]:
        """Loss and figures by Keras' own evaluation."""
        return model.evaluate(batches, callbacks=callbacks, return_dict=True, verbose=0)

    def evaluate(
        self, model: keras.Model, batches: tf.data.Dataset, console: Console | None = None
    ) -> PixelEvaluation:
        """Loss and confusion over the batches, in one pass."""
        count, logits = int(batches.cardinality()), self.gives_logits(model)
        run, loss, by_picture = forward(model, count), 0.0, list[float]()
        classes = max(model.output_shape[-1], 2)
        confusion = np.zeros((classes, classes), np.int64)
        for images, truth in progress(batches, "evaluating", count, console):
            outputs = run(images)
            refuse_not_finite(model, outputs)
            loss += float(keras.ops.sum(pixels.picture_loss(truth, outputs, logits)))
            predicted = keras.ops.convert_to_numpy(pixels.class_numbers(outputs, logits))
            for true, said in zip(truth.numpy(), predicted, strict=True):
                found = pixels.confusion_of(true, said, classes)
                by_picture.append(pixels.of_confusion(found)["mean_iou"])
                confusion += found
        return PixelEvaluation(
            len(by_picture), loss / len(by_picture), confusion, np.array(by_picture)
        )

    def tables(self, details: Mapping[str, Any]) -> list[Table]:
        """IoU by class."""
        by_class = details.get("iou_per_class")
        return [show.bars(by_class, "IoU by class")] if by_class else []

    def predictions(
        self,
        model: keras.Model,
        outputs: Any,
        paths: Sequence[Path | None],
        class_names: Sequence[str],
        views: Sequence[View] | None = None,
    ) -> list[MaskPrediction]:
        """The class of each pixel of the file, for each picture in its view."""
        assert views is not None, "pictures go in whole"
        refuse_not_finite(model, outputs)
        found = keras.ops.convert_to_numpy(pixels.shares(outputs, self.gives_logits(model)))
        return [
            MaskPrediction(path, mask_pictures.mask_of(row, view), tuple(class_names))
            for path, row, view in zip(paths, found, views, strict=True)
        ]

    def pictures(
        self, model: keras.Model, problem: Problem, part: str, evaluation: PixelEvaluation
    ) -> dict[str, bytes]:
        """The best, the middle and the worst picture, beside what is true and what was said."""
        assert isinstance(problem, PictureProblem)
        run, shown = forward(model, 1), []
        for index, what in show.spread(evaluation.by_picture):
            score = evaluation.by_picture[index]
            title = f"{what}: {problem.picture_name(part, index)}, mean IoU {score:.3f}"
            logits = self.gives_logits(model)
            shown.append((title, mask_pictures.looked_at(run, logits, problem, part, index)))
        return {"predictions": mask_pictures.rows(shown, part, problem.class_names)}

    def writer(self, directory: Path, class_names: Sequence[str]) -> MaskWriter:
        """Palette PNGs of class numbers, and overlays to look at."""
        return MaskWriter(directory, draw.palette(len(class_names)))

    def lines(self, predictions: Sequence[MaskPrediction], top: int) -> list[Text]:
        """Path and largest classes of each picture, in columns."""
        rows = []
        for prediction in predictions:
            ranked = [(n, s) for n, s in prediction.shares.items() if s > 0][: max(top, 1)]
            named = [f"{name} {share:.1%}" for name, share in ranked]
            rows.append([str(prediction.path or ""), *named, *[""] * (max(top, 1) - len(named))])
        return show.columns(rows)


TASK = Segmentation()


def _handed_arrays(data: Any, class_names: Sequence[str], recipe: Recipe) -> Data:
    """Arrays to be evaluated: the test split, or all; values are numbered as those of the run."""
    only_test = isinstance(data, Mapping) and set(data) == {"test"}
    parts = parts_of({"train": data["test"]} if only_test else data)
    if parts is None:
        raise InputError(
            f"Data to be evaluated are a folder of images and masks, a pair (images, masks), or a "
            f"mapping with 'test'; received {type(data).__name__}."
        )
    pair = parts.get("test", parts["train"])
    return from_masks(pair, pair, pair, class_names=class_names, ignore=recipe.ignore)


def _weights(said: str, problem: Problem) -> tuple[float, ...] | None:
    """Of the classes in the loss, as a recipe says it."""
    if said == "none":
        return None
    if said != "balanced":
        return by_class(said, problem.class_names)
    assert isinstance(problem, PictureProblem)
    shares = problem.data.train.labels.shares
    median = float(np.median(shares[shares > 0]))
    return tuple(median / share if share > 0 else 0.0 for share in shares.tolist())


def _of_keras(outputs: int, logits: bool) -> tuple[Any, list[Any]]:
    """Loss and metric that load without kcnn; of one output they count ignored pixels, too."""
    losses, metrics = keras.losses, keras.metrics
    if outputs == 1:
        threshold = 0.0 if logits else 0.5
        return losses.BinaryCrossentropy(from_logits=logits), [
            metrics.BinaryIoU([0, 1], threshold=threshold, name="mean_iou")
        ]
    loss = losses.SparseCategoricalCrossentropy(from_logits=logits, ignore_class=IGNORED)
    return loss, [metrics.MeanIoU(outputs, name="mean_iou", ignore_class=IGNORED,
                                  sparse_y_pred=False)]  # fmt: skip
