"""Defaults of the families, chosen on validation alone: python -m benchmarks.defaults [FAMILY...]

Searches of kcnn's own (`kcnn.tune`) try every combination of learning rate and weight decay on each
of a family's data sets. No test image is read: they get the training images alone, and have no
winner. Beside each combination stands how many points of validation accuracy (mean IoU, AP) it lies
below the best of its data set. The default is, of the rates with a candidate within chance of the
best (two standard errors of the differences over all seeds and data), the nearest to what was, with
the decay that is best at it. Below 5,000 images the decay may be three times the family's: both are
candidates where a family has larger data, too; where it has not, decays are those in use. Three
seeds: weights, order and split, but for `bccd`, which has a validation split of its own. Needs
KCNN_DATA; hours on two cores for all. `results/defaults.json`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.machine import report, saved, spread

_DECAYS = (0.01, 0.03, 0.1, 0.3)
_FEW, _MORE = 5000, 3  # of kcnn/recipes/defaults.py
_IMAGES = 10_000  # at most, of a data set whose row says nothing else
_PLAIN = {"label_smoothing": 0.0, "swa": False, "dropout": 0.0, "batchnorm": False}
#: Share, of few images.
_VALIDATION = {"imagenette_small": 0.25, "cat_vs_noncat": 0.25, "pets": 0.25}
_GREY = ("digits", "mnist", "fashion_mnist")
_PHOTOS = {
    "data": ("imagenette_small",), "optimizer": "adamw",
    "rates": (1e-4, 3e-4, 1e-3, 3e-3), "decays": (0.01, 0.1),
}  # fmt: skip
_VGG = _PHOTOS | {
    "model": "vgg11", "size": 64,
    "fixed": _PLAIN | {
        "augment": "crop-flip", "dropout": 0.5, "hidden": (256,), "widths": (32, 64, 128, 256, 256),
    },
}  # fmt: skip
_ALEXNET = _PHOTOS | {
    "model": "alexnet", "size": 67,
    "fixed": _PLAIN | {
        "augment": "crop-flip", "dropout": 0.5, "hidden": (256, 256),
        "widths": (24, 64, 96, 96, 64),
    },
}  # fmt: skip
_MAPS = {"augment": "crop-flip", "swa": False, "dropout": 0.0}  #: of pictures with masks or boxes
_RESNET: dict[str, Any] = {
    "model": "resnet20", "data": ("cifar10_subset",), "optimizer": "nesterov",
    "fixed": _PLAIN | {
        "augment": "crop-flip", "batchnorm": True, "momentum": 0.9, "widths": (16, 32, 64),
        "depths": (3, 3, 3),
    },
}  # fmt: skip
_FCN: dict[str, Any] = {
    "model": "fcn", "data": ("pets",), "ignore": (3,), "optimizer": "adamw", "epochs": 8,
    "figure": "mean_iou",
    "fixed": _MAPS | {
        "longest_side": 128, "image_size": (128, 128), "width": 16, "hidden": (128, 128),
        "batchnorm": False, "batch_size": 8,
    },
    "rates": (1e-4, 3e-4, 1e-3, 3e-3), "decays": (0.03,),
}  # fmt: skip
#: By family (VGG, AlexNet and FCN as published and with BatchNorm): the network, the rows of its
#: space that stay at one value, its data, what is searched.
FAMILIES: dict[str, dict[str, Any]] = {
    "mlp": {
        "model": "mlp", "data": _GREY, "optimizer": "adamw",
        "fixed": _PLAIN | {"augment": "none", "width": 512, "depth": 3},
        "rates": (1e-3, 3e-3, 1e-2), "decays": _DECAYS,
    },
    "lenet": {
        "model": "lenet5", "data": (*_GREY, "cat_vs_noncat"), "optimizer": "adamw",
        "fixed": _PLAIN | {"augment": "none"},
        "rates": (2e-3, 5e-3, 1e-2, 2e-2), "decays": _DECAYS,
    },
    "vgg": _VGG,
    "vgg, BatchNorm": _VGG | {"fixed": _VGG["fixed"] | {"batchnorm": True}},
    "alexnet": _ALEXNET,
    "alexnet, BatchNorm": _ALEXNET | {"fixed": _ALEXNET["fixed"] | {"batchnorm": True}},
    "resnet": _RESNET | {
        "fixed": _RESNET["fixed"] | {"depths": (1, 1, 1)}, "epochs": 12,
        "rates": (0.03, 0.1, 0.3), "decays": (1e-3, 5e-3, 2e-2),
    },
    "resnet, in full": _RESNET | {"rates": (0.1, 0.3), "decays": (5e-3, 2e-2)},
    "resnet, few": _RESNET | {
        "data": ("imagenette_small",), "size": 64,
        "rates": (0.1, 0.3), "decays": (1.5e-2, 2e-2, 6e-2),
    },
    "resnet, many": _RESNET | {
        "data": ("fashion_mnist",), "images": 30_000, "epochs": 12,
        "fixed": _RESNET["fixed"] | {"depths": (1, 1, 1)},
        "rates": (0.1, 0.3), "decays": (5e-3, 2e-2),
    },
    "resnet, deep": _RESNET | {
        "model": "resnet56", "fixed": _RESNET["fixed"] | {"depths": (9, 9, 9)}, "epochs": 8,
        "rates": (0.1, 0.3), "decays": (2e-2,),
    },
    "resnet, without BatchNorm": _RESNET | {
        "fixed": _RESNET["fixed"] | {"batchnorm": False}, "epochs": 8,
        "rates": (0.003, 0.01, 0.03), "decays": (2e-2,),
    },
    "resnet, from weights": _RESNET | {
        "data": ("imagenette_small", "fashion_mnist"), "size": 64, "colour": True,
        "images": 1250, "validation": 0.2,
        "weights": "weights/cifar10_resnet20.safetensors", "epochs": 20,
        "fixed": _RESNET["fixed"] | {"preprocessing": "torch"},
        "rates": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), "decays": (0.02,),
    },
    "vgg, from weights": _PHOTOS | {
        "model": "vgg19", "size": 64, "weights": "vgg19_imagenet_notop.npz", "epochs": 4,
        "fixed": _PLAIN | {
            "augment": "crop-flip", "hidden": (), "pooling": "avg", "preprocessing": "caffe",
        },
        "rates": (1e-4, 3e-4, 1e-3), "decays": (0.03,),
    },
    "unet": {
        "model": "unet", "data": ("pets",), "ignore": (3,), "optimizer": "adamw", "epochs": 8,
        "figure": "mean_iou",
        "fixed": _MAPS | {
            "longest_side": 128, "image_size": (128, 128), "width": 16, "batchnorm": True,
            "batch_size": 8,
        },
        "rates": (3e-4, 1e-3, 3e-3, 1e-2), "decays": (0.03,),
    },
    "fcn": _FCN | {"fixed": _FCN["fixed"] | {"batchnorm": True}},
    "fcn, as published": _FCN,
    "fcos": {
        "model": "fcos", "data": ("bccd",), "optimizer": "adamw", "epochs": 8, "figure": "ap",
        "fixed": _MAPS | {
            "scale": 1.25, "width": 16, "channels": 32, "depth": 2, "strides": (4, 8, 16),
            "batch_size": 4,
        },
        "rates": (3e-4, 1e-3, 3e-3, 1e-2), "decays": (0.03,),
    },
}  # fmt: skip


def scores(family: str, data: str, seed: int, logs: str) -> dict[str, float]:
    """Validation accuracy (mean IoU, AP) in percent by "rate decay", from one search."""
    import kcnn

    row, given = FAMILIES[family], None
    decays = row["decays"]
    space = row["fixed"] | {
        "optimizer": row["optimizer"],
        "learning_rate": kcnn.tuning.Choice(row["rates"]),
        "weight_decay": kcnn.tuning.Choice(decays) if len(decays) > 1 else decays[0],
    }
    if "weights" in row:
        space["weights"] = str(Path(os.environ["KCNN_DATA"]).resolve() / row["weights"])
    if "figure" not in row:
        images, labels = training_part(data, row.get("size"), row.get("images", _IMAGES))
        if row.get("colour"):
            images = np.broadcast_to(images.reshape(*images.shape[:3], -1), (*images.shape[:3], 3))
        space["batch_size"] = 32 if len(images) < _FEW else 128
        given = {"train": (images, labels)}
    trials = len(row["rates"]) * len(row["decays"])
    options = kcnn.tuning.Options(
        model=row["model"], data=data, trials=trials, logs=logs, seed=seed, winner=False,
        epochs=row.get("epochs"), ignore=row.get("ignore"), name=f"{data}-{seed}",
        validation=_VALIDATION.get(data, row.get("validation", 0.1)),
    )  # fmt: skip
    found = kcnn.tune(options, space=space, data=given)
    return {
        f"{trial.values['learning_rate']:g} {trial.values['weight_decay']:g}":
            100.0 * trial.figures[row.get("figure", "accuracy")]
        for trial in found.trials
        if trial.status == "completed"
    }  # fmt: skip


def training_part(
    data: str, size: int | None = None, most: int = _IMAGES
) -> tuple[np.ndarray, np.ndarray]:
    """Training images (N, H, W, C) uint8 and labels (N,) alone; the middle of photographs."""
    from PIL import Image, ImageOps

    from kcnn.data import load_data

    if size is None or data in _GREY:
        train = load_data(data, validation=0).train
        return np.asarray(train.images)[:most], np.asarray(train.labels)[:most]
    files = sorted((Path(os.environ["KCNN_DATA"]) / data / "train").glob("*/*"))
    names = sorted({file.parent.name for file in files})
    images = [
        np.asarray(ImageOps.fit(Image.open(file).convert("RGB"), (size, size))) for file in files
    ]
    return np.stack(images), np.array([names.index(file.parent.name) for file in files])


def candidates(
    family: str, found: Mapping[str, list[Mapping[str, float]]], images: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Each rate, decay and factor below 5,000 images: points below the best, the best first."""
    row, rows = FAMILIES[family], []
    few = [data for data in row["data"] if images[data] < _FEW]
    many = [data for data in row["data"] if images[data] >= _FEW]
    for rate, decay, factor in itertools.product(
        row["rates"], row["decays"], (1, _MORE) if few and many else (1,)
    ):
        keys = {d: f"{rate:g} {decay * (factor if d in few else 1):g}" for d in row["data"]}
        if not all(keys[d] in runs for d in row["data"] for runs in found[d]):
            continue
        below = {d: [max(runs.values()) - runs[keys[d]] for runs in found[d]] for d in row["data"]}
        rows.append(
            {"family": family, "rate": rate, "decay": decay, "below 5,000": f"× {factor}"}
            | {d: spread(values) for d, values in below.items()}
            | {"points below": statistics.mean(v for b in below.values() for v in b)}
        )
    return sorted(rows, key=lambda found: found["points below"])


