"""Classification: one of several classes for each image; of two, the probability of the second.

Labels are class numbers; targets are (B, K) float32, one-hot, or (B, 1) for two classes and a
single output. Loss is cross-entropy; the figure is accuracy, from 100 classes up with top-5 beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kcnn.data import ClassTargets, Data
from kcnn.data.batches.batch import Batch
from kcnn.data.sets.annotations import View
from kcnn.data.sets.classes import of_stream
from kcnn.data.sets.handed import handed_over
from kcnn.errors import InputError
from kcnn.figures import Figure
from kcnn.graph.forward import forward, progress, refuse_not_finite
from kcnn.graph.outputs import ending, gives_logits, meaning
from kcnn.interpret.answers import Answers
from kcnn.interpret.mistakes import confusion
from kcnn.recipes.recipe import Meaning, Recipe
from kcnn.startup import keras, tf
from kcnn.tasks import class_figures, show
from kcnn.tasks.inputs import as_problem, refuse_other_task
from kcnn.tasks.problem import Problem
from kcnn.tasks.stored import StoredProblem
from kcnn.tasks.streams import StreamProblem
from kcnn.tasks.weights import class_weights, weighted

ops = keras.ops

_TOP5 = 100  # classes from which on the five most probable are looked at, too


@dataclass(frozen=True)
class ClassEvaluation:
    """What a model got right."""

    images: int
    loss: float  #: mean cross-entropy in nats
    accuracy: float
    confusion: np.ndarray  #: (classes, classes) counts; rows are true, columns predicted
    answers: Answers  #: the probabilities of each image, in the order of the images

    @property
    def figures(self) -> dict[str, float]:
        """The accuracy."""
        return {"accuracy": self.accuracy}

    @property
    def accuracy_per_class(self) -> list[float | None]:
        """Share of each class's images that were recognised; None for a class without images."""
        totals = self.confusion.sum(axis=1)
        right = np.diagonal(self.confusion)
        return [float(r / n) if n else None for r, n in zip(right, totals, strict=True)]

    def details(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Figures beside the accuracy, and those of each class by its name (`class_figures`)."""
        by_class = zip(class_names, self.accuracy_per_class, strict=True)
        found = class_figures.details(self.answers, self.confusion, class_names)
        return {**found, "accuracy_per_class": dict(by_class)}


@dataclass(frozen=True)
class Prediction:
    """What a run says of one image."""

    path: Path | None  #: None for an array
    class_name: str  #: the most probable
    probability: float  #: of that class
    probabilities: dict[str, float]  #: of every class, the most probable first


@dataclass(frozen=True)
class Classification:
    """`kcnn.tasks.task.Task`, for classes."""

    logits: bool | None = None  #: whether outputs are logits; None: as the model's graph ends
    class_weights: tuple[float, ...] | None = None  #: of the loss of training
    monitor: str | None = None  #: one of `further`, that is measured behind each epoch, too

    name = "classification"
    whole = False
    figures = (Figure("accuracy", share=True, short="acc", opposite="error"),)
    further = class_figures.FIGURES

    def problem(self, data: Any, recipe: Recipe, model: keras.Model | None) -> Problem:
        """Data with class numbers; a stream's classes are those of its labels, or of the model."""
        if isinstance(data, Data):
            refuse_other_task(self, data)
        found = as_problem(data, recipe)
        return _named(found, model) if isinstance(found, StreamProblem) else found

    def prepared(self, problem: Problem, recipe: Recipe) -> Classification:
        """With the weights of the classes, and what of `further` the training goes by."""
        weights, monitor = class_weights(recipe.class_weights, problem), recipe.monitor
        if monitor not in {figure.name for figure in self.further}:
            return replace(self, class_weights=weights)
        class_figures.refuse_missing(monitor, len(problem.class_names), _occurring(problem))
        return replace(self, class_weights=weights, monitor=monitor)

    def handed(self, data: Any, class_names: Sequence[str], recipe: Recipe) -> Data:
        """Numbered as the run's classes are, by name."""
        return handed_over(data, class_names, recipe.columns)

    def outputs(self, problem: Problem) -> int:
        """One for each class; two classes need one."""
        classes = len(problem.class_names)
        return 1 if classes == 2 else classes

    def check_options(self, options: Mapping[str, Any], outputs: int) -> None:
        """A top that gives the probabilities of classes, or their logits."""
        if options.get("include_top", True) is not True:
            raise InputError(
                "include_top=False leaves no classes to learn; a training needs the network's "
                "top. kcnn.build gives the network without."
            )
        allowed = ("softmax", "linear", None, *(["sigmoid"] if outputs == 1 else []))
        if (given := options.get("classifier_activation")) not in allowed:
            raise InputError(
                f"classifier_activation={given!r} gives no probabilities of {max(outputs, 2)} "
                f"classes that exclude each other. Leave it out for softmax; None is for logits."
            )

    def check(self, model: keras.Model, problem: Problem) -> None:
        """Refuse a model whose outputs are not the classes."""
        outputs, classes = model.output_shape[-1], len(problem.class_names)
        if outputs not in (self.outputs(problem), classes):
            allowed = f"{classes}{' or 1' if classes == 2 else ''}"
            raise InputError(
                f"The model has {outputs} outputs; the data has {classes} classes. Build it with "
                f"{allowed} outputs."
            )

    def meaning(self, model: keras.Model, images: Any, said: Meaning | None) -> Meaning:
        """Probabilities or logits."""
        return meaning(model, model(images, training=False), said)

    def knowing(self, meaning: Meaning | None) -> Classification:
        """Where it is known which of the two they are."""
        return replace(self, logits=None if meaning is None else meaning == "logits")

    def _logits(self, model: keras.Model, outputs: Any = None) -> bool:
        """Whether they are logits; of a run of before they are looked at where no graph tells."""
        if self.logits is not None:
            return self.logits
        if outputs is not None and ending(model) is None:
            return meaning(model, outputs) == "logits"
        return gives_logits(model)

    def targets(self, problem: Problem, outputs: int) -> ClassTargets:
        """One-hot rows, or one column."""
        return ClassTargets(len(problem.class_names), binary=outputs == 1)

    def batch(self, batch: Batch, recipe: Recipe) -> Batch:
        """With the weights of the classes, and smoothed labels."""
        return smoothed(weighted(batch, self.class_weights), recipe.label_smoothing)

    def compile(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        recipe: Recipe | None = None,
        **options: Any,
    ) -> None:
        """Compile with cross-entropy and accuracy."""
        outputs, logits = model.output_shape[-1], self._logits(model)
        losses, soft = keras.losses, recipe is not None and _softens(recipe)
        loss = losses.BinaryCrossentropy if outputs == 1 else losses.CategoricalCrossentropy
        metrics = [_accuracy(outputs, logits, soft)]
        if outputs >= _TOP5:
            metrics.append(keras.metrics.TopKCategoricalAccuracy(5, name="top5_accuracy"))
        model.compile(optimizer, loss(from_logits=logits), metrics=metrics, **options)

    def describe(self, problem: Problem) -> str:
        """How many classes, and how they are weighted."""
        text = f"{len(problem.class_names)} classes"
        if self.class_weights is None:
            return text
        return f"{text}, weighted {min(self.class_weights):.4g} to {max(self.class_weights):.4g}"

    def validate(
        self, model: keras.Model, batches: tf.data.Dataset, callbacks: keras.callbacks.Callback
    ) -> dict[str, float]:
        """Loss and accuracy by Keras' own evaluation; `monitor` by a second pass.

        Where outputs are not finite, so that nothing can be said of them, it is not a number.
        """
        found = model.evaluate(batches, callbacks=callbacks, return_dict=True, verbose=0)
        if self.monitor is None:
            return found
        answers = self._answers(model, batches)
        value = math.nan
        if answers is not None:
            counts = confusion(answers.truth, answers.said, answers.classes)
            value = class_figures.figures(answers, counts).get(self.monitor, math.nan)
        return found | {self.monitor: value}

    def _answers(self, model: keras.Model, batches: tf.data.Dataset) -> Answers | None:
        """By the traced step that `predict_on_batch` keeps; None where outputs are not finite."""
        said, true = list[np.ndarray](), list[np.ndarray]()
        for images, labels in batches:
            outputs = model.predict_on_batch(images)
            said.append(probabilities(outputs, self._logits(model, outputs)))
            true.append(_columns(labels.numpy()).argmax(axis=1))
        rows = np.concatenate(said)
        return Answers(np.concatenate(true), rows) if np.isfinite(rows).all() else None

    def evaluate(
        self, model: keras.Model, batches: tf.data.Dataset, console: Console | None = None
    ) -> ClassEvaluation:
        """Loss and confusion over the batches, in one pass."""
        count = int(batches.cardinality())
        run, loss = forward(model, count), 0.0
        said, true = list[np.ndarray](), list[np.ndarray]()
        for images, labels in progress(batches, "evaluating", count, console):
            outputs = run(images)
            refuse_not_finite(model, outputs)
            predicted = probabilities(outputs, self._logits(model, outputs))
            truth = _columns(labels.numpy())
            loss += cross_entropy(truth, predicted)
            said.append(predicted)
            true.append(truth.argmax(axis=1))
        answers = Answers(np.concatenate(true), np.concatenate(said))
        counts = confusion(answers.truth, answers.said, answers.classes)
        images = len(answers)
        accuracy = float(np.trace(counts) / images)
        return ClassEvaluation(images, loss / images, accuracy, counts, answers)

    def tables(self, details: Mapping[str, Any]) -> list[Table]:
        """The figures beside the accuracy, and those of each class, the worst first."""
        return class_figures.tables(details)

    def predictions(
        self,
        model: keras.Model,
        outputs: Any,
        paths: Sequence[Path | None],
        class_names: Sequence[str],
        views: Sequence[View] | None = None,
    ) -> list[Prediction]:
        """The probability of each class, for each image."""
        refuse_not_finite(model, outputs)
        rows = probabilities(outputs, self._logits(model, outputs))
        if rows.shape[1] != len(class_names):
            raise InputError(
                f"{model.name} tells {rows.shape[1]} classes apart; {len(class_names)} have names."
            )
        return [_prediction(path, row, class_names) for path, row in zip(paths, rows, strict=True)]

    def pictures(
        self, model: keras.Model, problem: Problem, part: str, evaluation: Any
    ) -> dict[str, bytes]:
        """The tables say it."""
        return {}

    def writer(self, directory: Path, class_names: Sequence[str]) -> None:
        """Lines say it all."""

    def ranked(self, prediction: Prediction, top: int) -> list[tuple[str, float]]:
        """The most probable classes of an image, with their probabilities."""
        return list(prediction.probabilities.items())[:top]

    def lines(self, predictions: Sequence[Prediction], top: int) -> list[Text]:
        """Path and most probable classes of each image, in columns."""
        rows = []
        for prediction in predictions:
            ranked = self.ranked(prediction, max(top, 1))
            named = [f"{name} {probability:.1%}" for name, probability in ranked]
            rows.append([str(prediction.path or ""), *named])
        return show.columns(rows)


TASK = Classification()


def _softens(recipe: Recipe) -> bool:
    """Whether targets of a training are other than 0 and 1."""
    return bool(recipe.label_smoothing or recipe.mixup or recipe.cutmix)


def _accuracy(outputs: int, logits: bool, soft: bool) -> keras.metrics.Metric:
    """Keras' own; but its binary accuracy compares labels for equality with 0 and 1."""
    if outputs > 1:
        return keras.metrics.CategoricalAccuracy(name="accuracy")
    threshold = 0.0 if logits else 0.5
    if not soft:
        return keras.metrics.BinaryAccuracy(name="accuracy", threshold=threshold)
    return keras.metrics.MeanMetricWrapper(hits, name="accuracy", threshold=threshold)


def hits(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """Whether each soft label lies on the side of the prediction: (N, 1), (N, 1) -> (N,)."""
    right = ops.equal(y_true[..., 0] > 0.5, y_pred[..., 0] > threshold)
    return ops.cast(right, "float32")


def smoothed(batch: Batch, share: float) -> Batch:
    """`Feed.batch` with `share` of each label spread evenly among the classes.

    Done on the labels, so that the validation loss stays that of the true labels.
    """
    if not share:
        return batch

    def smooth(element: Any, resident: tuple) -> tuple[Any, ...]:
        images, labels, *weights = batch(element, resident)
        classes = max(labels.shape[-1], 2)
        return images, labels * (1.0 - share) + share / classes, *weights

    return smooth


def probabilities(outputs: Any, logits: bool) -> np.ndarray:
    """Class probabilities (N, classes) from a model's outputs (N, K); K = 1 gives two."""
    outputs = ops.cast(outputs, "float32")
    if outputs.shape[-1] == 1:
        positive = ops.sigmoid(outputs) if logits else outputs
        outputs = ops.concatenate([1.0 - positive, positive], axis=-1)
    elif logits:
        outputs = ops.softmax(outputs, axis=-1)
    return ops.convert_to_numpy(outputs)


def cross_entropy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Summed cross-entropy in nats of probabilities (N, classes), clipped as Keras clips."""
    clipped = np.clip(predicted.astype("float64"), keras.config.epsilon(), 1.0)
    return float(-(truth * np.log(clipped)).sum())


def compile_for_numbers(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile a network for labels that are class numbers, as KerasTuner's tuners hand them on."""
    outputs, logits = model.output_shape[-1], gives_logits(model)
    losses, metrics = keras.losses, keras.metrics
    if outputs == 1:
        loss, metric = losses.BinaryCrossentropy(from_logits=logits), _accuracy(1, logits, False)
    else:
        loss = losses.SparseCategoricalCrossentropy(from_logits=logits)
        metric = metrics.SparseCategoricalAccuracy(name="accuracy")
    model.compile(optimizer=optimizer, loss=loss, metrics=[metric])


def _named(problem: StreamProblem, model: keras.Model | None) -> StreamProblem:
    """With its classes; a model of the user's own may say how many there are."""
    labels, names = problem.labels, getattr(problem.streams["train"], "class_names", None)
    known = model is not None and getattr(model, "inputs", None)
    outputs = model.output_shape[-1] if model is not None and known else 0
    columns = labels.shape[-1] if labels.shape.rank == 2 else None
    occurring = {part: survey.labels for part, survey in problem.surveys.items()}
    found, numbers = of_stream(occurring, columns if columns != 1 else None, outputs, names)
    return replace(problem, class_names=found, numbers=numbers)


def _occurring(problem: Problem) -> int:
    """Classes of which the validation split has images."""
    if isinstance(problem, StreamProblem):
        return len(+problem.surveys["validation"].labels)
    assert isinstance(problem, StoredProblem)
    return len(np.unique(problem.data.validation.labels))


def _columns(labels: np.ndarray) -> np.ndarray:
    """Labels (N, K) with a column for each class: a single one becomes two."""
    return np.concatenate([1.0 - labels, labels], axis=1) if labels.shape[1] == 1 else labels


def _prediction(path: Path | None, row: np.ndarray, class_names: Sequence[str]) -> Prediction:
    order = np.argsort(-row, kind="stable")
    ranked = {class_names[index]: float(row[index]) for index in order}
    best = class_names[order[0]]
    return Prediction(path, best, ranked[best], ranked)
