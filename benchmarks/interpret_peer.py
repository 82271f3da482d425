"""Evidence beside tf-keras-vis: python -m benchmarks.interpret_peer [--images N] [--rounds N]

Needs KCNN_DATA and tf-keras-vis, which is in the extra `bench`. Grad-CAM and the plain gradient of
a published ResNet-20 for CIFAR-10, on the same images, of the same classes, by the same layer: how
far the values are apart, and images/s in turn, A B A B, behind a warm-up of both. Expected: at the
layer's own size the maps are the same to 1e-5 of the largest value; at the image's size they are
not, because tf-keras-vis stretches maps from corner to corner. A minute on two cores.
"""

import argparse
import importlib.metadata
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.machine import idle, report
from benchmarks.preferred import published
from kcnn.interpret import evidence_layer, grad_cam, saliency

_Method = Callable[[], np.ndarray]


def theirs(network: Any, images: np.ndarray, classes: np.ndarray) -> dict[str, _Method]:
    """What tf-keras-vis computes, by name; made ready once, as its users would."""
    with warnings.catch_warnings():
        # 0.8.7 imports SciPy's zoom from where it was.
        warnings.simplefilter("ignore", DeprecationWarning)
        from tf_keras_vis.gradcam import Gradcam
        from tf_keras_vis.saliency import Saliency
        from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
        from tf_keras_vis.utils.scores import CategoricalScore

    score, layer = CategoricalScore(classes.tolist()), evidence_layer(network)
    cam, plain = (kind(network, ReplaceToLinear()) for kind in (Gradcam, Saliency))

    def by_layer(large: bool) -> np.ndarray:
        return np.asarray(
            cam(score, images, layer, seek_penultimate_conv_layer=False, expand_cam=large,
                normalize_cam=False)
        )  # fmt: skip

    return {
        "Grad-CAM, layer's size": lambda: by_layer(False),
        "Grad-CAM, image's size": lambda: by_layer(True),
        "gradient": lambda: np.asarray(plain(score, images, normalize_map=False)),
    }


def ours(network: Any, images: np.ndarray, classes: np.ndarray) -> dict[str, _Method]:
    """The same of kcnn."""
    return {
        "Grad-CAM, layer's size": lambda: grad_cam(network, images, classes, upsampled=False),
        "Grad-CAM, image's size": lambda: grad_cam(network, images, classes),
        "gradient": lambda: saliency(network, images, classes, samples=1, noise=0.0),
    }


def timed(method: _Method) -> tuple[float, float]:
    """Seconds of the clock, and of processors."""
    clock, processors = time.perf_counter(), time.process_time()
    method()
    return time.perf_counter() - clock, time.process_time() - processors


def row(name: str, pair: tuple[_Method, _Method], images: int, rounds: int) -> dict[str, Any]:
    """One method: how far apart, and how fast, ours first."""
    first, second = (method() for method in pair)  # warm-up, too
    largest, apart = float(np.abs(second).max()), float(np.abs(first - second).max())
    seconds: tuple[list[tuple[float, float]], ...] = ([], [])
    busy = []
    for _ in range(rounds):
        for kept, method in zip(seconds, pair, strict=True):
            busy.append(idle(patience=3.0))
            kept.append(timed(method))
    clock, processors = (
        [statistics.median(one[k] for one in kept) for kept in seconds] for k in (0, 1)
    )
    return {
        "method": name,
        "largest value": f"{largest:.4g}",
        "apart": f"{apart:.2g}",
        "of the largest": f"{apart / largest:.1g}",
        "kcnn, images/s": f"{images / clock[0]:.0f}",
        "tf-keras-vis, images/s": f"{images / clock[1]:.0f}",
        "kcnn is ×": f"{clock[1] / clock[0]:.2f}",
        "× in CPU seconds": f"{processors[1] / processors[0]:.2f}",
        "n": rounds,
        "seconds": {"kcnn": seconds[0], "tf-keras-vis": seconds[1]},
        "busy": busy,
    }


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64, help="test images")
    parser.add_argument("--rounds", type=int, default=9, help="of both in turn")
    options, folder = parser.parse_args(), Path(os.environ["KCNN_DATA"])
    network = published("resnet20", folder)
    images = np.load(folder / "cifar10_subset.npz")["x_test"][: options.images].astype("float32")
    classes = np.asarray(network(images, training=False)).argmax(axis=1)
    mine, peer = (by(network, images, classes) for by in (ours, theirs))
    rows = [row(name, (mine[name], peer[name]), len(images), options.rounds) for name in mine]
    columns = [key for key in rows[0] if key not in ("seconds", "busy")]
    version = importlib.metadata.version("tf-keras-vis")
    notes = f"tf-keras-vis {version}; {len(images)} images in a call; medians of the rounds."
    report("interpret_peer", "Evidence beside tf-keras-vis", columns, rows, notes=notes,
           peer=version)  # fmt: skip


if __name__ == "__main__":
    main()
