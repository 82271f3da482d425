"""A KerasTuner `HyperModel` of a network's search space, for people who have a tuner of their own.

    tuner = keras_tuner.RandomSearch(
        kcnn.tuning.hypermodel("resnet34", input_shape=(32, 32, 3), classes=10),
        objective="val_loss", max_trials=20, directory="tuning", seed=1,
    )
    tuner.search(images, labels, validation_data=(more, labels), epochs=10)

It needs nothing of kcnn's training: the model is plain Keras, compiled, and KerasTuner fits it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kcnn import startup
from kcnn.errors import InputError
from kcnn.models import registry
from kcnn.models.build import build
from kcnn.startup import keras
from kcnn.tasks.classification import compile_for_numbers
from kcnn.tuning.overrides import space_of
from kcnn.tuning.space import Space

if TYPE_CHECKING:
    import keras_tuner

#: Rows for which `fit` alone has a place. KerasTuner keeps the best epoch's weights before an
#: average would be made, and Keras smooths no labels that are class numbers: both take `kcnn.tune`.
_FIT = ("optimizer", "learning_rate", "weight_decay", "momentum", "batch_size")


def hypermodel(
    model: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    space: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    **options: Any,
) -> keras_tuner.HyperModel:
    """A HyperModel: `build(hp)` gives the network, compiled; labels are class numbers.

    Args:
        model: A name of `kcnn list`, or FILE.py:NAME.
        input_shape: (H, W, C) of the images; the default is the paper's.
        classes: Number of classes; the default is the paper's.
        space: Changes of the search space by name.
        overrides: NAME=LOW:HIGH[:log], NAME=A,B,C or NAME=VALUE.
        **options: Of `kcnn.build`, the same for all trials.

    Raises:
        InputError: A row that needs kcnn's own training, such as swa or augment.
    """
    startup.load()
    import keras_tuner

    entry = registry.lookup(model)
    rows = space_of(model, overrides, dict(space or {})).rows
    given = {*(space or {}), *(text.partition("=")[0] for text in overrides)}
    kept = {n: d for n, d in rows.items() if n in _FIT or n in entry.options}
    if refused := sorted(given - kept.keys()):
        raise InputError(
            f"A HyperModel has no {', '.join(refused)}: KerasTuner's training has no place for "
            f"it. kcnn.tune has. Here: {', '.join([*_FIT, *sorted(entry.options)])}."
        )
    kept = {n: d for n, d in kept.items() if n not in options}
    own = Space(kept)
    fixed = {"input_shape": input_shape, "classes": classes, **options}

    class _HyperModel(keras_tuner.HyperModel):
        def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
            chosen = own.choose(hp)
            switches = {n: v for n, v in chosen.items() if n not in _FIT and v is not None}
            try:
                network = build(model, **fixed, **switches)
            except InputError as error:
                raise keras_tuner.errors.FailedTrialError(str(error)) from error
            optimizer = _optimizer(network, chosen)
            compile_for_numbers(network, optimizer)
            optimizer.build(network.trainable_variables)  # KerasTuner's files hold its variables
            return network

        def fit(
            self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any
        ) -> Any:
            chosen = own.choose(hp)
            batched = args and hasattr(args[0], "element_spec")  # a tf.data.Dataset has its own
            if "batch_size" in chosen and not batched:
                kwargs.setdefault("batch_size", chosen["batch_size"])
            return model.fit(*args, **kwargs)

        def __reduce__(self) -> tuple[Any, ...]:  # for pickle: a class in a function has no name
            return _again, (model, fixed | {"space": space, "overrides": tuple(overrides)})

    return _HyperModel(name=model)


def _again(model: str, arguments: Mapping[str, Any]) -> keras_tuner.HyperModel:
    return hypermodel(model, **arguments)


def _optimizer(model: keras.Model, chosen: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    """Keras' own, with decoupled decay of everything but vectors."""
    kind = chosen.get("optimizer", "adam")
    numbers = {name: chosen[name] for name in ("learning_rate", "weight_decay") if name in chosen}
    kinds = keras.optimizers
    if kind in ("sgd", "momentum", "nesterov"):
        momentum = 0.0 if kind == "sgd" else chosen.get("momentum", 0.9)
        made = kinds.SGD(momentum=momentum, nesterov=kind == "nesterov", **numbers)
    elif kind == "rmsprop":
        made = kinds.RMSprop(momentum=chosen.get("momentum", 0.0), **numbers)
    else:
        made = {"adam": kinds.Adam, "adamw": kinds.AdamW, "lion": kinds.Lion}[kind](**numbers)
    if made.weight_decay:
        vectors = [v for v in model.trainable_variables if len(v.shape) < 2]
        made.exclude_from_weight_decay(var_list=vectors)
    return made
