"""A compiled model with its traced steps; the next training of the same network reuses it.

Tracing a training step takes seconds, a short training less. What a trace fixes is in its key: the
network with its normalisation, how batches are made, the kind of optimiser. Rates, momentum, decay,
seeds, weights and images of the same shapes come in from outside.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable

from kcnn.data import Feed
from kcnn.data.batches.targets import Targets
from kcnn.graph.walk import is_keras_own, leaves
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.startup import keras, tf
from kcnn.tasks.task import Task
from kcnn.training.loop import optimizers
from kcnn.training.loop.compiled import compile_model, update
from kcnn.training.loop.freezing import freezing
from kcnn.training.loop.steps import Steps

#: Engines that are kept, the latest used: so many, of networks of so many weights together. Each
#: keeps its own copy of them and of the state of the optimiser.
_KEPT, _WEIGHTS = 16, 32_000_000

_engines: OrderedDict[tuple, Engine] = OrderedDict()


class Engine:
    """A compiled model, and what its training consists of.

    Attributes:
        model: Compiled.
        steps: Makes the batches and runs the steps.
        update: What a step does to the weights.
        feed: Whose batches they are.
    """

    def __init__(
        self,
        model: keras.Model,
        recipe: ResolvedRecipe,
        task: Task,
        feed: Feed,
        steps_per_epoch: int,
        targets: Targets | None = None,
    ) -> None:
        self.model, self.feed = model, feed
        self.state = list(model.variables)  # weights, statistics, seeds
        tf.random.set_seed(recipe.seed)  # for layers and callbacks of the user's own
        compile_model(
            task,
            model,
            recipe,
            targets,
            jit_compile=recipe.jit,
            steps_per_execution=recipe.steps_per_execution,
        )
        self.update = update(model, recipe, steps_per_epoch)
        own = model.optimizer.variables  # rate, count, loss scale; slots, which begin at zero
        self._scalars = {v.path: v.numpy() for v in own if len(v.shape) == 0}
        batch = task.batch(feed.batch, recipe)
        frozen = freezing(model, recipe, steps_per_epoch)
        part = recipe.batch_size if recipe.accumulate > 1 else None
        self.steps = Steps(model, batch, self.update, frozen, part)
        self.steps.resident = feed.resident
        self.key: tuple | None = None  # under which it is kept, if it is
        self.copy: Callable[[], keras.Model] | None = None

    def restart(
        self, model: keras.Model, recipe: ResolvedRecipe, feed: Feed, steps_per_epoch: int
    ) -> None:
        """Begin again, with the weights of `model` and the numbers of `recipe`."""
        if not all(map(is_keras_own, leaves(model))):
            tf.random.set_seed(recipe.seed)  # takes time: Keras' layers hold their own seeds
        copy_state(list(model.variables), self.state)
        optimizer = self.model.optimizer
        for variable in optimizer.variables:
            variable.assign(self._scalars.get(variable.path, keras.ops.zeros(variable.shape)))
        self.update.set(recipe, steps_per_epoch)
        self.feed, self.steps.resident, self.steps.step = feed, feed.resident, 0

    def serves(self, text: str) -> bool:
        """Whether no callback has compiled the model anew or changed its layers meanwhile."""
        return self.steps.serves and described(self.model) == text

    def hand_out(self) -> keras.Model:
        """The trained model, for the caller to keep; the engine stays for the next training."""
        self.steps.resident = ()
        del self.feed  # it holds the data
        if self.key is None or self.copy is None:
            return self.model
        model, self.copy = self.copy(), None  # what builds it holds the data
        copy_state(self.state, list(model.variables))
        _engines[self.key] = self
        while len(_engines) > _KEPT or sum(map(_weights, _engines.values())) > _WEIGHTS:
            _engines.popitem(last=False)
        return model


def _weights(engine: Engine) -> int:
    return engine.model.count_params()


def copy_state(source: list[keras.Variable], target: list[keras.Variable]) -> None:
    """Assign the values of one copy of a network to another."""
    for variable, value in zip(target, source, strict=True):
        variable.assign(value.value)


def engine(
    model: keras.Model,
    recipe: ResolvedRecipe,
    task: Task,
    feed: Feed,
    steps_per_epoch: int,
    copy: Callable[[], keras.Model] | None,
    targets: Targets | None = None,
) -> Engine:
    """An engine that trains what `model` is now; `Engine.hand_out` gives the trained model.

    Args:
        model: The network, with its initial weights.
        recipe: Of the training.
        task: Loss, metrics and targets.
        feed: Whose batches the engine will take.
        steps_per_epoch: Of the feed.
        copy: Builds the same network once more; None for a model that is to be trained itself.
        targets: What labels become, where loss or metrics were handed over.
    """
    own = copy is None or recipe.compiled  # whose state does not begin at zero, perhaps
    if own or recipe.freeze or recipe.until or model.count_params() > _WEIGHTS:
        return Engine(model, recipe, task, feed, steps_per_epoch, targets)
    text = described(model)
    key = (text, feed.key, task.name, *_loss_of(task), *_fixed(recipe))
    found = _engines.pop(key, None)  # taken out while it trains: a training within finds none
    if found and found.serves(text):
        found.restart(model, recipe, feed, steps_per_epoch)
    else:
        found = Engine(model, recipe, task, feed, steps_per_epoch)
    found.key, found.copy = key, copy if found.model is model else lambda: model
    return found


def _loss_of(task: Task) -> tuple:
    """What of the task a trace fixes: all that it is, where it says so by being hashable."""
    try:
        hash(task)
    except TypeError:
        return ()
    return (task,)


def forget() -> None:
    """Let go of the engines that are kept for the next training, and of their memory."""
    _engines.clear()


def _fixed(recipe: ResolvedRecipe) -> tuple:
    """What of the recipe a trace fixes, beside the network and the batches."""
    return (
        optimizers.traits(recipe),
        recipe.label_smoothing,
        recipe.accumulate > 1 and recipe.batch_size,
        recipe.steps_per_execution,
        recipe.precision,
        recipe.jit,
    )


def described(model: keras.Model) -> str:
    """The network as text, the same for every copy: names that Keras counts on do not matter."""
    text = json.dumps(model.get_config(), default=str, sort_keys=True)
    for index, operation in enumerate(model.operations):
        text = text.replace(f'"{operation.name}"', f'"#{index}"')
    return text.replace(f'"{model.name}"', '""')
