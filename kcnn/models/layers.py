"""Building blocks that the families share: convolution, pooling, shortcuts, the classifier.

Everything here is made of Keras' own layers, so that a saved model loads without kcnn.
Shapes are `(N, H, W, C)` throughout. Keras is imported on first use, so that the families'
rows can be listed without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kcnn.errors import InputError, VanishingError
from kcnn.graph.modes import settled
from kcnn.models.batchnorm import BatchNormalization
from kcnn.models.options import Stem
from kcnn.startup import keras

#: torchvision's and He et al.'s settings (Keras' own defaults are 0.99 and 1e-3).
BATCHNORM = {"momentum": 0.9, "epsilon": 1e-5}

#: The initialiser that suits an activation: He et al. 2015 for ReLU, Glorot 2010 otherwise.
INITIALIZERS = {"relu": "he_normal"}


def initializer(activation: str) -> str:
    """The weight initialiser for layers followed by `activation`."""
    return INITIALIZERS.get(activation, "glorot_uniform")


def image_input(
    input_shape: Sequence[int | None], preprocessing: Sequence[keras.layers.Layer] = ()
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The network's input (N, *input_shape), and what comes of it behind `preprocessing`.

    The layers of `preprocessing` (resizing, normalisation) are applied in turn and become the
    model's first; the network is built to the shape that they leave.
    """
    inputs = x = keras.Input(tuple(input_shape), name="image")
    for layer in preprocessing:
        x = layer(x, **settled(layer, {}))
    return inputs, x


def conv(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    *,
    name: str,
    stride: int = 1,
    padding: str | int = "same",
    dilation: int = 1,
    groups: int = 1,
    use_bias: bool = True,
    activation: str = "relu",
) -> keras.KerasTensor:
    """Convolution without its activation: (N, H, W, C) -> (N, H', W', filters).

    `padding` is "valid", a number of pixels, or "same": p = (f-1)/2 on every side, also where
    the stride is not 1. (Keras' own "same" then pads one side only; PyTorch, and with it every
    published weight, pads both.) `activation` chooses the initialiser only.

    Raises:
        VanishingError: The padded image is smaller than the (dilated) kernel.
    """
    if padding == "same" and stride == 1:
        native = "same"
    else:
        named: dict[str | int, int | str] = {"valid": 0, "same": dilation * (kernel - 1) // 2}
        pixels = named.get(padding, padding)
        if pixels:
            x = keras.layers.ZeroPadding2D(pixels, name=f"{name}_pad")(x)
        native = "valid"
        _check_window(x, dilation * (kernel - 1) + 1, name)
    return keras.layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding=native,
        dilation_rate=dilation,
        groups=groups,
        use_bias=use_bias,
        kernel_initializer=initializer(activation),
        name=name,
    )(x)


def norm(x: keras.KerasTensor, *, name: str, zero_gamma: bool = False) -> keras.KerasTensor:
    """Batch normalisation (Ioffe & Szegedy 2015) over (N, H, W); the shape stays."""
    gamma = "zeros" if zero_gamma else "ones"
    return BatchNormalization(**BATCHNORM, gamma_initializer=gamma, name=name)(x)


def activate(x: keras.KerasTensor, activation: str, *, name: str) -> keras.KerasTensor:
    """An elementwise activation as a layer of its own, named after its place."""
    if activation == "relu":
        return keras.layers.ReLU(name=f"{name}_relu")(x)
    return keras.layers.Activation(activation, name=f"{name}_{activation}")(x)


def conv_bn(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    *,
    name: str,
    batchnorm: bool,
    activation: str | None = "relu",
    zero_gamma: bool = False,
    use_bias: bool | None = None,
    **conv_options: Any,
) -> keras.KerasTensor:
    """Convolution, BatchNorm if asked for, activation if there is one.

    A bias before BatchNorm is left out: the mean it shifts is subtracted at once.
    """
    use_bias = not batchnorm if use_bias is None else use_bias
    x = conv(
        x,
        filters,
        kernel,
        name=name,
        use_bias=use_bias,
        activation=activation or "relu",
        **conv_options,
    )
    if batchnorm:
        x = norm(x, name=f"{name}_bn", zero_gamma=zero_gamma)
    return activate(x, activation, name=name) if activation else x


def pool(
    x: keras.KerasTensor, size: int, *, stride: int, name: str, kind: str = "max", padding: int = 0
) -> keras.KerasTensor:
    """Max or average pooling: (N, H, W, C) -> (N, H', W', C).

    `padding` adds zeros, which max pooling may do only behind a ReLU: there zero is the
    smallest value, as good as minus infinity.

    Raises:
        VanishingError: The padded image is smaller than the window.
    """
    if padding:
        x = keras.layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)
    _check_window(x, size, name)
    layers = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
    return layers[kind](size, strides=stride, name=name)(x)


