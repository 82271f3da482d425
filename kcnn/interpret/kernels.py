"""Filters: what a convolution looks for; and the edge filters that the lecture shows by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.walk import leaves
from kcnn.startup import keras

#: The lecture's: bright on the left and dark on the right; dark above and bright below.
VERTICAL = np.array([[1, 0, -1], [1, 0, -1], [1, 0, -1]], "float32")
HORIZONTAL = np.array([[-1, -1, -1], [0, 0, 0], [1, 1, 1]], "float32")

#: ITU-R BT.601, as Pillow weighs them.
_LUMINANCE = np.array([0.299, 0.587, 0.114], "float32")


@dataclass(frozen=True)
class Filters:
    """The kernels of a layer."""

    layer: str
    kernels: np.ndarray  #: (kh, kw, C, K) float32, signed; of depthwise layers C is 1

    def pictures(self) -> np.ndarray:
        """The kernels as colour pictures (K, kh, kw, 3) float32 in 0..1, grey where a weight is 0.

        Each is scaled by its own largest weight, so that signs can be seen.

        Raises:
            InputError: They look at other than three channels, or one: there are no colours then.
        """
        if self.kernels.shape[2] not in (1, 3):
            raise InputError(
                f"Filters are colour pictures where they look at the 3 channels of an image, or at "
                f"1; those of {self.layer!r} look at {self.kernels.shape[2]}. Draw them channel by "
                f"channel: kernels[:, :, channel]."
            )
        each = np.repeat(self.kernels, 3 // self.kernels.shape[2], axis=2).transpose(3, 0, 1, 2)
        largest = np.abs(each).max(axis=(1, 2, 3), keepdims=True)
        return 0.5 + each / (2.0 * np.where(largest > 0, largest, 1.0))


def filter_layers(model: keras.Model) -> list[str]:
    """Names of the layers with filters (convolutions of images), in the order of the network."""
    return [layer.name for layer, _ in _with_filters(model)]


def filters(model: keras.Model, layer: str | None = None) -> Filters:
    """The kernels of a layer, as they are applied.

    Args:
        model: Any, also of a class of its own, as long as its layers can be listed.
        layer: One of `filter_layers`; None is the first. A `Conv2DTranspose` shows what one of its
            inputs writes; a `SeparableConv2D` its depthwise part.

    Raises:
        InputError: There is no such layer, or it has no filters; with those that have.
    """
    found = [(it, kernel) for it, kernel in _with_filters(model) if layer in (None, it.name)]
    if not found:
        names = filter_layers(model)
        known = f"layers with filters: {', '.join(names[:20])}" if names else "it has none at all"
        said = "no layer with filters" if layer is None else f"no layer {layer!r} with filters"
        raise InputError(f"{model.name} has {said}; {known}.")
    chosen, kernel = found[0]
    values = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(kernel, "float32")))
    if isinstance(chosen, keras.layers.Conv2DTranspose):  # (kh, kw, out, in)
        values = values.transpose(0, 1, 3, 2)
    elif _depthwise(chosen):  # (kh, kw, C, multiplier): each looks at one channel
        values = values.reshape(*values.shape[:2], 1, -1)
    return Filters(chosen.name, values)


def edges(image: np.ndarray) -> dict[str, np.ndarray]:
    """What the lecture's two filters say of a picture: signed maps, "valid" as there.

    Args:
        image: (H, W, C) or (H, W), uint8 in 0..255 or float in 0..1; of three channels the
            luminance is looked at, of one that. At least 3×3.

    Returns:
        "vertical" and "horizontal": (H - 2, W - 2) float32 within -3..3. In the first, bright left
        of dark is positive and dark left of bright negative; in the second, dark above bright is
        positive.

    Raises:
        InputError: Another shape, or other values.
    """
    image = np.asarray(image)
    grey = image[..., np.newaxis] if image.ndim == 2 else image
    if grey.ndim != 3 or grey.shape[2] not in (1, 3) or min(grey.shape[:2]) < 3:
        raise InputError(
            f"A picture is (H, W), (H, W, 1) or (H, W, 3), at least 3×3; received {image.shape}."
        )
    if grey.dtype == np.uint8:
        grey = grey.astype("float32") / 255.0
    elif grey.min() < 0.0 or grey.max() > 1.0:
        raise InputError(
            f"Pixels that are no bytes lie in 0..1; received {grey.dtype} between {grey.min():.3g} "
            f"and {grey.max():.3g}."
        )
    flat = grey @ _LUMINANCE if grey.shape[2] == 3 else grey[..., 0]
    return {
        "vertical": correlate(flat.astype("float32"), VERTICAL),
        "horizontal": correlate(flat.astype("float32"), HORIZONTAL),
    }


def correlate(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The lecture's convolution: (H, W) and (h, w) to (H - h + 1, W - w + 1), nothing flipped."""
    windows = np.lib.stride_tricks.sliding_window_view(image, kernel.shape)
    return np.einsum("ijkl,kl->ij", windows, kernel)


def _with_filters(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, keras.Variable]]:
    """Layers and the kernel of each, of four axes."""
    for layer in leaves(model):
        for name in ("kernel", "depthwise_kernel"):
            kernel = getattr(layer, name, None)
            if kernel is not None and len(getattr(kernel, "shape", ())) == 4:
                yield layer, kernel
                break


def _depthwise(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D))
