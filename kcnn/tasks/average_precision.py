"""Average precision of detections as COCO counts it, by faster-coco-eval.

Boxes are [x_min, y_min, x_max, y_max] in pixels; a box is small up to 32², medium up to 96².
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.errors import InputError

MISSING = (
    "Average precision is computed by faster-coco-eval, which is not installed: "
    "pip install 'kcnn[detection]'"
)
#: Detections of an image that count, the most certain first.
MOST = 100
#: Recalls at which a curve has its precision: 0, 0.01, ..., 1.
RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class AveragePrecision:
    """Shares in 0..1; None where there is no box (of that size, of that class) to be found."""

    ap: float | None  #: mean over IoU .50, .55, ..., .95 and over the classes
    ap50: float | None  #: at IoU .50
    ap75: float | None  #: at IoU .75
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar: float | None  #: recall with `MOST` detections of each image, mean as `ap` is
    ap_per_class: Mapping[str, float | None]
    ap50_per_class: Mapping[str, float | None]
    curves: Mapping[str, np.ndarray | None]  #: (101,) precision at `RECALLS`, IoU .50


def need_evaluator() -> None:
    """Refuse to begin what would end without faster-coco-eval.

    Raises:
        InputError: It is not installed; with what installs it.
    """
    if importlib.util.find_spec("faster_coco_eval") is None:
        raise InputError(MISSING)


def average_precision(
    truths: Sequence[np.ndarray],
    detections: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    class_names: Sequence[str],
) -> AveragePrecision:
    """What detections are worth.

    Args:
        truths: Of each image (M, 6) rows [box, class, crowd]; rows of class -1 are none. A crowd
            (COCO's iscrowd) need not be found, and what lies in it is not wrong.
        detections: Of each image boxes (D, 4), scores (D,) and class numbers (D,).
        class_names: By number, each once.

    Raises:
        InputError: faster-coco-eval is not installed; as many images on both sides there are not.
    """
    if len(truths) != len(detections):
        raise InputError(
            f"Truths and detections are of the same images; received {len(truths)} and "
            f"{len(detections)}."
        )
    evaluated = _evaluated(list(_true(truths)), list(_found(detections)), len(truths), class_names)
    # (10 IoUs, 101 recalls, K, 4 sizes, 1), and without recalls; -1 where there is no box.
    precision, recall = evaluated["precision"][..., -1], evaluated["recall"][..., -1]
    classes = range(len(class_names))
    whole = precision[..., 0]
    return AveragePrecision(
        ap=_mean(whole),
        ap50=_mean(whole[0]),
        ap75=_mean(whole[5]),
        ap_small=_mean(precision[..., 1]),
        ap_medium=_mean(precision[..., 2]),
        ap_large=_mean(precision[..., 3]),
        ar=_mean(recall[..., 0]),
        ap_per_class={class_names[k]: _mean(whole[:, :, k]) for k in classes},
        ap50_per_class={class_names[k]: _mean(whole[0, :, k]) for k in classes},
        curves={
            class_names[k]: None if _mean(whole[0, :, k]) is None else whole[0, :, k].copy()
            for k in classes
        },
    )


def _mean(values: np.ndarray) -> float | None:
    there = values[values > -1]
    return float(there.mean()) if there.size else None


def _true(truths: Sequence[np.ndarray]) -> Iterator[dict[str, Any]]:
    for image, rows in enumerate(truths, 1):
        for *box, number, crowd in np.asarray(rows, "float64").reshape(-1, 6).tolist():
            if number >= 0:
                yield _annotation(image, box, number) | {"iscrowd": int(crowd > 0)}


def _found(detections: Sequence[tuple[Any, Any, Any]]) -> Iterator[dict[str, Any]]:
    for image, (boxes, scores, numbers) in enumerate(detections, 1):
        rows = np.asarray(boxes, "float64").reshape(-1, 4).tolist()
        certain = np.asarray(scores, "float64").tolist()
        for box, score, number in zip(rows, certain, np.asarray(numbers).tolist(), strict=True):
            yield _annotation(image, box, number) | {"score": score}


def _annotation(image: int, box: Sequence[float], number: float) -> dict[str, Any]:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return {
        "image_id": image,
        "category_id": int(number) + 1,
        "bbox": [left, top, width, height],
        "area": width * height,
    }


def _evaluated(
    true: list[dict[str, Any]],
    found: list[dict[str, Any]],
    images: int,
    class_names: Sequence[str],
) -> Mapping[str, Any]:
    """The arrays `precision` and `recall` of COCO's evaluation, in silence."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(MISSING) from error
    # Ids from 1: to the evaluation, 0 is a box that nothing matches.
    numbered: list[dict[str, Any]] = [row | {"id": index} for index, row in enumerate(true, 1)]
    truth = COCO(
        {
            "info": {},
            "images": [{"id": image} for image in range(1, images + 1)],
            "categories": [{"id": k, "name": name} for k, name in enumerate(class_names, 1)],
            "annotations": numbered,
        }
    )
    evaluation = COCOeval_faster(truth, truth.loadRes(found), "bbox", print_function=_silent)
    evaluation.params.maxDets = [MOST]
    evaluation.evaluate()
    evaluation.accumulate()
    found_arrays: Mapping[str, Any] = evaluation.eval
    return found_arrays


def _silent(*_: Any) -> None:
    pass
