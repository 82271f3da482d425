"""AlexNet, VGG-16 and ResNet in plain PyTorch, written for the tests from the papers.

They share no code with kcnn. Shapes are `(N, C, H, W)`. The first dense layer takes the last
feature map as it is, flattened, as in the papers; torchvision's adaptive pooling is the identity
at 224×224. Dropout is left out: the tests compare inference.

Modules are registered in the order in which `convert.copy_weights` walks a Keras model: within
a residual block the branch first, then the projection.
"""

import torch
from torch import nn
from torch.nn import functional as F

HIDDEN = (4096, 4096)


class _Classifier(nn.Module):
    """Feature extractor, flatten, two hidden dense layers, logits."""

    def __init__(self, features, size, classes, hidden):
        super().__init__()
        self.features = features
        with torch.no_grad():
            map_shape = features.eval()(torch.zeros(1, 3, *size)).shape[1:]
        features.train()
        self.fc1 = nn.Linear(map_shape.numel(), hidden[0])
        self.fc2 = nn.Linear(*hidden)
        self.predictions = nn.Linear(hidden[1], classes)
        self.map_shape = tuple(map_shape)  # (C, H, W), for the permutation of fc1

    def forward(self, x):
        x = torch.flatten(self.features(x), 1)
        return self.predictions(F.relu(self.fc2(F.relu(self.fc1(x)))))


def alexnet_owt(size=(224, 224), classes=1000, hidden=HIDDEN):
    """Krizhevsky 2014, as torchvision has it."""
    pool = nn.MaxPool2d(3, 2)
    features = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), pool),
    )
    return _Classifier(features, size, classes, hidden)


def alexnet(size=(227, 227), classes=1000, hidden=HIDDEN, groups=2, lrn=False):
    """Krizhevsky et al. 2012, two towers; local response normalisation as in section 3.3."""
    pool = nn.MaxPool2d(3, 2)
    # PyTorch divides alpha by the number of channels that it sums over, the paper does not.
    norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0) if lrn else nn.Identity()
    features = nn.Sequential(
        *(nn.Conv2d(3, 96, 11, 4), nn.ReLU(), norm, pool),
        *(nn.Conv2d(96, 256, 5, padding=2, groups=groups), nn.ReLU(), norm, pool),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, padding=1, groups=groups), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1, groups=groups), nn.ReLU(), pool),
    )
    return _Classifier(features, size, classes, hidden)


def vgg16(size=(224, 224), classes=1000, hidden=HIDDEN, batchnorm=False, bias=True):
    """Simonyan & Zisserman 2015, column D. torchvision's vgg16_bn keeps the biases."""
    widths = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M"] + 2 * [512, 512, 512, "M"]
    modules, channels = [], 3
    for width in widths:
        if width == "M":
            modules.append(nn.MaxPool2d(2))
            continue
        modules.append(nn.Conv2d(channels, width, 3, padding=1, bias=bias))
        if batchnorm:
            modules.append(nn.BatchNorm2d(width))
        modules.append(nn.ReLU())
        channels = width
    return _Classifier(nn.Sequential(*modules), size, classes, hidden)


def _conv_bn(channels, width, kernel, stride=1):
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width),
    )


class _Projection(nn.Module):
    """Option B: a strided 1×1 convolution with BatchNorm."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.project = _conv_bn(channels, width, 1, stride)

    def forward(self, x):
        return self.project(x)


class _ZeroPad(nn.Module):
    """Option A: every `stride`-th pixel, zeros for the channels that are new."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.new, self.stride = width - channels, stride

    def forward(self, x):
        x = x[:, :, :: self.stride, :: self.stride]
        zeros = x.new_zeros(x.shape[0], self.new, *x.shape[2:])
        return torch.cat([x, zeros], dim=1)


