"""What other libraries call the layers of kcnn's networks.

The sources are torchvision's and timm's state dicts, those of CIFAR ResNets (He et al. 2015,
section 4.2) in PyTorch, and the files of `keras.applications`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from kcnn.startup import keras

#: Of each layer, by its name, what a library calls it; one of these.
Places = dict[str, tuple[str, ...]]

OF_BLOCK = re.compile(r"conv(\d+)_(\d+)_(\d+|shortcut)(_bn)?")
_OF_STAGE = re.compile(r"conv(\d+)_(\d+)(_bn)?")


def _resnet_pytorch(layers: list[keras.layers.Layer]) -> Places:
    places: Places = {"conv1": ("conv1",), "conv1_bn": ("bn1",)}
    places["predictions"] = ("fc", "linear", "head.fc")
    for layer in layers:
        if not (found := OF_BLOCK.fullmatch(layer.name)):
            continue
        block = f"layer{int(found[1]) - 1}.{int(found[2]) - 1}"
        if found[3] == "shortcut":
            end = "1" if found[4] else "0"
            places[layer.name] = (f"{block}.downsample.{end}", f"{block}.shortcut.{end}")
        else:
            places[layer.name] = (f"{block}.{'bn' if found[4] else 'conv'}{found[3]}",)
    return places


def _resnet_keras(layers: list[keras.layers.Layer]) -> Places:
    places: Places = {"conv1": ("conv1_conv",), "conv1_bn": ("conv1_bn",)}
    places |= {"post_bn": ("post_bn",), "predictions": ("predictions", "probs", "fc1000")}
    for layer in layers:
        if found := OF_BLOCK.fullmatch(layer.name):
            index = "0" if found[3] == "shortcut" else found[3]
            kind = "bn" if found[4] else "conv"
            place = "preact_bn" if found[3] == "0" else f"{index}_{kind}"  # v2 begins with it
            places[layer.name] = (f"conv{found[1]}_block{found[2]}_{place}",)
    return places


_HIDDEN = {
    "fc1": ("classifier.0", "pre_logits.fc1"),
    "fc2": ("classifier.3", "pre_logits.fc2"),
    "predictions": ("classifier.6", "head.fc"),
}


def _vgg_pytorch(layers: list[keras.layers.Layer]) -> Places:
    """Places in one sequence: convolutions, BatchNorm, ReLU and, between stages, pooling."""
    places: Places = dict(_HIDDEN)
    place, stage = 0, "1"
    for layer in layers:
        if not (found := _OF_STAGE.fullmatch(layer.name)):
            continue
        if found[3]:
            places[layer.name] = (f"features.{place - 1}",)
            place += 1
            continue
        place += found[1] != stage
        stage = found[1]
        places[layer.name] = (f"features.{place}",)
        place += 2
    return places


def _vgg_keras(layers: list[keras.layers.Layer]) -> Places:
    places: Places = {name: (name,) for name in _HIDDEN}
    for layer in layers:
        if (found := _OF_STAGE.fullmatch(layer.name)) and not found[3]:
            places[layer.name] = (f"block{found[1]}_conv{found[2]}",)
    return places


def _alexnet_pytorch(layers: list[keras.layers.Layer]) -> Places:
    convolutions: Places = {
        f"conv{i}": (f"features.{p}",) for i, p in enumerate((0, 3, 6, 8, 10), 1)
    }
    dense = zip(_HIDDEN, ("classifier.1", "classifier.4", "classifier.6"), strict=True)
    return convolutions | {name: (place,) for name, place in dense}


#: Convolutions of VGGs, and how names of arrays begin that are of such sequences, or of residuals.
_VGGS = {8: "vgg11", 10: "vgg13", 13: "vgg16", 16: "vgg19"}
_SEQUENCE = re.compile(r"(?:module\.)?(features\.\d+|block\d_conv\d)\b|(block\d_conv\d)__")
_RESIDUAL = re.compile(r"(?:module\.)?layer\d\.\d+\.|conv\d_block\d+_")


def stranger(names: Iterable[str], family: str) -> str:
    """Whose names these are, where they are another family's than `family`; else empty."""
    names = list(names)
    sequence = {found[1] or found[2] for name in names if (found := _SEQUENCE.match(name))}
    if family == "resnet" and sequence:
        normalised = any(name.endswith(".running_mean") for name in names)
        return _VGGS.get(len(sequence) // (1 + normalised), "a VGG or AlexNet")
    if family != "resnet" and any(map(_RESIDUAL.match, names)):
        return "a ResNet"
    return ""


#: By library and family.
PLACES: Mapping[
    tuple[str, str], Callable[[list[keras.layers.Layer]], dict[str, tuple[str, ...]]]
] = {
    ("PyTorch", "resnet"): _resnet_pytorch,
    ("PyTorch", "vgg"): _vgg_pytorch,
    ("PyTorch", "alexnet"): _alexnet_pytorch,
    ("keras.applications", "resnet"): _resnet_keras,
    ("keras.applications", "vgg"): _vgg_keras,
}
