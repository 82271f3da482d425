"""From a Keras model of kcnn to the PyTorch net of the same name: random weights, copied over."""

import re

import numpy as np
import torch
from torch import nn

_KINDS = {"Conv2D": nn.Conv2d, "BatchNormalization": nn.BatchNorm2d, "Dense": nn.Linear}


def randomize(model, images, seed=0):
    """Give every weight of a Keras model a random value of which a mistake would show.

    Kernels keep the signal's size (He et al. 2015); scales are around 1 and never equal, shifts
    are not 0. A few batches in training mode bring BatchNorm's statistics near those of `images`:
    otherwise the sums of a residual network would dwarf the last shifts.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape, name = weight.shape, weight.path.rsplit("/", 1)[-1]
        if name == "kernel":
            value = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
        elif name in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, size=shape)
        elif name in ("bias", "beta", "moving_mean"):
            value = rng.normal(size=shape) * 0.3
        else:
            raise AssertionError(f"no rule for the weight {weight.path!r}")
        weight.assign(value.astype("float32"))
    if any(type(layer).__name__ == "BatchNormalization" for layer in model.layers):
        for _ in range(4):
            model(images, training=True)


def copy_weights(model, net):
    """Copy all weights of the Keras `model` into `net`, layer by layer in order.

    Raises AssertionError where the two do not have the same layers.
    """
    layers = sorted((layer for layer in model.layers if layer.weights), key=_position)
    modules = [module for module in net.modules() if isinstance(module, tuple(_KINDS.values()))]
    kinds = [_KINDS[type(layer).__name__] for layer in layers]
    assert kinds == [type(module) for module in modules]
    after_map = True
    for layer, module in zip(layers, modules, strict=True):
        if isinstance(module, nn.Conv2d):
            _copy(layer, "kernel", module.weight, (3, 2, 0, 1))  # (f, f, C, K) -> (K, C, f, f)
            _copy(layer, "bias", module.bias)
        elif isinstance(module, nn.Linear):
            kernel = layer.kernel.numpy()  # (D, K)
            if after_map and hasattr(net, "map_shape"):
                channels, height, width = net.map_shape  # Keras flattens (H, W, C)
                kernel = kernel.reshape(height, width, channels, -1)
                kernel = kernel.transpose(2, 0, 1, 3).reshape(-1, kernel.shape[-1])
            after_map = False
            _assign(module.weight, kernel.T)
            _copy(layer, "bias", module.bias)
        else:
            _copy(layer, "gamma", module.weight)
            _copy(layer, "beta", module.bias)
            _copy(layer, "moving_mean", module.running_mean)
            _copy(layer, "moving_variance", module.running_var)
            assert module.eps == layer.epsilon
    return net.eval()


def _position(layer):
    """Order by the numbers in the layer's name: conv3_2_1, conv3_2_1_bn, ..., its shortcut.

    Keras' own order interleaves the two paths of a residual block.
    """
    kind = {"conv": 0, "post": 1, "fc": 2, "predictions": 3}[re.match("[a-z]+", layer.name)[0]]
    numbers = [int(number) for number in re.findall(r"\d+", layer.name)]
    if "shortcut" in layer.name:
        numbers.append(99)
    return kind, numbers, layer.name.endswith("_bn")


def _copy(layer, name, parameter, axes=None):
    value = getattr(layer, name)
    assert (value is None) == (parameter is None), (layer.name, name)
    if value is not None:
        value = value.numpy()
        _assign(parameter, value if axes is None else value.transpose(axes))


def _assign(parameter, value):
    assert tuple(parameter.shape) == value.shape, (tuple(parameter.shape), value.shape)
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
