"""The recipe of a training: everything that decides its result, as plain data.

`None` means "by the network and the data"; `resolve` fills it in, and `recipe.json` in the run
directory holds the outcome.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from kcnn.errors import InputError
from kcnn.recipes import checks
from kcnn.recipes.augmentations import Augmentations
from kcnn.recipes.augmentations import augment as augmentation
from kcnn.recipes.class_weights import class_weights
from kcnn.recipes.fields import (
    ALWAYS_THERE,
    check_fields,
    check_names,
    declarations,
    documented,
    field,
)

Optimizer = Literal["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "lion"]
Schedule = Literal["constant", "step", "cosine", "plateau"]
Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
Select = Literal["best", "last"]
OnNan = Literal["stop", "retry"]
Stem = Literal["auto", "imagenet", "cifar"]
Meaning = Literal["probabilities", "logits"]
Preprocessing = Literal["torch", "caffe", "tf"]
Freeze = Literal["backbone"]
Deduplicate = Literal["no", "exact", "near"]

#: Where Loshchilov & Hutter 2019, algorithm 1, is to be had.
_SGDW = "SGDW is momentum (or nesterov) with weight_decay, which is decoupled here."
#: Tasks whose pictures go in whole, with masks or boxes.
_PICTURES = ("segmentation", "detection")


@documented
@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """What to train, on what, and how.

    Raises:
        InputError: A value outside its range, at construction.
    """

    model: str = field(
        "lenet5",
        "Network: a name of `kcnn list`, or FILE.py:NAME for one of your own.",
        checks.text,
    )
    data: str = field(
        "digits",
        "digits, mnist, fashion_mnist, cifar10, cifar100, a .npz file, a .csv of file and label "
        "(and split and weight) beside pictures, a folder of class folders, of images and masks, "
        "or of images and boxes (COCO, Pascal VOC, YOLO).",
        checks.text,
        role="free",
    )
    columns: str | None = field(
        None,
        "Names of the columns of a table, where they are others: file=path,label=diagnosis, and "
        "split and weight.",
        checks.columns,
        role="free",
        older=None,
    )
    epochs: int | None = field(
        None, "Passes over the training split.", checks.whole(1), role="length"
    )
    batch_size: int | None = field(
        None,
        "Images that the network sees at a time; a step has `accumulate` times as many.",
        checks.whole(1),
    )
    accumulate: int = field(
        1,
        "Batches whose gradients make up one step: it is that of a batch so many times as large, "
        "in the memory of one. BatchNorm, dropout and detection's loss go by each batch.",
        checks.whole(1),
        older=1,
    )
    optimizer: Optimizer | None = field(
        None,
        "sgd is plain; momentum and nesterov are SGD with momentum; adamw is Adam with decay; lion "
        "goes by signs (Chen et al. 2023). SGDW is momentum with weight_decay: all decay is "
        "decoupled here.",
        checks.choice(Optimizer, {"sgdw": _SGDW}, own=True),
    )
    learning_rate: float | None = field(
        None,
        "Peak learning rate. The default is the network's own, a tenth of it where weights that it "
        "begins with are trained (ResNets: all of it).",
        checks.between(1e-12, math.inf, "a number above 0"),
    )
    schedule: Schedule | None = field(
        None,
        "Of the learning rate: cosine to 0; step divides by 10 after 1/2 and after 3/4; plateau "
        "lowers it where validation gets no better.",
        checks.choice(Schedule, own=True),
    )
    plateau_factor: float = field(
        0.1,
        "Of schedule plateau: what the rate is multiplied by, between 0 and 1.",
        checks.between(1e-12, 1, "a factor between 0 and 1, such as 0.1"),
        older=0.1,
    )
    plateau_patience: int = field(
        10,
        "Of schedule plateau: epochs without a better figure of monitor (open: without a lower "
        "loss) that lower the rate; better is by more than 1e-4.",
        checks.whole(1),
        older=10,
    )
    warmup: float | None = field(
        None,
        "Epochs over which the learning rate rises linearly from 0; parts of epochs count.",
        checks.between(0, math.inf, "a number of epochs from 0 up"),
    )
    momentum: float | None = field(
        None,
        "Of momentum and nesterov (default 0.9) and rmsprop (0), in [0, 1).",
        checks.between(0, 1, "a number from 0 up to, not including, 1"),
    )
    weight_decay: float | None = field(
        None,
        "Decoupled: each step takes rate x decay x weight away; not from biases and BatchNorm.",
        checks.between(0, math.inf, "a number from 0 up"),
    )
    clip_norm: float | None = field(
        None,
        "Largest norm of a step's gradients, taken over all that is trained: longer ones are "
        "scaled down to it (Pascanu et al. 2013). Decay and backbone_rate act behind it.",
        checks.between(1e-12, math.inf, "a norm above 0"),
        older=None,
    )
    label_smoothing: float = field(
        0.0,
        "Share of the label spread evenly over all classes (Szegedy et al. 2016), in [0, 1).",
        checks.between(0, 1, "a number from 0 up to, not including, 1"),
        tasks=("classification",),
    )
    mixup: float = field(
        0.0,
        "Alpha of mixup (Zhang et al. 2018); 0 is off.",
        checks.between(0, math.inf, "a number from 0 up (0 is off)"),
        tasks=("classification",),
    )
    cutmix: float = field(
        0.0,
        "Alpha of CutMix (Yun et al. 2019); 0 is off.",
        checks.between(0, math.inf, "a number from 0 up (0 is off)"),
        tasks=("classification",),
    )
    augment: str = field(
        "auto",
        "At random, and anew at each step: none, or names with commas between, in any order: flip, "
        "crop (auto: both for colour images from 24 pixels up, else none), rotation=15 (degrees), "
        "zoom=0.1, colour=0.2, erasing=0.5 (probability), randaugment=2:9 (operations, magnitude).",
        augmentation,
    )
    scale: float | None = field(
        None,
        "Where pictures are cropped, they are scaled by a random factor from 1/scale to scale "
        "before, and masks or boxes with them (1.5); 1 is off.",
        checks.between(1, 8, "a factor from 1 up to, not including, 8"),
        older=None,
        tasks=_PICTURES,
    )
    colour: float | None = field(
        None,
        "Random brightness, contrast and saturation, each by up to this share; the default is "
        "0.2 for pictures with masks or boxes, else 0, which is off.",
        checks.between(0, 1, "a share from 0 up to, not including, 1 (0 is off)"),
        older=0.0,
    )
    longest_side: int | None = field(
        None,
        "Pictures whose longer side has more pixels are scaled down to it, masks and boxes with "
        "them; figures are of that size, predictions of the file's own.",
        checks.whole(16),
        older=None,
        tasks=_PICTURES,
    )
    ignore: tuple[int, ...] | None = field(
        None,
        "Values of masks that are no class: not learned, not counted (255, where that is none of "
        "the classes).",
        checks.mask_values,
        older=None,
        tasks=("segmentation",),
    )
    class_weights: str = field(
        "none",
        "Of each class in the loss of training: none; balanced, which is images / (classes x "
        "images of the class), of pixels the median frequency over the class's own (Eigen & Fergus "
        "2015); a number for each class: 1,0.5,2; by name: cat=2,dog=0.5; or a .json or .csv file.",
        class_weights,
        older="none",
        tasks=("classification", "segmentation"),
    )
    balanced: bool = field(
        False,
        "Draw images so that all classes are seen equally often in each epoch: those of small "
        "classes several times, of large ones a random part.",
        checks.switch,
        older=False,
        tasks=("classification",),
    )
    dice: float = field(
        0.0,
        "Share of the Dice loss (Milletari et al. 2016) in the loss, from 0 to 1; the rest is "
        "cross-entropy.",
        checks.share,
        older=0.0,
        tasks=("segmentation",),
    )
    evaluation_scale: float | None = field(
        None,
        "Photographs are evaluated at this times the input, of which the middle is cut out; the "
        "default is what training saw: 1.15 where it crops, else 1.",
        checks.between(1, 4, "a factor from 1 up to, not including, 4"),
        older=1.0,
        tasks=("classification",),
    )
    validation: float = field(
        0.1,
        "Share of the training images to choose on, in (0, 1), or a number of images from 1 up.",
        checks.validation,
    )
    seed: int = field(
        0,
        "Of everything random: weights, split, order, augmentation, dropout.",
        checks.whole(0, 2**31, "a whole number from 0 to 2^31 - 1"),
    )
    split_seed: int | None = field(
        None,
        "Of the split alone, to compare seeds on the same validation images; the default is seed.",
        checks.whole(0),
    )
    precision: Precision | None = field(
        None,
        "Numbers that layers compute in (float32); auto: 16 bits where that is faster here.",
        checks.choice(Precision),
    )
    jit: bool = field(False, "Compile the training step with XLA.", checks.switch)
    steps_per_execution: int | None = field(
        None,
        "Steps that run in one graph; callbacks see such groups. The default fuses short steps.",
        checks.whole(1),
    )
    early_stopping: int | None = field(
        None,
        "Stop after so many epochs without a better figure of monitor on validation; open: without "
        "a lower loss.",
        checks.whole(1),
    )
    monitor: str | None = field(
        None,
        "Figure on validation that chooses the weights to keep, and that early_stopping and "
        "schedule plateau wait for: loss, accuracy, macro_f1, balanced_accuracy, mean_iou, ap50, "
        "and what else the task has. Open: its first one chooses, the loss is waited for.",
        checks.text,
        older=None,
    )
    select: Select = field(
        "best",
        "Weights to keep: best is of the latest epoch within one standard error of the best on "
        "validation, last of the last epoch. Weight averaging keeps the average.",
        checks.choice(Select),
    )
    swa_start: float | None = field(
        None,
        "Stochastic weight averaging from this share of training on, in (0, 1); open: none.",
        checks.between(1e-12, 1, "a share of training between 0 and 1"),
    )
    swa_learning_rate: float | None = field(
        None,
        "Learning rate while weights are averaged; the default leaves the schedule alone.",
        checks.between(1e-12, math.inf, "a number above 0"),
    )
    swa_every: int = field(1, "Epochs from one averaged snapshot to the next.", checks.whole(1))
    swa_anneal: float = field(
        1.0,
        "Epochs over which the learning rate goes from the schedule's to swa_learning_rate.",
        checks.between(0, math.inf, "a number of epochs from 0 up"),
        older=1.0,
    )
    swa_validation: bool = field(
        False,
        "Validate the average after each epoch, too, with its own BatchNorm statistics.",
        checks.switch,
    )
    ema: float | None = field(
        None,
        "Momentum of an exponential moving average of the weights, in (0, 1), such as 0.99.",
        checks.between(1e-12, 1, "a momentum between 0 and 1, such as 0.99"),
    )
    checkpoint_every: str | None = field(
        None,
        "Save all of the training every so many steps (500) or so much time (90 s, 5 min); open: "
        "at the end of epochs, as often as it costs next to nothing.",
        checks.period,
        role="free",
    )
    on_nan: OnNan = field(
        "stop",
        "When the loss is not finite: stop, or go back one checkpoint with a tenth of the rate.",
        checks.choice(OnNan),
        role="free",
    )
    image_size: tuple[int, int] | None = field(
        None,
        "Height and width the network sees; the default is the data's own where it can. With "
        "masks or boxes: of the windows that a training cuts out; whole pictures are evaluated.",
        checks.image_size,
    )
    backbone: str | None = field(
        None,
        "Network of classification on which one of segmentation or detection is built, such as "
        "resnet18; the default is the paper's.",
        checks.text,
        older=None,
        tasks=_PICTURES,
    )
    backbone_weights: str | None = field(
        None,
        "With whose weights the backbone begins: a run of a classifier, or as weights.",
        checks.text,
        older=None,
        tasks=_PICTURES,
    )
    weights: str | None = field(
        None,
        "What the network begins with: published weights (imagenet, or another tag of kcnn list "
        "--weights), a run, or a file of weights. Its end is new where the classes are others.",
        checks.text,
        older=None,
    )
    preprocessing: Preprocessing | None = field(
        None,
        "How the weights of a file were trained, of photographs 0 to 255; published ones and runs "
        "say it themselves.",
        checks.choice(Preprocessing),
        older=None,
    )
    freeze: Freeze | None = field(
        None,
        "What is not trained, with its BatchNorm in inference: backbone is all up to the last "
        "feature map.",
        checks.choice(Freeze),
        older=None,
    )
    until: str | None = field(
        None,
        "Freeze the layers up to this stage or layer, such as conv4 (see kcnn show), instead.",
        checks.text,
        older=None,
    )
    unfreeze_at: float | None = field(
        None,
        "From this share of the epochs on all is trained, in (0, 1).",
        checks.between(1e-12, 1, "a share of training between 0 and 1"),
        older=None,
    )
    backbone_rate: float | None = field(
        None,
        "Of the learning rate, for the layers up to the last feature map: 0.1 where they have been "
        "trained before.",
        checks.between(1e-12, math.inf, "a factor above 0"),
        older=None,
    )
    batchnorm: bool | None = field(
        None, "BatchNorm behind each convolution; the default is the paper's.", checks.switch
    )
    dropout: float | None = field(
        None,
        "Dropout rate of the head; the default is the paper's.",
        checks.between(0, 1, "a rate from 0 up to, not including, 1"),
    )
    residual: bool | None = field(
        None, "Shortcuts around blocks; the default is the paper's.", checks.switch
    )
    stem: Stem | None = field(
        None,
        "First layers, where the network has a choice: auto goes by the image size.",
        checks.choice(Stem),
    )
    options: Mapping[str, Any] = field(
        {},
        "The network's own options, as NAME VALUE (see kcnn show): width 256 depth 3.",
        checks.mapping,
    )
    cache: str | None = field(
        None,
        "Keep image files decoded and resized: memory, or a folder. From the second epoch on "
        "(from the second run on, in a folder) reading them costs next to nothing.",
        checks.text,
        role="free",
    )
    skip_bad: bool = field(
        False,
        "Go on without unreadable image files instead of listing them and stopping.",
        checks.switch,
        role="free",
    )
    deduplicate: Deduplicate = field(
        "no",
        "Leave out pictures that are there twice: exact copies, or near ones as well (stored "
        "anew, smaller, brighter). One stays, of test before validation before training; of exact "
        "copies under two labels none.",
        checks.choice(Deduplicate),
        older="no",
    )
    outputs: Meaning | None = field(
        None,
        "What the outputs of a network of your own are, where that cannot be seen.",
        checks.choice(Meaning),
        older=None,
    )
    histograms: bool = field(
        False, "Write weight histograms for TensorBoard at every epoch.", checks.switch, role="free"
    )
    health: bool = field(
        False,
        "Log how far weights move, gradients, silent ReLUs, and BatchNorm's drift, each epoch.",
        checks.switch,
        role="free",
        older=False,
    )
    images_every: int | None = field(
        None,
        "Write filters, maps and mistakes for TensorBoard every so many epochs; else at the end.",
        checks.whole(1),
        role="free",
        older=None,
    )
    compiled: Mapping[str, Any] = field(
        {},
        "Optimizer, loss and metrics that Python handed over in place of the recipe's own, as "
        "Keras' configs.",
        checks.compiled,
        older={},
    )
    rates: tuple[tuple[int, float], ...] = field(
        (),
        "Peak learning rates from later steps on, as pairs (step, rate): what `kcnn resume "
        "--learning-rate` changed.",
        checks.rates,
        role="free",
        older=(),
    )
    name: str | None = field(
        None,
        "The run's folder below `logs`; the default is made of data, model and time.",
        checks.folder_name,
        role="free",
    )
    logs: str = field(
        "logs", "Root folder of runs, which TensorBoard's --logdir takes.", checks.text, role="free"
    )

    def __post_init__(self) -> None:
        check_fields(self, Recipe)
        if ("optimizer" in self.compiled) != str(self.optimizer).startswith(checks.OWN):
            raise InputError(
                f"optimizer={self.optimizer!r} and the optimizer in compiled do not go together: a "
                f"recipe of an optimizer of your own has both. kcnn.train(recipe, optimizer=...) "
                f"fills them in."
            )
        self._say_colour_once()
        if self.swa_start is None and (self.swa_learning_rate or self.swa_validation):
            raise InputError(
                "swa_learning_rate and swa_validation are of stochastic weight averaging; it needs "
                "swa_start, such as 0.75."
            )
        if self.balanced and self.class_weights == "balanced":
            raise InputError(
                "balanced and class_weights='balanced' both make up for classes of different "
                "sizes, together twice over. Leave one of the two out."
            )
        if self.freeze and self.until:
            raise InputError(
                f"freeze={self.freeze!r} freezes all up to the last feature map, "
                f"until={self.until!r} a part of it. Leave one of the two out."
            )
        if not (self.freeze or self.until) and self.unfreeze_at is not None:
            raise InputError(
                f"unfreeze_at={self.unfreeze_at} ends what freeze or until begins. Give one of "
                f"them, such as freeze='backbone'."
            )
        if self.freeze and self.unfreeze_at is None and self.backbone_rate is not None:
            raise InputError(
                f"backbone_rate={self.backbone_rate} is of layers that freeze={self.freeze!r} "
                f"never trains. Give unfreeze_at, or leave it out."
            )
        if (self.freeze or self.until) and self.ema is not None:
            raise InputError(
                f"ema={self.ema} averages all weights from the first step on; received freeze or "
                f"until. Take swa_start."
            )
        if self.weights is not None and self.backbone_weights is not None:
            raise InputError(
                f"weights={self.weights!r} are of the whole network, "
                f"backbone_weights={self.backbone_weights!r} of its backbone. Leave one out."
            )
        if self.preprocessing and not (self.weights or self.backbone_weights):
            raise InputError(
                f"preprocessing={self.preprocessing!r} is of weights that are given; without any, "
                f"the training images' own mean and deviation are taken. Leave it out."
            )
        if self.swa_start is not None and self.ema is not None:
            raise InputError(
                f"One average at a time: received swa_start={self.swa_start} and ema={self.ema}."
            )

    def _say_colour_once(self) -> None:
        """Colour that is said as an augmentation is the field's."""
        said = Augmentations.of(self.augment)
        if said.colour is None:
            return
        if self.colour not in (None, said.colour):
            raise InputError(
                f"augment has colour={said.colour:g}, and colour is {self.colour:g}. Leave one out."
            )
        object.__setattr__(self, "augment", str(said))
        object.__setattr__(self, "colour", said.colour)

    def __eq__(self, other: object) -> bool:  # whether fields could be open does not matter
        return isinstance(other, Recipe) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment] # options are a dictionary

    def __repr__(self) -> str:  # fields that are not at their defaults
        values = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}
        named = [n for n, (value, default) in values.items() if value not in (default, {})]
        shown = [f"{n}={values[n][0]!r}" for n in dict.fromkeys(["model", "data", *named])]
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def validation_size(self) -> float | int:
        """`validation` as `load_data` takes it: a share, or a whole number of images."""
        return int(self.validation) if self.validation >= 1 else self.validation

    def peak(self, step: int) -> float | None:
        """The peak learning rate from the last change before a step on; None while it is open."""
        found = [rate for first, rate in self.rates if first <= step]
        return found[-1] if found else self.learning_rate

    @property
    def augmentations(self) -> Augmentations:
        """`augment`, taken apart."""
        return Augmentations.of(self.augment)

    @property
    def images_per_step(self) -> int:
        """Of all batches that make up a step of a recipe whose batch size is not open."""
        assert self.batch_size is not None, "the recipe is not resolved"
        return self.batch_size * self.accumulate

    @property
    def seed_of_split(self) -> int:
        """`split_seed`, or `seed` where that is open."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def model_options(self) -> dict[str, Any]:
        """Options for `kcnn.build`: the switches that were set, and the network's own."""
        switches = {name: getattr(self, name) for name in SWITCHES}
        given = {name: value for name, value in switches.items() if value is not None}
        if twice := given.keys() & self.options.keys():
            raise InputError(f"Given twice, as a field and in options: {', '.join(twice)}.")
        return given | dict(self.options)

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data for JSON."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(Recipe)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; fields that are not given have their defaults.

        Raises:
            InputError: A field that no recipe has.
        """
        check_names(fields, Recipe)
        return cls(**fields)

    def identity(self) -> dict[str, Any]:
        """The fields of which another value would be another training, by name."""
        return {n: getattr(self, n) for n, d in declarations(Recipe) if d.role == "bits"}

    @staticmethod
    def older() -> dict[str, Any]:
        """By name: what a training did that was recorded before that field was there."""
        found = {name: declared.older for name, declared in declarations(Recipe)}
        return {name: value for name, value in found.items() if value is not ALWAYS_THERE}

    @classmethod
    def whole(cls, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """All fields of a recipe as some version has recorded it.

        Raises:
            InputError: One is missing that every version records: its default would be another
                training.
        """
        fields = cls.older() | dict(recorded)
        missing = [n for n, _ in declarations(Recipe) if n not in fields]
        if missing:
            raise InputError(f"the recipe has no {', '.join(missing)}")
        return fields


#: Fields that are options of networks, too.
SWITCHES = ("batchnorm", "dropout", "residual", "stem", "backbone")
