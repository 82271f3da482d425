"""One point of `benchmarks.scaling`.

    python -m benchmarks.contenders.scale (arrays N EPOCHS | folder PATH)

Prints a line of JSON: seconds of the epochs of LeNet-5 on N synthetic images of 28×28, or the
memory of a process that indexes, checks and reads a folder.
"""

import itertools
import json
import os
import resource
import sys
import tempfile

_STEPS, _BATCH, _SIDE = 50, 64, 32


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def arrays(images: str, epochs: str) -> dict:
    """Seconds of each epoch's training, the first with its trace, and the peak memory."""
    import kcnn
    from benchmarks.harness.rows import synthetic

    x, y = synthetic(int(images), (28, 28, 1), 10)
    data = {"train": (x, y), "validation": (x[:100], y[:100]), "test": (x[:100], y[:100])}
    with tempfile.TemporaryDirectory() as logs:
        recipe = kcnn.Recipe(epochs=int(epochs), batch_size=128, logs=logs)
        run = kcnn.train(recipe, data=data)
    return {"seconds": run.history["seconds"], "memory": _memory()}


def folder(path: str) -> dict:
    """Peak memory after the imports, the index, and 50 batches."""
    import kcnn
    from kcnn.data import preflight, training_batches
    from kcnn.startup import tf

    tf.constant(0)
    memory = {"imports": _memory()}
    data = kcnn.load_data(path)
    memory["index"] = _memory()
    split = preflight(data).train
    batches = training_batches(split, _BATCH, classes=10, seed=0, image_size=(_SIDE, _SIDE))
    for _ in itertools.islice(batches, _STEPS):
        pass
    return memory | {"steps": _memory()}


if __name__ == "__main__":
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"arrays": arrays, "folder": folder}[sys.argv[1]](*sys.argv[2:])), file=stdout)
    stdout.flush()
