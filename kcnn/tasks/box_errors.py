"""How a detector errs, drawn: what it missed, invented, and named wrongly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kcnn.draw.boxes import Box, boxed
from kcnn.interpret.boxes import ALONE, BoxErrors, missed_and_invented
from kcnn.tasks.box_pictures import SHOWN
from kcnn.tasks.fcos import Detections

_MATCH = 0.5  # IoU
#: What is right, and what is wrong: colours that can be told apart without seeing red and green.
WHITE, MISSED, INVENTED, CONFUSED = (255, 255, 255), (213, 94, 0), (0, 114, 178), (240, 228, 66)


def errors(truths: Sequence[np.ndarray], found: Sequence[Detections], classes: int) -> BoxErrors:
    """What is missed and invented of detections from `SHOWN` on, at IoU .5.

    Args:
        truths: Of each picture (M, 6) rows [box, class, crowd].
        found: In the same pixels.
        classes: How many there are.
    """
    return missed_and_invented(truths, found, classes, iou=_MATCH, confidence=SHOWN)


def wrong(
    image: np.ndarray,
    truth: np.ndarray,
    found: Detections,
    pairs: tuple[np.ndarray, np.ndarray],
    class_names: Sequence[str],
) -> np.ndarray:
    """A picture with what is right in white, and what is missed, invented, or named wrongly.

    Args:
        image: (H, W, C).
        truth: (M, 6) rows [box, class, crowd] in its pixels.
        found: In its pixels.
        pairs: What `BoxErrors` says of the picture: partners of its objects, objects of detections.
        class_names: By number.

    Returns:
        (H', W', 3) uint8.
    """
    right, shown = list[Box](), list[Box]()
    for row, partner in zip(truth, pairs[0], strict=True):
        if partner == ALONE:
            shown.append(missed_box(row, class_names))
    for number, partner in enumerate(pairs[1]):
        if partner == ALONE:
            shown.append(invented_box(found, number, class_names))
        elif partner >= 0 and (true := int(truth[partner, 4])) != found.classes[number]:
            shown.append(confused_box(found, number, true, class_names))
        elif partner >= 0:
            right.append(Box(found.boxes[number], "", WHITE))
    return boxed(image, [*right, *shown])


def missed_box(row: np.ndarray, class_names: Sequence[str]) -> Box:
    """An object [box, class, ...] that nothing matches."""
    return Box(row[:4], f"missed {class_names[int(row[4])][:24]}", MISSED)


def invented_box(found: Detections, number: int, class_names: Sequence[str]) -> Box:
    """A detection that matches nothing."""
    text = f"invented {class_names[int(found.classes[number])][:24]} {found.scores[number]:.2f}"
    return Box(found.boxes[number], text, INVENTED)


def confused_box(found: Detections, number: int, true: int, class_names: Sequence[str]) -> Box:
    """A detection of an object that is of class `true`."""
    said = class_names[int(found.classes[number])]
    text = f"{class_names[true][:16]}, said {said[:16]}"
    return Box(found.boxes[number], text, CONFUSED)
