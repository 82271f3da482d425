"""Grad-CAM: Selvaraju et al. 2017, "Visual Explanations from Deep Networks", equations 1 and 2.

    α_k = 1/Z Σ_ij ∂y/∂A_kij        map = ReLU(Σ_k α_k A_k)

Where the map A is averaged and a linear layer makes the score y, α_k is its weight over Z, and
the map is CAM (Zhou et al. 2016) over Z, without what speaks against the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.flat import Call, Flat, check, flat
from kcnn.interpret.gradient import gradient
from kcnn.interpret.maps import map_call
from kcnn.interpret.pixels import as_images, at_once, resized
from kcnn.interpret.scores import refuse_not_finite, scores
from kcnn.startup import keras

#: Behind the last filters, what only shrinks or repeats a map is not looked at.
_NOT = ("Pooling", "Padding", "Cropping", "Dropout", "UpSampling", "Resiz", "Reshape")


def grad_cam(
    model: keras.Model,
    images: Any,
    classes: int | Sequence[int] | np.ndarray | None = None,
    *,
    layer: str | keras.layers.Layer | None = None,
    upsampled: bool = True,
) -> np.ndarray:
    """Where in images the evidence for a class lies, by the last feature map.

    Args:
        model: A classifier, functional or sequential, nested ones too; with softmax, sigmoid (of
            one unit too) or logits. The score is the logit.
        images: (N, H, W, C) with the values it was trained on.
        classes: Whose evidence: one for all, or one each; None is what the model predicts.
        layer: Whose map; None is `evidence_layer`.
        upsampled: To the images' size, bilinear; False leaves the layer's.

    Returns:
        (N, H, W), or (N, h, w), float32, at least 0, in units of the logit; all 0 where nothing
        speaks for the class.

    Raises:
        InputError: It has no graph or no such map; outputs that are no rows; no such class.
    """
    images = as_images(images)
    check(model)
    asked = scores(model, images, classes)
    assert asked.found is not None
    call = _last(asked.found) if layer is None else map_call(asked.found, layer)
    both = asked.found.model([call.output, asked.found.output])

    def score(batch: Any, classes: Any) -> tuple[Any, Any]:
        maps, outputs = both(batch, training=False)
        return asked.of(outputs, classes), maps

    run, found = gradient(score), []
    size = at_once(images)
    for begin in range(0, len(images), size):
        part = slice(begin, begin + size)
        values, maps, slope = run(images[part], asked.classes[part])
        refuse_not_finite(values)
        weights = slope.mean(axis=(1, 2))  # (N, K)
        found.append(np.maximum(np.einsum("nhwk,nk->nhw", maps, weights), 0.0))
    result = np.concatenate(found)
    return resized(result, *images.shape[1:3]) if upsampled else result


def evidence_layer(model: keras.Model, shape: Sequence[int] | None = None) -> str:
    """The layer that `grad_cam` looks at: the last map with filters behind it, before pooling.

    Args:
        model: Functional or sequential.
        shape: (H, W, C) of the images, where the model takes any size.

    Raises:
        InputError: There is no map.
    """
    return _last(flat(model, shape)).name


def _last(found: Flat) -> Call:
    learned, last = False, None
    narrow = {id(call) for call in found.narrow()}
    for call in found.calls:
        learned = learned or any(len(w.shape) > 1 for w in getattr(call.operation, "weights", ()))
        if learned and id(call) in narrow and not any(word in call.kind for word in _NOT):
            last = call
    if last is None:
        raise InputError(
            f"{found.name} has no feature map: it sees the image as a vector. saliency and "
            f"occlusion need none."
        )
    return last