class _Block(nn.Module):
    """Residual block: `branch` plus shortcut, then ReLU."""

    def __init__(self, branch, shortcut):
        super().__init__()
        self.branch = nn.ModuleList(branch)
        self.shortcut = shortcut

    def forward(self, x):
        y = x
        for index, convolution in enumerate(self.branch):
            y = convolution(y if index == 0 else F.relu(y))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """He et al. 2015. `widths` are the branches' widths; bottlenecks end in four times that.

    Bottlenecks stride in the 3×3 (v1.5, as torchvision), or, with `stride_in_1x1`, in the first
    1×1 (the paper's v1).
    """

    def __init__(
        self, depths, widths, classes, *, bottleneck, cifar=False, stride_in_1x1=False
    ):  # fmt: skip
        super().__init__()
        channels = widths[0]
        if cifar:
            self.stem, self.pool = _conv_bn(3, channels, 3), nn.Identity()
        else:
            self.stem, self.pool = _conv_bn(3, channels, 7, 2), nn.MaxPool2d(3, 2, padding=1)
        shortcut = _ZeroPad if cifar else _Projection
        self.blocks = nn.ModuleList()
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            for index in range(depth):
                stride = 2 if stage and index == 0 else 1
                out = 4 * width if bottleneck else width
                if bottleneck:
                    outer, inner = (stride, 1) if stride_in_1x1 else (1, stride)
                    branch = [
                        _conv_bn(channels, width, 1, outer),
                        _conv_bn(width, width, 3, inner),
                        _conv_bn(width, out, 1),
                    ]
                else:
                    branch = [_conv_bn(channels, width, 3, stride), _conv_bn(width, width, 3)]
                same = stride == 1 and channels == out
                skip = nn.Identity() if same else shortcut(channels, out, stride)
                self.blocks.append(_Block(branch, skip))
                channels = out
        self.predictions = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.pool(F.relu(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.predictions(x.mean(dim=(2, 3)))


_WIDTHS = (64, 128, 256, 512)


def resnet18(classes=1000):
    return ResNet((2, 2, 2, 2), _WIDTHS, classes, bottleneck=False)


def resnet34(classes=1000):
    return ResNet((3, 4, 6, 3), _WIDTHS, classes, bottleneck=False)


def resnet50(classes=1000, stride_in_1x1=False):
    return ResNet((3, 4, 6, 3), _WIDTHS, classes, bottleneck=True, stride_in_1x1=stride_in_1x1)


def resnet20(classes=10):
    """Section 4.2, CIFAR-10: option A shortcuts throughout."""
    return ResNet((3, 3, 3), (16, 32, 64), classes, bottleneck=False, cifar=True)


class _BlockV2(nn.Module):
    """He et al. 2016, figure 4e: BatchNorm, ReLU, convolution, twice; a projection of activations.

    The first block of a network follows the stem's ReLU, and has no BatchNorm of its own in front.
    """

    def __init__(self, channels, width, stride, first):
        super().__init__()
        self.norm = None if first else nn.BatchNorm2d(channels)
        self.inner = _conv_bn(channels, width, 3, stride)
        self.outer = nn.Conv2d(width, width, 3, padding=1, bias=False)
        same = stride == 1 and channels == width
        self.project = None if same else nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x):
        activations = x if self.norm is None else F.relu(self.norm(x))
        y = self.outer(F.relu(self.inner(activations)))
        return y + (x if self.project is None else self.project(activations))


class _ResNetV2(nn.Module):
    def __init__(self, depths, widths, classes):
        super().__init__()
        channels = widths[0]
        self.stem, self.pool = _conv_bn(3, channels, 7, 2), nn.MaxPool2d(3, 2, padding=1)
        self.blocks = nn.ModuleList()
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            for index in range(depth):
                stride = 2 if stage and index == 0 else 1
                self.blocks.append(_BlockV2(channels, width, stride, not (stage or index)))
                channels = width
        self.norm = nn.BatchNorm2d(channels)
        self.predictions = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.pool(F.relu(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.predictions(F.relu(self.norm(x)).mean(dim=(2, 3)))


def resnet18_v2(classes=1000):
    return _ResNetV2((2, 2, 2, 2), _WIDTHS, classes)


class _Stage(nn.Module):
    """VGG's stage with a sum in front of its last ReLU: of its input, projected where it grows."""

    def __init__(self, channels, width, depth):
        super().__init__()
        ends = [channels] + [width] * depth
        self.convolutions = nn.ModuleList(_conv_bn(a, width, 3) for a in ends[:-1])
        self.project = None if channels == width else _conv_bn(channels, width, 1)

    def forward(self, x):
        y = x
        for index, convolution in enumerate(self.convolutions):
            y = convolution(F.relu(y) if index else y)
        y = F.relu(y + (x if self.project is None else self.project(x)))
        return F.max_pool2d(y, 2)


def vgg13_residual(size=(224, 224), classes=1000, hidden=HIDDEN):
    """Column B of Simonyan & Zisserman with the shortcuts of He et al. 2015, option B."""
    widths = (64, 128, 256, 512, 512)
    stages = [_Stage(a, b, 2) for a, b in zip((3, *widths), widths, strict=False)]
    return _Classifier(nn.Sequential(*stages), size, classes, hidden)