def zero_pad_shortcut(
    x: keras.KerasTensor, filters: int, *, stride: int, name: str
) -> keras.KerasTensor:
    """Shortcut without parameters (He et al. 2015, option A): subsample, add zero channels."""
    if filters < x.shape[-1]:
        raise InputError(
            f"shortcut='A' adds channels of zeros and takes none away: {name} goes from "
            f"{x.shape[-1]} channels to {filters}. Use shortcut='B'."
        )
    if stride > 1:
        x = keras.layers.MaxPooling2D(1, strides=stride, name=f"{name}_shortcut")(x)
    if filters > x.shape[-1]:
        # With `channels_first`, the two axes that the layer pads are W and C.
        x = keras.layers.ZeroPadding2D(
            ((0, 0), (0, filters - x.shape[-1])),
            data_format="channels_first",
            name=f"{name}_shortcut_pad",
        )(x)
    return x


def hidden(
    x: keras.KerasTensor,
    width: int,
    *,
    name: str,
    activation: str = "relu",
    batchnorm: bool = False,
    dropout: float = 0.0,
) -> keras.KerasTensor:
    """A hidden dense layer: (N, D) -> (N, width), with BatchNorm and dropout by option."""
    x = keras.layers.Dense(
        width, use_bias=not batchnorm, kernel_initializer=initializer(activation), name=name
    )(x)
    if batchnorm:
        x = norm(x, name=f"{name}_bn")
    x = activate(x, activation, name=name)
    return keras.layers.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x


def classifier(
    inputs: keras.KerasTensor,
    x: keras.KerasTensor,
    *,
    hidden_widths: Sequence[int] = (),
    activation: str = "relu",
    dropout: float = 0.0,
    default_pooling: str = "flatten",
    classes: int = 1000,
    include_top: bool = True,
    pooling: str | None = None,
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    """The network's end: features (N, H, W, C) -> probabilities (N, classes), as a model.

    Args:
        inputs: The network's input.
        x: The last feature map.
        hidden_widths: Widths of hidden dense layers; each is followed by dropout.
        activation: Their activation.
        dropout: Rate in [0, 1); without hidden layers it acts on the pooled features.
        default_pooling: What `pooling=None` means to this family: "flatten" or "avg".
        classes: Number of classes; 1 means one probability, a sigmoid (binary).
        include_top: False ends with the features: the map, or the pooled vector (N, C).
        pooling: How the map becomes a vector: "avg", "max", or None as the paper does.
        classifier_activation: "softmax", another Keras activation, or None for logits.

    Raises:
        InputError: A value outside these.
    """
    if include_top or pooling:
        x = _to_vector(x, pooling or default_pooling)
    if include_top:
        for index, width in enumerate(hidden_widths, 1):
            x = hidden(x, width, name=f"fc{index}", activation=activation, dropout=dropout)
        if dropout and not hidden_widths:
            x = keras.layers.Dropout(dropout, name="dropout")(x)
        x = predictions(x, classes, classifier_activation)
    return keras.Model(inputs, x)


def choose_stem(stem: Stem, input_shape: Sequence[int | None]) -> Stem:
    """ "imagenet" or "cifar": for "auto", by whether the image is above 64 pixels.

    Images of any size count as above.
    """
    if stem != "auto":
        return stem
    sides = [side for side in input_shape[:2] if side is not None]
    return "cifar" if sides and min(sides) <= 64 else "imagenet"


def _to_vector(x: keras.KerasTensor, pooling: str) -> keras.KerasTensor:
    if len(x.shape) == 2:
        return x
    if pooling == "flatten":
        if None in x.shape[1:]:
            raise InputError(
                "The network flattens its feature map, which takes images of one size: give "
                "input_shape=(height, width, channels), or pooling='avg', or include_top=False."
            )
        return keras.layers.Flatten(name="flatten")(x)
    pooled = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}
    return pooled[pooling](name=f"{pooling}_pool")(x)


def predictions(x: keras.KerasTensor, classes: int, activation: str | None) -> keras.KerasTensor:
    """The output, in float32: (N, D) -> (N, classes), or (N, H, W, C) -> (N, H, W, classes)."""
    options: dict[str, Any] = {
        "activation": output_activation(classes, activation),
        "kernel_initializer": "glorot_uniform",
        "dtype": output_dtype(),
        "name": "predictions",
    }
    if len(x.shape) == 4:
        return keras.layers.Conv2D(classes, 1, **options)(x)
    return keras.layers.Dense(classes, **options)(x)


def output_activation(classes: int, activation: str | None) -> str | None:
    """A softmax of one class is a sigmoid: that of two logits of which one is fixed to 0."""
    return "sigmoid" if classes == 1 and activation == "softmax" else activation


def output_dtype() -> str | None:
    """Of a network's last layers: probabilities in 16 bits lose what the loss needs."""
    half = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
    return "float32" if half else None


def _check_window(x: keras.KerasTensor, window: int, layer: str) -> None:
    _, height, width, _ = x.shape
    if min(side for side in (height, width, window) if side is not None) < window:
        raise VanishingError(
            f"The image vanishes at layer {layer!r}: {height}×{width} pixels are left there, "
            f"and its window is {window}×{window}"
        )
