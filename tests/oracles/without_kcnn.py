"""Saved networks in a process where kcnn cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_PROGRAM = """
import sys
sys.modules["kcnn"] = None  # it cannot be imported
import keras
import numpy as np
images = np.load(sys.argv[1])
for path in sys.argv[2:]:
    model = keras.models.load_model(path)
    np.save(path + ".npy", model.predict(images, verbose=0))
"""


def outputs(paths: Sequence[str], images: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    """What plain Keras makes of `images` with each of the `.keras` files, by its path."""
    np.save(folder / "images.npy", images)
    command = [sys.executable, "-c", _PROGRAM, str(folder / "images.npy"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path: np.load(path + ".npy") for path in paths}
