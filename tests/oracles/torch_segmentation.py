"""U-Net and FCN in plain PyTorch, written for the tests from the papers' figures.

They share no code with kcnn. Shapes are `(N, C, H, W)`; outputs are logits. Modules have the names
of the Keras layers, so that `copy_by_name` pairs them.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class UNet(nn.Module):
    """Ronneberger et al. 2015, figure 1, of any depth and width; padding 0 is the paper's."""

    def __init__(self, channels, classes, width=64, depth=4, padding=0, batchnorm=False):
        super().__init__()
        self.depth, self.batchnorm = depth, batchnorm
        widths = [width * 2**level for level in range(depth + 1)]

        def double(name, before, filters):
            for index, size in ((1, before), (2, filters)):
                conv = nn.Conv2d(size, filters, 3, padding=padding, bias=not batchnorm)
                self.add_module(f"{name}_{index}", conv)
                if batchnorm:
                    self.add_module(f"{name}_{index}_bn", nn.BatchNorm2d(filters))

        for level, filters in enumerate(widths, 1):
            double(f"enc{level}", channels, filters)
            channels = filters
        for level in range(depth, 0, -1):
            filters = widths[level - 1]
            self.add_module(f"up{level}", nn.ConvTranspose2d(2 * filters, filters, 2, stride=2))
            double(f"dec{level}", 2 * filters, filters)
        self.predictions = nn.Conv2d(width, classes, 1)

    def run(self, name, x):
        for index in (1, 2):
            x = self.get_submodule(f"{name}_{index}")(x)
            if self.batchnorm:
                x = self.get_submodule(f"{name}_{index}_bn")(x)
            x = F.relu(x)
        return x

    def forward(self, x):
        skips = []
        for level in range(1, self.depth + 2):
            x = self.run(f"enc{level}", F.max_pool2d(x, 2) if level > 1 else x)
            skips.append(x)
        skips.pop()
        for level in range(self.depth, 0, -1):
            x, skip = self.get_submodule(f"up{level}")(x), skips.pop()
            top = (skip.shape[2] - x.shape[2]) // 2
            left = (skip.shape[3] - x.shape[3]) // 2
            skip = skip[:, :, top : top + x.shape[2], left : left + x.shape[3]]
            x = self.run(f"dec{level}", torch.cat([skip, x], 1))
        return self.predictions(x)


class FCN(nn.Module):
    """Long et al. 2015 on a VGG (Simonyan & Zisserman 2015, table 1) of these stages."""

    def __init__(self, depths, widths, hidden, classes, stride):
        super().__init__()
        self.depths, self.hidden, self.stride = depths, len(hidden), stride
        before = 3
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
            for index in range(1, depth + 1):
                self.add_module(f"conv{stage}_{index}", nn.Conv2d(before, width, 3, padding=1))
                before = width
        for index, width in enumerate(hidden, 6):
            window = 7 if index == 6 else 1
            layer = nn.Conv2d(before, width, window, padding=window // 2)
            self.add_module(f"fc{index}", layer)
            before = width
        self.score32 = nn.Conv2d(before, classes, 1)
        if stride <= 16:
            self.score16 = nn.Conv2d(widths[3], classes, 1)
        if stride <= 8:
            self.score8 = nn.Conv2d(widths[2], classes, 1)

    def forward(self, x):
        pooled = {}
        for stage, depth in enumerate(self.depths, 1):
            for index in range(1, depth + 1):
                x = F.relu(self.get_submodule(f"conv{stage}_{index}")(x))
            x = pooled[stage] = F.max_pool2d(x, 2)
        for index in range(6, 6 + self.hidden):
            x = F.relu(self.get_submodule(f"fc{index}")(x))
        x = self.score32(x)
        if self.stride <= 16:
            x = _larger(x, 2) + self.score16(pooled[4])
        if self.stride <= 8:
            x = _larger(x, 2) + self.score8(pooled[3])
        return _larger(x, self.stride)


def _larger(x, factor):
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def copy_by_name(model, net):
    """Give `net` all weights of the Keras `model`; both have the same named layers, no others."""
    left = dict(net.named_parameters()) | dict(net.named_buffers())
    kinds = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
    kinds |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    for layer in model.layers:
        for weight in layer.weights:
            target = left.pop(f"{layer.name}.{kinds.get(weight.name, weight.name)}")
            value = weight.numpy()
            if value.ndim == 4:  # (f, f, in, out) -> (out, in, f, f); the last two are exchanged
                value = value.transpose(3, 2, 0, 1)  # in both libraries' transposed kernels
            assert tuple(target.shape) == value.shape, layer.name
            with torch.no_grad():
                target.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    assert [name for name in left if not name.endswith("num_batches_tracked")] == []
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5
    return net.eval()
