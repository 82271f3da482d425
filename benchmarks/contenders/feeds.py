"""One way to feed batches: python -m benchmarks.contenders.feeds WORK PROGRAM [FOLDER]

A contender of `benchmarks.input`. WORK is `none` or `crop-flip` (50,000 uint8 images of 32×32 in
memory, padded by 4 and cropped), or the side of the JPEG files in FOLDER.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.contest import THREADS
from benchmarks.harness.rows import synthetic
from benchmarks.harness.seat import serve

_IMAGES, _SHAPE, _CLASSES = 50_000, (32, 32, 3), 10
BATCHES = {"none": 128, "crop-flip": 128, "64": 64, "224": 64}


def kcnn_feed(work: str, folder: str | None) -> Iterator[Any]:
    """`kcnn.data.training_batches`."""
    import kcnn
    from kcnn.data import from_arrays, training_batches

    if folder is None:
        pair = synthetic(_IMAGES, _SHAPE, _CLASSES)
        few = (pair[0][:10], pair[1][:10])
        split, size, augment = from_arrays(pair, few, few).train, None, work
    else:
        split, size, augment = kcnn.load_data(folder).train, (int(work), int(work)), "none"
    batches = training_batches(
        split, BATCHES[work], classes=_CLASSES, seed=0, augment=augment, image_size=size
    )
    return iter(batches)


def tensorflow_feed(work: str, folder: str | None) -> Iterator[Any]:
    """Per-image `tf.image` over `tf.data`, or Keras' own reader of folders."""
    from kcnn.startup import keras, tf

    batch = BATCHES[work]
    if folder is not None:
        size = (int(work), int(work))
        dataset = keras.utils.image_dataset_from_directory(
            folder, image_size=size, batch_size=batch, verbose=False
        )
        # Without the rest of an epoch: a window that ended with it would count images it has not.
        whole = dataset.filter(lambda images, labels: tf.shape(images)[0] == batch)
        return iter(whole.repeat().prefetch(tf.data.AUTOTUNE))

    def augmented(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.resize_with_crop_or_pad(image, 40, 40)
        image = tf.image.random_crop(image, _SHAPE)
        return tf.image.random_flip_left_right(image), label

    dataset = tf.data.Dataset.from_tensor_slices(synthetic(_IMAGES, _SHAPE, _CLASSES))
    dataset = dataset.shuffle(10_000).repeat()
    if work == "crop-flip":
        dataset = dataset.map(augmented, num_parallel_calls=tf.data.AUTOTUNE)
    return iter(dataset.batch(batch).prefetch(tf.data.AUTOTUNE))


def torch_feed(work: str, folder: str | None) -> Iterator[Any]:
    """A `DataLoader` with a worker for each core."""
    import torch
    from PIL import Image

    class Arrays(torch.utils.data.Dataset):
        def __init__(self) -> None:
            images, labels = synthetic(_IMAGES, _SHAPE, _CLASSES)
            self.images = torch.from_numpy(images).permute(0, 3, 1, 2)  # (N, C, H, W)
            self.labels = torch.from_numpy(labels)

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            image = self.images[index]
            if work == "crop-flip":
                image = torch.nn.functional.pad(image, (4, 4, 4, 4))
                top, left = torch.randint(9, (2,)).tolist()
                image = image[:, top : top + 32, left : left + 32]
                if torch.rand(()) < 0.5:
                    image = image.flip(-1)
            return image, self.labels[index]

    class Files(torch.utils.data.Dataset):
        def __init__(self) -> None:
            self.files = sorted(Path(folder).rglob("*.jpg"))

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            with Image.open(self.files[index]) as file:
                image = file.convert("RGB").resize((int(work), int(work)), Image.BILINEAR)
            return torch.from_numpy(np.array(image)), int(self.files[index].parent.name)

    loader = torch.utils.data.DataLoader(
        Arrays() if folder is None else Files(), batch_size=BATCHES[work], shuffle=True,
        drop_last=True, num_workers=THREADS, persistent_workers=True,
    )  # fmt: skip
    return itertools.chain.from_iterable(itertools.repeat(loader))


FEEDS = {"kcnn": kcnn_feed, "tensorflow": tensorflow_feed, "torch": torch_feed}


def main(work: str, program: str, folder: str | None = None) -> None:
    """Sit down."""
    batches = FEEDS[program](work, folder)

    def run(steps: int) -> dict[str, Any]:
        for _ in range(steps):
            images, _ = next(batches)
        if len(images) != BATCHES[work]:
            raise AssertionError(f"a batch of {len(images)} images")
        return {}

    serve(run, batch=BATCHES[work])


if __name__ == "__main__":
    main(*sys.argv[1:])
