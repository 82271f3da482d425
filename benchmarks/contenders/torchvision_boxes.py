"""A detector of torchvision from scratch, beside kcnn's: its name, a seed, CPU seconds.

A contender of `benchmarks.segment_detect`: NAME is ssdlite (320×320, MobileNetV3-Large) or fcos
(ResNet-50 with a pyramid), with random weights, on `bccd` in KCNN_DATA, for BUDGET CPU seconds of
this process in all. AdamW with a cosine over that budget, mirrored pictures in half the cases; the
rate is the better of 1e-3 and 3e-4 on validation in a trial. Prints JSON.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

_BATCH, _RATES = 8, {"ssdlite": 1e-3, "fcos": 3e-4}
_EVALUATION = 0.12  # of the budget


def torchvision() -> Any:
    """torchvision; where its compiled part does not fit this PyTorch, with `nms` in Python."""
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl("nms", _nms, "CPU")
        import torchvision

        torchvision.kept = library  # what it defines goes with it
        torchvision.ops.boxes._assert_has_ops = lambda: None  # it asks for the compiled part
    return torchvision


def _nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    order, kept = scores.argsort(descending=True), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        best = order[0]
        kept.append(best)
        rest = order[1:]
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        both = (high - low).clamp(min=0).prod(dim=1)
        order = rest[both / (area[best] + area[rest] - both) <= threshold]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.int64)


def pictures(folder: Path, part: str) -> tuple[dict[str, Any], list[tuple[int, Any, Any, Any]]]:
    """The COCO file, and (id, image, boxes, labels) of each picture."""
    coco = json.loads((folder / f"annotations_{part}.json").read_text())
    found = []
    for picture in coco["images"]:
        with Image.open(folder / part / picture["file_name"]) as file:
            image = torch.from_numpy(np.asarray(file.convert("RGB")).copy())
        own = [a for a in coco["annotations"] if a["image_id"] == picture["id"]]
        boxes = torch.tensor([a["bbox"] for a in own], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([a["category_id"] for a in own], dtype=torch.int64)
        found.append((picture["id"], image.permute(2, 0, 1).float() / 255, boxes, labels))
    return coco, found


def build(name: str) -> torch.nn.Module:
    """The network of torchvision with random weights, for three classes."""
    detection = torchvision().models.detection
    if name == "ssdlite":
        return detection.ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=4
        )
    return detection.fcos_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=240, max_size=320
    )


def main(name: str, seed: int, budget: float) -> None:
    """Train for the budget, and print the figures on validation."""
    torch.manual_seed(seed)
    torch.set_num_threads(os.cpu_count() or 1)
    folder = Path(os.environ["KCNN_DATA"]) / "bccd"
    _, train = pictures(folder, "train")
    truth, validation = pictures(folder, "val")
    model, rng = build(name), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATES[name], weight_decay=1e-2)
    epochs, until = 0, budget * (1 - _EVALUATION)
    model.train()
    while _spent() < until:
        order = rng.permutation(len(train))
        for first in range(0, len(train) - _BATCH + 1, _BATCH):
            done = min(1.0, _spent() / until)
            warm = min(1.0, (epochs * len(train) + first + _BATCH) / len(train))
            for group in optimizer.param_groups:
                group["lr"] = warm * _RATES[name] * 0.5 * (1 + math.cos(math.pi * done))
            images, targets = [], []
            for index in order[first : first + _BATCH]:
                _, image, boxes, labels = train[index]
                if rng.random() < 0.5:
                    image = image.flip(-1)
                    boxes = boxes.clone()
                    boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
                images.append(image)
                targets.append({"boxes": boxes, "labels": labels})
            loss = sum(model(images, targets).values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
        epochs += 1
    figures = evaluate(model, truth, validation)
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps(figures | {"parameters": parameters, "epochs": epochs}))


def evaluate(
    model: torch.nn.Module, truth: dict[str, Any], validation: list[Any]
) -> dict[str, float]:
    """AP and AP50 of `faster_coco_eval`."""
    from faster_coco_eval import COCO, COCOeval_faster

    model.eval()
    rows = []
    with torch.no_grad():
        for number, image, _, _ in validation:
            found = model([image])[0]
            for box, label, score in zip(found["boxes"].tolist(), found["labels"].tolist(),
                                         found["scores"].tolist(), strict=True):  # fmt: skip
                left, top, right, bottom = box
                rows.append({"image_id": number, "category_id": label, "score": score,
                             "bbox": [left, top, right - left, bottom - top]})  # fmt: skip
    coco = COCO(truth)
    run = COCOeval_faster(coco, coco.loadRes(rows), "bbox")
    run.run()
    return {"validation_ap": float(run.stats[0]), "validation_ap50": float(run.stats[1])}


def _spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
