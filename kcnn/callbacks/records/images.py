"""TensorBoard: what a network has learned, as pictures, and its answers in the projector."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from kcnn import interpret
from kcnn.callbacks.records.guards import forgiving
from kcnn.callbacks.records.tensorboard import write_pictures
from kcnn.draw import errors as draw
from kcnn.draw import inside
from kcnn.draw.maps import as_picture
from kcnn.draw.sheets import Section, contact_sheet
from kcnn.errors import InputError
from kcnn.graph.outputs import meaning
from kcnn.interpret.calibration import softmax
from kcnn.startup import keras, tf
from kcnn.storage import files
from kcnn.terminal import printable, shape_text

Logs = dict[str, Any] | None

#: Images that are looked at, at most; in a batch; mistakes and curves that are shown.
_MOST, _BATCH, _MISTAKES, _CURVES = 512, 64, 12, 10
#: Pixels of a picture's side in the projector, and of the whole sheet's, which browsers bound.
_THUMB, _SHEET = 48, 8192


@forgiving(lambda: (OSError, tf.errors.OpError))
class TensorBoardImages(keras.callbacks.Callback):
    """Write pictures for TensorBoard: filters, feature maps, confusion, mistakes, curves, features.

    The same images are looked at each time, so that TensorBoard's slider shows a network learn. Of
    what classifies, with labels, the projector gets the features in front of the last layer, each
    with its image. What costs is bounded: at most 512 images are looked at.

    Args:
        log_dir: The run's directory.
        images: (N, H, W, C) with the values that the network is trained on, N at least 1.
        labels: (N,) class numbers; None: filters and feature maps alone.
        class_names: Of anybody; None: their numbers.
        every: Epochs from one time to the next; None: at the end of the training alone.
        at_end: Write at the end of the training, too.

    Raises:
        InputError: Images or labels of another shape; `every` below 1.
    """

    def __init__(
        self,
        log_dir: str | Path,
        images: Any,
        labels: Any = None,
        *,
        class_names: Sequence[str] | None = None,
        every: int | None = None,
        at_end: bool = True,
    ) -> None:
        super().__init__()
        self.log_dir, self.every, self.at_end = Path(log_dir), every, at_end
        self.images = np.asarray(images)[:_MOST]
        self.labels = None if labels is None else np.asarray(labels).reshape(-1)[:_MOST]
        self.class_names = class_names
        if self.images.ndim != 4 or not len(self.images):
            raise InputError(f"images are (N, H, W, C); received {shape_text(self.images.shape)}.")
        if self.labels is not None and (
            len(self.labels) != len(self.images) or not np.issubdtype(self.labels.dtype, np.integer)
        ):
            raise InputError(
                f"labels are class numbers, one for each of {len(self.images)} images; received "
                f"{len(self.labels)} of {self.labels.dtype}."
            )
        if every is not None and every < 1:
            raise InputError(f"every is at least 1; received {every}.")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.every and (epoch + 1) % self.every == 0:
            self.write(epoch + 1)

    def on_train_end(self, logs: Logs = None) -> None:
        if self.at_end:
            self.write(self.params.get("epochs") or 0)

    def write(self, step: int) -> None:
        """Write the pictures of the model as it is now; of the last time, the projector shows.

        Args:
            step: The epoch, from 1.
        """
        made = pictures(self.model, self.images, self.labels, self.class_names)
        write_pictures(self.log_dir, made, step)
        if self.labels is not None:
            embed(self.log_dir, self.model, self.images, self.labels, self.class_names)


def pictures(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
) -> dict[str, bytes]:
    """PNGs by TensorBoard's name for them; see `TensorBoardImages` for the arguments.

    Of a model that has no such thing (no filters, no maps), there is no such picture.
    """
    found: dict[str, bytes] = {}
    for name, make in (("filters", _filters), ("feature_maps", _maps)):
        try:
            found[f"inside/{name}"] = make(model, images)
        except InputError:
            continue  # a perceptron has none
    if labels is not None:
        found |= _errors(model, images, labels, class_names)
    return found


def _filters(model: keras.Model, _: np.ndarray) -> bytes:
    found = interpret.filters(model)
    count = found.kernels.shape[3]
    title = f"{found.layer}: {min(count, 64)} of {count} filters"
    if found.kernels.shape[2] in (1, 3):
        return inside.filters(found.pictures()[:64], title)
    return inside.kernels(found.kernels, title)


def _maps(model: keras.Model, images: np.ndarray) -> bytes:
    found = interpret.feature_maps(model, images[:_BATCH], keep=1)
    return inside.feature_maps(images[0], [(one.title, one.maps[0]) for one in found])


def _errors(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str] | None,
) -> dict[str, bytes]:
    answers = interpret.Answers(labels.astype(np.int64), _probabilities(model, images))
    names = _names(class_names, answers.classes)
    counts = interpret.confusion(answers.truth, answers.said, answers.classes)
    worst = interpret.most_confident_mistakes(answers, _MISTAKES).indices
    captions = [
        f"{names[answers.truth[k]]}\nsaid: {names[answers.said[k]]} {answers.confidence[k]:.0%}"
        for k in worst
    ]
    heading = f"{int((~answers.right).sum())} of {len(answers)} are wrong; the surest of them"
    shown = [Section(heading, [as_picture(images[k]) for k in worst], captions)]
    found = {"errors/confusion": draw.confusion_matrix(counts, names)}
    if len(worst):
        found["errors/mistakes"] = contact_sheet(shown, 4)
    curves = {}
    for k in range(answers.classes):
        if (positive := answers.truth == k).any() and not positive.all():
            ranked = interpret.thresholds(positive, answers.probabilities[:, k])
            curves[names[k]] = (*ranked.precision_recall, ranked.average_precision)
    if curves:
        lowest = sorted(curves, key=lambda name: curves[name][2])[:_CURVES]
        chosen = {name: curve for name, curve in curves.items() if name in lowest}
        found["errors/precision_recall"] = draw.precision_recall(chosen, len(curves))
    return found


def embed(
    log_dir: Path,
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write the features in front of the model's last layer for TensorBoard's projector.

    Args:
        log_dir: Of the run.
        model: A classifier, functional or sequential; of another nothing is written.
        images: (N, H, W, C).
        labels: (N,) class numbers.
        class_names: Of anybody.
    """
    features = _features(model, images)
    if features is None:
        return
    from tensorboard.plugins import projector

    names = _names(class_names, int(labels.max()) + 1)
    folder = log_dir / "projector"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(f"{value:.6g}" for value in row) for row in features]
    _write(folder / "features.tsv", "\n".join(lines).encode())
    # A name with a tab or a line's end would be two.
    told = [" ".join(printable(names[k]).split()) for k in labels]
    _write(folder / "classes.tsv", "\n".join(told).encode())
    sheet, side = _sprites(images)
    files.replace(folder / "images.png", lambda file: sheet.save(file, "PNG"))
    config = projector.ProjectorConfig()
    one = config.embeddings.add()
    one.tensor_name = "features in front of the last layer"
    one.tensor_path, one.metadata_path = "projector/features.tsv", "projector/classes.tsv"
    one.sprite.image_path = "projector/images.png"
    one.sprite.single_image_dim.extend([side, side])
    projector.visualize_embeddings(str(log_dir), config)