def main() -> None:
    """Search, and write the candidates of each family."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    chosen = given.families or list(FAMILIES)
    if unknown := set(chosen) - set(FAMILIES):
        parser.error(f"families are {', '.join(FAMILIES)}; received {', '.join(unknown)}")
    if not os.environ.get("KCNN_DATA"):
        parser.error("KCNN_DATA names the folder with the data sets")
    for family in chosen:
        data = FAMILIES[family]["data"]
        with tempfile.TemporaryDirectory() as logs:
            found = {
                d: [scores(family, d, seed, logs) for seed in range(given.seeds)] for d in data
            }
        if "figure" in FAMILIES[family]:
            images = dict.fromkeys(data, 0)  # fewer than 5,000 pictures with masks or boxes
        else:
            row = FAMILIES[family]
            parts = {d: training_part(d, row.get("size"), row.get("images", _IMAGES)) for d in data}
            images = {d: len(part[0]) for d, part in parts.items()}
        ranked = candidates(family, found, images)
        for row in ranked:
            row["points below"] = round(row["points below"], 2)
        # Read anew: another family may have been measured beside this one.
        rows = [row for row in saved("defaults") if row["family"] != family]
        rows += [ranked[0] | {"accuracies": found}, *ranked[1:]]
        report("defaults", "Points of validation accuracy below the best",
               ["family", "rate", "decay", "below 5,000", "points below"], rows)  # fmt: skip


if __name__ == "__main__":
    main()
