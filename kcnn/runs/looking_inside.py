"""The parts of a run's report that look into the network: filters, maps, units, evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kcnn import interpret
from kcnn.draw import inside
from kcnn.draw.page import Part, Picture
from kcnn.errors import InputError
from kcnn.graph.cost import cost, sized
from kcnn.runs.directory import Run
from kcnn.runs.looking import Seen
from kcnn.startup import keras
from kcnn.tasks.classification import ClassEvaluation

#: Images among which exciting ones are; layers and units of each that are shown, of classes twice
#: as many; steps of the pictures that units prefer.
_EXCITING, _LAYERS, _UNITS, _STEPS = 192, 3, 5, 64
#: Multiply-accumulates that forward passes of these steps may take, and the fewest steps from which
#: something can be seen: 25 pictures of 64 steps took ten minutes of VGG-19 at 224 pixels.
_WORK, _FEWEST = 4e12, 16


def filters(run: Run) -> Part:
    """Kernels early to late, as they were trained."""
    network = run.network
    layers = _spread(interpret.filter_layers(network))
    content = []
    for layer in layers:
        found = interpret.filters(network, layer)
        coloured = found.kernels.shape[2] == 3
        if coloured:
            shown = found.pictures()[:32]
            drawn = inside.filters(shown, f"{layer}: {len(shown)} of {found.kernels.shape[3]}")
        else:
            drawn = inside.kernels(found.kernels, layer)
        colours = "grey is 0" if coloured else "red is above 0, blue below"
        content.append(Picture(drawn, f"Filters of {layer}: {colours}."))
    text = "A filter is a pattern; its map says where in the picture the pattern is."
    return Part("Filters, early to late", text, content)


def maps(seen: Seen) -> Part:
    """Feature maps of one image, and what of the units is dead."""
    layers = [(one.title, one.maps[0]) for one in seen.maps]
    drawn = inside.feature_maps(seen.images[0], layers, limits=seen.limits)
    caption = "The first image, and what the first units of each layer say of it."
    return Part("Feature maps", "", [Picture(drawn, caption)])


def exciting(seen: Seen) -> Part:
    """What of the images excites units most."""
    rows, images = [], seen.images[:_EXCITING]
    for maps in _spread(seen.maps):
        if not len(alive := np.flatnonzero(~maps.dead)):
            continue
        units = alive[np.unique(np.linspace(0, len(alive) - 1, 4).round().astype(int))]
        for one in interpret.exciting_each(seen.network, maps.layer, units, images, top=8):
            rows.append((f"{maps.layer}, unit {one.unit}", one.crops))
    if not rows:
        raise InputError("no unit of these layers says anything of these images.")
    text = f"Of {len(images):,} images, what excites a unit most, cut to what it sees."
    drawn = inside.exciting(rows, columns=8, limits=seen.limits)
    return Part("What excites units", text, [Picture(drawn, "Each row is one unit.")])


def preferred(seen: Seen) -> Part:
    """What units would like to see: made, not found."""
    names, shape = seen.run.class_names, seen.images.shape[1:]
    outputs = seen.network.output_shape[-1]
    shown = [(maps.layer, np.flatnonzero(~maps.dead)) for maps in _spread(seen.maps)]
    shown = [(layer, alive) for layer, alive in shown if len(alive)]
    classes = outputs if seen.is_classifier else 0
    most, steps = affordable(len(shown), classes, cost(sized(seen.network, shape)).macs)
    layers: list[tuple[str | None, list[int]]] = [
        (layer, [int(k) for k in alive[:most]]) for layer, alive in shown
    ]
    if classes:
        layers.append((None, list(range(min(classes, 2 * most)))))
    found = interpret.preferred_each(
        seen.network, layers, images=seen.images, shape=shape, steps=steps
    )
    made = []
    for (layer, units), one in zip(layers, found, strict=True):
        # One output is for the second of two classes.
        told = [
            names[k if outputs > 1 else 1][:16] if layer is None else f"unit {k}" for k in units
        ]
        made.append(("classes" if layer is None else layer, one.images, told))
    drawn = inside.preferred(made, columns=_UNITS, limits=found[0].limits)
    text = f"Pictures made from noise in {steps} steps, to excite a unit or a class."
    if (most, steps) != (_UNITS, _STEPS):
        text += " The network is large: kcnn.interpret.preferred makes more, in more steps."
    return Part("Preferred pictures", text, [Picture(drawn, "Early, middle and late layers.")])


def affordable(layers: int, classes: int, macs: int) -> tuple[int, int]:
    """Units of each layer (of classes twice as many) and steps, by the cost of one forward pass."""
    units = steps = 0
    for units in range(_UNITS, 0, -1):
        pictures = layers * units + min(classes, 2 * units)
        steps = int(np.clip(_WORK // max(pictures * macs, 1), 0, _STEPS))
        if steps >= _FEWEST:
            break
    return units, max(steps, _FEWEST)


def evidence(seen: Seen, images: Mapping[str, np.ndarray]) -> Part:
    """Where the evidence lies, in pictures of the user or in one of each class."""
    network, names, evaluation = seen.network, seen.run.class_names, seen.found.evaluation
    if not isinstance(evaluation, ClassEvaluation):
        return Part("Where the evidence lies")
    if images:
        given, of = np.stack(list(images.values())).astype("float32"), list(images)
    else:
        chosen = _one_of_each(evaluation)
        given = seen.at(chosen)
        of = [names[k] for k in evaluation.answers.truth[chosen]]
    outputs = keras.ops.convert_to_numpy(network(given, training=False))
    said = outputs.argmax(axis=1) if outputs.shape[1] > 1 else None
    classes = None if said is None else said
    told = of if said is None else [f"{a}\nsaid: {names[k]}" for a, k in zip(of, said, strict=True)]
    shown = {
        "Grad-CAM": interpret.grad_cam(network, given, classes),
        "SmoothGrad": interpret.saliency(network, given, classes, samples=8),
    }
    drawn = inside.evidence_across(given, shown, told, limits=seen.limits)
    text = (
        "Grad-CAM: which places speak for the class that was said (Selvaraju et al. 2017); "
        "SmoothGrad: on which pixels its score depends (Smilkov et al. 2017)."
    )
    return Part("Where the evidence lies", text, [Picture(drawn, "Pictures, and maps over them.")])


def _one_of_each(evaluation: ClassEvaluation, most: int = 6) -> np.ndarray:
    """The first image of each class that was answered rightly; else the first of the class."""
    answers, chosen = evaluation.answers, list[int]()
    for k in range(answers.classes):
        own = np.flatnonzero(answers.truth == k)
        right = own[answers.right[own]]
        if len(own):
            chosen.append(int((right if len(right) else own)[0]))
    return np.array(chosen[:most])


def _spread(layers: Sequence[Any]) -> list[Any]:
    """An early, a middle and a late one."""
    if not layers:
        raise InputError("the network has no such layer.")
    places = np.linspace(0, len(layers) - 1, min(_LAYERS, len(layers))).round().astype(int)
    return [layers[k] for k in places]
