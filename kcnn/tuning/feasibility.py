"""Which recipes cannot be trained: found before anything is built."""

from __future__ import annotations

import dataclasses

from kcnn.devices.memory import memory
from kcnn.errors import InputError
from kcnn.models import registry
from kcnn.recipes.defaults import ResolvedRecipe, resolve
from kcnn.recipes.recipe import Recipe
from kcnn.tasks.plan import known_card, plan
from kcnn.tasks.problem import Problem
from kcnn.tasks.task import Task

_SHARE = 0.9  # of the memory; the framework takes the rest


class Feasibility:
    """Tells what cannot be trained: geometry, memory, fields that exclude each other.

    Args:
        task: That all trials solve.
        problem: What all trials are trained on.
        limit: Bytes that a training may take; None: what the device has.
    """

    def __init__(self, task: Task, problem: Problem, limit: int | None = None) -> None:
        self.task, self.problem = task, problem
        self.memory = memory() if limit is None else limit

    def resolved(self, recipe: Recipe) -> ResolvedRecipe:
        """The recipe without open fields.

        Raises:
            InputError: Fields that exclude each other.
        """
        problem = self.problem
        if problem.batch_size:
            recipe = dataclasses.replace(recipe, batch_size=problem.batch_size)
        return resolve(
            recipe,
            family=registry.lookup(recipe.model).family,
            images=problem.sizes["train"],
            image_shape=problem.image_shape,
        )

    def refusal(self, recipe: Recipe) -> str | None:
        """Why `recipe` cannot be trained; None where it can."""
        problem = self.problem
        try:
            resolved = self.resolved(recipe)
            entry, outputs = registry.lookup(recipe.model), self.task.outputs(problem)
            shape = plan(self.task, entry, resolved, problem, outputs).input_shape
            cost = known_card(entry, resolved, shape, outputs).cost
        except InputError as error:
            return str(error)
        needed = cost.training_memory(resolved.batch_size, resolved.slots)
        if needed > _SHARE * self.memory:
            return (
                f"A batch of {resolved.batch_size} takes about {needed / 2**30:.2f} GiB to train; "
                f"there are {self.memory / 2**30:.2f} GiB."
            )
        return None
