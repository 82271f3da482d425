"""Small pictures with masks and boxes, drawn by hand: bright rectangles of two kinds on noise."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
from PIL import Image


def picture(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, list]:
    """(H, W, 3) uint8; its mask (H, W), 0 to 2; its boxes [left, top, right, bottom, class]."""
    height, width = size
    image = rng.integers(0, 60, (height, width, 3))
    mask, boxes = np.zeros(size, np.uint8), []
    for kind in (1, 2):
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
        bottom, right = top + height // 3, left + width // 3
        image[top:bottom, left:right, kind - 1] += 150
        mask[top:bottom, left:right] = kind
        boxes.append([left, top, right, bottom, kind - 1])
    return np.clip(image, 0, 255).astype("uint8"), mask, boxes


def sizes_of(count: int, mixed: bool) -> list[tuple[int, int]]:
    """All 32 high and 48 wide, or of five sizes in turn."""
    different = [(32, 48), (40, 33), (27, 61), (50, 50), (32, 48)]
    return [different[i % 5] if mixed else (32, 48) for i in range(count)]


def masks_folder(root: Path, counts: dict[str, int], *, mixed: bool = True) -> Path:
    """`train/{images,masks}` and so on, of PNGs; classes `ground`, `red`, `green`."""
    rng = np.random.default_rng(7)
    for part, count in counts.items():
        for kind in ("images", "masks"):
            (root / part / kind).mkdir(parents=True)
        for index, size in enumerate(sizes_of(count, mixed)):
            image, mask, _ = picture(rng, size)
            Image.fromarray(image).save(root / part / "images" / f"p{index:03}.png")
            Image.fromarray(mask).save(root / part / "masks" / f"p{index:03}.png")
    (root / "classes.txt").write_text("ground\nred\ngreen\n")
    return root


def boxes_folder(root: Path, counts: dict[str, int], *, mixed: bool = True) -> Path:
    """`annotations_train.json` beside `train/` and so on, COCO; classes `red`, `green`."""
    rng = np.random.default_rng(7)
    for part, count in counts.items():
        (root / part).mkdir(parents=True)
        images, annotations = [], []
        for index, (height, width) in enumerate(sizes_of(count, mixed), 1):
            image, _, boxes = picture(rng, (height, width))
            name = f"p{index:03}.png"
            Image.fromarray(image).save(root / part / name)
            images.append({"id": index, "file_name": name, "height": height, "width": width})
            for left, top, right, bottom, kind in boxes:
                box = [left, top, right - left, bottom - top]
                annotations.append({
                    "id": len(annotations) + 1, "image_id": index, "category_id": kind + 1,
                    "bbox": box, "area": box[2] * box[3], "iscrowd": 0,
                })  # fmt: skip
        categories = [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"annotations_{part}.json").write_text(json.dumps(content))
    return root


class Break(keras.callbacks.Callback):
    """Raise at the n-th end of a step; nothing is saved by that."""

    def __init__(self, steps=None):
        super().__init__()
        self.left = steps

    def get_state(self):
        return {}

    def set_state(self, state):
        pass

    def on_train_batch_end(self, batch, logs=None):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise ZeroDivisionError
