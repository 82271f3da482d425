"""From a name to a model, or to its card: the only place where options meet a builder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import index
from pathlib import Path
from typing import Any

from kcnn import startup
from kcnn.errors import GeometryError, InputError, TooDeepError, VanishingError
from kcnn.graph.cost import Cost, abstract, cost
from kcnn.graph.features import feature_maps
from kcnn.graph.stages import stage_names
from kcnn.models import layers, registry
from kcnn.startup import keras
from kcnn.storage.budget import at_most
from kcnn.terminal import console, shape_text, si, styled
from kcnn.weights.published import find, is_tag

#: Outputs of layers in a network whose cost is counted; ResNet-1202 has half as many.
_MOST_OUTPUTS = 8000

#: Sides of images up to which a network is asked what it takes.
_LARGEST = 8192

#: (H, W, C) of images; heights and widths of None are those of any image.
Shape = tuple[int | None, int | None, int]


def build(
    model: str,
    /,
    *,
    name: str | None = None,
    input_shape: Shape | None = None,
    input_tensor: None = None,
    classes: int | None = None,
    weights: str | Path | None = None,
    include_top: bool = True,
    pooling: str | None = None,
    classifier_activation: str | None = "softmax",
    features: Sequence[int] | None = None,
    preprocessing: str | Sequence[keras.layers.Layer] | None = None,
    **options: Any,
) -> keras.Model:
    """Build the network registered as `model`: a plain `keras.Model`.

    The model takes float images (N, H, W, C), normalised or not, and gives (N, classes); a network
    for segmentation (N, H, W, classes).

    Args:
        model: A name of `kcnn.list_models()`, or `FILE.py:NAME`.
        name: Of the Keras model, where that is to be another one: two networks in one model need
            two names.
        input_shape: (H, W, C); None for the paper's. (None, None, C) takes images of any size:
            without a top, or where pooling makes a vector of the feature map.
        input_tensor: As in `keras.applications`; refused with what to write instead.
        classes: Number of classes; 1 gives one sigmoid unit (binary); None for the paper's.
        weights: None for random weights; "imagenet", or another tag of `kcnn.weights.list()`, for
            published ones, downloaded once: with their preprocessing, so that the model takes
            photographs, 0..255, as they are; the path of a `.weights.h5` file that Keras'
            `save_weights` wrote for the same network; or a run's directory, or a `.keras` file:
            out of these, weights go in by the names of layers. Every layer but `preprocessing`
            must be there, with the same shapes; more may be. So, with include_top=False or
            `features`, a classifier's weights go into a backbone. Or a file of another library:
            `.safetensors` with the names of torchvision or timm, `.h5` of `keras.applications`,
            `.npz` in the order of `set_weights` or with Keras' names. All arrays must fit, but
            for the classifier where `classes` is another number than the file's: it is new
            then. What is adapted is said in a line on standard error.
        include_top: False ends with the last feature map (N, H', W', C'), or with a vector
            (N, C') where `pooling` is given.
        pooling: How the feature map becomes a vector: "avg", "max", or None as in the paper.
        classifier_activation: "softmax", another Keras activation, or None for logits.
        features: Strides in pixels, such as (4, 8, 16, 32): without a top, the outputs are the
            network's feature maps (N, H / stride, W / stride, C) in that order.
        preprocessing: Keras layers that become the model's first, such as `Resizing` and
            `Normalization`; `input_shape` is then the raw image's, and the network is built to
            the shape that they leave. Or how published weights were trained, so that the model
            takes images 0..255, red first: "torch" (mean and deviation of ImageNet), "caffe"
            (means; the weights read blue first), "tf" (to -1..1).
        **options: The family's own, and those that mean the same in every family that has
            them: `batchnorm` (after each convolution), `dropout` (in the head), `residual`
            (shortcuts around blocks), `stem` ("auto", "imagenet", "cifar").

    Raises:
        InputError: Unknown name or option; a value out of range; an image too small for the
            network, with the layer at which it vanishes and the smallest size that works;
            `weights` that are not this network's, with the layer.
    """
    startup.load()
    # Here, as they need NumPy, and the families' rows are listed without.
    from kcnn.weights.download import fetch
    from kcnn.weights.load import load_weights
    from kcnn.weights.preprocessing import layer_of, named

    normalisation = None
    if input_tensor is not None:
        raise InputError(
            "A network takes a tensor when it is called: kcnn.build(...)(tensor), with the "
            "tensor's (H, W, C) as input_shape; received an input_tensor."
        )
    top = {
        "classes": classes,
        "include_top": include_top,
        "pooling": pooling,
        "classifier_activation": classifier_activation,
    }
    _refuse_channels_first()
    entry = registry.lookup(model)
    if features is not None:
        _check_features(features, include_top, pooling)
    if is_tag(weights):
        row = find(model, str(weights), options)
        options = {**row.options, **options}
        preprocessing = row.preprocessing if preprocessing is None else preprocessing
        weights = fetch(row, top=include_top)
    arguments = _arguments(entry, input_shape, top | options)
    stages: Sequence[keras.layers.Layer] = ()
    if isinstance(preprocessing, str):
        normalisation = named(preprocessing)
        stages = [layer_of(normalisation, arguments["input_shape"][2])]
    elif preprocessing is not None:
        stages = preprocessing
    built = _behind(stages, entry, arguments, features)
    if name is not None:
        built.name = _checked_name(name)
    if weights is not None:
        notes = load_weights(
            built,
            weights,
            [layer.name for layer in stages],
            family=entry.family.name,
            new_head=classes is not None,
            flip=normalisation is not None and normalisation.flipped,
            part=features is not None,
        )
        for note in notes:
            console(error=True).print(styled(f"{entry.name}: {note}."))
    return built


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        shape, counts = shape_text(self.input_shape), f"{self.parameters:,} parameters"
        return f"<Card {self.name!r}: {shape} to {self.classes}, {counts}, {si(self.macs)} MACs>"

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return self.cost.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return self.cost.macs

    @property
    def stages(self) -> tuple[str, ...]:
        """What the names of its layers with weights begin with: what `until` of a recipe takes."""
        rows = self.cost.layers
        return stage_names(row.name for row in rows if row.parameters or row.fixed_parameters)

    @property
    def weight_memory(self) -> int:
        """Bytes of the weights in float32."""
        return self.cost.weight_memory


def card(
    model: str,
    /,
    *,
    input_shape: tuple[int, int, int] | None = None,
    classes: int | None = None,
    **options: Any,
) -> Card:
    """The card of a network: paper, counts and memory, without memory for its weights.

    Takes what `build` takes of the network, and raises what it raises. Images have a size.
    """
    startup.load()
    _refuse_channels_first()
    entry = registry.lookup(model)
    arguments = _arguments(entry, input_shape, {"classes": classes} | options)
    shape = arguments["input_shape"]
    if None in shape:
        raise InputError(
            f"What a network costs depends on the size of the image: input_shape is (height, "
            f"width, channels); received {input_shape!r}."
        )
    return Card(
        name=entry.name,
        paper=entry.paper,
        input_shape=shape,
        classes=arguments.get("classes", entry.classes),
        cost=cost(abstract(partial(_bounded, entry, arguments))),
        choices=_choices(entry, arguments),
        notes=entry.notes_with(arguments),
        published_parameters=entry.parameters,
        task=entry.task_name,
    )


def _choices(entry: registry.Entry, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What "auto" options choose."""
    options = entry.options | dict(arguments)
    if "stem" not in options:
        return {}
    shape = arguments["input_shape"]
    if "backbone" in options:
        if (
            options["backbone"] is None
            or "stem" not in registry.lookup(options["backbone"]).options
        ):
            return {}
        shape = (None, None, shape[2])  # it is built as for images of any size
    return {"stem": layers.choose_stem(options["stem"], shape)}


def _behind(
    stages: Sequence[keras.layers.Layer],
    entry: registry.Entry,
    arguments: dict[str, Any],
    features: Sequence[int] | None,
) -> keras.Model:
    """The network behind layers of preprocessing."""
    if stages and entry.takes_preprocessing:
        return _with_features(_run(entry, arguments | {"preprocessing": stages}), features)
    if not stages:
        return _with_features(_run(entry, arguments), features)
    inputs, x = layers.image_input(arguments["input_shape"], stages)
    network = _run(entry, arguments | {"input_shape": tuple(x.shape[1:])})
    network = _with_features(network, features)
    return keras.Model(inputs, network(x), name=network.name)


def _check_features(features: Any, include_top: bool, pooling: str | None) -> None:
    try:
        strides = [index(stride) for stride in features]
    except TypeError:
        strides = []
    if not strides or min(strides) < 1 or len(set(strides)) < len(strides):
        raise InputError(
            f"features are strides in pixels, such as (4, 8, 16, 32), each once; received "
            f"{features!r}."
        )
    if include_top or pooling is not None:
        raise InputError("Feature maps are what is there without a top: include_top=False, and no "
                         "pooling.")  # fmt: skip


def _with_features(model: keras.Model, features: Sequence[int] | None) -> keras.Model:
    if features is None:
        return model
    return keras.Model(model.input, feature_maps(model, tuple(features)), name=model.name)


def _refuse_channels_first() -> None:
    if (form := keras.config.image_data_format()) != "channels_last":
        raise InputError(
            f"kcnn's networks take images (N, H, W, C); Keras is set to {form}. Call "
            f"keras.config.set_image_data_format('channels_last') before, or set it in keras.json."
        )


def _arguments(
    entry: registry.Entry,
    input_shape: Shape | None,
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


def _checked_shape(input_shape: Any) -> Shape:
    try:
        height, width, channels = (None if side is None else index(side) for side in input_shape)
    except (TypeError, ValueError):
        channels = None
    if channels is None or min(height or 1, width or 1, channels) < 1 or 0 in (height, width):
        raise InputError(
            f"input_shape is (height, width, channels), three whole numbers from 1 up, such as "
            f"(32, 32, 3), or (None, None, channels); received {input_shape!r}."
        )
    return height, width, channels


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise InputError(
            f"name has letters, digits, '_', '-' and '.', such as 'left_eye'; received {name!r}."
        )
    return name


def _bounded(entry: registry.Entry, arguments: Mapping[str, Any]) -> keras.Model:
    try:
        with at_most(_MOST_OUTPUTS):
            return _run(entry, arguments)
    except TooDeepError:  # in whose message Keras has put its own
        raise TooDeepError(
            f"{entry.name} would have more than {_MOST_OUTPUTS:,} layers: take fewer."
        ) from None


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
    if smallest is None:
        return f"{entry.name} takes no images of up to {_LARGEST} pixels with these options."
    by_itself = smallest <= min(entry.input_shape[:2])  # a training falls back on the paper's size
    flag = "" if by_itself else f" --image-size {smallest} {smallest}"
    return (
        f"{entry.name} takes images from {smallest}×{smallest} pixels up with these options; "
        f"received {height}×{width}. Enlarge the images (kcnn train{flag} does so inside the "
        f"model), or choose a network for small images: lenet5, resnet20, mlp."
    )


def smallest_input(entry: registry.Entry, arguments: Mapping[str, Any]) -> int | None:
    """The smallest side of a square image that the network takes, found by bisection.

    None where that is none up to `_LARGEST`.
    """
    given = {name: value for name, value in arguments.items() if name != "preprocessing"}
    channels = given.pop("input_shape")[2]

    def fits(side: int) -> bool:
        try:
            abstract(partial(entry.builder, input_shape=(side, side, channels), **given))
        except GeometryError:
            return False
        return True

    too_small, enough = 0, max(entry.input_shape[:2])
    while not fits(enough):
        if enough >= _LARGEST:
            return None
        too_small, enough = enough, min(2 * enough, _LARGEST)
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        too_small, enough = (too_small, middle) if fits(middle) else (middle, enough)
    return enough
