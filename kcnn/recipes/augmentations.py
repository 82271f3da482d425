"""What is done to training images at random: names with strengths, as a recipe has them.

A recipe holds the text that `Augmentations` writes, the same for the same augmentations, such as
`crop-flip,rotation=15,randaugment=2:9`. The words of former versions (none, flip, crop, crop-flip)
are such texts.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from kcnn.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Strength:
    """The number that stands behind a name.

    Args:
        unit: What it is, for people.
        high: The largest; 0 is off.
        usual: Where none is given.
        below: Whether `high` is none of them.
    """

    unit: str
    high: float
    usual: float
    below: bool = False

    @property
    def range(self) -> str:
        """Which numbers it takes, for people."""
        end = f"up to, not including, {self.high:g}" if self.below else f"to {self.high:g}"
        return f"{self.unit} from 0 (off) {end}"

    def __contains__(self, value: float) -> bool:
        return 0 <= value < self.high if self.below else 0 <= value <= self.high


#: By name. Of erasing: Zhong et al. 2020, section 4.2, found the probability 0.5 best.
STRENGTHS: Mapping[str, Strength] = {
    "rotation": Strength("degrees to either side", 180, 15),
    "zoom": Strength("a share by which images grow or shrink", 1, 0.1, below=True),
    "colour": Strength("a share of brightness, contrast and saturation", 1, 0.2, below=True),
    "erasing": Strength("a probability", 1, 0.5),
}
#: Of Cubuk et al. 2020: N operations of magnitude M; 2 and 9 are theirs for ResNet-50.
OPERATIONS, MAGNITUDE = 2, 9.0
_MOST_OPERATIONS, _HIGHEST_MAGNITUDE = 8, 10
_RANDAUGMENT = (
    f"randaugment=N:M, N operations (1 to {_MOST_OPERATIONS}; 0 is off) of magnitude M, above 0 to "
    f"{_HIGHEST_MAGNITUDE}"
)
_WORDS = ("none", "auto", "flip", "crop", "crop-flip")
#: All names that there are.
NAMES = (*_WORDS, *STRENGTHS, "randaugment")


@dataclass(frozen=True)
class Augmentations:
    """What is done to training images at random; without anything, nothing.

    Args:
        flip: Mirror one half, left to right.
        crop: Cut a random window.
        rotation: Degrees to either side.
        zoom: Share by which images grow or shrink.
        erasing: Probability that a rectangle becomes noise.
        randaugment: (N, M): so many operations of RandAugment, each of that magnitude.
        colour: Share of brightness, contrast and saturation; None where nothing is said. It is a
            recipe's field of that name, and stands in no text.
        auto: Flip and crop go by the images.
    """

    flip: bool = False
    crop: bool = False
    rotation: float = 0.0
    zoom: float = 0.0
    erasing: float = 0.0
    randaugment: tuple[int, float] | None = None
    colour: float | None = None
    auto: bool = False

    @classmethod
    def of(cls, value: Any) -> Self:
        """What somebody wrote.

        Args:
            value: Names with commas (or +) between, each with =STRENGTH where it has one; a list of
                such names; or a mapping of names to strengths, or to True or False.

        Raises:
            InputError: With the names that there are, and what strengths each has.
        """
        if isinstance(value, cls):
            return value
        found: dict[str, Any] = {}
        for item in _items(value):
            name, equals, strength = (part.strip() for part in item.partition("="))
            for known, meant in _meant(name, strength if equals else None, value).items():
                if known in found:
                    raise InputError(f"augment has {known} twice; received {value!r}.")
                found[known] = meant
        if found.pop("none", False) and found:
            raise InputError(f"augment is none, or something; received {value!r}.")
        if found.get("auto") and (found.get("flip") or found.get("crop")):
            raise InputError(
                f"augment has auto, which chooses flip and crop itself, and one of the two; "
                f"received {value!r}. Leave one out."
            )
        return cls(**found)

    def __str__(self) -> str:
        placed = "-".join(name for name in ("crop", "flip") if getattr(self, name))
        parts = ["auto"] if self.auto else [placed] if placed else []
        for name in ("rotation", "zoom", "erasing"):
            if strength := getattr(self, name):
                parts.append(f"{name}={_number(strength)}")
        if self.randaugment:
            parts.append("randaugment={}:{}".format(*map(_number, self.randaugment)))
        return ",".join(parts) or "none"

    @property
    def words(self) -> str:
        """`str`, with the colour."""
        if self.colour is None:
            return str(self)
        others = [] if str(self) == "none" else [str(self)]
        return ",".join([*others, f"colour={_number(self.colour)}"])

    def without_auto(self, chosen: str) -> Augmentations:
        """With what `auto` chose in its place.

        Args:
            chosen: Words as `of` takes them.
        """
        if not self.auto:
            return self
        words = Augmentations.of(chosen)
        return dataclasses.replace(self, auto=False, crop=words.crop, flip=words.flip)

    @property
    def bends(self) -> dict[str, str]:
        """By name, with strengths: what puts pixels to places where no window has them."""
        found = {name: _number(getattr(self, name)) for name in ("rotation", "zoom")}
        if self.randaugment:
            found["randaugment"] = ":".join(map(_number, self.randaugment))
        return {name: strength for name, strength in found.items() if strength != "0"}


def augment(name: str, value: Any) -> str:
    """A check of `kcnn.recipes.checks`: augmentations as text, with their strengths.

    A colour stands in the text that is checked; the recipe moves it to the field of that name.

    Raises:
        InputError: As `Augmentations.of`.
    """
    return Augmentations.of(value).words


def refuse_bending(found: Augmentations, what: str) -> None:
    """Refuse what moves pixels from under masks and boxes, which only windows and flips move.

    Raises:
        InputError: With what is left to take.
    """
    if found.bends:
        given = " and ".join(f"{name}={strength}" for name, strength in found.bends.items())
        raise InputError(
            f"{given} would move the pixels of {what}, and not their masks or boxes. Of pictures "
            f"with such, augment takes flip, crop, colour=SHARE and erasing=PROBABILITY; crop "
            f"scales, too (scale)."
        )


def refuse_other_than_bytes(found: Augmentations, dtype: str, what: str) -> None:
    """Refuse RandAugment for values of which nobody knows black and white.

    Raises:
        InputError: With what is left to take.
    """
    if found.randaugment and dtype != "uint8":
        raise InputError(
            f"randaugment is of images from 0 to 255 as uint8; those of {what} are {dtype}. Give "
            f"them as uint8, or take rotation, zoom, colour and erasing, which have no such range."
        )


def _items(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [
            name if strength is True else f"{name}={_written(strength)}"
            for name, strength in value.items()
            if strength is not False and strength is not None
        ]
    if isinstance(value, str):
        value = re.split("[,+]", value)
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return [item.strip() for item in value if item.strip()] or ["none"]
    raise InputError(
        f"augment is a text such as crop-flip,rotation=15, a list of such names, or a mapping of "
        f"names to strengths; received {value!r}."
    )


def _written(strength: Any) -> str:
    return ":".join(map(str, strength)) if isinstance(strength, (list, tuple)) else str(strength)


def _meant(name: str, strength: str | None, received: Any) -> dict[str, Any]:
    """Fields by name of one item; without those that are off."""
    if name == "randaugment":
        return {name: _randaugment(strength, received)}
    if name in STRENGTHS:
        known = STRENGTHS[name]
        number = known.usual if strength is None else _float(strength)
        if number is None or number not in known:
            raise InputError(
                f"augment's {name} is {known.range}; received {strength!r} in {received!r}."
            )
        return {name: number}
    if name in _WORDS and strength is None:
        return dict.fromkeys(name.split("-"), True)
    if name in _WORDS:
        raise InputError(f"augment's {name} has no strength; received {received!r}.")
    strengths = "; ".join(f"{name}: {known.range}" for name, known in STRENGTHS.items())
    raise InputError(
        f"augment has no {name!r}.{did_you_mean(name, NAMES)} It takes {', '.join(_WORDS)}, and "
        f"with strengths (rotation=15) {strengths}; {_RANDAUGMENT}. Received {received!r}."
    )


def _randaugment(strength: str | None, received: Any) -> tuple[int, float] | None:
    count, _, magnitude = (str(OPERATIONS) if strength is None else strength).partition(":")
    how_many, how_much = _float(count), _float(magnitude) if magnitude else MAGNITUDE
    if how_many == 0:
        return None
    whole = how_many is not None and how_many == int(how_many) and 1 <= how_many <= _MOST_OPERATIONS
    if not whole or how_much is None or not 0 < how_much <= _HIGHEST_MAGNITUDE:
        raise InputError(
            f"augment takes {_RANDAUGMENT}, such as randaugment=2:9; received {strength!r} in "
            f"{received!r}."
        )
    return int(how_many or 0), how_much


def _float(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _number(value: float) -> str:
    return f"{value:.12g}"
