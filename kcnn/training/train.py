"""`kcnn.train`: from a recipe to a run directory."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

from kcnn import registry, tables
from kcnn.callbacks import BestWeights, Meter, Progress, TensorBoard
from kcnn.callbacks.tensorboard import write_scalar
from kcnn.data import Data, Feed, load_data, preflight
from kcnn.errors import InputError
from kcnn.startup import keras, tf
from kcnn.training import network, objective, optimizers, precision, report
from kcnn.training.defaults import resolve
from kcnn.training.engine import engine
from kcnn.training.evaluate import Evaluation, evaluate_model
from kcnn.training.inputs import as_problem
from kcnn.training.problem import Problem
from kcnn.training.recipe import Recipe
from kcnn.training.run import Run, RunDirectory, device_name
from kcnn.training.steps import even, per_execution


def train(
    recipe: Recipe | None = None,
    *,
    model: keras.Model | None = None,
    data: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: bool = True,
) -> Run:
    """Train a network as `recipe` says, and write one run directory.

    The weights kept are those of the epoch that was best on validation (`recipe.select`); the
    test split is read once, at the end.

    Args:
        recipe: What to train and how; the default trains LeNet-5 on digits.
        model: A model of the user's own in place of `recipe.model`: images (N, H, W, C) in,
            probabilities or logits (N, K) out. It is compiled anew, trained in place, and sees
            the images as they are: normalising them is its own affair. A model of a class of
            its own is wrapped in a functional one, which shares its weights.
        data: The user's own data in place of `recipe.data`: `kcnn.Data`, a pair (images,
            labels), or a mapping of "train", "validation", "test" to pairs or to batched
            `tf.data.Dataset`s.
        callbacks: Further Keras callbacks.
        verbose: Show header, progress and results on standard output.

    Raises:
        InputError: Bad input of any kind, before training starts.
        FloatingPointError: The loss was not finite in the very first epoch.
    """
    recipe = recipe or Recipe()
    console = tables.console() if verbose else Console(quiet=True)
    problem = _problem(recipe, data, model, console)
    if model is not None:
        model = network.as_functional(model, problem)
    recipe = _resolved(recipe, problem, model)
    plan = network.plan(recipe, problem) if model is None else network.own_plan(model, problem)
    _fill_cache(recipe, problem, plan, console)
    own = model.dtype_policy.name if model is not None else None
    policy, why = precision.resolve(recipe.precision, plan.macs, own)
    recipe = dataclasses.replace(recipe, precision=policy)
    title = recipe.model.rpartition(":")[2] if model is None else model.name
    directory = RunDirectory.create(recipe, problem.name, title)
    with _settings(recipe):
        copy = None
        if model is None:
            copy = partial(network.build_network, recipe, problem, plan)
            model = copy()
        feed, steps = problem.training(recipe, plan.input_shape[:2], model.output_shape[-1])
        recipe = _with_steps_per_execution(recipe, plan.macs, steps)
        task = _Task(recipe, problem, plan, model, feed, steps, copy, directory, console, why)
        return task.run(callbacks)


def _problem(recipe: Recipe, data: Any, model: keras.Model | None, console: Console) -> Problem:
    source = recipe.data if data is None else None
    if data is None:
        data = load_data(recipe.data, validation=recipe.validation_size, seed=recipe.seed)
    if isinstance(data, Data) and data.image_shape[0] is None:
        total = sum(len(split) for split in (data.train, data.validation, data.test))
        with report.files_bar(console, "checking", total) as progress:
            data = preflight(data, skip_bad=recipe.skip_bad, progress=progress)
    outputs = model.output_shape[-1] if getattr(model, "inputs", None) else None
    return dataclasses.replace(as_problem(data, recipe, outputs=outputs), source=source)


def _fill_cache(recipe: Recipe, problem: Problem, plan: network.Plan, console: Console) -> None:
    if recipe.cache is None:
        return
    if problem.fill_cache is None:
        raise InputError(
            f"cache={recipe.cache!r} keeps image files decoded; the data {problem.name!r} are no "
            f"files. Leave it out."
        )
    with report.files_bar(console, "decoding", sum(problem.sizes.values())) as progress:
        problem.fill_cache(recipe, plan.input_shape[:2], progress)


def _resolved(recipe: Recipe, problem: Problem, model: keras.Model | None) -> Recipe:
    family = None
    if model is None:
        family = registry.lookup(recipe.model).builder.__module__.rpartition(".")[2]
    elif recipe.model_options or recipe.image_size:
        raise InputError(
            "A model of your own is trained as it is; received options for building one: "
            f"{recipe.model_options or {'image_size': recipe.image_size}}."
        )
    # What the caller handed over is named by what it is.
    recipe = dataclasses.replace(recipe, data=problem.source or f"own: {problem.name}")
    if model is not None:
        recipe = dataclasses.replace(recipe, model=f"own: {model.name}")
    if problem.batch_size:
        recipe = dataclasses.replace(recipe, batch_size=problem.batch_size, augment="none")
    images, shape = problem.sizes["train"], problem.image_shape
    return resolve(recipe, family=family, images=images, image_shape=shape)


def _with_steps_per_execution(recipe: Recipe, macs: int, steps: int) -> Recipe:
    fused = recipe.steps_per_execution or per_execution(macs, recipe.batch_size)
    return dataclasses.replace(recipe, steps_per_execution=even(fused, steps))


@contextmanager
def _settings(recipe: Recipe) -> Iterator[None]:
    """The seed that Keras draws its own from, and for the time being its precision."""
    # Not TensorFlow's: setting it makes TensorFlow prepare every traced function anew, which takes
    # longer than a short training. Where it can matter, the engine sets it.
    random.seed(recipe.seed)
    np.random.seed(recipe.seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(recipe.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


@dataclasses.dataclass
class _Task:
    """One training; everything is decided and built, nothing has run."""

    recipe: Recipe
    problem: Problem
    plan: network.Plan
    model: keras.Model
    feed: Feed
    steps: int  #: of an epoch
    copy: Callable[[], keras.Model] | None  #: builds the network once more; None: the user's own
    directory: RunDirectory
    console: Console
    why_precision: str

    def run(self, callbacks: Sequence[keras.callbacks.Callback]) -> Run:
        """Train, choose, test, save, report."""
        recipe, console = self.recipe, self.console
        self.directory.write_recipe(recipe, self.problem)
        report.header(
            console,
            recipe,
            self.problem,
            self.plan,
            self.model,
            self.directory.path,
            self.why_precision,
        )
        best = BestWeights(self.directory.best_weights, self.problem.sizes["validation"])
        trained = engine(self.model, recipe, self.feed, self.steps, self.copy)
        started = time.perf_counter()
        try:
            history = self._fit(trained.model, [best, *callbacks])
        finally:
            best.write()
        seconds = time.perf_counter() - started
        self._check_finite(history, best)
        if recipe.select == "best":
            best.restore()
        done, self.model = trained.function.step, trained.hand_out()
        if self.model is not trained.model:  # compiled, as the user would expect of a trained one
            objective.compile_model(self.model, optimizers.optimizer(recipe, self.steps))
        test = None
        if self.problem.sizes["test"]:
            test = evaluate_model(self.model, self._evaluation("test"))
            write_scalar(self.directory.path, "test_accuracy", test.accuracy)
        result = self._result(history, seconds, done, best, test)
        self.directory.write_result(self.model, result)
        report.results(console, result, self.problem.class_names, self.directory.path)
        return Run(
            directory=self.directory.path,
            recipe=recipe,
            history=history,
            model=self.model,
            result=result,
            data=self.problem.description(),
        )

    def _fit(
        self, model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]
    ) -> dict[str, list[float]]:
        progress = Progress(self.console)
        table = keras.callbacks.CSVLogger(str(self.directory.metrics))
        try:
            history = model.fit(
                self.feed.steps,
                epochs=self.recipe.epochs,
                steps_per_epoch=self.steps,
                validation_data=self._evaluation("validation"),
                callbacks=[
                    Meter(self.problem.sizes["train"]),
                    *callbacks,
                    *self._recorders(model),
                    table,
                    progress,
                ],
                shuffle=False,  # the batches come in their order
                verbose=0,
            )
        except KeyboardInterrupt:
            progress.close()
            self.console.print(f"Interrupted; what there is stays in {self.directory.path}.")
            raise
        finally:  # an exception does not reach callbacks
            progress.close()
            table.on_train_end()
        return {name: [float(v) for v in values] for name, values in history.history.items()}

    def _recorders(self, model: keras.Model) -> list[keras.callbacks.Callback]:
        recipe, callbacks = self.recipe, keras.callbacks
        texts = {
            "recipe": report.recipe_markdown(recipe),
            "model": report.model_markdown(model),
        }
        recorders = [
            TensorBoard(
                self.directory.path,
                texts=texts,
                hparams=report.hparams(recipe),
                histogram_freq=int(recipe.histograms),
            ),
            callbacks.TerminateOnNaN(),
        ]
        if recipe.early_stopping:
            recorders.append(callbacks.EarlyStopping("val_loss", patience=recipe.early_stopping))
        return recorders

    def _evaluation(self, part: str) -> tf.data.Dataset:
        return self.problem.evaluation(
            part,
            max(self.recipe.batch_size, 128),
            self.plan.input_shape[:2],
            self.model.output_shape[-1],
        )

    def _check_finite(self, history: dict[str, list[float]], best: BestWeights) -> None:
        if math.isfinite(history["loss"][-1]) and best.epoch:
            return
        epoch, rate = len(history["loss"]), self.recipe.learning_rate
        message = f"The loss was not finite in epoch {epoch} at learning rate {rate:g}"
        if not best.epoch:
            raise FloatingPointError(f"{message}. Try a tenth of that rate.")
        self.console.print(f"[yellow]{message}; epoch {best.epoch} is the best before.[/]")

    def _result(
        self,
        history: dict[str, list[float]],
        seconds: float,
        steps: int,
        best: BestWeights,
        test: Evaluation | None,
    ) -> dict[str, Any]:
        last = {name: values[-1] for name, values in history.items()}
        kept = best.logs if self.recipe.select == "best" else last
        epochs = len(history["loss"])
        speeds = history["images_per_second"]
        result = {
            "test_accuracy": test and test.accuracy,
            "test_loss": test and test.loss,
            "validation_accuracy": kept["val_accuracy"],
            "validation_loss": kept["val_loss"],
            "epochs": epochs,
            "kept_epoch": best.epoch if self.recipe.select == "best" else epochs,
            "steps": steps,
            "seconds": seconds,
            "seconds_per_epoch": seconds / epochs,
            # The first epoch traces the step.
            "images_per_second": sorted(speeds[1:] or speeds)[len(speeds[1:]) // 2],
            "parameters": sum(math.prod(w.shape) for w in self.model.trainable_weights),
            "device": device_name(),
        }
        if test is not None:
            result["test_accuracy_per_class"] = dict(
                zip(self.problem.class_names, test.accuracy_per_class, strict=True)
            )
        return result
