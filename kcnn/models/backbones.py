"""A classifier without its top, as the part of another network that makes feature maps.

Its layers keep their names and become the other network's own, so that weights go in by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kcnn.errors import GeometryError, InputError
from kcnn.graph.cost import abstract
from kcnn.graph.features import maps
from kcnn.models import registry
from kcnn.models.build import Shape, build
from kcnn.models.options import Stem
from kcnn.startup import keras

#: Strides whose maps are used: doubled a few times they are of the image's size.
STRIDES = (1, 2, 4, 8, 16, 32)

#: Side of the image on which it is seen which maps there are, without memory for them.
_PROBE = 256


@dataclass(frozen=True)
class Backbone:
    """The maps (N, H / s, W / s, C), symbolic, for each stride s that there is up to 32."""

    inputs: keras.KerasTensor
    last: Mapping[int, keras.KerasTensor]  #: of each stride, what the next one begins with
    first: Mapping[int, keras.KerasTensor]  #: of each stride, such as the pooling that makes it
    batchnorm: bool


def backbone(
    name: str,
    input_shape: Shape,
    *,
    user: str,
    preprocessing: Sequence[keras.layers.Layer] = (),
    width: int | None = None,
    batchnorm: bool | None = None,
    stem: Stem = "auto",
) -> Backbone:
    """The maps of the network registered as `name`.

    Args:
        name: Of a network for classification.
        input_shape: (H, W, C); sides may be None.
        user: The network that is built on it, for messages.
        preprocessing: Keras layers in front of it.
        width: Filters of its first stage; those of the others change in proportion.
        batchnorm: None is the network's own default.
        stem: "auto" is the one for photographs, whatever the size.

    Raises:
        InputError: No such network, or none with such maps; it lacks an option that is asked for.
        GeometryError: Sides that its largest stride does not divide.
    """
    entry = _entry(name, user)
    options = _options(entry, width, batchnorm, stem)
    if preprocessing and not entry.takes_preprocessing:
        raise InputError(
            f"{name}'s builder takes no layers in front of it, as the backbone of {user} has to: "
            f"give it a parameter `preprocessing`, as kcnn.models.layers.image_input takes it."
        )
    strides = _strides(entry, input_shape[2], options)
    check_sides(f"{user} on {name}", behind(input_shape, preprocessing), step=max(strides))
    if preprocessing:
        options = options | {"preprocessing": preprocessing}
    model = build(name, input_shape=input_shape, **options)
    last, first = maps(model), maps(model, first=True)
    return Backbone(
        inputs=model.inputs[0],
        last={stride: last[stride] for stride in strides},
        first={stride: first[stride] for stride in strides},
        batchnorm=bool(options.get("batchnorm", entry.options.get("batchnorm", False))),
    )


def behind(input_shape: Shape, preprocessing: Sequence[keras.layers.Layer]) -> Shape:
    """(H, W, C) as the layers of `preprocessing` leave it."""
    x = keras.KerasTensor((None, *input_shape))
    for layer in preprocessing:
        x = layer.compute_output_spec(x)
    height, width, channels = x.shape[1:]
    return height, width, channels


def check_sides(user: str, shape: Shape, *, step: int, smallest: int | None = None) -> None:
    """Refuse an image whose sides are not `smallest` (or `step`) and a multiple of `step` more.

    Raises:
        GeometryError: With the nearest sizes that do.
    """
    first = step if smallest is None else smallest
    sides = [side for side in shape[:2] if side is not None]
    if all(side >= first and (side - first) % step == 0 for side in sides):
        return
    below, above = [], []
    for side in (first if side is None else side for side in shape[:2]):
        fits = first + max(0, (side - first) // step) * step
        below.append(fits)
        above.append(fits if fits >= side else fits + step)
    sizes = dict.fromkeys(f"{height}×{width}" for height, width in (below, above))
    start = f"{first} and multiples of {step} more" if first != step else f"multiples of {step}"
    raise GeometryError(
        f"{user} takes images whose sides are {start} with these options; received "
        f"{shape[0]}×{shape[1]}. Pad, crop or resize them: nearest are {' and '.join(sizes)}."
    )


def _entry(name: str, user: str) -> registry.Entry:
    if not registry.is_imported(name):
        raise InputError(
            f"backbone={name!r} is Python code, which a network's option does not run. Import it "
            f"in your program and register it there with @kcnn.register; then name it."
        )
    entry = registry.lookup(name)
    if entry.task_name != "classification":
        raise InputError(
            f"A backbone is a network for classification, such as resnet18 or vgg16; received "
            f"backbone={name!r} for {user}, which is for {entry.task_name}."
        )
    return entry


def _options(
    entry: registry.Entry, width: int | None, batchnorm: bool | None, stem: Stem
) -> dict[str, Any]:
    known, options = entry.options, dict[str, Any]()
    if "include_top" in known:
        options["include_top"] = False
    if batchnorm is not None:
        options["batchnorm"] = batchnorm
    if "stem" in known:
        options["stem"] = "imagenet" if stem == "auto" else stem
    elif stem != "auto":
        raise InputError(
            f"stem={stem!r} is for backbones that have one, such as resnet18; {entry.name} has "
            f"none. Leave it out."
        )
    if width is not None:
        own = known.get("widths")
        if not own:
            raise InputError(
                f"width={width} scales the `widths` of a backbone's stages, which resnet18 and "
                f"vgg16 have, {entry.name} has not. Leave it out."
            )
        options["widths"] = tuple(max(1, round(width * one / own[0])) for one in own)
    return options


def _strides(entry: registry.Entry, channels: int, options: Mapping[str, Any]) -> tuple[int, ...]:
    """Strides of the maps that a network has for images of any size."""
    shape = (_PROBE, _PROBE, channels)
    try:
        model = abstract(partial(build, entry.name, input_shape=shape, **options))
    except GeometryError as error:
        raise InputError(
            f"{entry.name} is no backbone, which takes images of any size: {error}"
        ) from error
    found = {stride: x for stride, x in maps(model).items() if stride in STRIDES}
    advice = "Take a network whose convolutions pad, such as resnet18 or vgg16."
    if max(found, default=1) == 1:
        raise InputError(
            f"{entry.name} is no backbone: it has no feature maps of strides up to 32. {advice}"
        )
    for stride, x in found.items():
        height, width = x.shape[1:3]
        if (height, width) != (_PROBE // stride, _PROBE // stride):
            raise InputError(
                f"{entry.name} is no backbone: of an image {_PROBE}×{_PROBE} its map of stride "
                f"{stride} is {height}×{width}, not {_PROBE // stride}×{_PROBE // stride}. "
                f"{advice}"
            )
    return tuple(sorted(found))


def backbone_of(model: str, options: Mapping[str, Any]) -> str | None:
    """The name of the network on which another is built; None for one with its own encoder.

    Args:
        model: A registered name.
        options: Of the builder, those that are given.
    """
    found = options.get("backbone", registry.lookup(model).options.get("backbone"))
    return None if found is None else str(found)


def backbone_names(name: str, channels: int) -> set[str]:
    """The names of a backbone's layers with weights, whatever its width."""
    bare = abstract(partial(build, name, include_top=False, input_shape=(None, None, channels)))
    return {layer.name for layer in bare.layers if layer.weights}
