"""The recipe of a training: everything that decides its result, as plain data.

`None` means "by the network and the data"; `resolve` fills it in, and `recipe.json` in the run
directory holds the outcome.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kcnn.errors import InputError

Optimizer = Literal["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"]
Schedule = Literal["constant", "step", "cosine"]
Augment = Literal["auto", "none", "flip", "crop", "crop-flip"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train, on what, and how.

    Raises:
        InputError: A value outside its range, at construction.
    """

    model: str = "lenet5"
    """Network: a name of `kcnn list`, or FILE.py:NAME for one of your own."""
    data: str = "digits"
    """digits, mnist, fashion_mnist, cifar10, cifar100, a .npz file or a folder of class folders."""
    epochs: int | None = None
    """Passes over the training split."""
    batch_size: int | None = None
    """Images per step."""
    optimizer: Optimizer | None = None
    """sgd is plain; momentum and nesterov are SGD with momentum; adamw is Adam with decay."""
    learning_rate: float | None = None
    """Peak learning rate."""
    schedule: Schedule | None = None
    """Of the learning rate: cosine to 0; step divides by 10 after 1/2 and after 3/4."""
    warmup: float | None = None
    """Epochs over which the learning rate rises linearly from 0; parts of epochs count."""
    momentum: float | None = None
    """Of momentum and nesterov (default 0.9) and rmsprop (0), in [0, 1)."""
    weight_decay: float | None = None
    """Decoupled: each step takes rate x decay x weight away; not from biases and BatchNorm."""
    label_smoothing: float = 0.0
    """Share of the label spread evenly over all classes (Szegedy et al. 2016), in [0, 1)."""
    mixup: float = 0.0
    """Alpha of mixup (Zhang et al. 2018); 0 is off."""
    cutmix: float = 0.0
    """Alpha of CutMix (Yun et al. 2019); 0 is off."""
    augment: Augment = "auto"
    """Random crop and flip; auto: crop-flip for colour images from 24 pixels up, else none."""
    validation: float = 0.1
    """Share of the training images to choose on, in (0, 1), or a number of images from 1 up."""
    seed: int = 0
    """Of everything random: weights, split, order, augmentation, dropout."""
    split_seed: int | None = None
    """Of the split alone, to compare seeds on the same validation images; the default is seed."""
    precision: Precision | None = None
    """Numbers that layers compute in (float32); auto: 16 bits where that is faster here."""
    jit: bool = False
    """Compile the training step with XLA."""
    steps_per_execution: int | None = None
    """Steps that run in one graph; callbacks see such groups. The default fuses short steps."""
    early_stopping: int | None = None
    """Stop after so many epochs without a lower validation loss."""
    select: Literal["best", "last"] = "best"
    """Weights to keep: of the epoch that was best on validation, or of the last. Weight averaging
    keeps the average."""
    swa_start: float | None = None
    """Stochastic weight averaging from this share of training on, in (0, 1); open: none."""
    swa_learning_rate: float | None = None
    """Learning rate while weights are averaged; the default leaves the schedule alone."""
    swa_every: int = 1
    """Epochs from one averaged snapshot to the next."""
    swa_anneal: float = 1.0
    """Epochs over which the learning rate goes from the schedule's to swa_learning_rate."""
    swa_validation: bool = False
    """Validate the average after each epoch, too, with its own BatchNorm statistics."""
    ema: float | None = None
    """Momentum of an exponential moving average of the weights, in (0, 1), such as 0.99."""
    checkpoint_every: str | None = None
    """Save all of the training every so many steps (500) or so much time (90 s, 5 min); open: at
    the end of epochs, as often as it costs next to nothing."""
    on_nan: Literal["stop", "retry"] = "stop"
    """When the loss is not finite: stop, or go back one checkpoint with a tenth of the rate."""
    image_size: tuple[int, int] | None = None
    """Height and width the network sees; the default is the data's own where it can."""
    batchnorm: bool | None = None
    """BatchNorm behind each convolution; the default is the paper's."""
    dropout: float | None = None
    """Dropout rate of the head; the default is the paper's."""
    residual: bool | None = None
    """Shortcuts around blocks; the default is the paper's."""
    stem: Literal["auto", "imagenet", "cifar"] | None = None
    """First layers, where the network has a choice: auto goes by the image size."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The network's own options, as NAME VALUE (see kcnn show): width 256 depth 3."""
    cache: str | None = None
    """Keep image files decoded and resized: memory, or a folder. From the second epoch on (from
    the second run on, in a folder) reading them costs next to nothing."""
    skip_bad: bool = False
    """Go on without unreadable image files instead of listing them and stopping."""
    histograms: bool = False
    """Write weight histograms for TensorBoard at every epoch."""
    name: str | None = None
    """The run's folder below `logs`; the default is made of data, model and time."""
    logs: str = "logs"
    """Root folder of runs, which TensorBoard's --logdir takes."""

    def __post_init__(self) -> None:
        for check in _RANGES:
            check(self)
        if self.image_size is not None:
            object.__setattr__(self, "image_size", tuple(self.image_size))
        object.__setattr__(self, "options", dict(self.options))

    @property
    def validation_size(self) -> float | int:
        """`validation` as `load_data` takes it: a share, or a whole number of images."""
        return int(self.validation) if self.validation >= 1 else self.validation

    @property
    def seed_of_split(self) -> int:
        """`split_seed`, or `seed` where that is open."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def model_options(self) -> dict[str, Any]:
        """Options for `kcnn.build`: the switches that were set, and the network's own."""
        switches = {name: getattr(self, name) for name in _SWITCHES}
        given = {name: value for name, value in switches.items() if value is not None}
        if twice := given.keys() & self.options.keys():
            raise InputError(f"Given twice, as a field and in options: {', '.join(twice)}.")
        return given | dict(self.options)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data for JSON."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Recipe":
        """The inverse of `to_dict`.

        Raises:
            InputError: A field that no recipe has.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := set(fields) - known:
            raise InputError(
                f"A recipe has no field {', '.join(sorted(unknown))}. Its fields: "
                f"{', '.join(sorted(known))}."
            )
        return cls(**fields)


_SWITCHES = ("batchnorm", "dropout", "residual", "stem")


def _between(name: str, low: float, high: float, meaning: str) -> Any:
    def check(recipe: Recipe) -> None:
        value = getattr(recipe, name)
        if value is None:
            return
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value < high:
            raise InputError(f"{name} is {meaning}; received {value!r}.")

    return check


def _whole(name: str, low: int) -> Any:
    def check(recipe: Recipe) -> None:
        value = getattr(recipe, name)
        if value is None:
            return
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise InputError(f"{name} is a whole number from {low} up; received {value!r}.")

    return check


def _choice(name: str, allowed: Any) -> Any:
    def check(recipe: Recipe) -> None:
        value = getattr(recipe, name)
        if value is not None and value not in allowed.__args__:
            choices = ", ".join(allowed.__args__)
            raise InputError(f"{name} is one of {choices}; received {value!r}.")

    return check


def _image_size(recipe: Recipe) -> None:
    size = recipe.image_size
    if size is None:
        return
    whole = isinstance(size, (tuple, list)) and all(isinstance(side, int) for side in size)
    if not whole or len(size) != 2 or min(size) < 1:
        raise InputError(
            f"image_size is (height, width), two whole numbers from 1 up; received {size!r}."
        )


def _validation(recipe: Recipe) -> None:
    value = recipe.validation
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (0 < value < 1 or (value >= 1 and value == int(value))):
        raise InputError(
            f"validation is a share of the training images between 0 and 1, or a whole number of "
            f"images; epochs are chosen on it, so that it cannot be 0. Received {value!r}."
        )


def _averaging(recipe: Recipe) -> None:
    if recipe.swa_start is None and (recipe.swa_learning_rate or recipe.swa_validation):
        raise InputError(
            "swa_learning_rate and swa_validation are of stochastic weight averaging; it needs "
            "swa_start, such as 0.75."
        )
    if recipe.swa_start is not None and recipe.ema is not None:
        raise InputError(
            f"One average at a time: received swa_start={recipe.swa_start} and ema={recipe.ema}."
        )


def _folder_name(recipe: Recipe) -> None:
    name = recipe.name
    if name is not None and (not name or name in (".", "..") or "/" in name or "\0" in name):
        raise InputError(f"name is the name of a folder below `logs`; received {name!r}.")


_RANGES = (
    _whole("epochs", 1),
    _whole("batch_size", 1),
    _whole("seed", 0),
    _whole("early_stopping", 1),
    _whole("steps_per_execution", 1),
    _whole("swa_every", 1),
    _between("seed", 0, 2**31, "a whole number from 0 to 2^31 - 1"),
    _whole("split_seed", 0),
    _between("learning_rate", 1e-12, math.inf, "a number above 0"),
    _between("warmup", 0, math.inf, "a number of epochs from 0 up"),
    _validation,
    _between("momentum", 0, 1, "a number from 0 up to, not including, 1"),
    _between("weight_decay", 0, math.inf, "a number from 0 up"),
    _between("label_smoothing", 0, 1, "a number from 0 up to, not including, 1"),
    _between("mixup", 0, math.inf, "a number from 0 up (0 is off)"),
    _between("cutmix", 0, math.inf, "a number from 0 up (0 is off)"),
    _between("dropout", 0, 1, "a rate from 0 up to, not including, 1"),
    _choice("optimizer", Optimizer),
    _choice("schedule", Schedule),
    _choice("augment", Augment),
    _choice("precision", Precision),
    _choice("select", Literal["best", "last"]),
    _choice("on_nan", Literal["stop", "retry"]),
    _between("swa_start", 1e-12, 1, "a share of training between 0 and 1"),
    _between("swa_learning_rate", 1e-12, math.inf, "a number above 0"),
    _between("swa_anneal", 0, math.inf, "a number of epochs from 0 up"),
    _between("ema", 1e-12, 1, "a momentum between 0 and 1, such as 0.99"),
    _averaging,
    _choice("stem", Literal["auto", "imagenet", "cifar"]),
    _image_size,
    _folder_name,
)
