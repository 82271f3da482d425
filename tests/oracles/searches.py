"""Small searches: their data, their space, and what has to be the same of two."""

import numpy as np

from kcnn.tuning import Options, tune


def arrays(images, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    pixels = rng.integers(0, 200, (images, 6, 6, 1)) + 40 * (labels == 1)[:, None, None, None]
    return pixels.astype("uint8"), labels


DATA = {"train": arrays(48, 0), "validation": arrays(30, 1), "test": arrays(30, 2)}
#: One architecture: all trials but the first reuse its trace.
RATES = ("optimizer=nesterov", "width=8", "depth=2", "dropout=0.0", "batchnorm=false",
         "augment=none", "label_smoothing=0.0", "swa=false", "batch_size=16")  # fmt: skip


def outcomes(found):
    """What is to be the same: trials, scores and order; not how long they took."""
    return [(t.number, t.values, t.epochs, t.status, t.figures) for t in found.trials]


def digits(logs):
    options = {"model": "mlp", "trials": 3, "epochs": 3, "name": "search", "logs": str(logs)}
    return tune(Options(**options, space=(*RATES[1:-1], "batch_size=64")), verbose=False)
