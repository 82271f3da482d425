"""Folders of synthetic photographs, for the benchmarks that read files."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 10
_DISTINCT = 200


def write_folder(folder: Path, images: int, side: int) -> Path:
    """`images` JPEG files of `side` pixels in ten class folders; `folder` as it was given.

    200 of them differ (smooth colours and a little noise, quality 90); the others are hard links.
    """
    random = np.random.default_rng(0)
    for kind in range(CLASSES):
        (folder / str(kind)).mkdir(parents=True)
    for index in range(images):
        path = folder / str(index % CLASSES) / f"{index:06}.jpg"
        if index < _DISTINCT:
            coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            smooth = np.asarray(Image.fromarray(coarse).resize((side, side), Image.BICUBIC))
            noise = random.integers(-8, 9, smooth.shape)
            pixels = np.clip(smooth + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path, quality=90)
        else:
            first = index % _DISTINCT
            os.link(folder / str(first % CLASSES) / f"{first:06}.jpg", path)
    return folder