def _features(model: keras.Model, images: np.ndarray) -> np.ndarray | None:
    """(N, D) what the last dense layer reads; None where there is none."""
    last = next((one for one in reversed(model.layers) if one.weights), None)
    if not isinstance(last, keras.layers.Dense) or len(last.input.shape) != 2:
        return None
    return _run(keras.Model(model.inputs[0], last.input), images)


def _sprites(images: np.ndarray) -> tuple[Image.Image, int]:
    """All images on a square sheet, as the projector wants them, and the side of each."""
    across = int(np.ceil(np.sqrt(len(images))))
    side = max(min(_THUMB, max(images.shape[1:3]), _SHEET // across), 1)
    sheet = Image.new("RGB", (across * side, across * side), "white")
    for index, image in enumerate(images):
        thumb = Image.fromarray(as_picture(image)).resize((side, side))
        sheet.paste(thumb, (index % across * side, index // across * side))
    return sheet, side


def _probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    values = _run(model, images)
    logits = meaning(model, values) == "logits"
    if values.shape[1] == 1:
        second = 1.0 / (1.0 + np.exp(-values)) if logits else values
        return np.concatenate([1.0 - second, second], axis=1)
    return softmax(values) if logits else values


def _run(model: keras.Model, images: np.ndarray) -> np.ndarray:
    parts = [
        keras.ops.convert_to_numpy(model(images[first : first + _BATCH], training=False))
        for first in range(0, len(images), _BATCH)
    ]
    return np.concatenate(parts).astype("float32")


def _names(given: Sequence[str] | None, count: int) -> list[str]:
    return [str(k) for k in range(count)] if given is None else list(given)


def _write(path: Path, content: bytes) -> None:
    files.replace(path, partial(_written, content))


def _written(content: bytes, file: IO[bytes]) -> None:
    file.write(content)
