"""The training step in plain PyTorch.

    python -m benchmarks.contenders.torch_step ROW LAYOUT BATCH IMAGES

A contender of `benchmarks.step`. The images stay as one uint8 tensor on the device and are
normalised batch by batch. On a GPU: bfloat16 autocast and `torch.compile`.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.harness.rows import ROWS, Row, moments, synthetic
from benchmarks.harness.seat import serve
from tests.oracles import torch_nets


class LeNet5(nn.Module):
    """LeNet-5 of 28×28 images padded to 32×32, with tanh and average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, 28, 28) -> logits (N, 10)."""
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.fc2(torch.tanh(self.fc1(torch.flatten(x, 1)))))
        return self.fc3(x)


def network(row: Row) -> nn.Module:
    """The row's network, initialised as He et al. 2015."""
    size = row.input_shape[:2]
    model = {
        "lenet5": LeNet5,
        "resnet20": torch_nets.resnet20,
        "resnet34": lambda: torch_nets.resnet34(row.classes),
        "vgg16": lambda: torch_nets.vgg16(size, row.classes),
        "alexnet": lambda: torch_nets.alexnet(size, row.classes, groups=1),
    }[row.model]()
    if row.options.get("stem") == "cifar":
        model.stem[0] = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.pool = nn.Identity()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def batches(images: int, batch: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Indices (B,) of shuffled batches without end."""
    while True:
        yield from torch.randperm(images, device=device).split(batch)


def training(row: Row, layout: str, batch: int, images: int) -> tuple[nn.Module, Callable]:
    """The model, and a function that trains it for n steps."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cuda = device.type == "cuda"
    torch.backends.cudnn.benchmark = cuda
    format_ = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    model = network(row).to(device, memory_format=format_)
    optimizer = torch.optim.SGD(model.parameters(), row.learning_rate, momentum=0.9)
    pixels, labels = synthetic(images, row.input_shape, row.classes)
    mean, variance = (torch.from_numpy(m).view(-1, 1, 1).to(device) for m in moments(pixels))
    scale = variance.rsqrt()
    x, y = torch.from_numpy(pixels), torch.from_numpy(labels).to(device)
    # (N, C, H, W): a view of the bytes as they are, or a copy
    x = x.permute(0, 3, 1, 2).contiguous(memory_format=format_).to(device)
    order = batches(images, batch, device)
    forward = torch.compile(model) if cuda else model

    def run(steps: int) -> dict[str, Any]:
        total = torch.zeros((), device=device)
        for _ in range(steps):
            index = next(order)
            inputs = (x[index].float() - mean) * scale
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16, enabled=cuda):
                loss = F.cross_entropy(forward(inputs), y[index])
            loss.backward()
            optimizer.step()
            total += loss.detach()
        facts = {"loss": total.item() / steps}  # waits for the forward passes
        if cuda:
            torch.cuda.synchronize()
            facts["device_memory"] = torch.cuda.max_memory_allocated()
        return facts

    return model, run


def main(name: str, layout: str, batch: str, images: str) -> None:
    """Sit down."""
    row = ROWS[name]
    model, run = training(row, layout, int(batch), int(images))
    serve(
        run,
        batch=int(batch),
        parameters=sum(p.numel() for p in model.parameters()),
        longest=int(images) // int(batch),
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
