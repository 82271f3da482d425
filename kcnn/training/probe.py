"""A head on features that are computed once: what a training of a frozen network comes to.

Where nothing random and nothing that learns stands in front of a map, it is the same at every
epoch. It is computed once for each image, and what follows is trained on it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from rich.console import Console

from kcnn.data import Data
from kcnn.data.sets.splits import Split
from kcnn.devices.memory import free_memory
from kcnn.graph.features import last_fixed_map
from kcnn.graph.forward import forward, progress
from kcnn.graph.walk import is_keras_own, leaves
from kcnn.startup import keras
from kcnn.tasks.plan import Plan
from kcnn.tasks.stored import StoredProblem
from kcnn.terminal import memory_text, shape_text, styled
from kcnn.training.loop.freezing import freezing
from kcnn.training.network import twin
from kcnn.training.setup import Setup

#: Of the free memory, how much features may take.
_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Probe:
    """A network whose end is trained on features.

    Args:
        setup: Of the end: its images are features.
        head: The end.
        network: All of it.
    """

    setup: Setup
    head: keras.Model
    network: keras.Model

    def trained(self) -> keras.Model:
        """All of the network, with the weights that the end has now."""
        for layer in self.head.layers:
            if layer.weights:
                self.network.get_layer(layer.name).set_weights(layer.get_weights())
        return self.network


def probe(setup: Setup, console: Console) -> Probe | None:
    """The end of a frozen network on its features; None where every epoch needs all of it.

    Args:
        setup: Of the whole network.
        console: Is told, and shows how far the features are.
    """
    recipe, problem = setup.recipe, setup.problem
    fixed = (recipe.freeze or recipe.until) and recipe.unfreeze_at is None
    plain = recipe.augment == "none" and not (recipe.mixup or recipe.cutmix or recipe.colour)
    # The raw weights beside an average are those of the whole network; pictures and health, too.
    alone = recipe.swa_start is None and recipe.images_every is None and not recipe.health
    if not (fixed and plain and alone and isinstance(problem, StoredProblem)):
        return None
    if setup.own is not None and not all(map(is_keras_own, [setup.own, *leaves(setup.own)])):
        return None  # a class of its own says what a step is, or cannot be copied
    setup.draw_alike()
    network = setup.network() if setup.own is None else twin(setup.own)
    frozen = freezing(network, recipe, setup.steps)
    frozen.set(0)
    features = last_fixed_map(network)
    frozen.release()
    if features is None or None in features.shape[1:]:
        return None
    parts = ("train", "validation")
    images, shape = sum(problem.sizes[part] for part in parts), tuple(features.shape[1:])
    needed = 4 * images * math.prod(shape)
    if needed > _SHARE * free_memory():
        console.print(
            styled(
                f"features of the frozen layers would take {memory_text(needed)} of memory; they "
                f"are computed anew at every epoch"
            )
        )
        return None
    body = keras.Model(network.input, features, name=f"{network.name}_body")
    end = keras.Model(features, network.output, name=network.name)
    head = keras.models.clone_model(end)  # of layers that are in one graph only
    head.set_weights(end.get_weights())
    console.print(
        styled(f"features of the frozen layers are computed once: {images:,} x {shape_text(shape)}")
    )
    train, validation = (_features(setup, body, part, console) for part in parts)
    nothing = Split(np.zeros((0, *shape), np.float32), np.zeros(0, np.int64))
    data = dataclasses.replace(problem.data, train=train, validation=validation, test=nothing)
    return Probe(_of_head(setup, data, head, shape), head, network)


def _of_head(setup: Setup, data: Data, head: keras.Model, shape: tuple[int, int, int]) -> Setup:
    recipe = dataclasses.replace(
        setup.recipe, freeze=None, until=None, weights=None, preprocessing=None,
        evaluation_scale=1.0, cache=None,
    )  # fmt: skip
    return dataclasses.replace(
        setup,
        recipe=recipe,
        problem=StoredProblem(data),
        plan=Plan(shape, None, setup.plan.macs),
        own=head,
    )


def _features(setup: Setup, body: keras.Model, part: str, console: Console) -> Split:
    """The maps of a split in stored order, with its labels.

    Training photographs are fit as a training without augmentation fits them, those of validation
    as they are evaluated.
    """
    problem, recipe = setup.problem, setup.recipe
    assert isinstance(problem, StoredProblem)
    size = setup.plan.input_shape[:2]
    scale = 1.0 if part == "train" else recipe.evaluation_scale
    batches = problem.evaluation(part, recipe.batch_size, size, setup.targets, scale)
    count = int(batches.cardinality())
    run, found = forward(body, count), list[np.ndarray]()
    for images, _ in progress(batches, f"computing features of {part}", count, console):
        found.append(keras.ops.convert_to_numpy(run(images)).astype(np.float32))
    return dataclasses.replace(getattr(problem.data, part), images=np.concatenate(found))
