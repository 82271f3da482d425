"""A network for another runtime: written, loaded there, and compared before it is called done."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import InputError
from kcnn.graph.agreement import (
    Compare,
    Labelled,
    accuracies,
    comparison,
    middle_of,
    refuse_loss,
)
from kcnn.graph.folding import fold_batchnorm
from kcnn.graph.formats import FORMATS, quiet, write
from kcnn.graph.outputs import Meaning
from kcnn.graph.runtimes import Runs, loaded
from kcnn.graph.walk import leaves
from kcnn.startup import keras

#: What an export may differ by, relative to the largest output: what is wrong is wrong by more.
_LIMITS = {"float32": 1e-4, "float16": 2e-2}
#: Share of objects that a file must see, where outputs are compared by objects.
_SEEN = 0.99
#: Sides of images for a network of any size, and how many images are made up.
_SIDE, _MADE_UP = 64, 33


@dataclass(frozen=True)
class Exported:
    """A file that gives what the network gives."""

    path: Path
    form: str
    precision: str
    size: int  #: bytes
    images: int  #: that were compared
    made_up: bool  #: whether the images were random
    difference: float  #: the largest, relative to the largest output
    agreement: float  #: share of outputs whose largest class is the same
    run: Runs = field(repr=False)  #: images (B, H, W, C) float32 to outputs, in that runtime
    accuracy: float | None = None  #: per cent of validation, of the file, where it was looked at
    before: float | None = None  #: of the network


def export(
    model: keras.Model,
    path: str | Path,
    *,
    format: str | None = None,
    precision: str = "float32",
    images: Sequence[np.ndarray] | np.ndarray | None = None,
    calibration: Sequence[np.ndarray] | None = None,
    metadata: Mapping[str, Any] | None = None,
    validation: Labelled | tuple[np.ndarray, np.ndarray] | None = None,
    accept: bool = False,
    outputs: Meaning | None = None,
    compare: Compare | None = None,
) -> Exported:
    """Write a model for another runtime, load it there, and compare.

    BatchNorm is folded; preprocessing that is in the model stays in the file, which takes images
    (B, H, W, C) in float32, of any B.

    Args:
        model: Functional or sequential, of one input of images and one output.
        path: Of the file; for a SavedModel, of the folder.
        format: "keras", "savedmodel", "onnx", "litert" or "openvino"; None is by the path's ending.
        precision: Of weights and arithmetic: "float32", "float16", "int8".
        images: To compare on: (N, H, W, C), or batches of them, in the range that the model takes.
            None makes some up, of 0 to 1 and of 0 to 255.
        calibration: Batches of images by which int8 chooses its scales; None is `images`.
        metadata: Class names and the like; goes into the file where the format has a place.
        validation: Images (N, H, W, C) and their classes, numbers (N,) or rows (N, K), or batches
            of such pairs: on them the file's accuracy is put beside the model's.
        accept: Keep an int8 file that loses more than a point of accuracy, or of which that is not
            known, as there is no `validation`.
        outputs: "probabilities" or "logits", where one output tells two classes apart; None is by
            how the model ends.
        compare: How outputs are compared, where they are not values in fixed places: boxes, say.

    Returns:
        What was written, and how far it is from the model.

    Raises:
        InputError: A format or precision that is not known; a converter or runtime that is not
            installed; a network that it cannot write; outputs that differ by more than rounding;
            int8 that loses more than a point of accuracy, or of which nobody knows what it loses.
            What was at `path` before stays.
    """
    path = Path(path)
    form = form_of(path, format)
    _check(form, precision, images is None, validation is None and not accept)
    batches = _made_up(model) if images is None else _batches(images)
    plain = _plain(model)
    given = batches if calibration is None else [np.asarray(b, np.float32) for b in calibration]
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".new-{path.name}")
    _remove(made)
    try:
        write(plain, made, form, precision, given, dict(metadata or {}))
        middle = middle_of(model, outputs)
        difference, agreement, run = _in_its_runtime(
            plain, made, form, batches, compare or comparison(middle)
        )
        unseen = compare is not None and agreement < _SEEN and precision == "float32"
        if not difference <= _LIMITS.get(precision, np.inf) or unseen:
            raise InputError(
                f"{model.name} as {form} in {precision} differs from the model by {difference:.2g} "
                f"of its largest output, on {sum(map(len, batches))} images, and says the same in "
                f"{agreement:.1%}: it is not written. "
                f"The converter and this network do not go together; take another format."
            )
        right = None if validation is None else accuracies(model, run, validation, middle)
        if right is not None and precision == "int8" and not accept:
            refuse_loss(*right)
        _put(made, path, form)
    except BaseException:
        _remove(made)
        raise
    with quiet():
        run = loaded(path, form)
        run(batches[0])  # what a runtime says, it says when it first runs
    return Exported(
        path, form, precision, _size(path), sum(map(len, batches)), images is None,
        difference, agreement, run, *(right or ()),
    )  # fmt: skip


def _in_its_runtime(
    model: keras.Model, path: Path, form: str, batches: Sequence[np.ndarray], compare: Compare
) -> tuple[float, float, Runs]:
    """How far a file is from the model, how often the class is the same, and what runs it."""
    expected = [keras.ops.convert_to_numpy(model(batch, training=False)) for batch in batches]
    with quiet():
        run = loaded(path, form)
        found = [run(batch) for batch in batches]
    return *compare(expected, found), run


def form_of(path: Path, said: str | None = None) -> str:
    """The format of a file, by what is said, else by its ending.

    Raises:
        InputError: Neither tells; the ending is of another format.
    """
    if said is not None:
        if said not in FORMATS:
            raise InputError(f"format is {', '.join(FORMATS)}; received {said!r}.")
        suffix = FORMATS[said].suffix
        if suffix and path.suffix != suffix:
            raise InputError(f"A file of {said} ends in {suffix}; received {str(path)!r}.")
        return said
    found = [name for name, one in FORMATS.items() if one.suffix == path.suffix]
    if not found:
        endings = ", ".join(f"{one.suffix} {name}" for name, one in FORMATS.items() if one.suffix)
        raise InputError(
            f"The ending of {str(path)!r} says no format: {endings}; a folder's name is a "
            f"SavedModel. Or give format."
        )
    return found[0]


def _check(form: str, precision: str, made_up: bool, unknown: bool) -> None:
    allowed = FORMATS[form].precisions
    if precision not in allowed:
        raise InputError(
            f"kcnn writes {form} in {', '.join(allowed)}; received precision={precision!r}."
        )
    if precision == "int8" and made_up:
        raise InputError(
            "int8 chooses its scales by real images: pass images, some hundred of the training's."
        )
    if precision == "int8" and unknown:
        raise InputError(
            "int8 is kept for its accuracy: pass validation=(images, classes), or accept=True, "
            "which keeps it whatever it loses."
        )


def _plain(model: keras.Model) -> keras.Model:
    """A copy with BatchNorm folded, of one input and one output."""
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
        raise InputError(
            f"A network to be exported takes images (N, H, W, C) and gives one output; "
            f"{getattr(model, 'name', type(model).__name__)!r} has {len(inputs)} inputs and "
            f"{len(outputs)} outputs. Wrap what you need: keras.Model(inputs, outputs)."
        )
    return _ungrouped(fold_batchnorm(model))


def _ungrouped(model: keras.Model) -> keras.Model:
    """The same outputs without grouped convolutions, which Keras has XLA compute on TensorFlow.

    No converter reads that. A kernel with zeros between the groups is the same map.
    """
    grouped = {
        layer.name: layer
        for layer in leaves(model)
        if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1
    }
    if not grouped:
        return model

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config() | ({"groups": 1} if layer.name in grouped else {})
        return type(layer).from_config(config)

    made = keras.models.clone_model(model, clone_function=clone)
    for layer in leaves(model):
        weights = layer.get_weights()
        if layer.name in grouped:
            weights[0] = _between_groups(weights[0], layer.groups)
        made.get_layer(layer.name).set_weights(weights)
    return made


def _between_groups(kernel: np.ndarray, groups: int) -> np.ndarray:
    """(h, w, in / groups, out) to (h, w, in, out), zero between the groups."""
    height, width, inside, out = kernel.shape
    whole = np.zeros((height, width, groups, inside, groups, out // groups), kernel.dtype)
    parts = kernel.reshape(height, width, inside, groups, out // groups)
    for group in range(groups):
        whole[:, :, group, :, group] = parts[:, :, :, group]
    return whole.reshape(height, width, groups * inside, out)


def _made_up(model: keras.Model) -> list[np.ndarray]:
    """Every second one in 0..1, the others in 0..255: in the wrong range a softmax hides much."""
    shape = tuple(side or _SIDE for side in model.input_shape[1:])
    images = np.random.default_rng(0).uniform(0, 1, (_MADE_UP, *shape)).astype(np.float32)
    images[1::2] *= 255.0
    return _batches(images)


def _batches(images: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
    """Of an array batches of 1 and 5 and the rest, as a server would see them."""
    if isinstance(images, np.ndarray):
        parts = [images[:1], images[1:6], images[6:39], *np.split(images[39:], range(64, max(
            len(images) - 39, 0), 64))]  # fmt: skip
        images = [part for part in parts if len(part)]
    found = [np.ascontiguousarray(batch, np.float32) for batch in images]
    if not found or any(batch.ndim != 4 for batch in found):
        raise InputError("images are (N, H, W, C), or batches of such; received none.")
    return found


def _put(made: Path, path: Path, form: str) -> None:
    """The new version in the place of the old one; OpenVINO's weights are a file of their own."""
    if path.is_dir() and not path.is_symlink():
        if form != "savedmodel" or not (path / "saved_model.pb").is_file():
            raise InputError(f"{str(path)!r} is a folder, and no SavedModel: it stays as it is.")
        shutil.rmtree(path)
    made.replace(path)
    if form == "openvino":
        made.with_suffix(".bin").replace(path.with_suffix(".bin"))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    if path.suffix == ".xml":
        path.with_suffix(".bin").unlink(missing_ok=True)


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    beside = path.with_suffix(".bin") if path.suffix == ".xml" else None
    extra = beside.stat().st_size if beside is not None and beside.exists() else 0
    return path.stat().st_size + extra
