"""All that is decided of a training, before anything is built or written."""

from __future__ import annotations

import dataclasses
import random
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from rich.console import Console

from kcnn import terminal
from kcnn.data import Data, Feed, feed_batches, load_data, preflight
from kcnn.data.batches.targets import Targets
from kcnn.data.sets.duplicates import without_duplicates
from kcnn.data.sets.tables import from_frame, is_frame
from kcnn.devices import precision
from kcnn.devices.memory import memory
from kcnn.errors import InputError
from kcnn.figures import LOSS, Figure
from kcnn.graph.forward import refuse_one_size
from kcnn.graph.photographs import with_fitting
from kcnn.graph.whole import with_padding
from kcnn.models import registry
from kcnn.recipes.augmentations import refuse_bending, refuse_other_than_bytes
from kcnn.recipes.defaults import ResolvedRecipe, resolve
from kcnn.recipes.families import OTHERS
from kcnn.recipes.fields import declarations
from kcnn.recipes.recipe import Meaning, Recipe
from kcnn.startup import keras, tf
from kcnn.tasks.inputs import KINDS, refuse_other_task
from kcnn.tasks.pictures import PictureProblem, Whole
from kcnn.tasks.plan import Plan, as_functional, known_card, own_plan, plan
from kcnn.tasks.problem import Problem, Size
from kcnn.tasks.stored import StoredProblem
from kcnn.tasks.task import Task, find, monitored
from kcnn.terminal import memory_text, shape_text, styled
from kcnn.training.loop.steps import even, per_execution
from kcnn.training.network import build_network

#: Images on which a stranger's outputs are looked at.
_LOOKED_AT = 32


