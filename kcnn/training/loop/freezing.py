"""Layers that are not trained, all the while or at first, and those that learn at another rate.

A frozen layer has `trainable=False`, as Keras has it: no gradient, no decay, and BatchNorm computes
with the statistics that it has and keeps them (Keras' guide "Transfer learning & fine-tuning").
"""

from __future__ import annotations

from dataclasses import dataclass

from kcnn.errors import InputError
from kcnn.graph.features import body
from kcnn.graph.stages import up_to
from kcnn.graph.walk import leaves
from kcnn.models.backbones import backbone_names, backbone_of
from kcnn.recipes.recipe import Recipe
from kcnn.startup import keras


@dataclass(frozen=True, eq=False)
class Freezing:
    """Which layers are frozen until which step.

    Args:
        layers: Frozen ones, with weights.
        until: The first step that trains them, too; None where none does.
    """

    layers: tuple[keras.layers.Layer, ...] = ()
    until: int | None = None

    def frozen(self, step: int) -> bool:
        """Whether the layers are frozen in a step."""
        return bool(self.layers) and (self.until is None or step < self.until)

    def set(self, step: int) -> None:
        """Let the layers be what they are in a step."""
        for layer in self.layers:
            layer.trainable = not self.frozen(step)

    def release(self) -> None:
        """Let all layers be trainable again."""
        for layer in self.layers:
            layer.trainable = True


def freezing(model: keras.Model, recipe: Recipe, steps_per_epoch: int) -> Freezing:
    """What a recipe freezes of a network.

    Raises:
        InputError: It names a stage that the network does not have; nothing would be trained.
    """
    if not (recipe.freeze or recipe.until):
        return Freezing()
    names = up_to(model, recipe.until) if recipe.until else backbone(model, recipe)
    # Layers that are frozen already, in a model of the user's own, stay so.
    layers = tuple(
        one for one in leaves(model) if one.name in names and one.weights and one.trainable
    )
    if not layers:
        raise InputError(
            f"freeze={recipe.freeze or recipe.until!r} freezes nothing of {model.name}: there are "
            f"no trainable weights up to there."
        )
    own = {id(weight) for layer in layers for weight in layer.weights}
    if all(id(weight) in own for weight in model.trainable_weights):
        raise InputError(
            f"Nothing of {model.name} is left to train: all its trainable weights are frozen. "
            f"Freeze less, such as until='conv3'."
        )
    if recipe.unfreeze_at is None:
        return Freezing(layers)
    assert recipe.epochs is not None, "the recipe is not resolved"
    first = round(recipe.unfreeze_at * recipe.epochs)
    if not 0 < first < recipe.epochs:
        raise InputError(
            f"unfreeze_at={recipe.unfreeze_at} of {recipe.epochs} epochs is epoch {first}: nothing "
            f"would be frozen, or nothing unfrozen. Train for more epochs."
        )
    return Freezing(layers, first * steps_per_epoch)


def backbone(model: keras.Model, recipe: Recipe) -> set[str]:
    """The names of the layers up to the last feature map; of the backbone, where there is one."""
    own = recipe.model.startswith("own: ")
    name = None if own else backbone_of(recipe.model, recipe.model_options)
    if name is not None:
        return backbone_names(name, model.input_shape[3])
    return {layer.name for layer in leaves(body(model))}


def slow_variables(model: keras.Model, recipe: Recipe) -> frozenset[int]:
    """The ids of the backbone's trainable variables, where they have a rate of their own."""
    if recipe.backbone_rate is None:
        return frozenset()
    names = backbone(model, recipe)
    own = {id(w) for layer in leaves(model) if layer.name in names for w in layer.weights}
    found = [v for v in model.trainable_variables if id(v) in own]
    if not found:
        raise InputError(
            f"backbone_rate={recipe.backbone_rate:g} is of the layers up to the last feature map, "
            f"which in {model.name} have no weights."
        )
    return frozenset(id(variable.value) for variable in found)
