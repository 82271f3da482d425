"""From a name to a model, or to its card: the only place where options meet a builder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import index
from pathlib import Path
from typing import Any

from kcnn import startup
from kcnn.errors import GeometryError, InputError, VanishingError
from kcnn.graph.cost import Cost, abstract, cost
from kcnn.models import layers, registry
from kcnn.startup import keras


def build(
    name: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    weights: str | Path | None = None,
    include_top: bool = True,
    pooling: str | None = None,
    classifier_activation: str | None = "softmax",
    preprocessing: Sequence[keras.layers.Layer] = (),
    **options: Any,
) -> keras.Model:
    """Build the network registered as `name`: a plain `keras.Model`.

    The model takes float images (N, H, W, C), normalised or not, and gives (N, classes).

    Args:
        name: A name of `kcnn.list_models()`, or `FILE.py:NAME`.
        input_shape: (H, W, C); None for the paper's.
        classes: Number of classes; 1 gives one sigmoid unit (binary); None for the paper's.
        weights: None for random weights, or the path of a `.weights.h5` file that Keras'
            `save_weights` wrote for the same network.
        include_top: False ends with the last feature map (N, H', W', C'), or with a vector
            (N, C') where `pooling` is given.
        pooling: How the feature map becomes a vector: "avg", "max", or None as in the paper.
        classifier_activation: "softmax", another Keras activation, or None for logits.
        preprocessing: Keras layers that become the model's first, such as `Resizing` and
            `Normalization`; `input_shape` is then the raw image's, and the network is built to
            the shape that they leave.
        **options: The family's own, and those that mean the same in every family that has
            them: `batchnorm` (after each convolution), `dropout` (in the head), `residual`
            (shortcuts around blocks), `stem` ("auto", "imagenet", "cifar").

    Raises:
        InputError: Unknown name or option; a value out of range; an image too small for the
            network, with the layer at which it vanishes and the smallest size that works.
    """
    startup.load()
    top = {
        "classes": classes,
        "include_top": include_top,
        "pooling": pooling,
        "classifier_activation": classifier_activation,
    }
    entry = registry.lookup(name)
    arguments = _arguments(entry, input_shape, top | options)
    if preprocessing and entry.takes_preprocessing:
        model = _run(entry, arguments | {"preprocessing": preprocessing})
    elif preprocessing:
        inputs, x = layers.image_input(arguments["input_shape"], preprocessing)
        network = _run(entry, arguments | {"input_shape": tuple(x.shape[1:])})
        model = keras.Model(inputs, network(x), name=network.name)
    else:
        model = _run(entry, arguments)
    if weights is not None:
        _load_weights(model, weights)
    return model


@dataclass(frozen=True)
class Card:
    """What is known of a network before it is built."""

    name: str
    paper: str
    input_shape: tuple[int, int, int]
    classes: int
    cost: Cost
    choices: Mapping[str, Any]  #: what "auto" options chose
    notes: tuple[str, ...]  #: deviations from the paper, one line each
    published_parameters: int | None  #: trainable, of the defaults
    task: str  #: what it is for

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return self.cost.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return self.cost.macs

    @property
    def weight_memory(self) -> int:
        """Bytes of the weights in float32."""
        return self.cost.weight_memory


def card(
    name: str,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    **options: Any,
) -> Card:
    """The card of a network: paper, counts and memory, without memory for its weights.

    Takes what `build` takes, except `weights`, and raises what it raises.
    """
    startup.load()
    entry = registry.lookup(name)
    arguments = _arguments(entry, input_shape, {"classes": classes} | options)
    shape = arguments["input_shape"]
    choices = {}
    if "stem" in entry.options:
        choices["stem"] = layers.choose_stem(arguments.get("stem", "auto"), shape)
    return Card(
        name=entry.name,
        paper=entry.paper,
        input_shape=shape,
        classes=arguments.get("classes", entry.classes),
        cost=cost(abstract(partial(_run, entry, arguments))),
        choices=choices,
        notes=entry.notes,
        published_parameters=entry.parameters,
        task=entry.task_name,
    )


def _arguments(
    entry: registry.Entry,
    input_shape: tuple[int, int, int] | None,
    requested: Mapping[str, Any],
) -> dict[str, Any]:
    """What the builder is called with."""
    given = dict(requested)
    if given.get("classes") is None or given["classes"] == entry.classes:
        given.pop("classes", None)
        if "classes" in entry.options:
            given["classes"] = entry.classes
    shape = _checked_shape(entry.input_shape if input_shape is None else input_shape)
    return {"input_shape": shape, **entry.settings, **entry.accepted(given)}


def _checked_shape(input_shape: Any) -> tuple[int, int, int]:
    try:
        shape = tuple(index(size) for size in input_shape)
    except TypeError:
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(
            f"input_shape is (height, width, channels), three whole numbers from 1 up, such as "
            f"(32, 32, 3); received {input_shape!r}."
        )
    return shape


def _run(entry: registry.Entry, arguments: Mapping[str, Any]) -> keras.Model:
    try:
        model = entry.builder(**arguments)
    except VanishingError as error:
        raise GeometryError(f"{error}. {_remedy(entry, arguments)}") from error
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *arguments["input_shape"]))
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise InputError(
            f"The builder of {entry.name!r} must return a functional or sequential keras.Model; "
            f"it returned {type(model).__name__}."
        )
    model.name = entry.name
    return model


def _remedy(entry: registry.Entry, arguments: Mapping[str, Any]) -> str:
    smallest = smallest_input(entry, arguments)
    height, width, _ = arguments["input_shape"]
    return (
        f"{entry.name} takes images from {smallest}×{smallest} pixels up with these options; "
        f"received {height}×{width}. Enlarge the images (kcnn train does so inside the model), "
        f"or choose a network for small images: lenet5, resnet20, mlp."
    )


def smallest_input(entry: registry.Entry, arguments: Mapping[str, Any]) -> int:
    """The smallest side of a square image that the network takes, found by bisection."""
    given = {name: value for name, value in arguments.items() if name != "preprocessing"}
    channels = given.pop("input_shape")[2]

    def fits(side: int) -> bool:
        try:
            abstract(partial(entry.builder, input_shape=(side, side, channels), **given))
        except GeometryError:
            return False
        return True

    too_small, enough = 0, max(entry.input_shape[:2])
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        too_small, enough = (too_small, middle) if fits(middle) else (middle, enough)
    return enough


def _load_weights(model: keras.Model, weights: str | Path) -> None:
    path = Path(weights)
    if not path.name.endswith(".weights.h5") or not path.is_file():
        raise InputError(
            f"weights is None or the path of a .weights.h5 file that Keras' save_weights wrote; "
            f"received {str(weights)!r}, which is "
            f"{'not such a file' if path.exists() else 'not there'}."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # what Keras would skip, it warns of
            model.load_weights(path)
    except (OSError, ValueError, UserWarning) as error:
        raise InputError(
            f"{str(weights)!r} does not hold the weights of this {model.name}. Build it with the "
            f"options, classes and channels of the network that was saved."
        ) from error