@dataclass(frozen=True, eq=False)
class Setup:
    """What is to be trained, on what, and how: decided once, and the same for every attempt."""

    recipe: ResolvedRecipe
    task: Task
    problem: Problem
    plan: Plan
    outputs: int  #: of the network
    own: keras.Model | None  #: the user's model, trained in place; None: built by the recipe
    why_precision: str
    meaning: Meaning | None = None  #: of a stranger's outputs, as the task found it

    @cached_property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.problem.steps(self.recipe)

    @property
    def title(self) -> str:
        """Of the network, for the run's name."""
        return self.recipe.model.rpartition(":")[2] if self.own is None else self.own.name

    @property
    def monitor(self) -> Figure:
        """The figure on validation that chooses the weights to keep."""
        return monitored(self.task, self.recipe.monitor)

    @property
    def awaited(self) -> Figure:
        """The figure on validation that is to get better; of those that nobody named, the loss.

        It moves where a share of few images stands still.
        """
        return LOSS if self.recipe.monitor is None else self.monitor

    @property
    def targets(self) -> Targets:
        """What makes targets of labels."""
        return self.task.targets(self.problem, self.outputs)

    @property
    def _size(self) -> Size:
        return self.plan.input_shape[:2]

    def network(self) -> keras.Model:
        """The recipe's network, with its initial weights; raw images go in."""
        return build_network(self.recipe, self.problem, self.plan, self.outputs)

    def draw_alike(self) -> None:
        """Let the initial weights of the next network be those of the seed.

        TensorFlow's is not set: that makes TensorFlow prepare every traced function anew, which
        takes longer than a short training. Where it can matter, the engine sets it.
        """
        random.seed(self.recipe.seed)
        np.random.seed(self.recipe.seed)

    def feed(self, start: int) -> Feed:
        """The training steps from `start` on, without end."""
        return self.problem.training(self.recipe, self._size, self.targets, start)

    def evaluation(self, part: str) -> tf.data.Dataset:
        """A split in stored order."""
        batch_size = self.recipe.batch_size
        if not self.task.whole:  # whose pictures may be much larger than its windows
            batch_size = max(batch_size, 128)
        scale = self.recipe.evaluation_scale
        return self.problem.evaluation(part, batch_size, self._size, self.targets, scale)

    def handed_out(self, model: keras.Model) -> keras.Model:
        """A trained network as its user gets it: one of photographs fits them by itself."""
        if self.task.whole:
            multiple = self.plan.multiple
            fits = model if multiple in (None, 1) else with_padding(model, multiple or 1)
        elif not self.problem.is_files:
            return model
        else:
            fits = with_fitting(model, self.recipe.evaluation_scale)
        if fits is model:
            return model
        if self.own is not None:  # its layers are trained in place
            return fits
        copy = keras.models.clone_model(fits)  # of layers that are in one graph only
        copy.set_weights(model.get_weights())
        return copy

    def some_batch(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Some training images (B, H, W, C), as the network gets them, and their targets."""
        count = self.recipe.batch_size if self.task.whole else _LOOKED_AT
        batches = self.problem.evaluation("train", count, self._size, self.targets)
        return next(iter(batches))

    def statistics_batches(self) -> tf.data.Dataset:
        """The training batches of an epoch behind the last, for BatchNorm's statistics."""
        recipe = dataclasses.replace(self.recipe, accumulate=1)  # which go by a batch at a time
        steps = self.problem.steps(recipe)
        start = recipe.epochs * steps
        feed = self.problem.training(recipe, self._size, self.targets, start)
        return feed_batches(feed, steps)


def decide(
    recipe: Recipe,
    *,
    model: keras.Model | None = None,
    data: Any = None,
    task: str | Task | None = None,
    console: Console,
) -> Setup:
    """Decide all that a recipe leaves open; nothing is written but the cache of image files.

    Args:
        recipe: As it was given.
        model: The user's own, in place of the recipe's.
        data: The user's own, in place of the recipe's.
        task: Of `model`; None is classification. A network by name has its own.
        console: Shows how far checking and decoding of files are.

    Raises:
        InputError: Whatever cannot be trained.
    """
    entry = registry.lookup(recipe.model) if model is None else None
    task = find(task or (entry.task if entry else None))
    _refuse_fields(task, recipe)
    monitored(task, recipe.monitor)  # refused before data are read
    problem = _problem(task, recipe, data, model, console)
    if model is not None:
        _refuse_options(task, recipe)
        _refuse_own_step(model, recipe)
        model = as_functional(model, problem)
    resolved = _resolved(recipe, problem, entry, model, task)
    _refuse_augmentations(resolved, problem)
    task = task.prepared(problem, resolved)
    if model is not None:
        outputs = model.output_shape[-1]
        decided = own_plan(task, model, problem, resolved)
    else:
        assert entry is not None
        outputs = task.outputs(problem)
        decided = plan(task, entry, resolved, problem, outputs)
        _refuse_too_large(entry, resolved, decided, outputs)
    if isinstance(problem, PictureProblem):
        whole = Whole(decided.multiple, decided.input_shape[:2], recipe.longest_side)
        problem = dataclasses.replace(problem, whole=whole)
    _fill_cache(resolved, problem, decided, console)
    policy, why = precision.resolve(recipe.precision, decided.macs, _policy_of(model))
    fused = recipe.steps_per_execution or per_execution(decided.macs, resolved.images_per_step)
    if resolved.checkpoint_every and resolved.checkpoint_every.isdecimal():
        fused = min(fused, int(resolved.checkpoint_every))
    fused = even(fused, problem.steps(resolved))
    resolved = dataclasses.replace(resolved, precision=policy, steps_per_execution=fused)
    setup = Setup(resolved, task, problem, decided, outputs, model, why)
    if model is None and (resolved.weights or resolved.backbone_weights):
        # Before anything long begins: what does not fit is refused, what was adapted is said.
        build_network(resolved, problem, decided, outputs, lambda line: console.print(styled(line)))
    if entry is not None and entry.is_kcnns_own and recipe.outputs is None:
        return setup
    network = model or setup.network()
    if isinstance(problem, PictureProblem):  # validation comes behind an epoch
        refuse_one_size(network, setup.evaluation("validation").element_spec[0])
    found = task.meaning(network, setup.some_batch()[0], recipe.outputs)
    return dataclasses.replace(setup, task=task.knowing(found), meaning=found)


def _problem(
    task: Task, recipe: Recipe, data: Any, model: keras.Model | None, console: Console
) -> Problem:
    source = recipe.data if data is None else None
    size, seed = recipe.validation_size, recipe.seed_of_split
    if data is None:
        data = load_data(
            recipe.data,
            validation=size,
            seed=seed,
            task=task.name,
            ignore=recipe.ignore,
            columns=recipe.columns,
        )
    elif is_frame(data):
        data = from_frame(data, recipe.columns, validation=size, seed=seed)
    if isinstance(data, Data) and (data.is_files or data.train.annotations is not None):
        refuse_other_task(task, data)
        total = sum(len(split) for split in (data.train, data.validation, data.test))
        total *= data.is_files + (data.train.annotations is not None)
        with terminal.files_bar(console, "checking", total) as progress:
            data = preflight(data, skip_bad=recipe.skip_bad, progress=progress)
    problem = task.problem(data, recipe, model)
    if not isinstance(problem, (StoredProblem, PictureProblem)):
        return problem
    how = recipe.deduplicate
    total = sum(problem.sizes.values()) * (how == "near")  # bytes are compared in no time
    with terminal.files_bar(console, "comparing", total, "pictures") as progress:
        compared = without_duplicates(problem.data, how, progress)
    return dataclasses.replace(problem, data=compared, source=source)


def _refuse_fields(task: Task, recipe: Recipe) -> None:
    """Refuse fields that the task would not heed, unless they are at their defaults."""
    if task.name not in KINDS:
        return
    for name, declared in declarations(Recipe):
        value, default = getattr(recipe, name), getattr(Recipe, name, None)
        if declared.tasks and task.name not in declared.tasks and value not in (default, None):
            if value == declared.older or (name == "scale" and value == 1.0):  # off
                continue
            raise InputError(
                f"{name}={value!r} is of {' and '.join(declared.tasks)}; this is {task.name}, "
                f"which would not heed it. Leave it out."
            )


def _refuse_options(task: Task, recipe: Recipe) -> None:
    fields: dict[str, Any] = {
        "backbone_weights": recipe.backbone_weights,
        "weights": recipe.weights,
    }
    if not task.whole:  # where pictures go in whole, it is the size of windows
        fields["image_size"] = recipe.image_size
    given = {name: value for name, value in fields.items() if value}
    if recipe.model_options or given:
        raise InputError(
            "A model of your own is trained as it is; received options for building one: "
            f"{recipe.model_options or given}."
        )


def _refuse_augmentations(recipe: ResolvedRecipe, problem: Problem) -> None:
    """Refuse, before anything is built, what the batches would refuse."""
    if isinstance(problem, PictureProblem):
        refuse_bending(recipe.augmentations, repr(problem.name))
    elif recipe.augmentations.randaugment:
        refuse_other_than_bytes(recipe.augmentations, problem.pixels["dtype"], repr(problem.name))


def _refuse_own_step(model: keras.Model, recipe: Recipe) -> None:
    """Refuse to take a step apart of which the model's class says what it is."""
    own = type(model).train_step is not keras.Model.train_step
    if own and recipe.accumulate > 1:
        raise InputError(
            f"accumulate={recipe.accumulate} takes Keras' own training step apart; "
            f"{type(model).__name__} has a train_step of its own. Leave it out, or let that step "
            f"do it."
        )


def _resolved(
    recipe: Recipe,
    problem: Problem,
    entry: registry.Entry | None,
    model: keras.Model | None,
    task: Task,
) -> ResolvedRecipe:
    # What the caller handed over is named by what it is.
    recipe = dataclasses.replace(recipe, data=problem.source or f"own: {problem.name}")
    if model is not None:
        recipe = dataclasses.replace(recipe, model=f"own: {_without_counter(model)}")
    if problem.batch_size:
        recipe = dataclasses.replace(recipe, batch_size=problem.batch_size, augment="none")
    if recipe.evaluation_scale not in (None, 1) and not problem.is_files:
        raise InputError(
            f"evaluation_scale={recipe.evaluation_scale} is of image files, which are fit to the "
            f"network's input; the images of {problem.name!r} are used as they are. Leave it out."
        )
    family = OTHERS if entry is None else entry.family
    images, shape = problem.sizes["train"], problem.image_shape
    return resolve(recipe, family=family, images=images, image_shape=shape, pictures=task.whole)


def _refuse_too_large(
    entry: registry.Entry, recipe: ResolvedRecipe, plan: Plan, outputs: int
) -> None:
    """Refuse a network of which the machine cannot train a single image."""
    needed = known_card(entry, recipe, plan.input_shape, outputs).cost.training_memory(
        1, recipe.slots
    )
    if needed > (there := memory()):
        raise InputError(
            f"{entry.name} at {shape_text(plan.input_shape)} takes about {memory_text(needed)} to "
            f"train a single image, and there are {memory_text(there)}. Take smaller images, or a "
            f"smaller network."
        )


def _without_counter(model: keras.Model) -> str:
    """Its name; one that Keras gave without the number of models in the process."""
    return re.sub(r"^(functional|sequential|model)_\d+$", r"\1", model.name)


def _fill_cache(recipe: ResolvedRecipe, problem: Problem, plan: Plan, console: Console) -> None:
    if recipe.cache is None:
        return
    with terminal.files_bar(console, "decoding", sum(problem.sizes.values())) as progress:
        problem.fill_cache(recipe, plan.input_shape[:2], progress)


def _policy_of(model: keras.Model | None) -> str | None:
    return None if model is None else model.dtype_policy.name
