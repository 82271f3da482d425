"""Detections to look at and to hand on: boxes on pictures, curves, COCO JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.sets.decoding import decode
from kcnn.draw import boxes as on_pictures
from kcnn.draw import pictures as draw
from kcnn.storage import files
from kcnn.tasks import show
from kcnn.tasks.average_precision import RECALLS, AveragePrecision
from kcnn.tasks.fcos import Detections

#: Confidence from which on a detection is drawn and counted in lines; files hold all of them.
SHOWN = 0.3


def boxed(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    class_names: Sequence[str],
    confidences: np.ndarray | None = None,
) -> np.ndarray:
    """A picture with boxes, names and confidences, enlarged where it is small.

    Args:
        image: (H, W, C) uint8.
        boxes: (D, 4) in its pixels.
        classes: (D,) class numbers.
        class_names: By number.
        confidences: (D,) in 0..1; None for what is true.

    Returns:
        (H', W', 3) uint8.
    """
    colours = draw.palette(len(class_names))
    order = range(len(boxes)) if confidences is None else np.argsort(confidences, kind="stable")
    drawn = []
    for index in order:  # the most certain last, on top
        number = int(classes[index])
        text = class_names[number][:24]
        if confidences is not None:
            text += f" {confidences[index]:.2f}"
        drawn.append(on_pictures.Box(boxes[index], text, _rgb(colours[number])))
    return on_pictures.boxed(image, drawn)


def rows(
    shown: Sequence[tuple[str, np.ndarray, np.ndarray, Detections]],
    part: str,
    class_names: Sequence[str],
) -> bytes:
    """A PNG: for each (title, picture, truth (M, 6), detections) what is true and what is seen."""
    lines = []
    for title, image, truth, found in shown:
        real, below = truth[truth[:, 4] >= 0], draw.as_bytes(image)
        certain = found.scores >= SHOWN
        panels = [
            boxed(below, real[:, :4], real[:, 4], class_names),
            boxed(below, found.boxes[certain], found.classes[certain], class_names,
                  found.scores[certain]),
        ]  # fmt: skip
        lines.append(draw.Row(title, panels))
    headings = (f"{part}: truth", f"prediction, confidence from {SHOWN:g}")
    return draw.rows(lines, headings, class_names, draw.palette(len(class_names)))


def curves(precision: AveragePrecision, class_names: Sequence[str]) -> bytes:
    """A PNG of precision against recall at IoU .5, a line for each class."""
    figure = draw.figure(5.6, 4.4)
    axes = figure.subplots()
    colours = draw.palette(len(class_names)) / 255.0
    found = zip(class_names, precision.curves.values(), precision.ap50_per_class.values(),
                colours, strict=True)  # fmt: skip
    for name, curve, ap50, colour in found:
        if curve is not None:
            label = f"{draw.plain(name)[:24]}  AP50 {ap50:.3f}"
            axes.plot(RECALLS, curve, color=tuple(colour), label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("Precision against recall, IoU .5", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left")
    return draw.png(figure)


def _rgb(colour: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = map(int, colour)
    return red, green, blue


@dataclass
class BoxWriter:
    """Writes `NAME-boxes.png` of each picture; `detections.json` (COCO) and `.csv` of all.

    Both hold every detection, in the file's own pixels: COCO's `bbox` is x, y, width, height; the
    table has [x_min, y_min, x_max, y_max].
    """

    directory: Path
    class_names: tuple[str, ...]
    names: show.FileNames = field(default_factory=show.FileNames)
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add(self, prediction: Any) -> Path:
        """Draw a `kcnn.tasks.detection.BoxPrediction`, and keep what it says."""
        self.directory.mkdir(parents=True, exist_ok=True)
        image = len(self.images) + 1
        height, width = prediction.size
        self.images.append(
            {"id": image, "file_name": str(prediction.path), "width": width, "height": height}
        )
        found = zip(prediction.boxes, prediction.confidences, prediction.classes, strict=True)
        for box, score, number in found:
            left, top, right, bottom = (round(float(side), 2) for side in box)
            self.annotations.append({
                "id": len(self.annotations) + 1, "image_id": image, "category_id": int(number) + 1,
                "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
                "area": round((right - left) * (bottom - top), 2), "iscrowd": 0,
                "score": round(float(score), 4),
            })  # fmt: skip
        path = self.directory / f"{self.names.of(prediction.path, '-boxes')}-boxes.png"
        certain = prediction.confidences >= SHOWN
        pixels = boxed(
            decode(prediction.path), prediction.boxes[certain], prediction.classes[certain],
            self.class_names, prediction.confidences[certain],
        )  # fmt: skip
        draw.write_image(path, pixels)
        return path

    def close(self) -> list[Path]:
        """Write the two files of all pictures."""
        self.directory.mkdir(parents=True, exist_ok=True)
        categories = [{"id": k, "name": name} for k, name in enumerate(self.class_names, 1)]
        content = {
            "images": self.images, "categories": categories, "annotations": self.annotations
        }  # fmt: skip
        paths = [self.directory / "detections.json", self.directory / "detections.csv"]
        text = json.dumps(content, indent=1).encode()
        files.replace(paths[0], lambda file: file.write(text))
        files.replace(paths[1], lambda file: file.write(self._table().encode()))
        return paths

    def _table(self) -> str:
        held = io.StringIO()
        table = csv.writer(held, lineterminator="\n")
        table.writerow(["file", "class", "confidence", "x_min", "y_min", "x_max", "y_max"])
        for one in self.annotations:
            left, top, width, height = one["bbox"]
            name = self.class_names[one["category_id"] - 1]
            place = [left, top, round(left + width, 2), round(top + height, 2)]
            file = self.images[one["image_id"] - 1]["file_name"]
            table.writerow([_cell(file), _cell(name), one["score"], *place])
        return held.getvalue()


def _cell(text: str) -> str:
    """Text of files is no formula of a spreadsheet."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
