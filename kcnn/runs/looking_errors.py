"""The part of a run's report that shows its worst mistakes, of each task its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kcnn import interpret
from kcnn.draw import inside
from kcnn.draw.boxes import Box, cut_out
from kcnn.draw.page import Grid, Part, Picture
from kcnn.draw.pictures import Row, palette
from kcnn.draw.pictures import rows as beside
from kcnn.draw.sheets import Section, contact_sheet
from kcnn.graph.forward import forward
from kcnn.interpret.boxes import ALONE, BoxErrors
from kcnn.interpret.regions import MaskErrors, iou_per_class
from kcnn.runs.evaluation import picture
from kcnn.runs.looking import Seen
from kcnn.tasks import box_errors, box_pictures, mask_pictures
from kcnn.tasks.classification import ClassEvaluation
from kcnn.tasks.detection import BoxEvaluation, seen_whole
from kcnn.tasks.pictures import PictureProblem
from kcnn.tasks.segmentation import PixelEvaluation, Segmentation

_TITLE = "Worst mistakes"
#: Mistakes of a classifier that are shown; whole pictures; boxes of each kind, cut out; classes.
_MISTAKES, _PICTURES, _BOXES, _CLASSES = 12, 4, 12, 20


def mistakes(seen: Seen) -> Part:
    """What was wrong and surest, or the pictures that were worst, with what was missed in them."""
    evaluation = seen.found.evaluation
    if isinstance(evaluation, ClassEvaluation):
        return _of_classes(seen, evaluation)
    if isinstance(evaluation, PixelEvaluation) and isinstance(seen.run.task, Segmentation):
        return _of_masks(seen, evaluation, seen.run.task)
    if isinstance(evaluation, BoxEvaluation):
        return _of_boxes(seen, evaluation)
    return Part(_TITLE)


def _of_classes(seen: Seen, evaluation: ClassEvaluation) -> Part:
    """What it was surest of and wrong, with the evidence for what it said."""
    names, answers = seen.run.class_names, evaluation.answers
    worst = interpret.most_confident_mistakes(answers, _MISTAKES).indices
    if not len(worst):
        return Part(_TITLE, "There is none.")
    captions = [
        f"{names[answers.truth[k]]}\nsaid: {names[answers.said[k]]} {answers.confidence[k]:.0%}"
        for k in worst
    ]
    sheet = contact_sheet(
        [Section("Wrong, and surest", [picture(seen.found, int(k)) for k in worst], captions)], 6
    )
    content = [Picture(sheet, "What was true; what was said, and how surely.")]
    few = worst[:6]
    images, titles = seen.at(few), [f"said: {names[answers.said[k]]}" for k in few]
    maps = interpret.grad_cam(seen.network, images, answers.said[few])
    drawn = inside.evidence_across(images, {"Grad-CAM": maps}, titles, limits=seen.limits)
    content.append(Picture(drawn, "Where the evidence for what was said lies (Grad-CAM)."))
    return Part(_TITLE, "", content)


def _of_masks(seen: Seen, evaluation: PixelEvaluation, task: Segmentation) -> Part:
    """The pictures with the lowest IoU, where they are wrong, and what is taken for what."""
    found, names = seen.found, seen.run.class_names
    assert isinstance(found.problem, PictureProblem)
    run, logits, shown = forward(found.network, 1), task.gives_logits(found.network), []
    for index in map(int, interpret.worst_pictures(evaluation.by_picture, _PICTURES)):
        title = f"{found.problem.picture_name(found.part, index)}, mean IoU "
        looked = mask_pictures.looked_at(run, logits, found.problem, found.part, index)
        shown.append((f"{title}{evaluation.by_picture[index]:.3f}", looked))
    drawn = mask_pictures.rows(shown, found.part, names, wrong=True)
    errors = MaskErrors(evaluation.confusion, evaluation.by_picture)
    text = (
        "Missed: share of a class' pixels that were said to be of another; invented: share of what "
        "was said to be of a class that is of another."
    )
    caption = "The pictures with the lowest mean IoU, the worst first; what is wrong is red."
    return Part(_TITLE, text, [Picture(drawn, caption), _by_class_of_pixels(errors, names)])


def _by_class_of_pixels(errors: MaskErrors, names: Sequence[str]) -> Grid:
    iou = iou_per_class(errors.confusion)
    beside_it = errors.confusion - np.diag(np.diagonal(errors.confusion))
    there = [int(k) for k in np.argsort(iou, kind="stable") if not np.isnan(iou[k])]

    def share(value: float) -> str:
        return "" if np.isnan(value) else f"{value:.1%}"

    return Grid(
        [
            (names[k], share(iou[k]), share(errors.missed[k]), share(errors.invented[k]),
             names[int(beside_it[k].argmax())] if beside_it[k].any() else "")
            for k in there[:_CLASSES]
        ],
        ("class, the worst first", "IoU", "missed", "invented", "mostly taken for"),
    )  # fmt: skip


def _of_boxes(seen: Seen, evaluation: BoxEvaluation) -> Part:
    """The pictures with the lowest F1; boxes that were missed, invented, or named wrongly."""
    found, names = seen.found, seen.run.class_names
    assert isinstance(found.problem, PictureProblem)
    errors = box_errors.errors(evaluation.truths, evaluation.found, len(names))
    rows = []
    for index in map(int, interpret.worst_pictures(errors.f1, _PICTURES)):
        image = seen_whole(found.problem, found.part, index)
        truth = evaluation.truths[index]
        real = truth[truth[:, 4] >= 0]
        panels = [
            box_pictures.boxed(image, real[:, :4], real[:, 4], names),
            box_errors.wrong(
                image, truth, evaluation.found[index],
                (errors.partners[index], errors.objects[index]), names,
            ),
        ]  # fmt: skip
        name = found.problem.picture_name(found.part, index)
        rows.append(Row(f"{name}, F1 {errors.f1[index]:.2f}", panels))
    text = (
        f"Of detections with a confidence from {box_pictures.SHOWN:g} on, at an IoU of .5. Missed: "
        f"nothing was found there; invented: nothing is there, or it was found twice; named "
        f"wrongly: it was found as something else."
    )
    drawn = beside(rows, (f"{found.part}: truth", "wrong"), names, palette(len(names)))
    caption = (
        "The pictures with the lowest F1, the worst first: what is right in white, missed in "
        "orange, invented in blue, named wrongly in yellow."
    )
    content: list[Picture | Grid] = [Picture(drawn, caption)]
    if cut := _cut_out(seen, evaluation, errors):
        content.append(Picture(contact_sheet(cut, 6), "Single boxes, with what is around them."))
    return Part(_TITLE, text, [*content, _by_class_of_boxes(errors, names)])


def _by_class_of_boxes(errors: BoxErrors, names: Sequence[str]) -> Grid:
    wrong = errors.missed + errors.invented + errors.confused
    there = [k for k in np.argsort(-wrong, kind="stable") if wrong[k] or errors.right[k]]
    columns = (errors.right, errors.missed, errors.confused, errors.invented)
    return Grid(
        [(names[k], *(f"{values[k]:,}" for values in columns)) for k in there[:_CLASSES]],
        ("class, the most mistakes first", "right", "missed", "named wrongly", "invented"),
    )


#: A picture's number, and a box on it.
_Found = tuple[int, Box]


def _cut_out(seen: Seen, evaluation: BoxEvaluation, errors: BoxErrors) -> list[Section]:
    """The largest that were missed; the surest that were invented, or named wrongly."""
    names = seen.run.class_names
    missed, invented, confused = list[tuple[float, _Found]](), [], []
    for index, (truth, one) in enumerate(zip(evaluation.truths, evaluation.found, strict=True)):
        for row in truth[errors.partners[index] == ALONE]:
            box = box_errors.missed_box(row, names)
            missed.append((float((row[2:4] - row[:2]).prod()), (index, box)))
        for k, true in enumerate(errors.objects[index]):
            if true == ALONE:
                box = box_errors.invented_box(one, k, names)
                invented.append((float(one.scores[k]), (index, box)))
            elif true >= 0 and truth[true, 4] != one.classes[k]:
                box = box_errors.confused_box(one, k, int(truth[true, 4]), names)
                confused.append((float(one.scores[k]), (index, box)))
    kinds = {
        "Missed, the largest first": missed,
        "Invented, the surest first": invented,
        "Named wrongly, the surest first": confused,
    }
    return [
        _section(seen, heading, [f for _, f in sorted(all_, key=lambda one: -one[0])[:_BOXES]])
        for heading, all_ in kinds.items()
        if all_
    ]


def _section(seen: Seen, heading: str, shown: Sequence[_Found]) -> Section:
    found = seen.found
    assert isinstance(found.problem, PictureProblem)
    pictures, captions = [], []
    for index, box in shown:
        image = seen_whole(found.problem, found.part, index)
        pictures.append(cut_out(image, Box(box.sides, "", box.colour)))
        what = box.text.removeprefix("missed ").removeprefix("invented ")
        captions.append(f"{what}\n{found.problem.picture_name(found.part, index)}")
    return Section(heading, pictures, captions)
