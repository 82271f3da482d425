"""Which recipes cannot be trained: found before anything is built."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Mapping

from kcnn import registry
from kcnn.errors import InputError
from kcnn.training import diagnosis, network
from kcnn.training.defaults import resolve
from kcnn.training.problem import Problem
from kcnn.training.recipe import Recipe

#: Values that an optimiser keeps for each weight; Adam's kinds keep two.
_SLOTS: Mapping[str, int] = {"sgd": 0, "momentum": 1, "nesterov": 1, "rmsprop": 1}
_SHARE = 0.9  # of the memory; the framework takes the rest


class Feasibility:
    """Tells what cannot be trained: geometry, memory, fields that exclude each other.

    Args:
        problem: What all trials are trained on.
        memory: Bytes that a training may take; None: what the device has.
    """

    def __init__(self, problem: Problem, memory: int | None = None) -> None:
        self.problem = problem
        self.memory = _available() if memory is None else memory

    def resolved(self, recipe: Recipe) -> Recipe:
        """The recipe without open fields.

        Raises:
            InputError: Fields that exclude each other.
        """
        problem = self.problem
        if problem.batch_size:
            recipe = dataclasses.replace(recipe, batch_size=problem.batch_size)
        return resolve(
            recipe,
            family=registry.lookup(recipe.model).builder.__module__.rpartition(".")[2],
            images=problem.sizes["train"],
            image_shape=problem.image_shape,
        )

    def refusal(self, recipe: Recipe) -> str | None:
        """Why `recipe` cannot be trained; None where it can."""
        problem = self.problem
        try:
            resolved = self.resolved(recipe)
            size = network.plan(resolved, problem).input_shape[:2]
            cost = network.known_card(resolved, problem, size).cost
        except InputError as error:
            return str(error)
        needed = cost.training_memory(resolved.batch_size, _SLOTS.get(resolved.optimizer, 2))
        if needed > _SHARE * self.memory:
            return (
                f"A batch of {resolved.batch_size} takes about {needed / 2**30:.2f} GiB to train; "
                f"there are {self.memory / 2**30:.2f} GiB."
            )
        return None


def _available() -> int:
    """Bytes of memory: of the first GPU where there is one, else of the machine."""
    if shutil.which("nvidia-smi"):  # TensorFlow does not say how much a GPU has
        query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        found = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
        if found and found[0].isdecimal():
            return int(found[0]) * 2**20
    return diagnosis.memory()
