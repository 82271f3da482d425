"""Can another network name what a network prefers? python -m benchmarks.preferred [--seeds N]

Needs KCNN_DATA. The pictures that the ten logits of a published ResNet-20 for CIFAR-10 prefer
(`kcnn.interpret.preferred`) are blurred with sigma 1 and given to a ResNet-32 that had no part in
them: at least 7 of 10 have to be right, and of the noise that they were made of at most 4. A minute
a seed on two cores. For scale: of 500 test images that are blurred so, ResNet-32 has 38 % right.
Writes `results/preferred.png`: pictures of early, middle and late layers.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

import kcnn
from benchmarks.harness.machine import RESULTS, report
from kcnn.draw import inside
from kcnn.interpret import preferred

_SIGMA = 1.0
CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
#: Layers of ResNet-20 for the figure: behind the first filters, in the middle, towards the end.
_LAYERS = ("conv1_relu", "conv3_2_relu", "conv4_2_relu")


def published(name: str, folder: Path) -> Any:
    """A network with its published weights for CIFAR-10."""
    weights = folder / "weights" / f"cifar10_{name}.safetensors"
    return kcnn.build(name, weights=str(weights), preprocessing="torch")


def right(judge: Any, pictures: np.ndarray, sigma: float = _SIGMA) -> int:
    """Of pictures (10, H, W, 3), one of each class in order, how many `judge` names, blurred."""
    blurred = gaussian_filter(pictures, (0, sigma, sigma, 0))
    return int((np.asarray(judge(blurred, training=False)).argmax(1) == np.arange(10)).sum())


def judged(network: Any, judge: Any, images: np.ndarray, seed: int) -> dict[str, Any]:
    """One seed's pictures, and how many are right."""
    made = preferred(network, unit=range(10), images=images, seed=seed)
    noise = preferred(
        network, unit=range(10), images=images, seed=seed, steps=1, learning_rate=1e-9
    )
    return {
        "seed": seed,
        "right, blurred": right(judge, made.images),
        "right": right(judge, made.images, 0.0),
        "noise right": right(judge, noise.images),
        "logit of noise": round(float(made.before.mean()), 2),
        "logit": round(float(made.after.mean()), 1),
        "pictures": made.images,
    }


def main() -> None:
    """Make, judge, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how often")
    options, folder = parser.parse_args(), Path(os.environ["KCNN_DATA"])
    network, judge = (published(name, folder) for name in ("resnet20", "resnet32"))
    images = np.load(folder / "cifar10_subset.npz")["x_train"]
    rows = [judged(network, judge, images, seed) for seed in range(options.seeds)]
    last = [row.pop("pictures") for row in rows][-1]
    layers = [
        (f"{name}, units 0 to 4", preferred(network, name, range(5), images=images).images, ())
        for name in _LAYERS
    ]
    RESULTS.mkdir(exist_ok=True)
    figure = inside.preferred([*layers, ("logits", last, CLASSES)], limits=(0, 255))
    (RESULTS / "preferred.png").write_bytes(figure)
    columns = ["seed", "right, blurred", "right", "noise right", "logit of noise", "logit"]
    report("preferred", "Pictures that ResNet-20 prefers, named by ResNet-32", columns, rows)


if __name__ == "__main__":
    main()
