"""A problem that batched `tf.data` of the user's own poses: surveyed, in kcnn's form."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from kcnn.data import Feed
from kcnn.data.batches.targets import Targets
from kcnn.data.sets.arrays import as_weights, check_largest, check_reach, looks_channels_first
from kcnn.data.sets.classes import occurring
from kcnn.data.sets.forms import PARTS
from kcnn.data.sets.splits import weights_remark
from kcnn.errors import InputError
from kcnn.recipes.defaults import ResolvedRecipe
from kcnn.recipes.recipe import Recipe
from kcnn.startup import tf
from kcnn.tasks.problem import Size

#: The fingerprint of a stream of which every reading gives other batches.
SHUFFLED = "none: shuffled anew at each reading"

#: Batches of a stream that does not say its length, after which it is taken for an endless one.
_ENDLESS = 20_000


@dataclass
class Survey:
    """What one pass over a stream finds."""

    steps: int = 0
    images: int = 0
    labels: Counter[int] = field(default_factory=Counter)  #: images of the labels that occur
    weights: tuple[float, float] | None = None  #: the smallest and the largest of an image
    pixels: int = 0
    total: Any = 0.0
    squares: Any = 0.0
    low: float = np.inf  #: the smallest value of a pixel
    high: float = -np.inf  #: the largest
    first: str = ""  #: a digest of the first batch

    @property
    def batch_size(self) -> int:
        """Images of a batch, on average, rounded up."""
        return -(-self.images // self.steps)

    @property
    def reach(self) -> float:
        """The largest value of a pixel, whatever its sign; a small number at least."""
        return max(-self.low, self.high, 1e-9)

    @property
    def variance(self) -> np.ndarray:
        """Of each channel."""
        mean = self.total / self.pixels
        return np.maximum(self.squares / self.pixels - mean**2, 0.0)


@dataclass(frozen=True, eq=False)
class StreamProblem:
    """Streams of batches, each read once to survey it; an epoch's batches are their own affair."""

    streams: Mapping[str, tf.data.Dataset]
    surveys: Mapping[str, Survey]
    class_names: tuple[str, ...]
    numbers: tuple[int, ...] | None = None  #: labels of the classes, where they have holes

    kind: str = "tf.data.Dataset"  #: what the user handed over

    source = None
    duplicates = None
    is_files = False

    @property
    def name(self) -> str:
        return self.kind.partition(",")[0].removesuffix(".Dataset")

    @property
    def provenance(self) -> str:
        name, comma, remark = self.kind.partition(",")
        weights = self.surveys["train"].weights
        weigh = f"; {weights_remark(*weights)}" if weights else ""
        return f"a {name} of the user's own{comma}{remark}{weigh}"

    @cached_property
    def fingerprint(self) -> str:
        """Of the first training batch, where it is the same at each reading."""
        first = self.surveys["train"].first
        again = _digest(*next(self.streams["train"].as_numpy_iterator()))
        return f"first batch {first}" if again == first else SHUFFLED

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        return tuple(self.streams["train"].element_spec[0].shape[1:])

    @property
    def labels(self) -> tf.TensorSpec:
        """Of the training stream."""
        return self.streams["train"].element_spec[1]

    @property
    def sizes(self) -> dict[str, int]:
        return {p: self.surveys[p].images if p in self.surveys else 0 for p in PARTS}

    @property
    def batch_size(self) -> int:
        return self.surveys["train"].batch_size

    @property
    def class_counts(self) -> np.ndarray:
        """(K,) training images of each class."""
        labels = self.numbers or range(len(self.class_names))
        return np.array([self.surveys["train"].labels[label] for label in labels])

    def statistics(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance (C,) of the training stream."""
        seen = self.surveys["train"]
        mean, variance = seen.total / seen.pixels, seen.variance
        return mean.astype("float32"), np.where(variance > 1e-12, variance, 1.0).astype("float32")

    @property
    def pixels(self) -> dict[str, Any]:
        seen = self.surveys["train"]
        dtype = self.streams["train"].element_spec[0].dtype.name
        return {"dtype": dtype, "range": [seen.low, seen.high]}

    def steps(self, recipe: Recipe) -> int:
        """Batches of the training stream, or steps of as many images as several of them have."""
        survey = self.surveys["train"]
        if recipe.accumulate == 1:
            return survey.steps
        return -(-survey.images // (survey.batch_size * recipe.accumulate))

    def training(self, recipe: Recipe, size: Size, targets: Targets, start: int) -> Feed:
        """The stream, repeated; of the epoch in which `start` lies the rest."""
        weighted = self.surveys["train"].weights is not None
        batches = self._with(targets, "train", weighted)
        if recipe.accumulate > 1:
            batches = batches.rebatch(self.batch_size * recipe.accumulate)
        batches = batches.repeat().skip(start % self.steps(recipe))
        return Feed(batches, (), _as_it_is, ("stream",), "CPU:0")

    def evaluation(
        self, part: str, batch_size: int, size: Size, targets: Targets, scale: float = 1.0
    ) -> tf.data.Dataset:
        """The stream of a split."""
        return self._with(targets, part)

    def fill_cache(
        self, recipe: ResolvedRecipe, size: Size, progress: Callable[[int], None]
    ) -> None:
        """Refused: a stream is cached by its own `cache()`."""
        raise InputError(
            f"cache={recipe.cache!r} keeps image files decoded; the data {self.name!r} are no "
            f"files. Leave it out."
        )

    def _with(self, targets: Targets, part: str, weighted: bool = False) -> tf.data.Dataset:
        """Batches with targets, and with the weights of the images where they are wanted."""

        def behind(weights: list[tf.Tensor]) -> list[tf.Tensor]:
            return [tf.cast(tf.reshape(w, [-1]), tf.float32) for w in weights if weighted]

        if self.numbers is None:
            return self.streams[part].map(lambda x, y, *w: (x, targets(y), *behind(w)))
        numbers = np.array(self.numbers, np.int64)

        def numbered(labels: tf.Tensor) -> tf.Tensor:
            flat = tf.cast(tf.reshape(labels, [-1]), tf.int64)
            return tf.searchsorted(numbers, flat, out_type=tf.int64)

        return self.streams[part].map(lambda x, y, *w: (x, targets(numbered(y)), *behind(w)))


def surveyed(streams: Mapping[str, tf.data.Dataset], recipe: Recipe) -> dict[str, Survey]:
    """What is in each stream, read once.

    Raises:
        InputError: No validation stream; options that only arrays can honour; streams that are
            endless, empty, not batched, or hold values that are not finite.
    """
    _refuse_options(recipe)
    if "validation" not in streams:
        raise InputError("Epochs are chosen on validation data: give a 'validation' dataset, too.")
    for part, stream in streams.items():
        _check_stream(part, stream)
    found = {part: _survey(part, stream) for part, stream in streams.items()}
    _refuse_unlike(streams, found)
    _refuse_batch_size(recipe, found["train"].batch_size)
    return found


def _as_it_is(element: Any, resident: tuple) -> Any:
    return element


def _check_stream(part: str, stream: tf.data.Dataset) -> None:
    spec = stream.element_spec
    tensors = isinstance(spec, tuple) and len(spec) in (2, 3)
    tensors = tensors and all(isinstance(one, tf.TensorSpec) for one in spec)
    if not tensors or spec[0].shape.rank != 4 or spec[0].shape[-1] is None:
        raise InputError(
            f"The {part!r} dataset must give batches (images (B, H, W, C), labels), with weights "
            f"(B,) of the images behind them where they have such; received {spec}. Batch it with "
            f".batch(n); of other elements, .map gives the two."
        )
    if len(spec) == 3 and part != "train":
        raise InputError(
            f"The {part!r} dataset gives weights of images: they are of training alone, figures "
            f"count each image once. Leave them out: .map(lambda x, y, w: (x, y))."
        )
    if looks_channels_first(tuple(spec[0].shape)):
        raise InputError(
            f"Images of the {part!r} dataset have shape {spec[0].shape}, which looks like (B, C, "
            f"H, W). Images have shape (B, H, W, C): tf.transpose(x, (0, 2, 3, 1))."
        )
    if not (spec[1].dtype.is_integer or spec[1].dtype.is_floating or spec[1].dtype == tf.bool):
        raise InputError(
            f"Labels of the {part!r} dataset are {spec[1].dtype.name}; they are numbers. "
            f"keras.layers.StringLookup, in a .map, gives numbers for names."
        )
    if stream.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise InputError(
            f"The {part!r} dataset never ends; an epoch has to. End it with .take(steps)."
        )


def _survey(part: str, stream: tf.data.Dataset) -> Survey:
    seen, known = Survey(), int(stream.cardinality()) >= 0
    for images, labels, *weights in stream.as_numpy_iterator():
        seen.first = seen.first or _digest(images, labels, *weights)
        values = images.astype("float64")
        if not np.isfinite(values).all():
            raise InputError(f"The {part!r} dataset has NaN or infinite pixels.")
        seen.steps += 1
        seen.images += len(images)
        seen.labels.update(occurring(labels, part))
        if weights:
            seen.weights = _reach_of(weights[0], len(images), seen.weights)
        seen.pixels += values[..., 0].size
        seen.total += values.sum((0, 1, 2))
        seen.squares += np.square(values).sum((0, 1, 2))
        seen.low = min(seen.low, float(values.min()))
        seen.high = max(seen.high, float(values.max()))
        if seen.steps == _ENDLESS and not known:
            raise InputError(
                f"The {part!r} dataset does not say how long it is, and has not ended after "
                f"{seen.steps:,} batches. End it with .take(steps), or tell its length: "
                f".apply(tf.data.experimental.assert_cardinality(steps))."
            )
    if not seen.images:
        raise InputError(f"The {part!r} dataset is empty.")
    if seen.weights is not None and not seen.weights[1]:
        raise InputError(f"All weights of the {part!r} dataset are 0: nothing to learn from.")
    return seen


def _reach_of(
    weights: np.ndarray, count: int, before: tuple[float, float] | None
) -> tuple[float, float]:
    """The smallest and the largest weight up to this batch.

    Raises:
        InputError: No number from 0 up for each image.
    """
    if weights.any():
        weights = as_weights(weights, count, "a batch of the 'train' dataset")
    elif weights.size != count:
        raise InputError(f"A batch of {count} images has weights of shape {weights.shape}.")
    low, high = before or (np.inf, 0.0)
    return min(low, float(weights.min())), max(high, float(weights.max()))


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _refuse_unlike(streams: Mapping[str, tf.data.Dataset], found: Mapping[str, Survey]) -> None:
    """Refuse streams of which one is of another form, or scale, than that of training."""
    train, form = found["train"], _form(streams["train"].element_spec)
    check_largest(train.reach, "The 'train' dataset")
    if not train.variance.any():
        raise InputError("All pixels of the 'train' dataset are the same: nothing to learn from.")
    for part, survey in found.items():
        if (here := _form(streams[part].element_spec)) != form:
            raise InputError(
                f"The {part!r} dataset gives {here}, the 'train' dataset {form}. All must be alike."
            )
        check_reach(survey.reach, train.reach, f"the {part!r} dataset")


def _form(spec: tuple[tf.TensorSpec, ...]) -> str:
    """Channels of images, and what labels are."""
    columns = spec[1].shape[-1] if spec[1].shape.rank == 2 else 1
    kind = "class numbers" if columns in (1, None) else f"rows of {columns} shares"
    return f"images of {spec[0].shape[-1]} channels and {kind}"


def _refuse_batch_size(recipe: Recipe, found: int) -> None:
    """Its own is what a run has on record that goes on."""
    if recipe.batch_size not in (None, found):
        raise InputError(
            f"batch_size is not applied to a tf.data.Dataset, which is batched already "
            f"(received batch_size={recipe.batch_size}; it has batches of {found}). Do it in the "
            f"dataset."
        )


def _refuse_options(recipe: Recipe) -> None:
    for option in ("mixup", "cutmix", "colour"):
        if getattr(recipe, option):
            raise InputError(
                f"{option} is not applied to a tf.data.Dataset, which is batched already "
                f"(received {option}={getattr(recipe, option)}). Do it in the dataset."
            )
    if recipe.deduplicate != "no":
        raise InputError(
            f"deduplicate={recipe.deduplicate!r} compares arrays and files; the pictures of a "
            f"stream are not known one by one. Leave them out before they are batched."
        )
    if recipe.balanced:
        raise InputError(
            "balanced draws images from arrays and files; a stream has its own order. Draw in it, "
            "with tf.data.Dataset.sample_from_datasets, or take class_weights='balanced'."
        )
    if recipe.augment not in ("auto", "none"):
        raise InputError(
            f"augment={recipe.augment!r} is not applied to a tf.data.Dataset. Do it in the dataset."
        )
