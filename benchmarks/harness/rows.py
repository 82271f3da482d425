"""The networks that `benchmarks.step` measures, and the images that they are trained on.

Every contender of a row trains the same network on the same images: uint8, synthetic, each class
around a mean of its own, so that the loss has to fall. Ten classes occur, whatever the number
of outputs.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """A network and the size of its problem."""

    model: str  #: as `kcnn.build` names it
    input_shape: tuple[int, int, int]
    classes: int
    batch: int
    gpu_batch: int
    images: int  #: eight times as many on a GPU
    learning_rate: float
    options: dict[str, Any] = field(default_factory=dict)  #: of `kcnn.build`
    others: tuple[str, ...] = ()  #: contenders besides kcnn, Keras' fit and PyTorch
    torch: bool = True
    tolerance: float = 0.0  #: of parameter counts
    note: str = ""


_CIFAR = {"input_shape": (32, 32, 3), "classes": 10, "images": 50_000}
_IMAGENET = {"input_shape": (224, 224, 3), "classes": 1000, "images": 1024}
_VGG = {"others": ("keras.applications",), "note": "head 4096-4096, as keras.applications"}

ROWS = {
    "lenet5-28": Row("lenet5", (28, 28, 1), 10, 128, 1024, 300_000, 0.01),
    "resnet20-32": Row("resnet20", batch=64, gpu_batch=512, learning_rate=0.01, **_CIFAR),
    "resnet34-32": Row(
        "resnet34", batch=64, gpu_batch=512, learning_rate=0.01,
        options={"stem": "cifar"}, note="CIFAR stem", **_CIFAR,
    ),
    "resnet34-224": Row(
        "resnet34", batch=8, gpu_batch=128, learning_rate=0.01, others=("keras-hub",), **_IMAGENET
    ),
    "resnet34v2-224": Row(
        "resnet34", batch=8, gpu_batch=128, learning_rate=0.01, options={"preact": True},
        others=("image-classifiers",), torch=False, tolerance=5e-4,
        note="pre-activation; image-classifiers' normalises its input, too (4,227 parameters more)",
        **_IMAGENET,
    ),
    "vgg16-32": Row("vgg16", batch=64, gpu_batch=512, learning_rate=3e-3, **_VGG, **_CIFAR),
    "vgg16-224": Row("vgg16", batch=8, gpu_batch=64, learning_rate=1e-3, **_VGG, **_IMAGENET),
    "alexnet-227": Row("alexnet", (227, 227, 3), 1000, 32, 256, 1024, 3e-4),
}  # fmt: skip


def synthetic(
    images: int, shape: tuple[int, int, int], classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, C) uint8 and labels (N,) int64, ten of the classes and the last among them.

    A pixel is noise of 0 to 127 plus the mean of its class and channel, 0 to 127.
    """
    random = np.random.default_rng(0)
    kinds = random.integers(0, 10, images)
    means = random.integers(0, 128, (10, shape[2]), dtype=np.uint8)
    pixels = random.integers(0, 128, (images, *shape), dtype=np.uint8)
    pixels += means[kinds][:, None, None, :]
    return pixels, kinds * (classes - 1) // 9


def moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per channel, (C,) float32, of the first 500 images."""
    pixels = images[:500].astype("float32")
    return pixels.mean((0, 1, 2)), pixels.var((0, 1, 2))
