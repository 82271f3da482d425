"""The network of style transfer: the layers that are looked at, and what a step of them takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kcnn.errors import InputError
from kcnn.graph.cost import abstract, cost, largest_stride
from kcnn.graph.walk import is_model
from kcnn.interpret.style_descent import PAIRS
from kcnn.models.build import build
from kcnn.startup import keras
from kcnn.weights.arrays import is_foreign
from kcnn.weights.published import is_tag

#: Gatys et al. 2016, section 3: conv4_2 for content, the first of each stage for style.
CONTENT_LAYERS = ("conv4_2_relu",)
STYLE_LAYERS = tuple(f"conv{stage}_1_relu" for stage in range(1, 6))

POOLINGS = ("max", "avg")

#: Times the activations of a forward pass: what a step with its gradient holds at once. Measured
#: with VGG-19: 181 MB at 128×192, 793 MB at 256×384; 199 and 797 are said.
_PASSES = 3.0
#: Bytes of a pixel value in L-BFGS: its pairs and its work space in float64.
_OF_DESCENT = 8 * (2 * PAIRS + 12)


def vgg19(weights: str | Path = "imagenet", preprocessing: str | None = None) -> keras.Model:
    """VGG-19 without its top, for photographs 0..255 of any size, (N, H, W, 3) float32.

    Args:
        weights: "imagenet", another tag of `kcnn list vgg19 --weights`, or a file.
        preprocessing: "caffe", "torch" or "tf": how the weights of a file were trained.

    Raises:
        InputError: They are not there, cannot be had, are not VGG-19's; or a file of which nobody
            says how it was trained.
    """
    if weights is None:
        raise InputError(
            "Style transfer needs a trained network: weights is 'imagenet', or a file; received "
            "None. A network of your own, a random one too, goes in as network."
        )
    path = Path(weights)
    if not is_tag(weights) and preprocessing is None and is_foreign(path) and path.exists():
        raise InputError(
            f"{str(weights)!r} does not say how its weights were trained. Name it: preprocessing "
            f"is caffe (VGG of keras.applications), torch (torchvision, timm) or tf."
        )
    return build(
        "vgg19",
        input_shape=(None, None, 3),
        include_top=False,
        weights=weights,
        preprocessing=preprocessing,
    )


def looked_at(network: keras.Model, layers: Sequence[str], pooling: str) -> keras.Model:
    """The part of `network` up to those layers: pictures (N, H, W, 3) to their maps, in order.

    The weights are the network's own, which stays as it is.

    Args:
        network: Functional or sequential, of pictures of any size.
        layers: Names; each gives a map (N, H', W', C).
        pooling: "max" leaves the network's pooling, "avg" averages where it takes the largest
            (Gatys et al. 2016, section 2).

    Raises:
        InputError: Pictures of one size alone, or without three channels; no such layer; a layer
            that gives no map; no max pooling that could be averaged.
    """
    shape = getattr(network, "input_shape", None)
    if shape != (None, None, None, 3):
        raise InputError(
            f"Style transfer needs a network of pictures of any size, (N, H, W, 3) of 0..255; "
            f"{getattr(network, 'name', network)!r} takes {shape}. Build it with input_shape="
            f"(None, None, 3), include_top=False."
        )
    known = {layer.name: layer.output for layer in network.layers if not is_model(layer)}
    known = {name: x for name, x in known.items() if len(getattr(x, "shape", ())) == 4}
    if missing := [name for name in layers if name not in known]:
        raise InputError(
            f"{network.name} has no feature map of a layer {missing[0]!r}; it has "
            f"{', '.join(known)}. Layers of a model within it are not seen: hand that one over."
        )
    part = keras.Model(network.inputs[0], [known[name] for name in layers], name=network.name)
    if pooling == "max":
        return part
    averaged, count = _averaged(part)
    if not count:
        raise InputError(
            f"pooling='avg' averages where a network takes the largest, and {network.name} does "
            f"so nowhere up to {', '.join(layers)}. Leave it out."
        )
    return averaged


def _averaged(model: keras.Model) -> tuple[keras.Model, int]:
    """`model` on the same layers with averages for max pooling; and how many there were."""
    replaced = 0

    def clone(layer: keras.Operation) -> keras.Operation:
        nonlocal replaced
        if is_model(layer):
            copy, inside = _averaged(layer)
            replaced += inside
            return copy if inside else layer
        if not isinstance(layer, keras.layers.MaxPooling2D):
            return layer
        replaced += 1
        config = layer.get_config()
        kept = ("name", "pool_size", "strides", "padding", "data_format", "dtype")
        return keras.layers.AveragePooling2D(**{name: config[name] for name in kept})

    return keras.models.clone_model(model, clone_function=clone), replaced


def smallest_side(part: keras.Model) -> int:
    """Pixels that a picture has at least, so that each map of `part` has a value."""
    return max(largest_stride(part), 2)


def memory_of_step(part: keras.Model, height: int, width: int) -> int:
    """Bytes that a step with its gradient takes at that size, about; and the descent's own."""
    inputs = part.inputs[0]
    plain = keras.Model(inputs, part.outputs, name=part.name)
    sized = abstract(
        lambda: keras.models.clone_model(
            plain, input_tensors=keras.Input((height, width, inputs.shape[-1]))
        )
    )
    activations = cost(sized).activation_memory()
    return round(_PASSES * activations) + _OF_DESCENT * height * width * inputs.shape[-1]
