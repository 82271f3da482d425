"""Networks of torchvision and timm in plain PyTorch, written for the tests: with their names.

They share no code with kcnn. `state_dict()` has the names that the published files have.
"""

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, before, width, stride, bottleneck, option_a=False):
        super().__init__()
        self.bottleneck, out = bottleneck, 4 * width if bottleneck else width
        if bottleneck:
            self.conv1 = nn.Conv2d(before, width, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.conv3 = nn.Conv2d(width, out, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(out)
        else:
            self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.pad = (out - before) // 2 if option_a and out != before else None
        if before != out and not option_a:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def shortcut(self, x):
        if self.pad is not None:
            return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return self.downsample(x) if hasattr(self, "downsample") else x

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """torchvision's; with `cifar`, the published CIFAR networks of He et al. 2015, option A."""

    def __init__(self, depths, widths, classes, bottleneck=False, cifar=False, channels=3):
        super().__init__()
        size, stride, padding = (3, 1, 1) if cifar else (7, 2, 3)
        self.conv1 = nn.Conv2d(channels, widths[0], size, stride, padding, bias=False)
        self.bn1, self.cifar = nn.BatchNorm2d(widths[0]), cifar
        before = widths[0]
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for index in range(depth):
                step = 2 if stage and not index else 1
                blocks.append(Block(before, width, step, bottleneck, option_a=cifar))
                before = 4 * width if bottleneck else width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.add_module("linear" if cifar else "fc", nn.Linear(before, classes))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        if not self.cifar:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return (self.linear if self.cifar else self.fc)(x.mean((2, 3)))


class Sequential(nn.Module):
    """VGG and AlexNet: `features`, and `classifier` with its dropouts in their places."""

    def __init__(self, features, vector, hidden, classes, dropout_first):
        super().__init__()
        self.features = nn.Sequential(*features)
        first, second = hidden
        drop = nn.Dropout(0.5)
        dense = [nn.Linear(vector, first), nn.ReLU(), drop, nn.Linear(first, second), nn.ReLU()]
        dense = [drop, *dense] if dropout_first else [*dense, drop]
        self.classifier = nn.Sequential(*dense, nn.Linear(second, classes))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def vgg(depths, widths, size, hidden, classes, batchnorm=False):
    modules, before = [], 3
    for depth, width in zip(depths, widths, strict=True):
        for _ in range(depth):
            modules.append(nn.Conv2d(before, width, 3, padding=1))
            modules += [nn.BatchNorm2d(width)] if batchnorm else []
            modules.append(nn.ReLU())
            before = width
        modules.append(nn.MaxPool2d(2))
    side = size // 2 ** len(depths)
    return Sequential(modules, before * side * side, hidden, classes, dropout_first=False)


def alexnet(size, classes, hidden=(4096, 4096)):
    pool = nn.MaxPool2d(3, 2)
    modules = [
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), pool),
    ]
    vector = nn.Sequential(*modules)(torch.zeros(1, 3, size, size)).numel()
    return Sequential(modules, vector, hidden, classes, dropout_first=True)


def randomized(net, seed=0):
    """Weights of the usual size; BatchNorm's statistics are those of images, and not trivial."""
    torch.manual_seed(seed)
    for name, parameter in net.named_parameters():
        with torch.no_grad():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter)
            elif "bn" in name or "downsample.1" in name:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(0, 0.3)
    return net


def settled(net, images):
    """BatchNorm's statistics near those of `images` (N, C, H, W)."""
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for _ in range(4):
            net(images)
    return net.eval()


def logits(net, images):
    """Of images (N, H, W, C), NumPy."""
    with torch.no_grad():
        return net(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()).numpy()


def save(net, path, rename=None):
    """The state dict as safetensors."""
    state = {(rename or (lambda n: n))(n): v.contiguous() for n, v in net.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})
    return path
