"""Residual streams whose new channels lie on both sides: shortcuts without parameters in PyTorch.

He et al. 2015, section 4.1, option A, pads a stream's channels with zeros and does not say where.
kcnn puts them behind, the published PyTorch networks half before and half behind. The two are one
network with its channels in another order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from kcnn.graph.walk import leaves
from kcnn.startup import keras
from kcnn.weights.names import OF_BLOCK

#: Of a layer, the order of the channels that it reads, and of those that it writes.
Orders = tuple[np.ndarray | None, np.ndarray | None]


def streams(model: keras.Model) -> dict[str, Orders]:
    """Where a file's residual streams have their channels: by layer, what goes in and comes out.

    A stream whose shortcut pads zeros on both sides has its old channels in the middle; kcnn has
    them first. Channel j here is channel order[j] there.
    """
    by_name = {layer.name: layer for layer in leaves(model)}
    pads = [re.fullmatch(r"conv(\d+)_1_shortcut_pad", name) for name in by_name]
    padded = {int(pad[1]) for pad in pads if pad}
    if not padded:
        return {}
    orders: dict[int, np.ndarray] = {}
    before = np.arange(by_name["conv1"].filters)
    blocks = [OF_BLOCK.fullmatch(name) for name in by_name]
    last = max(int(block[1]) for block in blocks if block)
    for stage in range(2, last + 1):
        width = by_name[_last_of(by_name, stage)].filters
        if stage in padded:
            left = (width - len(before)) // 2
            new = np.setdiff1d(np.arange(width), left + np.arange(len(before)))
            orders[stage] = np.concatenate([left + before, new])
        else:
            orders[stage] = before
        before = orders[stage]
    found: dict[str, Orders] = {}
    deepest = {stage: _last_of(by_name, stage)[-1] for stage in orders}
    for name in by_name:
        if not (parts := OF_BLOCK.fullmatch(name)):
            continue
        stage, block, index = int(parts[1]), int(parts[2]), parts[3]
        inside = orders.get(stage - 1) if block == 1 else orders[stage]
        reads = inside if index == "1" and not parts[4] else None
        writes = orders[stage] if index == deepest[stage] else None
        if reads is not None or writes is not None:
            found[name] = reads, writes
    return found | {"predictions": (before, None)}


def _last_of(names: Iterable[str], stage: int) -> str:
    """The last convolution of a stage's first block, without its shortcut's."""
    return max(name for name in names if re.fullmatch(rf"conv{stage}_1_\d", name))


def reordered(
    convert: Callable[[np.ndarray], np.ndarray], orders: Orders, weight: str
) -> Callable[[np.ndarray], np.ndarray]:
    """A conversion of a layer's weight, and then its channels in kcnn's order."""

    def converted(array: np.ndarray) -> np.ndarray:
        array = convert(array)
        reads, writes = orders
        if weight == "kernel" and reads is not None:
            array = array.take(reads, axis=-2)
        return array if writes is None else array.take(writes, axis=-1)

    return converted
