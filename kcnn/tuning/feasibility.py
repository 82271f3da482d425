"""Which recipes cannot be trained: found before anything is built."""

from __future__ import annotations

import dataclasses

from kcnn.devices.memory import on_gpu, spare
from kcnn.errors import InputError, TooDeepError
from kcnn.models import registry
from kcnn.recipes.defaults import ResolvedRecipe, resolve
from kcnn.recipes.domains import Range
from kcnn.recipes.recipe import Recipe
from kcnn.tasks.plan import known_card, plan
from kcnn.tasks.problem import Problem
from kcnn.tasks.task import Task
from kcnn.tuning.space import Space, as_recipe

#: Of the memory: estimates leave out what the framework takes, and what kernels work with.
_SHARE = 0.8


class Feasibility:
    """Tells what cannot be trained: geometry, memory, fields that exclude each other.

    Args:
        task: That all trials solve.
        problem: What all trials are trained on.
        limit: Bytes that a training may take; None: what is free on the device.
    """

    def __init__(self, task: Task, problem: Problem, limit: int | None = None) -> None:
        self.task, self.problem = task, problem
        self.memory = spare() if limit is None else limit

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
            pictures=self.task.whole,
        )

    def refuse_depths(self, base: Recipe, space: Space) -> None:
        """Refuse rows that reach networks of which nobody could count the layers.

        Raises:
            InputError: With the row.
        """
        entry, outputs = registry.lookup(base.model), self.task.outputs(self.problem)
        for name, row in space.searched.items():
            if not isinstance(row, Range) or not row.whole or name not in entry.options:
                continue
            try:
                recipe = self.resolved(as_recipe({name: row.high}, base))
                plan(self.task, entry, recipe, self.problem, outputs)
            except TooDeepError as error:
                raise InputError(f"The row {name}={row} of the search space: {error}") from error
            except (InputError, OverflowError):
                continue  # drawn, it is refused by itself

    def refusal(self, recipe: Recipe) -> str | None:
        """Why `recipe` cannot be trained; None where it can."""
        problem = self.problem
        try:
            resolved = self.resolved(recipe)
            entry, outputs = registry.lookup(recipe.model), self.task.outputs(problem)
            shape = plan(self.task, entry, resolved, problem, outputs).input_shape
            cost = known_card(entry, resolved, shape, outputs).cost
        except (InputError, OverflowError) as error:  # numbers beyond those of shapes
            return str(error)
        needed = cost.training_memory(resolved.batch_size, resolved.slots)
        if not on_gpu():
            # Checkpoints and the best weights are copies of what is trained, in the same memory.
            needed += (2 + resolved.slots) * cost.weight_memory
        if needed > _SHARE * self.memory:
            return (
                f"A batch of {resolved.batch_size} takes about {needed / 2**30:.2f} GiB to train; "
                f"there are {self.memory / 2**30:.2f} GiB."
            )
        return None
