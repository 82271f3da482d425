"""Small image folders, made by Pillow."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from oracles.images import write_image


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """make_folder({"cat": 3, "dog": 2}, "root") writes root/cat/0.png, ... and returns root."""

    def make(counts: dict[str, int], name: str = "images") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for number, (folder, count) in enumerate(counts.items()):
            for i in range(count):
                write_image(root / folder / f"{i:03}.png", (40 * number, i, 7))
        return root

    return make


@pytest.fixture
def noise() -> np.ndarray:
    """(40, 6, 5, 3) uint8 images, all different."""
    return np.random.default_rng(3).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
